/* Elementwise optimizers behind one table, in the order of asgd/kernel/rules.py: what `_kernel.c` offers to Python. */
#ifndef ASGD_RULES_H
#define ASGD_RULES_H
#include "_codecs.h"

#define RULE_ARRAYS 5
#define RULE_FACTORS 8

typedef struct {
    /* How many arrays (w, g, slots ...) and factors it takes. */
    int arrays, factors;
    /* The arrays have n elements each, and no two of them overlap. */
    void (*pass)(float *const *arrays, const float *factors, int64_t n);
} rule_t;

extern const rule_t rules[];
extern const int rules_count;
#endif
