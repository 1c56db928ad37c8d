/* Codecs of one value each (16 bits) and of blocks (int8, onebit), one pass of memory each way.
 *
 * wire/packing.py gives the same bits in numpy, and says what the frames look like. Residuals of what can't be sent
 * (inf, nan, or an overflow of the scale) become 0 and its block is sent as nan, which the receiver refuses.
 */
#include "_codecs.h"

/* -- 16 bits --------------------------------------------------------------------------------------- */

static int64_t length16(int64_t n, int64_t arg) { (void)arg; return 2 * n; }

/* IEEE half, rounded to nearest even, without a branch: the magic sum lets the adder round denormals. */
static inline uint16_t fp16_of(float x) {
    const uint32_t b = bits_of(x), f = b & 0x7fffffffu, sign = (b >> 16) & 0x8000u;
    const int32_t s = (int32_t)f; /* signed comparisons are those that SSE2 has */
    const uint32_t tiny = bits_of(float_of(f) + 0.5f) - 0x3f000000u;
    const uint32_t usual = (f + (((f >> 13) & 1) + 0xc8000fffu)) >> 13;
    uint32_t h = s < 0x38800000 ? tiny : usual;
    h = s >= 0x47800000 ? 0x7c00u : h;
    h |= sign;
    return (uint16_t)(s > 0x7f800000 ? 0x7e00u : h);
}

static inline float of_fp16(uint16_t h) {
    uint32_t o = ((uint32_t)h & 0x7fffu) << 13, e = o & 0x0f800000u, sign = ((uint32_t)h & 0x8000u) << 16;
    uint32_t usual = o + 0x38000000u, special = o + 0x70000000u;
    uint32_t tiny = bits_of(float_of(o + 0x38800000u) - float_of(0x38800000u));
    return float_of((e == 0x0f800000u ? special : e == 0 ? tiny : usual) | sign);
}

#define SIXTEEN(name, to, from, mask)                                                                                 \
    CLONES static int name##_pack(float *kept, const float *restrict v, int64_t n, uint8_t *restrict frame,   \
                                      int64_t arg) {                                                                  \
        uint16_t *restrict h = (uint16_t *)frame;                                                                     \
        for (int64_t i = 0; i < n; i++) h[i] = to(v[i]);                                                              \
        return 0;                                                                                                     \
    }                                                                                                                 \
    CLONES static float name##_largest(const uint8_t *restrict frame, int64_t n, int64_t arg) {                       \
        const uint16_t *restrict h = (const uint16_t *)frame; int16_t top = 0;                                        \
        for (int64_t i = 0; i < n; i++) { int16_t b = (int16_t)(h[i] & 0x7fffu); top = b > top ? b : top; }           \
        return (uint16_t)top >= mask ? HUGE_VALF : from((uint16_t)top);                                               \
    }                                                                                                                 \
    CLONES static void name##_unpack(const uint8_t *restrict frame, float *restrict out, int64_t n, int64_t arg) {    \
        const uint16_t *restrict h = (const uint16_t *)frame;                                                         \
        for (int64_t i = 0; i < n; i++) out[i] = from(h[i]);                                                          \
    }                                                                                                                 \
    CLONES static void name##_add(const uint8_t *restrict frame, float *restrict w, float a, int64_t n, int64_t arg) { \
        const uint16_t *restrict h = (const uint16_t *)frame;                                                         \
        for (int64_t i = 0; i < n; i++) { float t = from(h[i]) * a; w[i] = w[i] + t; }                                \
    }                                                                                                                 \
    const codec_t codec_##name = {length16, name##_pack, name##_largest, name##_unpack, name##_add};

SIXTEEN(bf16, bf16_of, of_bf16, 0x7f80u)
SIXTEEN(fp16, fp16_of, of_fp16, 0x7c00u)

/* -- int8: a float32 scale a block, then a signed byte an element ---------------------------------------- */

static int64_t rows_of(int64_t n, int64_t block) { return (n + block - 1) / block; }
static int64_t int8_length(int64_t n, int64_t block) { return 4 * rows_of(n, block) + n; }

