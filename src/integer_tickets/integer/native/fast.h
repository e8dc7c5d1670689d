/* The steps of a network on x86; all integers, all exact: tests compare with the plain steps. */
#ifndef FAST_H
#define FAST_H

#include "products.h"

/* ---- The rounding rule, and normalization ---- */

/* The rounding rule on the sums of two rows: 16 bits each, packed in turn.
 *
 * From a shift of 17 on, the lower 16 bits of a product are not needed: with h = floor(y m / 2^16), the rounding rule
 * floor((y m + 2^(s - 1)) / 2^s) is floor((h + 2^(s - 17)) / 2^(s - 16)), in 16 bits. */
INLINE vec rounded(int32_t pre_shift, int32_t shift, vec multiplier, vec first, vec second) {
    vec y = pack16(shift_right(first, pre_shift), shift_right(second, pre_shift));
    vec high = highs16(y, multiplier);
    if (shift >= 17) return shift_right16(add16(high, splat16(1 << (shift - 17))), shift - 16);
    vec low = lows16(y, multiplier), half = splat((int32_t)1 << (shift - 1));
    vec one = add(lower16(low, high), half), other = add(upper16(low, high), half);
    return pack16(shift_right(one, shift), shift_right(other, shift));
}

/* Two rows that are computed one after the other; the second one is the first where there is no more. */
typedef struct {
    size_t row[2];
    vec multiplier, bias[2];
} pair;

INLINE pair pair_of(const ticket_linear *l, int32_t place) {
    int32_t first = row_of(l, place), second = place + 1 < l->rows ? row_of(l, place + 1) : first;
    const int16_t *m = l->multiplier;
    vec multiplier = in_turn16(m[l->per_row ? first : 0], m[l->per_row ? second : 0]);
    return (pair){{(size_t)first, (size_t)second}, multiplier, {splat(l->bias[place]), splat(l->bias[place + 1])}};
}

INLINE vec rounded_pair(const pair *own, int32_t pre_shift, int32_t shift, const uint32_t *sums, int32_t lanes) {
    vec first = load(sums), second = load(sums + lanes);
    if (BIAS_LEFT_OUT) first = add(first, own->bias[0]), second = add(second, own->bias[1]);
    return rounded(pre_shift, shift, own->multiplier, first, second);
}

/* What ROWS rows of sums from place `first` on become: rows of bytes, or what is added to rows of the residual. */
static void to_bytes(const ticket_linear *l, int32_t first, const uint32_t *sums, int32_t lanes, int32_t zero,
                     uint8_t *out) {
    int32_t pre_shift = l->pre_shift, shift = l->shift; /* which the compiler cannot know to stay what they are */
    for (int32_t place = first; place < least(first + ROWS, l->rows); place += 2, sums += 2 * lanes) {
        pair own = pair_of(l, place);
        uint8_t *one = out + own.row[0] * (size_t)lanes, *two = out + own.row[1] * (size_t)lanes;
        for (int32_t t = 0; t < lanes; t += LANE) {
            vec y = rounded_pair(&own, pre_shift, shift, sums + t, lanes);
            to8_of_two(one + t, two + t, add16(y, splat16(zero)));
        }
    }
}

static void to_residual(const ticket_linear *l, int32_t first, const uint32_t *sums, int32_t lanes, int16_t *residual) {
    int32_t pre_shift = l->pre_shift, shift = l->shift;
    for (int32_t place = first; place < least(first + ROWS, l->rows); place += 2, sums += 2 * lanes) {
        pair own = pair_of(l, place); /* where there is no second row, its sums and what they are rounded to are 0 */
        int16_t *one = residual + own.row[0] * (size_t)lanes, *two = residual + own.row[1] * (size_t)lanes;
        for (int32_t t = 0; t < lanes; t += LANE)
            add_to16_of_two(one + t, two + t, rounded_pair(&own, pre_shift, shift, sums + t, lanes));
    }
}

/* The residual to `input`, in words of four features; where there is a gain, what goes past then takes the place of the
 * residual. */
