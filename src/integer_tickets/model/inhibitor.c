/* Inhibitor attention, forward and backward, float32, for training on the CPU.
 *
 * Per head, over the valid keys j of a sentence (features c < d):
 *     Z_ij = max(0, gamma * sum_c |q_ic - k_jc| - delta), or by the integer rule clamp((D*m - offset) >> shift, 0, 255)
 *     H_ic = sum_j v_jc - sum_j clamp(v_jc, -Z_ij, Z_ij)     (signed)     sum_j v_jc - sum_j min(v_jc, Z_ij)  (unsigned)
 *
 * The same bits on every instruction set: no sum ever runs across the lanes of a vector. Distances and dZ keep one key
 * in each lane and add features in order; H, dq and dk keep one feature in each lane and add keys (or queries) in
 * order. So the width of a vector decides only how many independent sums run side by side. What needs a sum across
 * lanes (dgamma, ddelta) is stored and added one by one.
 *
 * Valid keys are gathered first; what pads them to whole vectors has v = 0, for which every term and gate below is 0.
 * Each (sentence, head) pair is computed alone, so results depend neither on padding, batch nor number of threads.
 *
 * Queries are taken BLOCK at a time, and of these ROWS at a time for one vector of keys or features, so that what the
 * innermost loops run over (a column of k, v, dk or dv, one vector wide) stays in the first-level cache.
 */
#include "inhibitor.h"

/* ---- Forward ---- */

int64_t inhibitor_width(int64_t n) { return padded(n, LANES); }

/* Z of `rows` queries, beginning with row q. */
static ALONE void inhibitions(const problem *p, space *w, int64_t head, const float *q, int64_t rows) {
    int64_t wide = w->wide, deep = w->deep, d = p->d;
    vec gamma = splat(p->gamma[head]), delta = splat(p->delta[head]);
    for (int64_t j = 0; j < wide; j += LANES)
        for (int64_t i = 0; i < rows; i += ROWS) {
            const float *a = q + i * deep, *k = w->k_t + j;
            vec sum[ROWS];
            for (int r = 0; r < ROWS; r++) sum[r] = splat(0);
            for (int64_t c = 0; c < d; c++) {
                vec b = load(k + c * wide);
                for (int r = 0; r < ROWS; r++) sum[r] += absolute(splat(a[r * deep + c]) - b);
            }
            for (int r = 0; r < ROWS; r++) {
                vec z = gamma * sum[r] - delta;
                if (p->multiplier) {
                    bits x = __builtin_convertvector(sum[r], bits) * p->multiplier[head] - p->offset[head];
                    z = lowest(splat(255), __builtin_convertvector(x >> p->shift[head], vec));
                }
                store(w->z + (i + r) * wide + j, highest(splat(0), z)); /* NaN stays */
            }
        }
}

/* H of ROWS queries and `columns` vectors of features, from column c on; z and h begin with the first of the queries. */
INLINE void inhibited(const space *w, float *h, const float *z, int64_t c, const int columns, const int is_signed) {
    int64_t wide = w->wide, deep = w->deep;
    vec stopped[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int x = 0; x < columns; x++) stopped[r][x] = splat(0);
    for (int64_t j = 0; j < w->keys; j++) {
        vec v[2];
        for (int x = 0; x < columns; x++) v[x] = load(w->v + j * deep + c + x * LANES);
        for (int r = 0; r < ROWS; r++) {
            vec limit = splat(z[r * wide + j]), low = minus(limit);
            for (int x = 0; x < columns; x++) {
                vec part = lowest(v[x], limit);
                stopped[r][x] += is_signed ? highest(low, part) : part;
            }
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int x = 0; x < columns; x++)
            store(h + r * deep + c + x * LANES, load(w->sum + c + x * LANES) - stopped[r][x]);
}

INLINE void inhibited_rows(const space *w, float *h, int64_t rows, const int is_signed) {
    int64_t c = 0, wide = w->wide, deep = w->deep;
    for (; c + 2 * LANES <= deep; c += 2 * LANES)
        for (int64_t i = 0; i < rows; i += ROWS) inhibited(w, h + i * deep, w->z + i * wide, c, 2, is_signed);
    if (c < deep)
        for (int64_t i = 0; i < rows; i += ROWS) inhibited(w, h + i * deep, w->z + i * wide, c, 1, is_signed);
}

static void forward_pair(const problem *p, space *w, int64_t pair) {
    int64_t n = p->n, rows = padded(n, ROWS);
    valid_keys(p, w, pair);
    int64_t wide = w->wide, deep = w->deep;
    announce(p, pair, &p->q);
    gather(w->q, &p->q, p, pair, NULL, n, rows, deep);
    gather(w->k, &p->k, p, pair, w->key, w->keys, wide, deep);
    gather(w->v, &p->v, p, pair, w->key, w->keys, wide, deep);
    transpose(w->k_t, w->k, wide, deep);
    announce(p, pair, &p->k);
    memset(w->sum, 0, sizeof(float) * deep);
    for (int64_t j = 0; j < w->keys; j++)
        for (int64_t c = 0; c < deep; c++) w->sum[c] += w->v[j * deep + c];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t own = rows - i < BLOCK ? rows - i : BLOCK;
        inhibitions(p, w, pair % p->heads, w->q + i * deep, own);
        if (i == 0) announce(p, pair, &p->v);
        for (int64_t r = 0; p->z && r < own && i + r < n; r++)
            memcpy(p->z + (pair * n + i + r) * inhibitor_width(n), w->z + r * wide, sizeof(float) * wide);
        if (p->is_signed)
            inhibited_rows(w, w->h + i * deep, own, 1);
        else
            inhibited_rows(w, w->h + i * deep, own, 0);
    }
    announce(p, pair, &p->h);
    scatter(&p->h, w->h, p, pair, NULL, n, deep);
}

