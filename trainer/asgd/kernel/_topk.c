/* topk: exactly k entries of the largest magnitude, of equal ones the first; values as bfloat16, the residual keeps
 * what that rounding lost.
 *
 * Selection: a sample of the magnitudes guesses between which two the k-th largest lies; the few there are ranked
 * exactly by radix. A wrong guess costs one more pass over the chunk and changes no bit of the result.
 * Where the entries are: a bit an element when more than every sixteenth is sent, else 16-bit indices within 65,536.
 */
#include "_codecs.h"
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SPAN 65536
#define SAMPLE 1024
#define BLOCK 4096 /* divides SPAN */
#define ALL INT64_MAX
#define NO_BIT INT64_C(-1)

static int dense(int64_t n, int64_t k) { return 16 * k > n; }
static int64_t spans_of(int64_t n) { return (n + SPAN - 1) / SPAN; }
static int64_t topk_length(int64_t n, int64_t k) {
    return (dense(n, k) ? (n + 7) / 8 : 4 * spans_of(n) + 2 * k) + 2 * k;
}
#define ANY_NAN 0x7f800001u
/* The larger the number, the larger this; all nan are alike, since which one a sum of two makes is anyone's choice. */
static inline uint32_t magnitude(float x) {
    const uint32_t b = bits_of(x) & 0x7fffffffu;
    return b > ANY_NAN ? ANY_NAN : b;
}

typedef struct { int32_t low, high; } range_t;

/* What was found: the k-th largest magnitude, how many are larger, and how many are as large. */
typedef struct { uint32_t least; int64_t larger, equal; } rank_t;

/* The k-th largest of m numbers within `range`. Counts their highest 11 bits beyond range.low
 * and goes on with those that share the k-th's. NB: `values` is used up. */
static rank_t kth(uint32_t *values, int64_t m, int64_t k, range_t range) {
    uint32_t low = (uint32_t)range.low, span = (uint32_t)range.high - low, count[2048];
    int64_t larger = 0;
    for (;;) {
        int shift = 0;
        while (span >> shift > 2047) shift++;
        memset(count, 0, sizeof count);
        for (int64_t i = 0; i < m; i++) count[(values[i] - low) >> shift]++;
        uint32_t digit = span >> shift;
        while (digit > 0 && larger + count[digit] < k) larger += count[digit--];
        if (!shift) return (rank_t){low + digit, larger, count[digit]};
        int64_t left = 0;
        for (int64_t i = 0; i < m; i++) {
            const uint32_t v = values[i];
            values[left] = v; left += (v - low) >> shift == digit;
        }
        m = left; low += digit << shift; span = (UINT32_C(1) << shift) - 1;
        if (span > (uint32_t)range.high - low) span = (uint32_t)range.high - low;
    }
}

/* Magnitudes between which the k-th largest of a (+ g) lies in all likelihood. */
static range_t guess(const float *a, const float *g, int64_t n, int64_t k) {
    const range_t all = {0, INT32_MAX};
    uint32_t sample[SAMPLE], again[SAMPLE]; int64_t stride = n / SAMPLE, root = 0;
    if (stride < 2) return all;
    const int64_t rank = k * SAMPLE / n;
    for (int64_t j = 0; j < SAMPLE; j++) {
        int64_t i = j * stride + (j & 1);
        sample[j] = magnitude(g ? a[i] + g[i] : a[i]);
    }
    memcpy(again, sample, sizeof sample);
    while (root * root < rank) root++;
    const int64_t first = rank - 3 * root - 2, last = rank + 3 * root + 3;
    return (range_t){last >= SAMPLE ? all.low : (int32_t)kth(sample, SAMPLE, last, all).least,
                     first < 1 ? all.high : (int32_t)kth(again, SAMPLE, first, all).least};
}

/* A bit for each of 64 entries whose magnitude is beyond `limit`. */
static inline uint64_t beyond(const float *a, int32_t limit) {
    uint64_t mask = 0;
    if (limit >= (int32_t)ANY_NAN) return 0;
#ifdef __SSE2__
    const __m128i size = _mm_set1_epi32(0x7fffffff), most = _mm_set1_epi32(limit);
    for (int i = 0; i < 64; i += 16) {
        __m128i m[4];
        for (int j = 0; j < 4; j++)
            m[j] = _mm_cmpgt_epi32(_mm_and_si128(_mm_loadu_si128((const __m128i *)(a + i + 4 * j)), size), most);
        const __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(m[0], m[1]), _mm_packs_epi32(m[2], m[3]));
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(bytes) << i;
    }
