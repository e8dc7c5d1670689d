/* Inhibitor attention, forward and backward, float32, for training on the CPU.
 *
 * Per head, over the valid keys j of a sentence (features c < d):
 *     Z_ij = max(0, gamma * sum_c |q_ic - k_jc| - delta), or by the integer rule clamp((D*m - offset) >> shift, 0, 255)
 *     H_ic = sum_j v_jc - clamp(v_jc, -Z_ij, Z_ij)     (signed)     sum_j max(0, v_jc - Z_ij)     (unsigned)
 *
 * The same bits on every instruction set: no sum ever runs across the lanes of a vector. Distances and dZ keep one key
 * in each lane and add features in order; H, dq and dk keep one feature in each lane and add keys (or queries) in
 * order. So the width of a vector decides only how many independent sums run side by side. What needs a sum across
 * lanes (dgamma, ddelta) is stored and added one by one. Compile without -ffast-math and with -ffp-contract=off.
 *
 * Valid keys are gathered first; what pads them to whole vectors has v = 0, for which every term and gate below is 0.
 * Each (sentence, head) pair is computed alone, so results depend neither on padding, batch nor number of threads.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

/* ---- Vectors: what the C operators on them do not give ---- */

#define INLINE static inline __attribute__((always_inline))

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

/* ---- The problem, as Python describes it (the same fields in the same order in kernel.py) ---- */

typedef struct {
    float *data;
    int64_t batch, head, token; /* strides in elements; the features of a token are contiguous */
} tensor;

typedef struct {
    int64_t batch, heads, n, d;
    int64_t is_signed;
    tensor q, k, v, h, grad_h, grad_q, grad_k, grad_v;
    const uint8_t *valid;                                /* (batch, n), or NULL: all valid */
    const float *gamma, *delta;                          /* (heads,) */
    const int32_t *multiplier, *offset, *shift;          /* (heads,), or NULL: the float rule */
    float *z;                                            /* (batch, heads, n, width(n)): row i holds the valid keys */
    double *pair_gamma, *pair_delta;                     /* (batch, heads) */
    float *grad_gamma, *grad_delta;                      /* (heads,) */
} problem;

#define ROWS 4 /* queries in one block */

INLINE int64_t padded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Floats in a row of z. */
int64_t inhibitor_width(int64_t n) { return padded(n, LANES); }