CLONES static float int8_block(float *restrict a, const float *restrict g, int64_t n, int8_t *restrict q) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to nearest even */
    int32_t top = 0;
    if (g) for (int64_t i = 0; i < n; i++) a[i] = a[i] + g[i];
    for (int64_t i = 0; i < n; i++) {
        int32_t b = (int32_t)(bits_of(a[i]) & 0x7fffffffu);
        top = b > top ? b : top;
    }
    float scale = float_of((uint32_t)top) / 127.0f;
    if (!is_finite(scale * 128.0f)) {
        memset(a, 0, 4 * (size_t)n); memset(q, 0, (size_t)n);
        return float_of(QUIET_NAN);
    }
    const float safe = scale > 0 ? scale : 1.0f;
    for (int64_t i = 0; i < n; i++) {
        float r = a[i] / safe;
        r = (r + magic) - magic;
        /* NB: the scale of a block of denormals is so coarse that levels beyond 127 would come out and wrap round. */
        r = r > 127.0f ? 127.0f : r; r = r < -127.0f ? -127.0f : r;
        q[i] = (int8_t)(int32_t)r;
        float sent = r * scale;
        a[i] = a[i] - sent;
    }
    return scale;
}

static int int8_pack(float *kept, const float *v, int64_t n, uint8_t *frame, int64_t block) {
    int64_t rows = rows_of(n, block);
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * block, m = n - at < block ? n - at : block;
        float scale = int8_block(kept + at, v ? v + at : NULL, m, (int8_t *)frame + 4 * rows + at);
        memcpy(frame + 4 * row, &scale, 4);
    }
    return 0;
}

static float int8_largest(const uint8_t *frame, int64_t n, int64_t block) {
    float top = 0.0f;
    for (int64_t row = 0; row < rows_of(n, block); row++) {
        float scale; memcpy(&scale, frame + 4 * row, 4);
        if (!is_finite(scale * 128.0f)) return HUGE_VALF;
        top = fmaxf(top, fabsf(scale));
    }
    return top * 127.0f;
}

CLONES static void int8_unpack_block(const int8_t *restrict q, float s, float *restrict out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)q[i] * s;
}

CLONES static void int8_add_block(const int8_t *restrict q, float s, float *restrict w, float a, int64_t n) {
    for (int64_t i = 0; i < n; i++) { float v = (float)q[i] * s, t = v * a; w[i] = w[i] + t; }
}

static void int8_unpack(const uint8_t *frame, float *out, int64_t n, int64_t block) {
    int64_t rows = rows_of(n, block);
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * block; float s; memcpy(&s, frame + 4 * row, 4);
        int8_unpack_block((const int8_t *)frame + 4 * rows + at, s, out + at, n - at < block ? n - at : block);
    }
}

static void int8_add(const uint8_t *frame, float *w, float a, int64_t n, int64_t block) {
    int64_t rows = rows_of(n, block);
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * block; float s; memcpy(&s, frame + 4 * row, 4);
        int8_add_block((const int8_t *)frame + 4 * rows + at, s, w + at, a, n - at < block ? n - at : block);
    }
}
const codec_t codec_int8 = {int8_length, int8_pack, int8_largest, int8_unpack, int8_add};

/* -- onebit: two float32 means a block, then a bit an element (each block begins a byte of its own) -------- */

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef int8_t v8c __attribute__((vector_size(8)));

static int64_t onebit_length(int64_t n, int64_t block) {
    int64_t full = n / block, rest = n % block;
    return 8 * rows_of(n, block) + full * ((block + 7) / 8) + (rest + 7) / 8;
}

