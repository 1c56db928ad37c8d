/* The codecs' inner loops, behind one table: what `_kernel.c` offers to Python (wire/packing.py says what each means). */
#ifndef ASGD_CODECS_H
#define ASGD_CODECS_H
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian: on this machine the numpy fallback is used"
#endif

/* A second version for processors with AVX2; without -ffp-contract the bits of both are the same. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

typedef struct {
    /* Bytes of a frame of n elements; `arg` is the block's length, or topk's k. */
    int64_t (*length)(int64_t n, int64_t arg);
    /* kept (+= vector, if there is one) -> frame; kept -= what the frame says. 16 bits: vector -> frame. 0, or -1: no memory. */
    int (*pack)(float *kept, const float *vector, int64_t n, uint8_t *frame, int64_t arg);
    /* The largest magnitude it can stand for, inf: not all is finite, -1: this is no such frame. The other two rely on a
     * frame that is one. */
    float (*largest)(const uint8_t *frame, int64_t n, int64_t arg);
    /* frame -> out */
    void (*unpack)(const uint8_t *frame, float *out, int64_t n, int64_t arg);
    /* w += frame * a, each product rounded before it is added */
    void (*add)(const uint8_t *frame, float *w, float a, int64_t n, int64_t arg);
} codec_t;

extern const codec_t codec_bf16, codec_fp16, codec_int8, codec_topk, codec_onebit;

static inline uint32_t bits_of(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float float_of(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
static inline int is_finite(float x) { return (bits_of(x) & 0x7f800000u) != 0x7f800000u; }
#define QUIET_NAN 0x7fc00000u

/* bfloat16, rounded to nearest even; every nan becomes the same one. */
static inline uint16_t bf16_of(float x) {
    uint32_t b = bits_of(x), r = (b + (((b >> 16) & 1) + 0x7fffu)) >> 16;
    return (uint16_t)((int32_t)(b & 0x7fffffffu) > 0x7f800000 ? 0x7fc0u : r);
}
static inline float of_bf16(uint16_t h) { return float_of((uint32_t)h << 16); }
#endif
