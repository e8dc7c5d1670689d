/* The steps that cost time, on x86 with AVX2 or with AVX-512 and its dot products of bytes (VNNI).
 *
 * A vector holds a 32-bit lane for each of LANE tokens; four bytes of one lane are four features, or four keys, of that
 * token, which one instruction multiplies and adds up. All integers, all exact: tests compare with the plain steps.
 */
#ifndef FAST_H
#define FAST_H

#include "parts.h"
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if TICKET_FORM == 2
typedef __m512i vec;
enum { LANE = 16, PAIRS = 1 };
INLINE vec splat(int32_t x) { return _mm512_set1_epi32(x); }
INLINE vec load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void store(void *p, vec a) { _mm512_storeu_si512(p, a); }
INLINE vec add(vec a, vec b) { return _mm512_add_epi32(a, b); }
INLINE vec subtract(vec a, vec b) { return _mm512_sub_epi32(a, b); }
INLINE vec lowest(vec a, vec b) { return _mm512_min_epi32(a, b); }
INLINE vec highest(vec a, vec b) { return _mm512_max_epi32(a, b); }
INLINE vec either(vec a, vec b) { return _mm512_or_si512(a, b); }
INLINE vec saturating_bytes(vec a, vec b) { return _mm512_subs_epu8(a, b); }
INLINE vec product16(vec a, vec b) { return _mm512_madd_epi16(a, b); }
INLINE vec product32(vec a, vec b) { return _mm512_mullo_epi32(a, b); }
INLINE vec shift_right(vec a, int32_t by) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(by)); }
INLINE vec shift_right_each(vec a, vec by) { return _mm512_srav_epi32(a, by); }
INLINE vec shift_left_each(vec a, vec by) { return _mm512_sllv_epi32(a, by); }
INLINE vec magnitude(vec a) { return _mm512_abs_epi32(a); }
INLINE vec from16(const int16_t *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void to8(uint8_t *p, vec a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a)); }
INLINE void add_to16(int16_t *p, vec a) {
    __m256i *to = (__m256i *)p;
    _mm256_storeu_si256(to, _mm256_adds_epi16(_mm256_loadu_si256(to), _mm512_cvtepi32_epi16(a)));
}
INLINE void rounded16(uint8_t *p, vec y, int32_t multiplier, int32_t shift, int32_t zero) {
    __m256i x = _mm256_mulhi_epi16(_mm512_cvtsepi32_epi16(y), _mm256_set1_epi16((int16_t)multiplier));
    x = _mm256_sra_epi16(_mm256_add_epi16(x, _mm256_set1_epi16((int16_t)(1 << (shift - 17)))), _mm_cvtsi32_si128(shift - 16));
    x = _mm256_max_epi16(_mm256_add_epi16(x, _mm256_set1_epi16((int16_t)zero)), _mm256_setzero_si256());
    _mm_storeu_si128((__m128i *)p, _mm256_cvtusepi16_epi8(x));
}
INLINE vec add_bytes(vec sum, vec bytes) { return _mm512_dpbusd_epi32(sum, bytes, splat(0x01010101)); }
INLINE vec less_bytes(vec sum, vec bytes) { return _mm512_dpbusd_epi32(sum, bytes, splat(-1)); }
#else
typedef __m256i vec;
enum { LANE = 8, PAIRS = 2 };
INLINE vec splat(int32_t x) { return _mm256_set1_epi32(x); }
INLINE vec load(const void *p) { return _mm256_loadu_si256((const vec *)p); }
INLINE void store(void *p, vec a) { _mm256_storeu_si256((vec *)p, a); }
INLINE vec add(vec a, vec b) { return _mm256_add_epi32(a, b); }
INLINE vec subtract(vec a, vec b) { return _mm256_sub_epi32(a, b); }
INLINE vec lowest(vec a, vec b) { return _mm256_min_epi32(a, b); }
INLINE vec highest(vec a, vec b) { return _mm256_max_epi32(a, b); }
INLINE vec either(vec a, vec b) { return _mm256_or_si256(a, b); }
INLINE vec saturating_bytes(vec a, vec b) { return _mm256_subs_epu8(a, b); }
INLINE vec product16(vec a, vec b) { return _mm256_madd_epi16(a, b); }
INLINE vec product32(vec a, vec b) { return _mm256_mullo_epi32(a, b); }
INLINE vec shift_right(vec a, int32_t by) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(by)); }
INLINE vec shift_right_each(vec a, vec by) { return _mm256_srav_epi32(a, by); }
INLINE vec shift_left_each(vec a, vec by) { return _mm256_sllv_epi32(a, by); }
INLINE vec magnitude(vec a) { return _mm256_abs_epi32(a); }
INLINE vec from16(const int16_t *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
INLINE __m128i to16(vec a) { return _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)); }
INLINE void to8(uint8_t *p, vec a) { /* 0..255 */
    __m128i narrow = to16(a);
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(narrow, narrow));
}
INLINE void add_to16(int16_t *p, vec a) {
    __m128i *to = (__m128i *)p;
    _mm_storeu_si128(to, _mm_adds_epi16(_mm_loadu_si128(to), to16(a)));
}
INLINE void rounded16(uint8_t *p, vec y, int32_t multiplier, int32_t shift, int32_t zero) {
    __m128i x = _mm_mulhi_epi16(to16(y), _mm_set1_epi16((int16_t)multiplier));
    x = _mm_sra_epi16(_mm_add_epi16(x, _mm_set1_epi16((int16_t)(1 << (shift - 17)))), _mm_cvtsi32_si128(shift - 16));
    x = _mm_add_epi16(x, _mm_set1_epi16((int16_t)zero));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(x, x));
}
INLINE vec bytes_summed(vec bytes) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}
INLINE vec add_bytes(vec sum, vec bytes) { return add(sum, bytes_summed(bytes)); }
INLINE vec less_bytes(vec sum, vec bytes) { return subtract(sum, bytes_summed(bytes)); }
#endif