#else
    for (int i = 0; i < 64; i++) mask |= (uint64_t)((int32_t)magnitude(a[i]) > limit) << i;
#endif
    return mask;
}

/* A bit for each of 64 entries that reaches `low`, another if it is beyond `high`; a += g first, if there is one. */
static inline void reach(float *restrict a, const float *restrict g, range_t range, uint64_t *low, uint64_t *high) {
    if (g) for (int i = 0; i < 64; i++) a[i] = a[i] + g[i];
    *low = beyond(a, range.low - 1); *high = beyond(a, range.high);
}

/* The same at the end of a chunk, where m < 64 entries are left. */
static void reach_few(float *a, const float *g, int64_t m, range_t range, uint64_t *low, uint64_t *high) {
    float some[64] = {0};
    for (int64_t i = 0; i < m; i++) some[i] = g ? a[i] + g[i] : a[i];
    memcpy(a, some, 4 * (size_t)m);
    reach(some, NULL, range, low, high);
    *low &= (UINT64_C(1) << m) - 1; *high &= (UINT64_C(1) << m) - 1;
}

/* Places of a byte's bits, and how many there are. */
static uint16_t places[256][8]; static uint8_t counts[256];
__attribute__((constructor)) static void list_places(void) {
    for (int b = 0; b < 256; b++)
        for (int i = 0; i < 8; i++)
            if (b >> i & 1) places[b][counts[b]++] = (uint16_t)i;
}

/* Writes first + the places of the bits of a word to `at`, which has room for eight more; returns how many. `many`: by
 * bytes instead of one by one, which costs the same however many there are. */
static inline int64_t positions(uint64_t word, int64_t first, int many, uint16_t *at) {
    int64_t found = 0;
    if (!many) {
        for (; word; word &= word - 1) at[found++] = (uint16_t)(first + __builtin_ctzll(word));
        return found;
    }
    for (int i = 0; i < 64; i += 8) {
        const uint8_t byte = (uint8_t)(word >> i); const uint16_t base = (uint16_t)(first + i);
        for (int j = 0; j < 8; j++) at[found + j] = (uint16_t)(base + places[byte][j]);
        found += counts[byte];
    }
    return found;
}

static inline void masks(float *a, const float *g, int64_t left, range_t range, uint64_t *low, uint64_t *high) {
    if (left >= 64) reach(a, g, range, low, high);
    else reach_few(a, g, left, range, low, high);
}

/* The k-th largest entry of a (+= g). `sizes` has room for n. */
CLONES static rank_t threshold(float *a, const float *g, int64_t n, int64_t k, uint32_t *sizes) {
    range_t range = guess(a, g, n, k);
    for (;;) {
        /* Zeros, of which a difference may have nearly all, are counted by what they are not. */
        if (range.low < 1) range.low = 1;
        int64_t m = 0, above = 0;
        for (int64_t start = 0; start < n; start += 64) {
            uint64_t low, high;
            masks(a + start, g ? g + start : NULL, n - start, range, &low, &high);
            above += __builtin_popcountll(high);
            for (low &= ~high; low; low &= low - 1) sizes[m++] = magnitude(a[start + __builtin_ctzll(low)]);
        }
        if ((above < k || !k) && above + m >= k) {
            rank_t found = kth(sizes, m, k - above, range);
            found.larger += above;
            return found;
        }
        if (range.low == 1 && above + m < k) return (rank_t){0, above + m, n - above - m};
        /* The guess was bad: now all are ranked. NB: g is in already. */
        range = (range_t){0, INT32_MAX}; g = NULL;
    }
}

/* Rounds values for the frame and leaves in them what that lost. */
CLONES static void send(float *restrict values, uint16_t *restrict out, int64_t k) {
    for (int64_t j = 0; j < k; j++) {
        const uint16_t h = bf16_of(values[j]); const float rest = values[j] - of_bf16(h);
        out[j] = h; values[j] = is_finite(rest) ? rest : 0.0f;
    }
}