static void normalize(int32_t width, const room *r, const int16_t *gain, const int16_t *offset) {
    size_t lanes = (size_t)r->lanes;
    for (size_t t = 0; t < lanes; t += LANE) {
        uint32_t sizes[LANE];
        vec size = splat(0);
        for (size_t c = 0; c < (size_t)width; c++) size = add(size, magnitude(from16(r->residual + c * lanes + t)));
        store(sizes, size);
        for (size_t i = 0; i < LANE; i++) reciprocal_of(width, sizes[i], r->reciprocal + t + i, r->shift + t + i);
        vec reciprocal = load(r->reciprocal + t), shift = load(r->shift + t);
        vec half = shift_left_each(splat(1), subtract(shift, splat(1)));
        for (size_t c = 0; c < (size_t)width; c += 4) {
            vec y[4];
            for (size_t i = 0; i < 4; i++) {
                y[i] = c + i < (size_t)width ? from16(r->residual + (c + i) * lanes + t) : splat(0);
                y[i] = shift_right_each(add(product16(y[i], reciprocal), half), shift);
                if (gain && c + i < (size_t)width) {
                    vec own = lowest(highest(y[i], splat(LEAST8)), splat(MOST8));
                    own = add(product32(own, splat(gain[c + i])), splat(offset[c + i]));
                    store16(r->residual + (c + i) * lanes + t, own);
                }
            }
            store(r->input + c * lanes + 4 * t, words_of(flipped(pack8(pack16(y[0], y[1]), pack16(y[2], y[3])))));
        }
    }
}

/* Sums over a sentence of the four inputs from c on; 256 times 255 fits into 16 bits. */
static inline void total_inputs(const room *r, const sentence *s, size_t c, size_t width, uint32_t *totals) {
    const bytes_of_four *x = (const bytes_of_four *)(r->input + c * (size_t)r->lanes);
    uint32_t even = 0, odd = 0;
    (void)width;
    for (int32_t t = s->from; t < s->to; t++) even += x[t] & 0x00ff00ff, odd += x[t] >> 8 & 0x00ff00ff;
    totals[0] = even & 0xffff, totals[1] = odd & 0xffff, totals[2] = even >> 16, totals[3] = odd >> 16;
}

/* Four features of the embedding at a time, as many as that gives; where `embed` puts the places in the tables. */
static inline size_t embed_words(const ticket *net, const room *r) {
    size_t d = (size_t)net->width / 4 * 4, lanes = (size_t)r->lanes;
    vec token_shift = splat(net->token_shift), position_shift = splat(net->position_shift);
    for (size_t t = 0; t < lanes; t += LANE) {
        vec token = load(r->reciprocal + t), position = load(r->shift + t);
        for (size_t c = 0; c < d; c += 4) {
            vec x = gather(net->tokens + c, token), y = gather(net->positions + c, position);
            for (size_t i = 0; i < 4; i++) {
                vec high = splat(24 - 8 * (int32_t)i), own = shift_right(shift_left_each(x, high), 24);
                vec sum = shift_left_each(own, token_shift);
                own = shift_right(shift_left_each(y, high), 24);
                store16(r->residual + (c + i) * lanes + t, add(sum, shift_left_each(own, position_shift)));
            }
        }
    }
    return d;
}

/* ---- Attention: four features of a distance, or four keys of a sum, in one lane ---- */

enum { KEYS = 4, WIDE = 2 };
#define SCRATCH(net, lanes) \
    (((size_t)(net)->head_width + 4) * 4 * ((lanes) + 64) + ((size_t)(net)->length + KEYS) * WIDE * LANE)

/* What the keys of a head do to a sentence: where its bytes begin, and how far the next feature is. */
typedef struct {
    const uint8_t *query, *key; /* words of four features */
    const int8_t *above, *below; /* of the values, how far they are above 0 and below */
    uint8_t *z, *out;
    size_t lanes;
    int32_t n, e, multiplier, offset, shift, gain, is_signed;
} task;

/* Inhibition of `wide` vectors of queries from place `block` on by every key, four keys in a lane. */
INLINE void inhibition(const task *a, int32_t block, int32_t wide) {
    for (int32_t j = 0; j < a->n; j += KEYS) {
        const uint8_t *q = a->query + 4 * (size_t)block, *k = a->key + 4 * (size_t)j;
        vec distance[KEYS][WIDE], z[WIDE];
        for (int32_t i = 0; i < wide; i++) {
            z[i] = splat(0);
            for (int32_t own = 0; own < KEYS; own++) distance[own][i] = splat(0);
        }
        for (int32_t g = 0; g < (a->e + 3) / 4; g++, q += 4 * a->lanes, k += 4 * a->lanes) {
            vec mine[WIDE];
            for (int32_t i = 0; i < wide; i++) mine[i] = load(q + 4 * LANE * i);
            for (int32_t own = 0; own < KEYS; own++) { /* keys beyond the last one are read, but count for nothing */
                vec other = splat(word((const int8_t *)k + 4 * own));
                for (int32_t i = 0; i < wide; i++)
                    distance[own][i] = add_bytes(
                        distance[own][i], either(saturating_bytes(mine[i], other), saturating_bytes(other, mine[i])));
            }
        }
        for (int32_t own = 0; own < least(KEYS, a->n - j); own++)
            for (int32_t i = 0; i < wide; i++) {
                vec one = subtract(product32(distance[own][i], splat(a->multiplier)), splat(a->offset));
                one = lowest(highest(shift_right(one, a->shift), splat(0)), splat(255));
                z[i] = either(z[i], shift_left_each(one, splat(8 * own)));
            }
        for (int32_t i = 0; i < wide; i++) store(a->z + ((size_t)j * WIDE + 4 * (size_t)i) * LANE, z[i]);
    }
}

