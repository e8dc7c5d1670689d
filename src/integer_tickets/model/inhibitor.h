/* What inhibitor.c works on: the problem, and the working space of one (sentence, head) pair. */
#include "vectors.h"

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

#define ROWS 4   /* queries that share what a loop has loaded */
#define BLOCK 64 /* queries between two passes over all keys: their Z stays in the second-level cache */

int64_t inhibitor_width(int64_t n); /* floats in a row of z */

INLINE float *rows_of(const tensor *t, const problem *p, int64_t pair) {
    return t->data + pair / p->heads * t->batch + pair % p->heads * t->head;
}

/* ---- One (sentence, head) pair ---- */

typedef struct {
    int64_t keys, wide, deep; /* valid keys; the same padded to vectors; d padded to vectors */
    int64_t *key;             /* positions of the valid keys */
    float *q, *k, *v, *h;     /* rows of `deep` floats; h: H, or its gradient */
    float *k_t, *v_t;         /* d rows of `wide` floats: feature-major */
    float *z, *s;             /* BLOCK rows of `wide` floats: Z and dS of one block of queries */
    float *grad_q, *grad_k, *grad_v_t;
    float *sum;               /* one row: partial sums */
    uint8_t *silent;          /* for each ROWS queries: no gradient comes from any of them */
} space;

/* Every array begins on a cache line: a vector that straddles two is loaded and stored at half speed. */
static void *new_space(const problem *p, space *w) {
    int64_t n = padded(p->n, 16), d = padded(p->d, 16);
    int64_t floats = 9 * n * d + 2 * BLOCK * n + (n > d ? n : d) + 3 * n;
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
    w->grad_v_t = at, at += n * d;
    w->z = at, at += BLOCK * n;
    w->s = at, at += BLOCK * n;
    w->sum = at, at += n > d ? n : d;
    w->key = (int64_t *)at, at += 2 * n;
    w->silent = (uint8_t *)at;
    return start;
}

static void valid_keys(const problem *p, space *w, int64_t pair) {
    const uint8_t *valid = p->valid ? p->valid + pair / p->heads * p->n : NULL;
    w->keys = 0;
    for (int64_t j = 0; j < p->n; j++)
        if (!valid || valid[j]) w->key[w->keys++] = j;
    w->wide = padded(w->keys, LANES);
}

INLINE void clear(float *to, int64_t from, int64_t d) {
    for (int64_t c = from; c < d; c++) to[c] = 0;
}

/* Rows of a tensor (the `count` first ones, or those at the positions in `at`) into rows of `deep` floats; zeros up to
 * `rows`. -0 becomes 0, so that no difference of q and k is -0, which one of the forms of sign_of takes for negative. */
static void gather(float *to, const tensor *from, const problem *p, int64_t pair, const int64_t *at, int64_t count,
                   int64_t rows, int64_t deep) {
    const float *start = rows_of(from, p, pair);
    int64_t stride = from->token, d = p->d;
    for (int64_t i = 0; i < count; i++, to += deep) {
        const float *row = start + (at ? at[i] : i) * stride;
        int64_t c = 0;
        for (; c + LANES <= d; c += LANES) store(to + c, load(row + c) + splat(0));
        for (; c < d; c++) to[c] = row[c] + 0.0f;
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
        if (next < count && (!at || at[next] == i)) {
            const float *own = from + deep * next++;
            int64_t c = 0;
            for (; c + LANES <= d; c += LANES) store(row + c, load(own + c));
            for (; c < d; c++) row[c] = own[c];
        } else
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

/* Ask for a share of one tensor of the next sentence, all heads of a token at once, as they lie in memory: the processor
 * foresees walks along memory, not the steps from token to token of one head. A little at a time, as it can wait for a
 * few dozen lines only. */
INLINE void announce(const problem *p, int64_t pair, const tensor *t) {
    int64_t sentence = pair / p->heads + 1, head = pair % p->heads;
    if (sentence >= p->batch) return;
    for (int64_t i = head * p->n / p->heads; i < (head + 1) * p->n / p->heads; i++)
        for (int64_t other = 0; other < p->heads; other++)
            for (int64_t c = 0; c < p->d; c += 16)
                __builtin_prefetch(t->data + sentence * t->batch + other * t->head + i * t->token + c, 0, 2);
}