static float tree(const v8f *l) {
    const v8f s = *l;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* Element i adds to lane i % 8, lanes are added as a tree: an order that numpy can follow. */
CLONES static void onebit_block(float *restrict a, const float *restrict g, int64_t n, uint8_t *restrict bits,
                                float *means) {
    v8f high = {0}, low = {0}; v8i count = {0};
    for (int64_t i = 0; i < n; i += 8) {
        v8f x = {0}, y = {0}; size_t size = 4 * (size_t)(n - i < 8 ? n - i : 8);
        if (size == 32) memcpy(&x, a + i, 32); else memcpy(&x, a + i, size);
        if (g) {
            if (size == 32) memcpy(&y, g + i, 32); else memcpy(&y, g + i, size);
            x = x + y;
            if (size == 32) memcpy(a + i, &x, 32); else memcpy(a + i, &x, size);
        }
        v8i positive = x > 0;
        high += (v8f)((v8i)x & positive); low += (v8f)((v8i)x & ~positive); count -= positive;
        v8c bytes = __builtin_convertvector(positive, v8c); uint64_t eight; memcpy(&eight, &bytes, 8);
        bits[i / 8] = (uint8_t)(((eight & 0x0101010101010101u) * 0x0102040810204080u) >> 56);
    }
    int64_t positives = 0;
    for (int i = 0; i < 8; i++) positives += count[i];
    int64_t others = n - positives;
    const float up = tree(&high) / (float)(positives ? positives : 1), down = tree(&low) / (float)(others ? others : 1);
    means[0] = up; means[1] = down;
    if (!is_finite(up) || !is_finite(down)) {
        means[0] = means[1] = float_of(QUIET_NAN);
        memset(a, 0, 4 * (size_t)n); memset(bits, 0, (size_t)(n + 7) / 8);
        return;
    }
    for (int64_t i = 0; i < n; i++) a[i] = a[i] - (a[i] > 0 ? up : down);
}

static int onebit_pack(float *kept, const float *v, int64_t n, uint8_t *frame, int64_t block) {
    int64_t rows = rows_of(n, block); uint8_t *bits = frame + 8 * rows;
    for (int64_t row = 0; row < rows; row++, bits += (block + 7) / 8) {
        int64_t at = row * block; float means[2];
        onebit_block(kept + at, v ? v + at : NULL, n - at < block ? n - at : block, bits, means);
        memcpy(frame + 8 * row, means, 8);
    }
    return 0;
}

static float onebit_largest(const uint8_t *frame, int64_t n, int64_t block) {
    float top = 0.0f;
    for (int64_t i = 0; i < 2 * rows_of(n, block); i++) {
        float mean; memcpy(&mean, frame + 4 * i, 4);
        if (!is_finite(mean)) return HUGE_VALF;
        top = fmaxf(top, fabsf(mean));
    }
    return top;
}

/* w += a * (up | down) by the bits of a block, or w = that. */
CLONES static void onebit_fill(const uint8_t *restrict bits, const float *means, float *restrict w, int64_t n, int add,
                               float a) {
    const v8i place = {1, 2, 4, 8, 16, 32, 64, 128};
    const float up = add ? means[0] * a : means[0], down = add ? means[1] * a : means[1];
    /* NB: by bits, for 0 + -0 would lose the sign. */
    const v8i ups = (v8i){0} + (int32_t)bits_of(up), downs = (v8i){0} + (int32_t)bits_of(down);
    for (int64_t i = 0; i < n; i += 8) {
        v8i set = (((v8i){0} + bits[i / 8]) & place) == place;
        v8f x, t = (v8f)((ups & set) | (downs & ~set)); size_t size = 4 * (size_t)(n - i < 8 ? n - i : 8);
        if (add) {
            if (size == 32) memcpy(&x, w + i, 32); else { x = (v8f){0}; memcpy(&x, w + i, size); }
            t = x + t;
        }
        if (size == 32) memcpy(w + i, &t, 32); else memcpy(w + i, &t, size);
    }
}

static void onebit_rows(const uint8_t *frame, float *w, int add, float a, int64_t n, int64_t block) {
    int64_t rows = rows_of(n, block); const uint8_t *bits = frame + 8 * rows;
    for (int64_t row = 0; row < rows; row++, bits += (block + 7) / 8) {
        int64_t at = row * block; float means[2]; memcpy(means, frame + 8 * row, 8);
        onebit_fill(bits, means, w + at, n - at < block ? n - at : block, add, a);
    }
}
static void onebit_unpack(const uint8_t *frame, float *out, int64_t n, int64_t block) {
    onebit_rows(frame, out, 0, 1, n, block);
}
static void onebit_add(const uint8_t *frame, float *w, float a, int64_t n, int64_t block) {
    onebit_rows(frame, w, 1, a, n, block);
}
const codec_t codec_onebit = {onebit_length, onebit_pack, onebit_largest, onebit_unpack, onebit_add};
