/* Vectors of the steps that cost time, on x86 with AVX2 or with AVX-512 and its dot products of bytes (VNNI).
 *
 * A vector holds a 32-bit lane for each of LANE tokens; four bytes of one lane are four features, or four keys, of that
 * token, which one instruction multiplies and adds up. `pack16` of vectors a and b holds four numbers of a, four of b,
 * the next four of a, and so on; what ends in `of_two` writes such a mixture to two rows, the second one first.
 */
#ifndef LANES_H
#define LANES_H

#include "parts.h"
#include <immintrin.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) bytes_of_four;

/* Four bytes each of four features to the four features of each of four tokens. */
#define BY_TOKEN _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
#define INLINE static inline __attribute__((always_inline))

#if TICKET_FORM >= 2
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
INLINE vec shift_right(vec a, int32_t by) { return _mm512_srav_epi32(a, splat(by)); }
INLINE vec shift_right_each(vec a, vec by) { return _mm512_srav_epi32(a, by); }
INLINE vec shift_left_each(vec a, vec by) { return _mm512_sllv_epi32(a, by); }
INLINE vec magnitude(vec a) { return _mm512_abs_epi32(a); }
INLINE vec from16(const int16_t *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE vec gather(const int8_t *p, vec at) { return _mm512_i32gather_epi32(at, p, 1); }
INLINE void store16(int16_t *p, vec a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtsepi32_epi16(a)); }
INLINE void to8(uint8_t *p, vec a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a)); }
INLINE vec pack16(vec a, vec b) { return _mm512_packs_epi32(a, b); }
INLINE vec pack8(vec a, vec b) { return _mm512_packs_epi16(a, b); }
INLINE vec highs16(vec a, vec b) { return _mm512_mulhi_epi16(a, b); }
INLINE vec lows16(vec a, vec b) { return _mm512_mullo_epi16(a, b); }
INLINE vec lower16(vec a, vec b) { return _mm512_unpacklo_epi16(a, b); }
INLINE vec upper16(vec a, vec b) { return _mm512_unpackhi_epi16(a, b); }
INLINE vec add16(vec a, vec b) { return _mm512_adds_epi16(a, b); }
INLINE vec flipped(vec a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
INLINE vec splat16(int32_t x) { return _mm512_set1_epi16((int16_t)x); }
INLINE vec in_turn16(int32_t x, int32_t y) { return _mm512_mask_blend_epi64(0xaa, splat16(x), splat16(y)); }
INLINE vec shift_right16(vec a, int32_t by) { return _mm512_srav_epi16(a, splat16(by)); }
INLINE vec words_of(vec quarters) {
    return _mm512_shuffle_epi8(quarters, _mm512_broadcast_i32x4(BY_TOKEN));
}
INLINE void to8_of_two(uint8_t *p, uint8_t *q, vec x) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i both = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, _mm512_packus_epi16(x, x)));
    _mm_storeu_si128((__m128i *)q, _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(both));
}
INLINE void add_to16(int16_t *p, __m256i a) {
    __m256i *to = (__m256i *)p;
    _mm256_storeu_si256(to, _mm256_adds_epi16(_mm256_loadu_si256(to), a));
}
INLINE void add_to16_of_two(int16_t *p, int16_t *q, vec x) {
    vec both = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), x);
    add_to16(q, _mm512_extracti64x4_epi64(both, 1));
    add_to16(p, _mm512_castsi512_si256(both));
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
INLINE vec gather(const int8_t *p, vec at) { return _mm256_i32gather_epi32((const int *)(const void *)p, at, 1); }
INLINE __m128i to16(vec a) { return _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)); }
INLINE void store16(int16_t *p, vec a) { _mm_storeu_si128((__m128i *)p, to16(a)); }
INLINE void to8(uint8_t *p, vec a) { /* 0..255 */
    __m128i narrow = to16(a);
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(narrow, narrow));
}
INLINE vec pack16(vec a, vec b) { return _mm256_packs_epi32(a, b); }
INLINE vec pack8(vec a, vec b) { return _mm256_packs_epi16(a, b); }
INLINE vec highs16(vec a, vec b) { return _mm256_mulhi_epi16(a, b); }
INLINE vec lows16(vec a, vec b) { return _mm256_mullo_epi16(a, b); }
INLINE vec lower16(vec a, vec b) { return _mm256_unpacklo_epi16(a, b); }
INLINE vec upper16(vec a, vec b) { return _mm256_unpackhi_epi16(a, b); }
INLINE vec add16(vec a, vec b) { return _mm256_adds_epi16(a, b); }
INLINE vec flipped(vec a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
INLINE vec splat16(int32_t x) { return _mm256_set1_epi16((int16_t)x); }
INLINE vec in_turn16(int32_t x, int32_t y) { return _mm256_blend_epi32(splat16(x), splat16(y), 0xcc); }
INLINE vec shift_right16(vec a, int32_t by) { return _mm256_sra_epi16(a, _mm_cvtsi32_si128(by)); }
INLINE vec words_of(vec quarters) {
    return _mm256_shuffle_epi8(quarters, _mm256_broadcastsi128_si256(BY_TOKEN));
}
INLINE void to8_of_two(uint8_t *p, uint8_t *q, vec x) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
    __m128i both = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(x, x), order));
    _mm_storel_epi64((__m128i *)q, _mm_unpackhi_epi64(both, both));
    _mm_storel_epi64((__m128i *)p, both);
}
INLINE void add_to16(int16_t *p, __m128i a) {
    __m128i *to = (__m128i *)p;
    _mm_storeu_si128(to, _mm_adds_epi16(_mm_loadu_si128(to), a));
}
INLINE void add_to16_of_two(int16_t *p, int16_t *q, vec x) {
    vec both = _mm256_permute4x64_epi64(x, 0xd8);
    add_to16(q, _mm256_extracti128_si256(both, 1));
    add_to16(p, _mm256_castsi256_si128(both));
}
INLINE vec bytes_summed(vec bytes) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}
INLINE vec add_bytes(vec sum, vec bytes) { return add(sum, bytes_summed(bytes)); }
INLINE vec less_bytes(vec sum, vec bytes) { return subtract(sum, bytes_summed(bytes)); }
#endif

#endif
