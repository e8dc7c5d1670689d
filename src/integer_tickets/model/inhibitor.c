/* Inhibitor attention, forward and backward, float32, for training on the CPU.
 *
 * Per head, over the valid keys j of a sentence (features c < d):
 *     Z_ij = max(0, gamma * sum_c |q_ic - k_jc| - delta), or by the integer rule clamp((D*m - offset) >> shift, 0, 255)
 *     H_ic = sum_j v_jc - clamp(v_jc, -Z_ij, Z_ij)     (signed)     sum_j max(0, v_jc - Z_ij)     (unsigned)
 *
 * The same bits on every instruction set: no sum ever runs across the lanes of a vector. Distances and dZ keep one key
 * in each lane and add features in order; H, dq and dk keep one feature in each lane and add keys (or queries) in
 * order. So the width of a vector decides only how many independent sums run side by side. What needs a sum across
 * lanes (dgamma, ddelta) is stored and added one by one.
 *
 * Valid keys are gathered first; what pads them to whole vectors has v = 0, for which every term and gate below is 0.
 * Each (sentence, head) pair is computed alone, so results depend neither on padding, batch nor number of threads.
 */
#include "inhibitor.h"

/* ---- Forward ---- */

int64_t inhibitor_width(int64_t n) { return padded(n, LANES); }

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

/* ---- All pairs ---- */

INLINE int over_pairs(const problem *p, int64_t from, int64_t to, void (*work)(const problem *, space *, int64_t)) {
    space w;
    void *memory = new_space(p, &w);
    for (int64_t pair = from; memory && pair < to; pair++) work(p, &w, pair);
    free(memory);
    return memory == NULL;
}

static int forward_pairs(const void *p, int64_t from, int64_t to) { return over_pairs(p, from, to, forward_pair); }
static int backward_pairs(const void *p, int64_t from, int64_t to) { return over_pairs(p, from, to, backward_pair); }

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