/* What is left of every value, summed over the keys and divided by their number. */
INLINE void inhibited(const task *a, const sentence *s, int32_t block, int32_t wide) {
    int32_t last = (a->n - 1) / KEYS * KEYS; /* the keys from there on may be fewer than KEYS */
    int32_t kept = (int32_t)(0xffffffffu >> 8 * (KEYS - (a->n - last)) % 32);
    vec multiplier = splat(s->multiplier), half = splat((int32_t)1 << (s->shift - a->gain - 1));
    for (size_t c = 0; c < (size_t)a->e; c++) {
        const int8_t *plus = a->above + c * a->lanes, *minus = a->below + c * a->lanes;
        vec total[WIDE];
        for (int32_t i = 0; i < wide; i++) total[i] = splat(0);
        for (int32_t j = 0; j < a->n; j += KEYS) {
            int32_t mask = j == last ? kept : -1;
            vec more = splat(word(plus + j) & mask), less = splat(word(minus + j) & mask);
            for (int32_t i = 0; i < wide; i++) {
                vec z = load(a->z + ((size_t)j * WIDE + 4 * (size_t)i) * LANE);
                total[i] = add_bytes(total[i], saturating_bytes(more, z));
                if (a->is_signed) total[i] = less_bytes(total[i], saturating_bytes(less, z));
            }
        }
        for (int32_t i = 0; i < wide; i++) {
            vec y = shift_right(add(product16(total[i], multiplier), half), s->shift - a->gain);
            int32_t place = block + i * LANE;
            uint8_t *out = a->out + c * a->lanes + place, bytes[LANE];
            to8(a->n - place < LANE ? bytes : out, add(lowest(highest(y, splat(LEAST8)), splat(MOST8)), splat(128)));
            if (a->n - place < LANE) memcpy(out, bytes, (size_t)(a->n - place));
        }
    }
}

static void head_of(const ticket *net, const ticket_layer *layer, const room *r, int32_t head, const int32_t *ends,
                    int32_t sentences) {
    int32_t e = net->head_width;
    size_t lanes = (size_t)r->lanes, first = (size_t)(head * e) * lanes, quarter = ((size_t)e + 4) * (lanes + 64);
    uint8_t *q = r->scratch, *k = q + quarter, *above = k + quarter, *below = above + quarter, *z = below + quarter;
    arrange(r->query + first, e, r->lanes, q);
    arrange(r->key + first, e, r->lanes, k);
    const __m128i middle = _mm_set1_epi8(-128);
    for (size_t i = 0; i < (size_t)e * lanes; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(r->value + first + i));
        _mm_storeu_si128((__m128i *)(above + i), _mm_subs_epu8(v, middle));
        _mm_storeu_si128((__m128i *)(below + i), _mm_subs_epu8(middle, v));
    }
    for (int32_t index = 0; index < sentences; index++) {
        sentence s = sentence_of(net, ends, index);
        size_t from = (size_t)s.from;
        task a = {q + 4 * from, k + 4 * from, (const int8_t *)above + from, (const int8_t *)below + from, z,
                  r->context + first + from, lanes, s.to - s.from, e, layer->multiplier[head], layer->offset[head],
                  layer->shift[head], layer->gain, layer->is_signed};
        int32_t block = 0;
        for (; a.n - block > LANE; block += WIDE * LANE) inhibition(&a, block, WIDE), inhibited(&a, &s, block, WIDE);
        for (; block < a.n; block += LANE) inhibition(&a, block, 1), inhibited(&a, &s, block, 1);
    }
}

static void inhibitor(const ticket *net, const ticket_layer *layer, const room *r, const int32_t *ends,
                      int32_t sentences) {
    for (int32_t head = 0; head < layer->heads; head++) head_of(net, layer, r, head, ends, sentences);
}

#endif