/* ---- Products ----
 *
 * `weight` of a dense layer holds, for every 8 rows and every 4 columns, 4 weights of each row; of a sparse one, for
 * every 4 rows, as many such groups of 4 weights as the fullest of them has (start[row / 4] says from which on), and
 * `column` the number of each group. With AVX2 a group is 4 times 16 bits in the order 0, 2, 1, 3. */

enum { ROWS = 8, TOGETHER = 4 };
#define ARRANGED(columns, lanes) (((columns) + 3) / 4 * 4 * (lanes))

/* Rows of bytes to words of four bytes, one of each of four rows. */
static const uint8_t *arrange(const uint8_t *x, int32_t columns, int32_t lanes, uint8_t *space) {
    const __m128i zero = _mm_setzero_si128();
    for (int32_t c = 0; c < columns; c += 4)
        for (int32_t t = 0; t < lanes; t += 16) {
            __m128i row[4], pair[4];
            for (int32_t g = 0; g < 4; g++)
                row[g] = c + g < columns ? _mm_loadu_si128((const __m128i *)(x + (size_t)(c + g) * (size_t)lanes + t)) : zero;
            for (int32_t half = 0; half < 2; half++) {
                pair[half] = half ? _mm_unpackhi_epi8(row[0], row[1]) : _mm_unpacklo_epi8(row[0], row[1]);
                pair[2 + half] = half ? _mm_unpackhi_epi8(row[2], row[3]) : _mm_unpacklo_epi8(row[2], row[3]);
                __m128i *out = (__m128i *)(space + ((size_t)c * (size_t)lanes + 4 * (size_t)t)) + 2 * half;
                _mm_storeu_si128(out, _mm_unpacklo_epi16(pair[half], pair[2 + half]));
                _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(pair[half], pair[2 + half]));
            }
        }
    return space;
}

