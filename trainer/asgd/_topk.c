/* topk: exactly k entries of the largest magnitude, of equal ones the first; values as bfloat16, the residual keeps
 * what that rounding lost.
 *
 * Selection: a sample of the magnitudes guesses a threshold that a bit more than k entries pass; those few are ranked
 * exactly by radix. A guess that was too high costs one more pass over the chunk and changes no bit of the result.
 * Where the entries are: a bit an element when more than every sixteenth is sent, else 16-bit indices within 65,536.
 */
#include "_codecs.h"
#include <stdlib.h>

#define SPAN 65536
#define SAMPLE 4096
#define NO_BIT INT64_C(-1)

static int dense(int64_t n, int64_t k) { return 16 * k > n; }
static int64_t spans_of(int64_t n) { return (n + SPAN - 1) / SPAN; }
static int64_t topk_length(int64_t n, int64_t k) {
    return (dense(n, k) ? (n + 7) / 8 : 4 * spans_of(n) + 2 * k) + 2 * k;
}
static inline uint32_t magnitude(float x) { return bits_of(x) & 0x7fffffffu; }

/* The k-th largest of m numbers of 31 bits, and how many are larger: three rounds of counting digits. */
static uint32_t kth(const uint32_t *values, int64_t m, int64_t k, int64_t *larger) {
    static const int shifts[3] = {20, 10, 0};
    uint32_t prefix = 0, mask = 0, count[2048];
    *larger = 0;
    for (int round = 0; round < 3; round++) {
        uint32_t digits = round ? 1023 : 2047; int shift = shifts[round];
        memset(count, 0, sizeof count);
        for (int64_t i = 0; i < m; i++)
            if ((values[i] & mask) == prefix) count[(values[i] >> shift) & digits]++;
        uint32_t digit = digits;
        while (digit > 0 && *larger + count[digit] < k) *larger += count[digit--];
        prefix |= digit << shift; mask |= digits << shift;
    }
    return prefix;
}

/* A magnitude that at least k entries of a (+ g) reach in all likelihood; 0 is always right. */
static uint32_t guess(const float *a, const float *g, int64_t n, int64_t k) {
    uint32_t sample[SAMPLE]; int64_t larger, stride = n / SAMPLE, rank, root = 0;
    if (stride < 2) return 0;
    for (int64_t j = 0; j < SAMPLE; j++) {
        int64_t i = j * stride + (j & 1);
        sample[j] = magnitude(g ? a[i] + g[i] : a[i]);
    }
    rank = k * SAMPLE / n;
    while (root * root < rank) root++;
    rank += 3 * root + 3;
    return rank >= SAMPLE ? 0 : kth(sample, SAMPLE, rank, &larger);
}

/* a += g (if there is one) for m <= 64 entries; a bit for each that reaches `least`. */
CLONES static uint64_t reach(float *restrict a, const float *restrict g, int64_t m, int32_t least) {
    uint8_t flags[64] = {0}; uint64_t mask = 0;
    if (g) for (int64_t i = 0; i < m; i++) a[i] = a[i] + g[i];
    for (int64_t i = 0; i < m; i++) flags[i] = (int32_t)magnitude(a[i]) >= least;
    for (int i = 0; i < 8; i++) {
        uint64_t eight; memcpy(&eight, flags + 8 * i, 8);
        mask |= ((eight * 0x0102040810204080u) >> 56) << (8 * i);
    }
    return mask;
}

/* Adds g to a, and writes the places and magnitudes of entries that reach `least`; returns how many. */
static int64_t collect(float *a, const float *g, int64_t n, uint32_t least, uint32_t *at, uint32_t *sizes) {
    int64_t m = 0;
    for (int64_t start = 0; start < n; start += 64) {
        uint64_t mask = reach(a + start, g ? g + start : NULL, n - start < 64 ? n - start : 64, (int32_t)least);
        for (; mask; mask &= mask - 1) {
            int64_t i = start + __builtin_ctzll(mask);
            at[m] = (uint32_t)i; sizes[m++] = magnitude(a[i]);
        }
    }
    return m;
}

static inline uint16_t send(float *a) {
    uint16_t h = bf16_of(*a); float rest = *a - of_bf16(h);
    *a = is_finite(rest) ? rest : 0.0f;
    return h;
}

static void put(uint8_t *p, uint16_t h) { memcpy(p, &h, 2); }

