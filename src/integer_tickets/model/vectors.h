/* What the kernels share: vectors, and threads.
 *
 * The same bits on every instruction set: compile without -ffast-math and with -ffp-contract=off, and let no sum depend
 * on the width of a vector.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

/* ---- Vectors: what the C operators on them do not give ---- */

#define INLINE static inline __attribute__((always_inline))
#define ALONE __attribute__((noinline))

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t bits __attribute__((vector_size(4 * LANES)));

INLINE vec load(const float *p) { vec a; memcpy(&a, p, sizeof a); return a; }
INLINE void store(float *p, vec a) { memcpy(p, &a, sizeof a); }
INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec minus(vec a) { return (vec)((bits)a ^ INT32_MIN); }
INLINE vec absolute(vec a) { return (vec)((bits)a & INT32_MAX); }
INLINE vec one_with_sign(vec a) { return (vec)(((bits)a & INT32_MIN) | (bits)splat(1)); }

/* lowest(a, b) and highest(a, b) give b where a comparison is undecided, so that a NaN in b is kept.
 * where_greater(a, b, x) is x where a > b, else 0.
 * exact_muladd(a, b, c) = c + a * b and exact_mulsub(a, b, c) = c - a * b round once or twice: only for exact products.
 * sign_of(a) is SIGN, 0 or -SIGN; the power of two SIGN is divided out at the end. */
#if LANES == 16
INLINE vec lowest(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec highest(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec where_greater(vec a, vec b, vec x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x); }
INLINE vec exact_muladd(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec exact_mulsub(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
#define SIGN 1.0f
INLINE vec sign_of(vec a) { /* answers by class, from the lowest digit up: NaN NaN 0 1 -inf +inf negative positive */
    return _mm512_fixupimm_ps(a, a, _mm512_set1_epi32((int)0xa9a9a822u), 0);
}
#elif LANES == 8
INLINE vec lowest(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec highest(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec where_greater(vec a, vec b, vec x) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), x); }
INLINE vec exact_muladd(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec exact_mulsub(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
#define SIGN 2.0f /* its bits, 0x40000000, are those of -2 when negated as an integer, which takes one instruction */
INLINE vec sign_of(vec a) { return (vec)_mm256_sign_epi32((__m256i)splat(SIGN), (__m256i)a); }
#else
INLINE vec choose(bits m, vec a, vec b) { return (vec)((m & (bits)a) | (~m & (bits)b)); }
INLINE vec lowest(vec a, vec b) { return choose(a < b, a, b); }
INLINE vec highest(vec a, vec b) { return choose(a > b, a, b); }
INLINE vec where_greater(vec a, vec b, vec x) { return (vec)((a > b) & (bits)x); }
INLINE vec exact_muladd(vec a, vec b, vec c) { return c + a * b; }
INLINE vec exact_mulsub(vec a, vec b, vec c) { return c - a * b; }
#define SIGN 1.0f
INLINE vec sign_of(vec a) { return where_greater(a, splat(0), splat(1)) - where_greater(splat(0), a, splat(1)); }
#endif

INLINE int64_t padded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* 1 where this processor has the instructions that these files were compiled for. */
int runs_here(void);

/* ---- Threads ---- */

/* Calls work(task, from, to) for parts that together are 0..count, on up to `threads` threads; 0, or not 0 where one of
 * the calls gave that. */
int over_threads(int (*work)(const void *task, int64_t from, int64_t to), const void *task, int64_t count,
                 int64_t threads);