INLINE int32_t word(const int8_t *p) {
    int32_t x;
    memcpy(&x, p, 4);
    return x;
}

#if TICKET_FORM == 2
typedef vec bytes4;
INLINE bytes4 split(vec x) { return x; }
INLINE vec dot(vec sum, bytes4 x, const int8_t *w) { return _mm512_dpbusd_epi32(sum, x, splat(word(w))); }
#else
typedef struct { vec even, odd; } bytes4;
INLINE bytes4 split(vec x) {
    return (bytes4){_mm256_and_si256(x, splat(0x00ff00ff)), _mm256_srli_epi16(x, 8)};
}
INLINE vec dot(vec sum, bytes4 x, const int8_t *w) {
    return add(add(sum, product16(x.even, splat(word(w)))), product16(x.odd, splat(word(w + 4))));
}
#endif
enum { GROUP = 4 * PAIRS }; /* bytes of a group of weights */

INLINE void dense_products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, int32_t wide,
                           int32_t t, uint32_t *sums) {
    int32_t groups = (l->columns + 3) / 4;
    const int8_t *w = l->weight + (size_t)row * (size_t)groups * GROUP;
    vec sum[ROWS][2];
    for (int32_t r = 0; r < ROWS; r++)
        for (int32_t i = 0; i < wide; i++) sum[r][i] = splat(l->bias[row + r]);
    const uint8_t *from = x + 4 * (size_t)t;
    for (int32_t g = 0; g < groups; g++, from += 4 * (size_t)lanes, w += ROWS * GROUP) {
        bytes4 own[2];
        for (int32_t i = 0; i < wide; i++) own[i] = split(load(from + 4 * LANE * i));
        for (int32_t r = 0; r < ROWS; r++)
            for (int32_t i = 0; i < wide; i++) sum[r][i] = dot(sum[r][i], own[i], w + r * GROUP);
    }
    for (int32_t r = 0; r < ROWS; r++)
        for (int32_t i = 0; i < wide; i++) store(sums + (size_t)r * (size_t)lanes + t + LANE * i, sum[r][i]);
}

INLINE void sparse_products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, int32_t wide,
                            int32_t t, uint32_t *sums) {
    vec sum[TOGETHER][2];
    for (int32_t r = 0; r < TOGETHER; r++)
        for (int32_t i = 0; i < wide; i++) sum[r][i] = splat(l->bias[row + r]);
    const uint8_t *from = x + 4 * (size_t)t;
    for (size_t k = l->start[row / TOGETHER] * (size_t)TOGETHER; k < l->start[row / TOGETHER + 1] * (size_t)TOGETHER;
         k += TOGETHER)
        for (size_t r = 0; r < TOGETHER; r++) {
            const uint8_t *own = from + 4 * (size_t)lanes * l->column[k + r];
            for (int32_t i = 0; i < wide; i++)
                sum[r][i] = dot(sum[r][i], split(load(own + 4 * LANE * i)), l->weight + (k + r) * GROUP);
        }
    for (int32_t r = 0; r < TOGETHER; r++)
        for (int32_t i = 0; i < wide; i++) store(sums + (size_t)r * (size_t)lanes + t + LANE * i, sum[r][i]);
}

/* sums (ROWS x lanes), modulo 2^32. */
static void products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, uint32_t *sums) {
    for (int32_t t = 0; t < lanes;) {
        int32_t wide = t + 2 * LANE <= lanes ? 2 : 1;
        if (!l->start && wide == 2)
            dense_products(l, row, x, lanes, 2, t, sums);
        else if (!l->start)
            dense_products(l, row, x, lanes, 1, t, sums);
        else
            for (int32_t half = 0; half < ROWS; half += TOGETHER)
                if (wide == 2)
                    sparse_products(l, row + half, x, lanes, 2, t, sums + (size_t)half * (size_t)lanes);
                else
                    sparse_products(l, row + half, x, lanes, 1, t, sums + (size_t)half * (size_t)lanes);
        t += wide * LANE;
    }
}

