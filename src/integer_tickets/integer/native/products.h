/* Linear layers on x86. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "lanes.h"

/* `weight` of a dense layer holds, for every 8 rows and every 4 columns, 4 weights of each row; of a sparse one, for
 * every 4 rows, as many such groups of 4 weights as the fullest of them has (start[row / 4] says from which on), and
 * `column` the number of each group. With AVX2 a group is 4 times 16 bits in the order 0, 2, 1, 3. With AMX the
 * weights of a dense layer are tiles of 16 rows x 64 columns: for every 32 rows and every 64 columns, the two that
 * these have. */

enum { TOGETHER = 4 };
#if TICKET_FORM == 3
enum { ROWS = 32, COLUMNS = 64, BIAS_LEFT_OUT = 1 }; /* of sums, as it would have to be loaded into tiles */
#else
enum { ROWS = 8, COLUMNS = 4, BIAS_LEFT_OUT = 0 };
#endif
#define ARRANGED(columns, lanes) (((columns) + COLUMNS - 1) / COLUMNS * COLUMNS * (lanes))
#define INPUT ARRANGED

/* Rows of bytes to words of four bytes, one of each of four rows. */
static const uint8_t *arrange(const uint8_t *x, int32_t columns, int32_t lanes, uint8_t *space) {
    const __m128i zero = _mm_setzero_si128();
    for (int32_t c = 0; c < columns; c += 4)
        for (int32_t t = 0; t < lanes; t += 16) {
            __m128i row[4], pair[4];
            for (int32_t g = 0; g < 4; g++)
                row[g] = c + g >= columns
                             ? zero
                             : _mm_loadu_si128((const __m128i *)(x + (size_t)(c + g) * (size_t)lanes + t));
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

#if TICKET_FORM >= 2
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

#if TICKET_FORM == 3
enum { TILE = 1024 }; /* bytes */

/* All tiles have 16 rows of 64 bytes: 0 to 3 are sums, 4 and 5 weights, 6 and 7 inputs of 16 tokens. */
static void begin(void) {
    static const struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&tiles);
}
static void finish(void) { _tile_release(); }

static void dense_products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, uint32_t *sums) {
    size_t blocks = ((size_t)l->columns + COLUMNS - 1) / COLUMNS, stride = 4 * (size_t)lanes;
    const int8_t *weight = l->weight + (size_t)row * blocks * COLUMNS;
    __asm__ volatile("" ::: "memory"); /* compilers do not know what tiles read */
    for (int32_t t = 0; t < lanes; t += 2 * LANE, sums += 2 * LANE) {
        const int8_t *w = weight;
        const uint8_t *from = x + 4 * (size_t)t;
        int wide = t + LANE < lanes;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (size_t k = 0; k < blocks; k++, w += 2 * TILE, from += LANE * stride) {
            _tile_loadd(4, w, 64);
            _tile_loadd(6, from, stride);
            _tile_dpbsud(0, 4, 6);
            _tile_loadd(5, w + TILE, 64);
            _tile_dpbsud(1, 5, 6);
            if (!wide) continue;
            _tile_loadd(7, from + 64, stride);
            _tile_dpbsud(2, 4, 7);
            _tile_dpbsud(3, 5, 7);
        }
        _tile_stored(0, sums, stride);
        _tile_stored(1, sums + LANE * (size_t)lanes, stride);
        if (!wide) continue;
        _tile_stored(2, sums + LANE, stride);
        _tile_stored(3, sums + LANE * (size_t)lanes + LANE, stride);
    }
}
#else
static void begin(void) {}
static void finish(void) {}

INLINE void dense_block(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, int32_t wide, int32_t t,
                        uint32_t *sums) {
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

static void dense_products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, uint32_t *sums) {
    int32_t t = 0;
    for (; t + 2 * LANE <= lanes; t += 2 * LANE) dense_block(l, row, x, lanes, 2, t, sums);
    for (; t < lanes; t += LANE) dense_block(l, row, x, lanes, 1, t, sums);
}
#endif

INLINE void sparse_block(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, int32_t wide, int32_t t,
                         uint32_t *sums) {
    vec sum[TOGETHER][2];
    for (int32_t r = 0; r < TOGETHER; r++)
        for (int32_t i = 0; i < wide; i++) sum[r][i] = splat(BIAS_LEFT_OUT ? 0 : l->bias[row + r]);
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

static void sparse_products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, uint32_t *sums) {
    int32_t t = 0;
    for (; t + 2 * LANE <= lanes; t += 2 * LANE) sparse_block(l, row, x, lanes, 2, t, sums);
    for (; t < lanes; t += LANE) sparse_block(l, row, x, lanes, 1, t, sums);
}

/* sums (ROWS x lanes), modulo 2^32. */
static void products(const ticket_linear *l, int32_t row, const uint8_t *x, int32_t lanes, uint32_t *sums) {
    if (!l->start)
        dense_products(l, row, x, lanes, sums);
    else
        for (int32_t r = 0; r < least(ROWS, l->rows - row); r += TOGETHER)
            sparse_products(l, row + r, x, lanes, sums + (size_t)r * (size_t)lanes);
}

#endif