/* 1 where this processor has the instructions this file was compiled for. */
int inhibitor_runs_here(void) {
#if LANES == 16
    return __builtin_cpu_supports("avx512f") != 0;
#elif LANES == 8
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

INLINE float *rows_of(const tensor *t, const problem *p, int64_t pair) {
    return t->data + pair / p->heads * t->batch + pair % p->heads * t->head;
}

/* ---- One (sentence, head) pair ---- */

typedef struct {
    int64_t keys, wide, deep; /* valid keys; the same padded to vectors; d padded to vectors */
    int64_t *key;             /* positions of the valid keys */
    float *q, *k, *v;         /* rows of `deep` floats */
    float *k_t, *v_t;         /* d rows of `wide` floats: feature-major */
    float *z, *s;             /* ROWS rows of `wide` floats: Z and dS of one block of queries */
    float *h;                 /* rows of `deep` floats: H, or its gradient */
    float *grad_q, *grad_k, *grad_v, *grad_v_t;
    float *sum;               /* one row: partial sums of dgamma or ddelta */
} space;

/* Every array begins on a cache line: a vector that straddles two is loaded and stored at half speed. */
static void *new_space(const problem *p, space *w) {
    int64_t n = padded(p->n, 16), d = padded(p->d, 16);
    int64_t floats = 10 * n * d + 2 * ROWS * n + (n > d ? n : d) + 2 * n;
    float *at;
    if (posix_memalign((void **)&at, 64, sizeof(float) * (size_t)floats)) return NULL;
    void *start = at;
    w->deep = padded(p->d, LANES);
    w->q = at, at += n * d;
    w->k = at, at += n * d;
    w->v = at, at += n * d;
    w->h = at, at += n * d;
    w->k_t = at, at += n * d;
    w->v_t = at, at += n * d;
    w->grad_q = at, at += n * d;
    w->grad_k = at, at += n * d;
    w->grad_v = at, at += n * d;
    w->grad_v_t = at, at += n * d;
    w->z = at, at += ROWS * n;
    w->s = at, at += ROWS * n;
    w->key = (int64_t *)at, at += 2 * n;
    w->sum = at;
    return start;
}

/* One row. The compiler would make a call of each memcpy, which is dear for rows this short. */
INLINE void copy_row(float *to, const float *from, int64_t d) {
    int64_t c = 0;
    for (; c + LANES <= d; c += LANES) store(to + c, load(from + c));
    for (; c < d; c++) to[c] = from[c];
}

INLINE void clear(float *to, int64_t from, int64_t d) {
    for (int64_t c = from; c < d; c++) to[c] = 0;
}

/* Rows of a tensor (the `count` first ones, or those at the positions in `at`) into rows of `deep` floats; zeros up to
 * `rows`. */
static void gather(float *to, const tensor *from, const problem *p, int64_t pair, const int64_t *at, int64_t count,
                   int64_t rows, int64_t deep) {
    const float *start = rows_of(from, p, pair);
    int64_t stride = from->token, d = p->d;
    for (int64_t i = 0; i < count; i++, to += deep) {
        copy_row(to, start + (at ? at[i] : i) * stride, d);
        clear(to, d, deep);
    }
    clear(to, 0, (rows - count) * deep);
}

/* The way back. Rows of the tensor at positions that `at` leaves out become zero. */
static void scatter(const tensor *to, const float *from, const problem *p, int64_t pair, const int64_t *at,
                    int64_t count, int64_t deep) {
    float *row = rows_of(to, p, pair);
    int64_t stride = to->token, n = p->n, d = p->d;
    for (int64_t i = 0, next = 0; i < n; i++, row += stride)
        if (next < count && (!at || at[next] == i))
            copy_row(row, from + deep * next++, d);
        else
            clear(row, 0, d);
}

/* to[c][r] = from[r][c]; rows and columns are multiples of 4. */
static void transpose(float *to, const float *from, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; r += 4)
        for (int64_t c = 0; c < columns; c += 4) {
            const float *a = from + r * columns + c;
            float *b = to + c * rows + r;
#if defined(__SSE__)
            __m128 w = _mm_loadu_ps(a), x = _mm_loadu_ps(a + columns);
            __m128 y = _mm_loadu_ps(a + 2 * columns), z = _mm_loadu_ps(a + 3 * columns);
            _MM_TRANSPOSE4_PS(w, x, y, z);
            _mm_storeu_ps(b, w), _mm_storeu_ps(b + rows, x);
            _mm_storeu_ps(b + 2 * rows, y), _mm_storeu_ps(b + 3 * rows, z);
#else
            for (int64_t y = 0; y < 4; y++)
                for (int64_t x = 0; x < 4; x++) b[x * rows + y] = a[y * columns + x];
#endif
        }
}

/* -0 becomes 0, so that no difference of q and k is -0, which one of the forms of sign_of takes for negative. */
static void drop_sign_of_zero(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] += 0.0f;
}

static void begin(const problem *p, space *w, int64_t pair) {
    const uint8_t *valid = p->valid ? p->valid + pair / p->heads * p->n : NULL;
    w->keys = 0;
    for (int64_t j = 0; j < p->n; j++)
        if (!valid || valid[j]) w->key[w->keys++] = j;
    w->wide = padded(w->keys, LANES);
    gather(w->q, &p->q, p, pair, NULL, p->n, padded(p->n, ROWS), w->deep);
    gather(w->k, &p->k, p, pair, w->key, w->keys, w->wide, w->deep);
    gather(w->v, &p->v, p, pair, w->key, w->keys, w->wide, w->deep);
    drop_sign_of_zero(w->q, padded(p->n, ROWS) * w->deep);
    drop_sign_of_zero(w->k, w->wide * w->deep);
}