/* Places of the entries of a[0..m) above `least` and of the first `*equal` at it; of all at it if that is ALL. */
static inline int64_t list(float *a, int64_t m, uint32_t least, int64_t *equal, uint8_t *bitmap, uint16_t *at) {
    /* NB: what is above need not be known if none at it is left out. */
    const range_t range = {(int32_t)least, *equal == ALL ? INT32_MAX : (int32_t)least};
    int64_t found = 0;
    for (int64_t start = 0; start < m; start += 64) {
        uint64_t reached, above;
        masks(a + start, NULL, m - start, range, &reached, &above);
        uint64_t tied = reached & ~above;
        if (*equal != ALL && tied) {
            const int64_t many = __builtin_popcountll(tied);
            if (*equal <= 0) reached &= above;
            else if (many > *equal)
                for (int64_t left = *equal; tied; tied &= tied - 1)
                    if (--left < 0) reached &= ~(tied & -tied);
            *equal -= many;
        }
        if (bitmap) memcpy(bitmap + start / 8, &reached, (size_t)(m - start < 64 ? (m - start + 7) / 8 : 8));
        found += positions(reached, start, bitmap != NULL, at + found);
    }
    return found;
}

/* Writes the frame of the entries above `least` and of the first `equal` at it, block by block so that what is listed
 * stays in the cache; leaves in `a` what the frame does not say. */
CLONES static void place(float *a, int64_t n, uint32_t least, int64_t equal, uint8_t *frame, int64_t k) {
    const int bitmap = dense(n, k);
    const int64_t head = bitmap ? (n + 7) / 8 : 4 * spans_of(n);
    uint8_t *indices = frame + head, *values = indices + (bitmap ? 0 : 2 * k);
    uint16_t at[BLOCK + 8], halves[BLOCK]; float some[BLOCK];
    if (!bitmap) memset(frame, 0, (size_t)head);
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t m = n - start < BLOCK ? n - start : BLOCK;
        const int64_t found = list(a + start, m, least, &equal, bitmap ? frame + start / 8 : NULL, at);
        for (int64_t j = 0; j < found; j++) some[j] = a[start + at[j]];
        send(some, halves, found);
        for (int64_t j = 0; j < found; j++) a[start + at[j]] = some[j];
        memcpy(values, halves, 2 * (size_t)found); values += 2 * found;
        if (bitmap) continue;
        uint32_t count; uint8_t *span = frame + 4 * (start / SPAN);
        memcpy(&count, span, 4); count += (uint32_t)found; memcpy(span, &count, 4);
        for (int64_t j = 0; j < found; j++) at[j] = (uint16_t)(at[j] + start % SPAN);
        memcpy(indices, at, 2 * (size_t)found); indices += 2 * found;
    }
}

static int topk_pack(float *a, const float *g, int64_t n, uint8_t *frame, int64_t k) {
    uint32_t *sizes = malloc(4 * (size_t)(n + 1));
    if (!sizes) return -1;
    /* NB: k 0 asks for the entry beyond all others, and takes none of those at it. */
    const rank_t found = threshold(a, g, n, k, sizes);
    const int64_t left = k - found.larger;
    place(a, n, found.least, left == found.equal ? ALL : left, frame, k);
    free(sizes);
    return 0;
}

/* Eight bytes of a bitmap of `size` bytes, fewer at its end. */
static inline uint64_t word(const uint8_t *bitmap, int64_t byte, int64_t size) {
    uint64_t w = 0; memcpy(&w, bitmap + byte, (size_t)(size - byte < 8 ? size - byte : 8));
    return w;
}

/* Goes through the entries of a frame in their order; FAULT when it is none. `body` sees place i and value h. */
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
static float topk_largest(const uint8_t *frame, int64_t n, int64_t k) {
    uint16_t top = 0;
    EACH(frame, n, k, (void)i; uint16_t b = h & 0x7fffu; top = b > top ? b : top;)
    return seen != k ? -1.0f : top >= 0x7f80u ? HUGE_VALF : of_bf16(top);
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
const codec_t codec_topk = {topk_length, topk_pack, topk_largest, topk_unpack, topk_add};
