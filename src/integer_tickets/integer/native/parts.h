/* What the steps of a network share. Lane t of a tensor is token t; a row holds one feature of all tokens. Bytes are
 * unsigned: 128 above what they stand for, but for those of the hidden layer.
 */
#ifndef PARTS_H
#define PARTS_H

#include "ticket.h"

enum { LEAST8 = -128, MOST8 = 127, LEAST16 = -32768, MOST16 = 32767 };

/* Where everything lies in the caller's space. */
typedef struct {
    int16_t *residual;
    uint8_t *input;    /* the residual normalized, as linear layers read it */
    uint8_t *arranged; /* any other input, as linear layers read it */
    uint8_t *query, *key, *value, *context, *hidden;
    uint8_t *scratch;  /* of attention */
    uint32_t *sums;    /* ROWS rows */
    int32_t *reciprocal, *shift;
    int32_t lanes;
} room;

/* A sentence in the lanes from..to - 1, and how sums over it become means. */
typedef struct {
    int32_t from, to, multiplier, shift;
} sentence;

static inline int32_t clamp(int32_t x, int32_t low, int32_t high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t bits_of(uint32_t x) { /* x > 0 */
#if defined(__GNUC__)
    return 32 - __builtin_clz(x);
#else
    int32_t bits = 0;
    for (; x; x >>= 1) bits++;
    return bits;
#endif
}

/* The row that is computed in that place. */
static inline int32_t row_of(const ticket_linear *l, int32_t place) { return l->order ? l->order[place] : place; }

static inline int32_t mean(int32_t total, const sentence *s, int32_t gain) {
    int32_t shift = s->shift - gain;
    return clamp((total * s->multiplier + ((int32_t)1 << (shift - 1))) >> shift, LEAST8, MOST8);
}

static inline sentence sentence_of(const ticket *net, const int32_t *ends, int32_t index) {
    int32_t from = index ? ends[index - 1] : 0, n = ends[index] - from;
    return (sentence){from, ends[index], net->length_multiplier[n], net->length_shift[n]};
}

/* The divisor of a lane whose magnitudes sum up to `size`. */
static inline void reciprocal_of(int32_t width, uint32_t size, int32_t *reciprocal, int32_t *shift) {
    if (!size) size = 1; /* all is zero then, whatever it is divided by */
    *shift = 14 + bits_of(size) - bits_of((uint32_t)width);
    *reciprocal = (int32_t)(((uint64_t)width << *shift) / size);
    *shift -= 4;
}

#endif