/* Z of ROWS queries, beginning with row q. */
static void inhibitions(const problem *p, space *w, int64_t head, const float *q) {
    int64_t wide = w->wide, deep = w->deep;
    for (int64_t j = 0; j < wide; j += LANES) {
        vec sum[ROWS];
        for (int r = 0; r < ROWS; r++) sum[r] = splat(0);
        for (int64_t c = 0; c < p->d; c++) {
            vec k = load(w->k_t + c * wide + j);
            for (int r = 0; r < ROWS; r++) sum[r] += absolute(splat(q[r * deep + c]) - k);
        }
        for (int r = 0; r < ROWS; r++) store(w->z + r * wide + j, sum[r]);
    }
    if (p->multiplier) {
        int32_t multiplier = p->multiplier[head], offset = p->offset[head], shift = p->shift[head];
        for (int64_t j = 0; j < ROWS * wide; j++) {
            int32_t z = ((int32_t)w->z[j] * multiplier - offset) >> shift;
            w->z[j] = (float)(z < 0 ? 0 : z > 255 ? 255 : z);
        }
    } else {
        float gamma = p->gamma[head], delta = p->delta[head];
        for (int64_t j = 0; j < ROWS * wide; j++) {
            float z = gamma * w->z[j] - delta;
            w->z[j] = z < 0 ? 0 : z; /* NaN stays */
        }
    }
}