/* ---- Backward: dv, and dS = dZ where Z > 0, of `rows` queries that begin with row `first` ---- */

INLINE void backward_values(const problem *p, space *w, int64_t pair, int64_t first, int64_t rows, const int is_signed) {
    int64_t wide = w->wide, deep = w->deep, d = p->d, stride = inhibitor_width(p->n);
    for (int64_t j = 0; j < wide; j += LANES) {
        const float *v_t = w->v_t + j;
        float *restrict grad_v_t = w->grad_v_t + j;
        vec all = load(w->sum + j);
        for (int64_t i = first; i < first + rows; i += ROWS) {
            if (w->silent[i / ROWS]) continue;
            const float *grad_h = w->h + i * deep;
            vec z[ROWS], sum[ROWS];
            for (int r = 0; r < ROWS; r++) {
                int64_t row = i + r < p->n ? i + r : p->n - 1; /* beyond n the gradient is zero, any Z will do */
                z[r] = load(p->z + (pair * p->n + row) * stride + j), sum[r] = splat(0);
            }
            for (int64_t c = 0; c < d; c++) {
                vec v = load(v_t + c * wide), grad_v = load(grad_v_t + c * wide);
                vec size = is_signed ? absolute(v) : v;
                vec sign = one_with_sign(v);
                for (int r = 0; r < ROWS; r++) {
                    vec passed = where_greater(size, z[r], splat(grad_h[r * deep + c]));
                    grad_v += passed;
                    sum[r] = exact_mulsub(passed, sign, sum[r]);
                }
                store(grad_v_t + c * wide, grad_v);
            }
            for (int r = 0; r < ROWS; r++) {
                vec s = where_greater(z[r], splat(0), sum[r]);
                store(w->s + (i - first + r) * wide + j, s);
                all += s;
            }
        }
        store(w->sum + j, all);
    }
}

/* Functions of their own, so that their loops have all registers. */
static ALONE void signed_values(const problem *p, space *w, int64_t pair, int64_t first, int64_t rows) {
    backward_values(p, w, pair, first, rows, 1);
}
static ALONE void unsigned_values(const problem *p, space *w, int64_t pair, int64_t first, int64_t rows) {
    backward_values(p, w, pair, first, rows, 0);
}

/* dq and dk, times SIGN and still without the factor gamma. */
static ALONE void backward_distances(space *w, int64_t first, int64_t rows) {
    int64_t wide = w->wide, deep = w->deep, keys = w->keys;
    for (int64_t c = 0; c < deep; c += LANES)
        for (int64_t i = first; i < first + rows; i += ROWS) {
            if (w->silent[i / ROWS]) continue;
            const float *k = w->k + c, *s = w->s + (i - first) * wide;
            float *restrict grad_k = w->grad_k + c;
            vec a[ROWS], sum[ROWS];
            for (int r = 0; r < ROWS; r++) a[r] = load(w->q + (i + r) * deep + c), sum[r] = splat(0);
            for (int64_t j = 0; j < keys; j++) {
                vec b = load(k + j * deep), own = load(grad_k + j * deep);
                for (int r = 0; r < ROWS; r++) {
                    vec x = splat(s[r * wide + j]), sign = sign_of(a[r] - b);
                    sum[r] = exact_muladd(x, sign, sum[r]);
                    own = exact_mulsub(x, sign, own);
                }
                store(grad_k + j * deep, own);
            }
            for (int r = 0; r < ROWS; r++) store(w->grad_q + (i + r) * deep + c, sum[r]);
        }
}

