/* Operations on rows of numbers, forward and backward, float32, for training on the CPU: the mean-absolute norm, and
 * what surrounds an integer layer (docs/arithmetic.md), integers being held in floats.
 *
 * The same bits on every instruction set and for every number of threads: a sum is taken over one row at a time, in 16
 * lanes whatever a vector holds, and sums of rows are added in order. All else is done number by number, in loops
 * that the compiler turns into vectors.
 */
#include "vectors.h"
#include <math.h>

/* What to do, as Python describes it (the same fields in the same order in rows.py). */
typedef struct {
    const float *a, *b; /* the input; a second one, or the gradient of the output */
    float *out;
    int64_t count, d; /* numbers in all, and in a row; the last row may be shorter */
    float scale, low, high;
    int32_t pre_shift, multiplier, shift, zero;
    const int32_t *multipliers, *shifts; /* of every row, or NULL: the same for all */
    const float *scales;                 /* likewise */
    const uint8_t *valid;                /* of every `group` rows one row: which of their numbers count */
    int64_t group;
    const int32_t *table; /* 256 entries */
    double sum;                          /* a result */
    double *sums;                        /* own: of every row */
} rows;

#define SUMS 16
#define SMALLEST 1e-6f /* mean that a norm divides by */

INLINE int64_t row_length(const rows *t, int64_t row) {
    int64_t left = t->count - row * t->d;
    return left < t->d ? left : t->d;
}

/* Sum of a * b, or of |a| without b. */
INLINE float total(const float *a, const float *b, int64_t d) {
    vec sum[SUMS / LANES];
    float lane[SUMS];
    int64_t c = 0;
    for (int p = 0; p < SUMS / LANES; p++) sum[p] = splat(0);
    for (; c + SUMS <= d; c += SUMS)
        for (int p = 0; p < SUMS / LANES; p++) {
            vec x = load(a + c + p * LANES);
            sum[p] += b ? x * load(b + c + p * LANES) : absolute(x);
        }
    for (int p = 0; p < SUMS / LANES; p++) store(lane + p * LANES, sum[p]);
    for (int64_t l = 0; c + l < d; l++) lane[l] += b ? a[c + l] * b[c + l] : a[c + l] < 0 ? -a[c + l] : a[c + l];
    for (int half = SUMS / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* In this form the compiler turns it into vectors. */
INLINE int32_t clamped(int32_t x, int32_t low, int32_t high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static int over_rows(rows *t, int (*work)(const void *, int64_t, int64_t), int64_t threads) {
    int64_t worth = t->count / 262144 + 1; /* a new thread takes as long as this many numbers */
    return t->count ? over_threads(work, t, (t->count + t->d - 1) / t->d, threads < worth ? threads : worth) : 0;
}

/* ---- The norm: x / (scale * max(mean |x|, SMALLEST)), and the integers of it ---- */

static int norm_forward_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    for (int64_t row = from; row < to; row++) {
        const float *restrict x = t->a + row * t->d;
        float *restrict out = t->out + row * t->d;
        float mean = total(x, NULL, t->d) / (float)t->d;
        if (mean < SMALLEST) mean = SMALLEST;
        for (int64_t c = 0; c < t->d; c++) out[c] = x[c] / mean;
    }
    return 0;
}

static int norm_backward_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    float low = t->low, high = t->high;
    for (int64_t row = from; row < to; row++) {
        const float *restrict x = t->a + row * t->d, *restrict grad = t->b + row * t->d;
        float *restrict out = t->out + row * t->d;
        float mean = total(x, NULL, t->d) / (float)t->d;
        if (mean < SMALLEST) {
            for (int64_t c = 0; c < t->d; c++) out[c] = 0;
            continue;
        }
        float scale = mean * t->scale;
        for (int64_t c = 0; c < t->d; c++) {
            float y = x[c] / scale, g = grad[c];
            out[c] = (y >= low) & (y <= high) ? g : 0;
        }
        float pull = total(out, x, t->d) / (scale * mean * (float)t->d);
        for (int64_t c = 0; c < t->d; c++) out[c] = out[c] / scale - pull * (float)((x[c] > 0) - (x[c] < 0));
    }
    return 0;
}

static int bits_of(int32_t positive) { return 32 - __builtin_clz((uint32_t)positive); }

static int integer_norm_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    int32_t d = (int32_t)t->d;
    for (int64_t row = from; row < to; row++) {
        const float *restrict x = t->a + row * d;
        float *restrict out = t->out + row * d;
        int32_t size = 0;
        for (int32_t c = 0; c < d; c++) size += (int32_t)(x[c] < 0 ? -x[c] : x[c]);
        if (size < 1) size = 1;
        int shift = 14 + bits_of(size) - bits_of(d);
        int32_t reciprocal = (int32_t)(((int64_t)d << shift) / size), half = 1 << (shift - 5);
        shift -= 4;
        for (int32_t c = 0; c < d; c++) {
            int32_t y = ((int32_t)x[c] * reciprocal + half) >> shift;
            out[c] = (float)clamped(y, -128, 127);
        }
    }
    return 0;
}

/* ---- The rounding rule, the grid of weights, the residual addition, and the gradient of all of them ---- */

