/* The steps of a network in plain C, which every processor can do. fast.h has the same for some processors. */
#ifndef PLAIN_H
#define PLAIN_H

#include "parts.h"

enum { BLOCK = TICKET_BLOCK, ROWS = 1 };
#define ARRANGED(columns, lanes) 0                          /* bytes that `arrange` needs */
#define INPUT(columns, lanes) ((columns) * (lanes))         /* bytes of what `normalize` gives */
#define SCRATCH(net, lanes) ((size_t)(net)->length * BLOCK) /* bytes that `inhibitor` needs */

/* What comes before all linear layers, and after them. */
static void begin(void) {}
static void finish(void) {}

/* The input of a linear layer as `products` reads it. */
static const uint8_t *arrange(const uint8_t *x, int32_t columns, int32_t lanes, uint8_t *space) {
    (void)columns, (void)lanes, (void)space;
    return x;
}

/* sums (ROWS x lanes) of the rows from `row` on, modulo 2^32: final sums fit into 32 bits, some on the way may not. */
static void products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, uint32_t *sums) {
    size_t columns = (size_t)l->columns, first = (size_t)row * columns, number = columns;
    if (l->start) first = l->start[row], number = l->start[row + 1] - first;
    for (int32_t t = 0; t < lanes; t++) sums[t] = (uint32_t)l->bias[row];
    for (size_t i = first; i < first + number; i++) {
        int16_t w = l->weight[i];
        const uint8_t *from = x + (l->start ? l->column[i] : i - first) * (size_t)lanes;
        if (w)
            for (int32_t t = 0; t < lanes; t++) sums[t] += (uint32_t)(int32_t)(int16_t)(w * from[t]);
    }
}

/* The rounding rule on a sum of row `row`. */
static inline int32_t rounded(const ticket_linear *l, int32_t row, uint32_t sum) {
    int32_t y = clamp((int32_t)sum >> l->pre_shift, LEAST16, MOST16);
    return (y * l->multiplier[l->per_row ? row : 0] + ((int32_t)1 << (l->shift - 1))) >> l->shift;
}

/* What ROWS sums from place `first` on become: rows of bytes, or what is added to rows of the residual. */
static void to_bytes(const ticket_linear *l, int32_t first, const uint32_t *sums, int32_t lanes, int32_t zero,
                     uint8_t *out) {
    out += (size_t)first * (size_t)lanes;
    for (int32_t t = 0; t < lanes; t++) out[t] = (uint8_t)clamp(rounded(l, first, sums[t]) + zero, 0, 255);
}

static void to_residual(const ticket_linear *l, int32_t first, const uint32_t *sums, int32_t lanes, int16_t *residual) {
    residual += (size_t)first * (size_t)lanes;
    for (int32_t t = 0; t < lanes; t++) {
        int32_t y = clamp(rounded(l, first, sums[t]), LEAST16, MOST16);
        residual[t] = (int16_t)clamp(residual[t] + y, LEAST16, MOST16);
    }
}

/* The residual to `input`; where there is a gain, what goes past then takes the place of the residual. */
static void normalize(int32_t width, const room *r, const int16_t *gain, const int16_t *offset) {
    int32_t lanes = r->lanes;
    uint32_t *size = r->sums;
    for (int32_t t = 0; t < lanes; t++) size[t] = 0;
    for (int32_t c = 0; c < width; c++) {
        const int16_t *x = r->residual + (size_t)c * (size_t)lanes;
        for (int32_t t = 0; t < lanes; t++) size[t] += (uint32_t)(x[t] < 0 ? -x[t] : x[t]);
    }
    for (int32_t t = 0; t < lanes; t++) reciprocal_of(width, size[t], r->reciprocal + t, r->shift + t);
    for (int32_t c = 0; c < width; c++) {
        int16_t *x = r->residual + (size_t)c * (size_t)lanes;
        uint8_t *out = r->input + (size_t)c * (size_t)lanes;
        for (int32_t t = 0; t < lanes; t++) {
            int32_t y = (x[t] * r->reciprocal[t] + ((int32_t)1 << (r->shift[t] - 1))) >> r->shift[t];
            y = clamp(y, LEAST8, MOST8);
            out[t] = (uint8_t)(y + 128);
            if (gain) x[t] = (int16_t)clamp(y * gain[c] + offset[c], LEAST16, MOST16);
        }
    }
}