/* H of ROWS queries and `columns` vectors of features, from column c on. */
INLINE void inhibited(space *w, float *h, int64_t c, const int columns, const int is_signed) {
    int64_t wide = w->wide, deep = w->deep;
    vec sum[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int x = 0; x < columns; x++) sum[r][x] = splat(0);
    for (int64_t j = 0; j < w->keys; j++) {
        vec v[2];
        for (int x = 0; x < columns; x++) v[x] = load(w->v + j * deep + c + x * LANES);
        for (int r = 0; r < ROWS; r++) {
            vec z = splat(w->z[r * wide + j]), minus_z = minus(z);
            for (int x = 0; x < columns; x++)
                if (is_signed)
                    sum[r][x] += v[x] - highest(minus_z, lowest(v[x], z));
                else
                    sum[r][x] += highest(splat(0), v[x] - z);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int x = 0; x < columns; x++) store(h + r * deep + c + x * LANES, sum[r][x]);
}

INLINE void inhibited_block(space *w, float *h, const int is_signed) {
    int64_t c = 0;
    for (; c + 2 * LANES <= w->deep; c += 2 * LANES) inhibited(w, h, c, 2, is_signed);
    if (c < w->deep) inhibited(w, h, c, 1, is_signed);
}

static void forward_pair(const problem *p, space *w, int64_t pair) {
    begin(p, w, pair);
    transpose(w->k_t, w->k, w->wide, w->deep);
    for (int64_t i = 0; i < p->n; i += ROWS) {
        inhibitions(p, w, pair % p->heads, w->q + i * w->deep);
        if (p->z)
            for (int64_t r = i; r < i + ROWS && r < p->n; r++)
                memcpy(p->z + (pair * p->n + r) * inhibitor_width(p->n), w->z + (r - i) * w->wide,
                       sizeof(float) * w->wide);
        if (p->is_signed)
            inhibited_block(w, w->h + i * w->deep, 1);
        else
            inhibited_block(w, w->h + i * w->deep, 0);
    }
    scatter(&p->h, w->h, p, pair, NULL, p->n, w->deep);
}

/* ---- Backward: dv, and dS = dZ where Z > 0, of ROWS queries ---- */

INLINE void backward_values(const problem *p, space *w, const float *grad_h, const int is_signed) {
    int64_t wide = w->wide, deep = w->deep, d = p->d;
    const float *v_t = w->v_t;
    float *restrict grad_v_t = w->grad_v_t;
    for (int64_t j = 0; j < wide; j += LANES) {
        vec z[ROWS], sum[ROWS];
        for (int r = 0; r < ROWS; r++) z[r] = load(w->z + r * wide + j), sum[r] = splat(0);
        for (int64_t c = 0; c < d; c++) {
            vec v = load(v_t + c * wide + j), grad_v = load(grad_v_t + c * wide + j);
            vec size = is_signed ? absolute(v) : v;
            vec sign = one_with_sign(v);
            for (int r = 0; r < ROWS; r++) {
                vec passed = where_greater(size, z[r], splat(grad_h[r * deep + c]));
                grad_v += passed;
                sum[r] = exact_mulsub(passed, sign, sum[r]);
            }
            store(grad_v_t + c * wide + j, grad_v);
        }
        for (int r = 0; r < ROWS; r++) store(w->s + r * wide + j, where_greater(z[r], splat(0), sum[r]));
    }
}

/* dq and dk of ROWS queries, times SIGN and still without the factor gamma. */
static void backward_distances(space *w, const float *q, float *grad_q) {
    int64_t wide = w->wide, deep = w->deep, keys = w->keys;
    const float *k_rows = w->k, *s_rows = w->s;
    float *restrict grad_k_rows = w->grad_k;
    for (int64_t c = 0; c < deep; c += LANES) {
        vec a[ROWS], sum[ROWS];
        for (int r = 0; r < ROWS; r++) a[r] = load(q + r * deep + c), sum[r] = splat(0);
        for (int64_t j = 0; j < keys; j++) {
            vec k = load(k_rows + j * deep + c), grad_k = load(grad_k_rows + j * deep + c);
            for (int r = 0; r < ROWS; r++) {
                vec s = splat(s_rows[r * wide + j]), sign = sign_of(a[r] - k);
                sum[r] = exact_muladd(s, sign, sum[r]);
                grad_k = exact_mulsub(s, sign, grad_k);
            }
            store(grad_k_rows + j * deep + c, grad_k);
        }
        for (int r = 0; r < ROWS; r++) store(grad_q + r * deep + c, sum[r]);
    }
}

static int all_zero(const float *a, int64_t count) {
    int other = 0;
    for (int64_t x = 0; x < count; x++) other |= a[x] != 0;
    return !other;
}

static void backward_pair(const problem *p, space *w, int64_t pair) {
    begin(p, w, pair);
    int64_t wide = w->wide, deep = w->deep, rows = padded(p->n, ROWS);
    float factor = p->gamma[pair % p->heads] / SIGN;
    double total = 0;
    transpose(w->v_t, w->v, wide, deep);
    gather(w->h, &p->grad_h, p, pair, NULL, p->n, rows, deep);
    memset(w->grad_k, 0, sizeof(float) * wide * deep);
    memset(w->grad_v_t, 0, sizeof(float) * wide * deep);

    memset(w->sum, 0, sizeof(float) * wide);
    for (int64_t i = 0; i < p->n; i += ROWS) {
        if (all_zero(w->h + i * deep, ROWS * deep)) { /* queries that are padding, as a rule */
            memset(w->grad_q + i * deep, 0, sizeof(float) * ROWS * deep);
            continue;
        }
        for (int64_t r = 0; r < ROWS; r++) {
            int64_t row = i + r < p->n ? i + r : p->n - 1; /* rows beyond n: their gradient is zero, any Z will do */
            memcpy(w->z + r * wide, p->z + (pair * p->n + row) * inhibitor_width(p->n), sizeof(float) * wide);
        }
        if (p->is_signed)
            backward_values(p, w, w->h + i * deep, 1);
        else
            backward_values(p, w, w->h + i * deep, 0);
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t j = 0; j < wide; j++) w->sum[j] += w->s[r * wide + j];
        backward_distances(w, w->q + i * deep, w->grad_q + i * deep);
    }
    for (int64_t j = 0; j < wide; j++) total -= w->sum[j];
    p->pair_delta[pair] = total;

    /* D_ij = sum_c sign(q_ic - k_jc) (q_ic - k_jc), so dgamma = sum_ij dS_ij D_ij = (sum_ic q dq + sum_jc k dk) / gamma:
     * no distance is needed again. */
    memset(w->sum, 0, sizeof(float) * deep);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < deep; c++) {
            w->sum[c] += w->q[i * deep + c] * w->grad_q[i * deep + c];
            w->grad_q[i * deep + c] *= factor;
        }
    for (int64_t j = 0; j < wide; j++)
        for (int64_t c = 0; c < deep; c++) {
            w->sum[c] += w->k[j * deep + c] * w->grad_k[j * deep + c];
            w->grad_k[j * deep + c] *= factor;
        }
    total = 0;
    for (int64_t c = 0; c < deep; c++) total += w->sum[c];
    p->pair_gamma[pair] = total / SIGN;

    transpose(w->grad_v, w->grad_v_t, deep, wide);
    scatter(&p->grad_q, w->grad_q, p, pair, NULL, p->n, deep);
    scatter(&p->grad_k, w->grad_k, p, pair, w->key, w->keys, deep);
    scatter(&p->grad_v, w->grad_v, p, pair, w->key, w->keys, deep);
}