static int requantize_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    int32_t pre_shift = t->pre_shift, zero = t->zero, low = (int32_t)t->low, high = (int32_t)t->high;
    for (int64_t row = from; row < to; row++) {
        const float *restrict acc = t->a + row * t->d;
        float *restrict out = t->out + row * t->d;
        int32_t multiplier = t->multipliers ? t->multipliers[row] : t->multiplier;
        int32_t shift = t->shifts ? t->shifts[row] : t->shift, half = 1 << (shift - 1);
        for (int64_t c = 0, d = row_length(t, row); c < d; c++) {
            int32_t y = clamped((int32_t)acc[c] >> pre_shift, -32768, 32767);
            out[c] = (float)clamped(((y * multiplier + half) >> shift) + zero, low, high);
        }
    }
    return 0;
}

/* To the nearest integer, the even one at a tie; |x| < 2^22. */
INLINE float rounded(float x) { return (x + 12582912.0f) - 12582912.0f; }

static int quantize_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    float step = t->scale, low = t->low, high = t->high;
    for (int64_t row = from; row < to; row++) {
        const float *restrict x = t->a + row * t->d;
        float *restrict out = t->out + row * t->d;
        for (int64_t c = 0, d = row_length(t, row); c < d; c++) {
            float y = x[c] / step;
            out[c] = rounded(y < low ? low : y > high ? high : y);
        }
    }
    return 0;
}

static int add_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    float low = t->low, high = t->high;
    for (int64_t row = from; row < to; row++) {
        const float *restrict x = t->a + row * t->d, *restrict y = t->b + row * t->d;
        float *restrict out = t->out + row * t->d;
        for (int64_t c = 0, d = row_length(t, row); c < d; c++) {
            float z = x[c] + rounded(y[c]);
            out[c] = z < low ? low : z > high ? high : z;
        }
    }
    return 0;
}

/* scale * gradient where low <= scale * x <= high, else 0; and the sum of x * gradient there. */
static int gate_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    float low = t->low, high = t->high;
    for (int64_t row = from; row < to; row++) {
        const float *restrict x = t->a + row * t->d, *restrict grad = t->b + row * t->d;
        float *restrict out = t->out + row * t->d, scale = t->scales ? t->scales[row] : t->scale;
        int64_t d = row_length(t, row);
        for (int64_t c = 0; c < d; c++) {
            float y = x[c] * scale, g = grad[c];
            out[c] = (y >= low) & (y <= high) ? g : 0;
        }
        t->sums[row] = total(out, x, d);
        for (int64_t c = 0; c < d; c++) out[c] *= scale;
    }
    return 0;
}

/* ---- Softmax: scores to weights, and the weighted sums over their sum (`scales`) ---- */

static int softmax_weights_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    int32_t pre_shift = t->pre_shift, multiplier = t->multiplier, shift = t->shift, half = 1 << (shift - 1);
    for (int64_t row = from; row < to; row++) {
        const float *restrict score = t->a + row * t->d;
        const uint8_t *restrict valid = t->valid + row / t->group * t->d;
        float *restrict out = t->out + row * t->d;
        int32_t highest = INT32_MIN / 2;
        for (int64_t j = 0; j < t->d; j++) {
            int32_t own = valid[j] ? (int32_t)score[j] : INT32_MIN / 2;
            highest = own > highest ? own : highest;
        }
        for (int64_t j = 0; j < t->d; j++) { /* what is not valid lies anywhere: it must not overflow either */
            int32_t y = clamped((highest - (valid[j] ? (int32_t)score[j] : highest)) >> pre_shift, -32768, 32767);
            int32_t weight = t->table[clamped((y * multiplier + half) >> shift, 0, 255)];
            out[j] = (float)(valid[j] ? weight : 0);
        }
    }
    return 0;
}

static int softmax_divide_part(const void *task, int64_t from, int64_t to) {
    const rows *t = task;
    double factor = t->multiplier, low = t->low, high = t->high;
    for (int64_t row = from; row < to; row++) {
        const float *restrict a = t->a + row * t->d;
        float *restrict out = t->out + row * t->d;
        double sum = t->scales[row] < 1 ? 1 : t->scales[row];
        for (int64_t c = 0; c < t->d; c++) {
            double y = floor((a[c] * factor + sum) / (2 * sum));
            out[c] = (float)(y < low ? low : y > high ? high : y);
        }
    }
    return 0;
}

/* ---- What Python calls; not 0 where memory is short ---- */

int norm_forward(rows *t, int64_t threads) { return over_rows(t, norm_forward_part, threads); }
int norm_backward(rows *t, int64_t threads) { return over_rows(t, norm_backward_part, threads); }
int integer_norm(rows *t, int64_t threads) { return over_rows(t, integer_norm_part, threads); }
int requantize(rows *t, int64_t threads) { return over_rows(t, requantize_part, threads); }
int quantize(rows *t, int64_t threads) { return over_rows(t, quantize_part, threads); }
int add_saturating(rows *t, int64_t threads) { return over_rows(t, add_part, threads); }
int softmax_weights(rows *t, int64_t threads) { return over_rows(t, softmax_weights_part, threads); }
int softmax_divide(rows *t, int64_t threads) { return over_rows(t, softmax_divide_part, threads); }

int gate(rows *t, int64_t threads) {
    int64_t number = (t->count + t->d - 1) / t->d;
    t->sums = malloc(sizeof(double) * (size_t)(number + 1));
    if (!t->sums || over_rows(t, gate_part, threads)) return free(t->sums), 1;
    t->sum = 0;
    for (int64_t row = 0; row < number; row++) t->sum += t->sums[row];
    free(t->sums);
    return 0;
}