/* Sums over a sentence of the four inputs from c on. */
static inline void total_inputs(const room *r, const sentence *s, size_t c, size_t width, uint32_t *totals) {
    for (size_t i = 0; i < 4 && c + i < width; i++)
        for (int32_t t = s->from; t < s->to; t++) totals[i] += r->input[(c + i) * (size_t)r->lanes + (size_t)t];
}

/* How many features of the embedding are done. */
static inline size_t embed_words(const ticket *net, const room *r) {
    (void)net, (void)r;
    return 0;
}

/* ---- Attention ---- */

/* Distances of a block of queries from one key, and the inhibition that follows from them. */
static inline void inhibition(const uint8_t *q, const uint8_t *k, int32_t e, size_t lanes, int32_t multiplier,
                              int32_t offset, int32_t shift, uint8_t *z) {
    uint32_t distance[BLOCK] = {0};
    for (int32_t c = 0; c < e;) {
        uint16_t part[BLOCK] = {0};
        for (int32_t end = least(c + 256, e); c < end; c++) { /* 256 * 255 fit into 16 bits */
            const uint8_t *own = q + (size_t)c * lanes;
            uint8_t other = k[(size_t)c * lanes];
            for (int32_t i = 0; i < BLOCK; i++)
                part[i] = (uint16_t)(part[i] + (uint8_t)(own[i] > other ? own[i] - other : other - own[i]));
        }
        for (int32_t i = 0; i < BLOCK; i++) distance[i] += part[i];
    }
    for (int32_t i = 0; i < BLOCK; i++)
        z[i] = (uint8_t)clamp(((int32_t)distance[i] * multiplier - offset) >> shift, 0, 255);
}

/* What is left of one feature of all values: 255 * 128 fit into 16 bits. */
static inline void inhibit(const uint8_t *v, const uint8_t *z, int32_t n, int is_signed, int16_t *total) {
    for (int32_t i = 0; i < BLOCK; i++) total[i] = 0;
    for (int32_t j = 0; j < n; j++, z += BLOCK) {
        uint8_t above = v[j] > 128 ? (uint8_t)(v[j] - 128) : 0, below = v[j] < 128 ? (uint8_t)(128 - v[j]) : 0;
        for (int32_t i = 0; i < BLOCK; i++)
            total[i] = (int16_t)(total[i] + (uint8_t)((above > z[i] ? above : z[i]) - z[i]));
        if (is_signed)
            for (int32_t i = 0; i < BLOCK; i++)
                total[i] = (int16_t)(total[i] - (uint8_t)((below > z[i] ? below : z[i]) - z[i]));
    }
}

static void inhibitor(const ticket *net, const ticket_layer *layer, const room *r, const int32_t *ends,
                      int32_t sentences) {
    int32_t e = net->head_width;
    size_t lanes = (size_t)r->lanes;
    int16_t total[BLOCK];
    for (int32_t index = 0; index < sentences; index++) {
        sentence s = sentence_of(net, ends, index);
        int32_t n = s.to - s.from;
        for (int32_t head = 0; head < layer->heads; head++) {
            size_t first = (size_t)(head * e) * lanes + (size_t)s.from;
            for (int32_t block = 0; block < n; block += BLOCK) {
                for (int32_t j = 0; j < n; j++)
                    inhibition(r->query + first + block, r->key + first + j, e, lanes, layer->multiplier[head],
                               layer->offset[head], layer->shift[head], r->scratch + (size_t)j * BLOCK);
                for (size_t c = 0; c < (size_t)e; c++) {
                    inhibit(r->value + first + c * lanes, r->scratch, n, layer->is_signed, total);
                    uint8_t *out = r->context + first + c * lanes + block;
                    for (int32_t i = 0; i < least(BLOCK, n - block); i++)
                        out[i] = (uint8_t)(mean(total[i], &s, layer->gain) + 128);
                }
            }
        }
    }
}

#endif