/* ---- The rounding rule, and normalization ---- */

/* The rounding rule. The product of 16 bits is that of 32, as the upper half of the multiplier is 0. */
INLINE vec rounded(const ticket_linear *l, vec multiplier, const uint32_t *sums) {
    vec y = highest(lowest(shift_right(load(sums), l->pre_shift), splat(MOST16)), splat(LEAST16));
    return shift_right(add(product16(y, multiplier), splat((int32_t)1 << (l->shift - 1))), l->shift);
}

/* What ROWS rows of sums from place `first` on become: rows of bytes, or what is added to rows of the residual.
 *
 * From a shift of 17 on, the lower 16 bits of a product are not needed: with h = floor(y m / 2^16), the rounding rule
 * floor((y m + 2^(s - 1)) / 2^s) is floor((h + 2^(s - 17)) / 2^(s - 16)), in 16 bits (`rounded16`). */
static void to_bytes(const ticket_linear *l, int32_t first, const uint32_t *sums, int32_t lanes, int32_t zero, uint8_t *out) {
    for (int32_t place = first; place < least(first + ROWS, l->rows); place++, sums += lanes) {
        int32_t row = row_of(l, place), number = l->multiplier[l->per_row ? row : 0];
        uint8_t *to = out + (size_t)row * (size_t)lanes;
        if (l->shift >= 17) {
            for (int32_t t = 0; t < lanes; t += LANE)
                rounded16(to + t, shift_right(load(sums + t), l->pre_shift), number, l->shift, zero);
            continue;
        }
        vec multiplier = splat(number);
        for (int32_t t = 0; t < lanes; t += LANE)
            to8(to + t, lowest(highest(add(rounded(l, multiplier, sums + t), splat(zero)), splat(0)), splat(255)));
    }
}

static void to_residual(const ticket_linear *l, int32_t first, const uint32_t *sums, int32_t lanes, int16_t *residual) {
    for (int32_t place = first; place < least(first + ROWS, l->rows); place++, sums += lanes) {
        int32_t row = row_of(l, place);
        vec multiplier = splat(l->multiplier[l->per_row ? row : 0]);
        int16_t *to = residual + (size_t)row * (size_t)lanes;
        for (int32_t t = 0; t < lanes; t += LANE)
            add_to16(to + t, lowest(highest(rounded(l, multiplier, sums + t), splat(LEAST16)), splat(MOST16)));
    }
}

static void normalize(int32_t width, const room *r) {
    size_t lanes = (size_t)r->lanes;
    for (size_t t = 0; t < lanes; t += LANE) {
        uint32_t sizes[LANE];
        vec size = splat(0);
        for (size_t c = 0; c < (size_t)width; c++) size = add(size, magnitude(from16(r->residual + c * lanes + t)));
        store(sizes, size);
        for (size_t i = 0; i < LANE; i++) reciprocal_of(width, sizes[i], r->reciprocal + t + i, r->shift + t + i);
        vec reciprocal = load(r->reciprocal + t), shift = load(r->shift + t);
        vec half = shift_left_each(splat(1), subtract(shift, splat(1)));
        for (size_t c = 0; c < (size_t)width; c++) {
            vec y = shift_right_each(add(product16(from16(r->residual + c * lanes + t), reciprocal), half), shift);
            to8(r->input + c * lanes + t, add(lowest(highest(y, splat(LEAST8)), splat(MOST8)), splat(128)));
        }
    }
}

/* ---- Attention: four features of a distance, or four keys of a sum, in one lane ---- */

enum { KEYS = 4, WIDE = 2 };
#define SCRATCH(net, lanes) (((size_t)(net)->head_width + 4) * 4 * ((lanes) + 64) + ((size_t)(net)->length + KEYS) * WIDE * LANE)

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