static int topk_pack(float *a, const float *g, int64_t n, uint8_t *frame, int64_t k) {
    uint32_t *at = malloc(8 * (size_t)(n + 1)), *sizes = at + n + 1;
    if (!at) return -1;
    int64_t larger = 0, sent = 0, m = collect(a, g, n, guess(a, g, n, k), at, sizes);
    if (m < k) m = collect(a, NULL, n, 0, at, sizes);
    const uint32_t least = k ? kth(sizes, m, k, &larger) : 0;
    int64_t equal = k - larger; /* how many of those exactly at the threshold go */
    const int bitmap = dense(n, k); const int64_t head = bitmap ? (n + 7) / 8 : 4 * spans_of(n);
    uint8_t *values = frame + head + (bitmap ? 0 : 2 * k);
    memset(frame, 0, (size_t)head);
    for (int64_t j = 0; j < m && sent < k; j++) {
        if (sizes[j] < least || (sizes[j] == least && equal-- <= 0)) continue;
        uint32_t i = at[j];
        if (bitmap) frame[i >> 3] |= (uint8_t)(1u << (i & 7));
        else {
            uint32_t c; memcpy(&c, frame + 4 * (i / SPAN), 4); c++; memcpy(frame + 4 * (i / SPAN), &c, 4);
            put(frame + head + 2 * sent, (uint16_t)(i % SPAN));
        }
        put(values + 2 * sent++, send(a + i));
    }
    free(at);
    return 0;
}

/* Eight bytes of a bitmap of `size` bytes, fewer at its end. */
static inline uint64_t word(const uint8_t *bitmap, int64_t byte, int64_t size) {
    uint64_t w = 0; memcpy(&w, bitmap + byte, (size_t)(size - byte < 8 ? size - byte : 8));
    return w;
}

/* Goes through the entries of a frame in their order; FAULT when it is none. `body` sees the place i and the value h. */
#define EACH(frame, n, k, body)                                                                          \
    const uint8_t *values = frame + (dense(n, k) ? (n + 7) / 8 : 4 * spans_of(n) + 2 * k);               \
    int64_t seen = 0;                                                                                    \
    if (dense(n, k)) {                                                                                   \
        for (int64_t byte = 0; byte < (n + 7) / 8; byte += 8)                                            \
            for (uint64_t rest = word(frame, byte, (n + 7) / 8); rest; rest &= rest - 1) {               \
                int64_t i = 8 * byte + __builtin_ctzll(rest);                                            \
                if (i >= n || seen >= k) return FAULT;                                                   \
                uint16_t h; memcpy(&h, values + 2 * seen++, 2);                                          \
                body                                                                                     \
            }                                                                                            \
    } else {                                                                                             \
        for (int64_t span = 0; span < spans_of(n); span++) {                                             \
            uint32_t count; memcpy(&count, frame + 4 * span, 4);                                         \
            if (count > (uint64_t)(k - seen)) return FAULT;                                              \
            int64_t before = NO_BIT;                                                                     \
            for (uint32_t j = 0; j < count; j++) {                                                       \
                uint16_t h, index; memcpy(&index, frame + 4 * spans_of(n) + 2 * seen, 2);                \
                memcpy(&h, values + 2 * seen++, 2);                                                      \
                int64_t i = span * SPAN + index;                                                         \
                if (i >= n || index <= before) return FAULT;                                             \
                before = index;                                                                          \
                body                                                                                     \
            }                                                                                            \
        }                                                                                                \
    }

#define FAULT -1
static int topk_good(const uint8_t *frame, int64_t n, int64_t k) {
    int finite = 1;
    EACH(frame, n, k, (void)i; finite &= (h & 0x7f80u) != 0x7f80u;)
    return seen == k ? finite : -1;
}
#undef FAULT
#define FAULT
static void topk_unpack(const uint8_t *frame, float *out, int64_t n, int64_t k) {
    memset(out, 0, 4 * (size_t)n);
    EACH(frame, n, k, out[i] = of_bf16(h);)
}

static void topk_add(const uint8_t *frame, float *w, float a, int64_t n, int64_t k) {
    EACH(frame, n, k, float t = of_bf16(h) * a; w[i] = w[i] + t;)
}
const codec_t codec_topk = {topk_length, topk_pack, topk_good, topk_unpack, topk_add};
