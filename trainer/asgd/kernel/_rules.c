/* Elementwise optimizers, one pass of memory each (asgd/kernel/rules.py says what each does, and gives the same bits in
 * numpy). Every product, sum, quotient and root is rounded by itself, in the order that is written here.
 */
#include "_rules.h"

#define ARRAY(name, place) float *restrict name = a[place]

CLONES static void adam(float *const *a, const float *f, int64_t n) {
    ARRAY(w, 0); ARRAY(g, 1); ARRAY(m, 2); ARRAY(v, 3);
    const float shrink = f[0], keep1 = f[1], take1 = f[2], keep2 = f[3], take2 = f[4], correct = f[5], eps = f[6], rate = f[7];
    for (int64_t i = 0; i < n; i++) {
        float x = g[i], p = x * take1, q = x * x;
        q = q * take2;
        float first = m[i] * keep1, second = v[i] * keep2;
        first = first + p; second = second + q;
        m[i] = first; v[i] = second;
        float d = second / correct, s = first * rate, y = w[i] * shrink;
        d = sqrtf(d);
        d = d + eps;
        s = s / d;
        w[i] = y + s;
    }
}

CLONES static void lion(float *const *a, const float *f, int64_t n) {
    ARRAY(w, 0); ARRAY(g, 1); ARRAY(m, 2);
    const float shrink = f[0], keep1 = f[1], take1 = f[2], keep2 = f[3], take2 = f[4], rate = f[5];
    for (int64_t i = 0; i < n; i++) {
        float x = g[i], p = m[i] * keep1, q = x * take1, y = w[i] * shrink;
        p = p + q;
        float s = p > 0.0f ? 1.0f : p < 0.0f ? -1.0f : p == 0.0f ? 0.0f : p; /* nan stays nan */
        s = s * rate;
        w[i] = y + s;
        p = m[i] * keep2; q = x * take2;
        m[i] = p + q;
    }
}

/* v: mean of squares; b: mean of gradients, where `centered`; h: velocity, where `heavy`. */
static inline __attribute__((always_inline)) void rms(float *restrict w, const float *restrict g, float *restrict v,
                                                      float *restrict b, float *restrict h, const float *f, int64_t n,
                                                      const int centered, const int heavy) {
    const float keep = f[0], take = f[1], eps = f[2], mu = f[3], rate = f[4];
    for (int64_t i = 0; i < n; i++) {
        float x = g[i], q = x * x, d = v[i] * keep, s;
        q = q * take;
        d = d + q;
        v[i] = d;
        if (centered) {
            float c = x * take, mean = b[i] * keep;
            mean = mean + c;
            b[i] = mean;
            c = mean * mean;
            d = d - c;
            d = d < 0.0f ? 0.0f : d;
        }
        d = sqrtf(d);
        d = d + eps;
        if (heavy) {
            float y = h[i] * mu;
            s = x / d;
            s = y + s;
            h[i] = s;
            s = s * rate;
        } else {
            s = x * rate;
            s = s / d;
        }
        w[i] = w[i] + s;
    }
}

CLONES static void rmsprop(float *const *a, const float *f, int64_t n) { rms(a[0], a[1], a[2], 0, 0, f, n, 0, 0); }
CLONES static void rmsprop_centered(float *const *a, const float *f, int64_t n) { rms(a[0], a[1], a[2], a[3], 0, f, n, 1, 0); }
CLONES static void rmsprop_heavy(float *const *a, const float *f, int64_t n) { rms(a[0], a[1], a[2], 0, a[3], f, n, 0, 1); }
CLONES static void rmsprop_both(float *const *a, const float *f, int64_t n) { rms(a[0], a[1], a[2], a[3], a[4], f, n, 1, 1); }

CLONES static void adadelta(float *const *a, const float *f, int64_t n) {
    ARRAY(w, 0); ARRAY(g, 1); ARRAY(v, 2); ARRAY(u, 3);
    const float keep = f[0], take = f[1], eps = f[2], rate = f[3];
    for (int64_t i = 0; i < n; i++) {
        float x = g[i], q = x * x, d = v[i] * keep, s = u[i] + eps;
        q = q * take;
        d = d + q;
        v[i] = d;
        d = d + eps;
        d = sqrtf(d); s = sqrtf(s);
        s = s / d;
        s = s * x;
        q = s * s;
        q = q * take;
        d = u[i] * keep;
        u[i] = d + q;
        s = s * rate;
        w[i] = w[i] + s;
    }
}

const rule_t rules[] = {
    {4, 8, adam}, {3, 6, lion}, {3, 5, rmsprop}, {4, 5, rmsprop_centered}, {4, 5, rmsprop_heavy}, {5, 5, rmsprop_both}, {4, 4, adadelta},
};
const int rules_count = sizeof rules / sizeof *rules;