static int all_zero(const float *a, int64_t count) {
    int other = 0;
    for (int64_t x = 0; x < count; x++) other |= a[x] != 0;
    return !other;
}

/* The sum of a * b to w->sum, feature by feature; b times `factor`. */
INLINE void add_products(space *w, const float *restrict a, float *restrict b, int64_t rows, float factor) {
    int64_t deep = w->deep;
    for (int64_t i = 0; i < rows * deep; i += deep)
        for (int64_t c = 0; c < deep; c++) {
            w->sum[c] += a[i + c] * b[i + c];
            b[i + c] *= factor;
        }
}

static void backward_pair(const problem *p, space *w, int64_t pair) {
    int64_t n = p->n, rows = padded(n, ROWS);
    valid_keys(p, w, pair);
    int64_t wide = w->wide, deep = w->deep;
    float factor = p->gamma[pair % p->heads] / SIGN;
    double total = 0;
    announce(p, pair, &p->q);
    gather(w->q, &p->q, p, pair, NULL, n, rows, deep);
    gather(w->k, &p->k, p, pair, w->key, w->keys, wide, deep);
    announce(p, pair, &p->k);
    gather(w->v, &p->v, p, pair, w->key, w->keys, wide, deep);
    gather(w->h, &p->grad_h, p, pair, NULL, n, rows, deep);
    transpose(w->v_t, w->v, wide, deep);
    announce(p, pair, &p->v);
    memset(w->grad_q, 0, sizeof(float) * rows * deep);
    memset(w->grad_k, 0, sizeof(float) * wide * deep);
    memset(w->grad_v_t, 0, sizeof(float) * wide * deep);
    memset(w->sum, 0, sizeof(float) * wide);
    for (int64_t i = 0; i < rows; i += ROWS) /* queries that are padding, as a rule */
        w->silent[i / ROWS] = (uint8_t)all_zero(w->h + i * deep, ROWS * deep);
    for (int64_t i = 0; i < rows; i += BLOCK) {
        int64_t own = rows - i < BLOCK ? rows - i : BLOCK;
        if (p->is_signed)
            signed_values(p, w, pair, i, own);
        else
            unsigned_values(p, w, pair, i, own);
        if (i == 0) announce(p, pair, &p->grad_h), announce(p, pair, &p->grad_q);
        backward_distances(w, i, own);
        if (i == 0) announce(p, pair, &p->grad_k);
    }
    for (int64_t j = 0; j < wide; j++) total -= w->sum[j];
    p->pair_delta[pair] = total;

    /* D_ij = sum_c sign(q_ic - k_jc) (q_ic - k_jc), so dgamma = sum_ij dS_ij D_ij = (sum_ic q dq + sum_jc k dk) / gamma:
     * no distance is needed again. */
    memset(w->sum, 0, sizeof(float) * deep);
    add_products(w, w->q, w->grad_q, rows, factor);
    add_products(w, w->k, w->grad_k, wide, factor);
    total = 0;
    for (int64_t c = 0; c < deep; c++) total += w->sum[c];
    p->pair_gamma[pair] = total / SIGN;

    announce(p, pair, &p->grad_v);
    transpose(w->v, w->grad_v_t, deep, wide);
    scatter(&p->grad_q, w->grad_q, p, pair, NULL, n, deep);
    scatter(&p->grad_k, w->grad_k, p, pair, w->key, w->keys, deep);
    scatter(&p->grad_v, w->v, p, pair, w->key, w->keys, deep);
}

/* ---- All pairs ---- */

INLINE int over_pairs(const problem *p, int64_t from, int64_t to, const int is_backward) {
    space w;
    void *memory = new_space(p, &w);
    for (int64_t pair = from; memory && pair < to; pair++) {
        if (is_backward)
            backward_pair(p, &w, pair);
        else
            forward_pair(p, &w, pair);
    }
    free(memory);
    return memory == NULL;
}

static int forward_pairs(const void *p, int64_t from, int64_t to) { return over_pairs(p, from, to, 0); }
static int backward_pairs(const void *p, int64_t from, int64_t to) { return over_pairs(p, from, to, 1); }

/* Both give 0, or 1 where memory is short. */
int inhibitor_forward(const problem *p, int64_t threads) {
    return over_threads(forward_pairs, p, p->batch * p->heads, threads);
}

int inhibitor_backward(const problem *p, int64_t threads) {
    int failed = over_threads(backward_pairs, p, p->batch * p->heads, threads);
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