/* ---- All pairs, split evenly over threads ---- */

typedef struct {
    const problem *p;
    void (*work)(const problem *, space *, int64_t);
    int64_t from, to;
    int started, failed;
    pthread_t thread;
} share;

static void *run(void *argument) {
    share *mine = argument;
    space w;
    void *memory = new_space(mine->p, &w);
    mine->failed = memory == NULL;
    for (int64_t pair = mine->from; memory && pair < mine->to; pair++) mine->work(mine->p, &w, pair);
    free(memory);
    return NULL;
}

/* Threads of its own, made anew: they cost microseconds, and a second OpenMP runtime beside that of PyTorch would keep
 * its threads spinning. */
static int over_pairs(const problem *p, void (*work)(const problem *, space *, int64_t), int64_t threads) {
    int64_t pairs = p->batch * p->heads;
    if (threads > pairs) threads = pairs;
    if (threads < 1) threads = 1;
    share *shares = calloc((size_t)threads, sizeof(share));
    if (!shares) return 1;
    for (int64_t t = 0; t < threads; t++) {
        shares[t] = (share){.p = p, .work = work, .from = pairs * t / threads, .to = pairs * (t + 1) / threads};
        shares[t].started = t > 0 && pthread_create(&shares[t].thread, NULL, run, &shares[t]) == 0;
    }
    int failed = 0;
    for (int64_t t = 0; t < threads; t++) /* here: the first share, and those for which there was no thread */
        if (!shares[t].started) run(&shares[t]);
    for (int64_t t = 0; t < threads; t++) {
        if (shares[t].started) pthread_join(shares[t].thread, NULL);
        failed |= shares[t].failed;
    }
    free(shares);
    return failed;
}

/* Both give 0, or 1 where memory is short. */
int inhibitor_forward(const problem *p, int64_t threads) { return over_pairs(p, forward_pair, threads); }

int inhibitor_backward(const problem *p, int64_t threads) {
    int failed = over_pairs(p, backward_pair, threads);
    for (int64_t h = 0; h < p->heads && !failed; h++) {
        double gamma = 0, delta = 0;
        for (int64_t b = 0; b < p->batch; b++) {
            gamma += p->pair_gamma[b * p->heads + h];
            delta += p->pair_delta[b * p->heads + h];
        }
        p->grad_gamma[h] = (float)gamma;
        p->grad_delta[h] = (float)delta;
    }
    return failed;
}
