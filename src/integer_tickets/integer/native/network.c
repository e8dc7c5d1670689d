/* What ticket.h declares of the network. The steps are those of fast.h where the compiler's target has what they need,
 * but for TICKET_PLAIN, else those of plain.h; parts.h says how tensors lie.
 */
#include "ticket.h"
#if TICKET_FORM
#include "fast.h"
static void fetch(const int8_t *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T0);
    _mm_prefetch((const char *)p + bytes - 1, _MM_HINT_T0);
}
#else
#include "plain.h"
static void fetch(const int8_t *p, size_t bytes) { (void)p, (void)bytes; }
#endif

static size_t take(size_t *used, size_t bytes) {
    size_t place = *used;
    *used += (bytes + 63) / 64 * 64;
    return place;
}

static size_t lay_out(const ticket *net, int32_t lanes, room *r, uint8_t *space) {
    size_t used = 0, n = (size_t)lanes, d = (size_t)net->width, inner = (size_t)net->inner, f = (size_t)net->hidden;
    size_t scores = sizeof(int32_t) * (size_t)net->length, scratch = SCRATCH(net, n);
#define TAKE(type, count) (type *)(space + take(&used, sizeof(type) * (count)))
    r->residual = TAKE(int16_t, d * n);
    r->input = TAKE(uint8_t, INPUT(d, n));
    r->query = TAKE(uint8_t, inner * n + TICKET_BLOCK); /* the last queries may reach beyond the last lane */
    r->key = TAKE(uint8_t, inner * n);
    r->value = TAKE(uint8_t, inner * n);
    r->context = TAKE(uint8_t, inner * n);
    r->hidden = TAKE(uint8_t, f * n);
    r->arranged = TAKE(uint8_t, ARRANGED(d > f ? d : f, n));
    r->scratch = TAKE(uint8_t, scratch > scores ? scratch : scores);
    r->sums = TAKE(uint32_t, ROWS * n);
    r->reciprocal = TAKE(int32_t, n);
    r->shift = TAKE(int32_t, n);
#undef TAKE
    r->lanes = lanes;
    return used;
}

TICKET_API size_t ticket_space(const ticket *net, int32_t lanes) {
    room r;
    return lay_out(net, lanes, &r, NULL);
}

/* A layer, of what `arrange` or `normalize` gave, that gives bytes, or without `out` one that adds to the residual. */
static void linear(const ticket_linear *l, const uint8_t *x, const room *r, int32_t zero, uint8_t *out) {
    for (int32_t first = 0; first < l->rows; first += ROWS) {
        products(l, first, x, r->lanes, r->sums);
        if (out)
            to_bytes(l, first, r->sums, r->lanes, zero, out);
        else
            to_residual(l, first, r->sums, r->lanes, r->residual);
    }
}

static void softmax_head(const ticket *net, const ticket_layer *layer, const room *r, const sentence *s, int32_t head) {
    int32_t e = net->head_width, pre_shift = layer->pre_shift[head], shift = layer->shift[head];
    size_t lanes = (size_t)r->lanes, first = (size_t)(head * e) * lanes;
    const uint8_t *q = r->query + first, *k = r->key + first, *v = r->value + first;
    int32_t *scores = (int32_t *)r->scratch; /* of one token and all others */
    for (int32_t t = s->from; t < s->to; t++) {
        int32_t highest = INT32_MIN, total = 0;
        for (int32_t j = s->from; j < s->to; j++) {
            int32_t score = 0;
            for (size_t c = 0; c < (size_t)e; c++)
                score += (q[c * lanes + (size_t)t] - 128) * (k[c * lanes + (size_t)j] - 128);
            scores[j - s->from] = score;
            if (score > highest) highest = score;
        }
        for (int32_t j = 0; j < s->to - s->from; j++) {
            int32_t y = clamp((highest - scores[j]) >> pre_shift, LEAST16, MOST16);
            y = (y * layer->multiplier[head] + ((int32_t)1 << (shift - 1))) >> shift;
            scores[j] = layer->table[clamp(y, 0, 255)];
            total += scores[j];
        }
        for (size_t c = 0; c < (size_t)e; c++) {
            int64_t weighted = 0, twice = 2 * (int64_t)total;
            for (int32_t j = s->from; j < s->to; j++)
                weighted += scores[j - s->from] * (v[c * lanes + (size_t)j] - 128);
            int64_t above = weighted * ((int64_t)2 << layer->gain) + total, quotient = above / twice;
            if (above % twice < 0) quotient--; /* round down */
            int32_t y = (int32_t)(quotient < LEAST8 ? LEAST8 : quotient > MOST8 ? MOST8 : quotient);
            r->context[first + c * lanes + (size_t)t] = (uint8_t)(y + 128);
        }
    }
}

static void softmax(const ticket *net, const ticket_layer *layer, const room *r, const int32_t *ends,
                    int32_t sentences) {
    for (int32_t index = 0; index < sentences; index++) {
        sentence s = sentence_of(net, ends, index);
        for (int32_t head = 0; head < layer->heads; head++) softmax_head(net, layer, r, &s, head);
    }
}

/* Embeddings; lanes without a token get those of token 0, and are computed like the others. */
static void embed(const ticket *net, const int32_t *ids, const int32_t *ends, int32_t sentences, const room *r) {
    size_t d = (size_t)net->width, lanes = (size_t)r->lanes, done = sentences ? (size_t)ends[sentences - 1] : 0;
    int32_t *token = r->reciprocal, *position = r->shift; /* where those of each lane begin in the tables */
    for (int32_t index = 0, t = 0; index < sentences; index++)
        for (int32_t from = t; t < ends[index]; t++) {
            token[t] = ids[t] * (int32_t)d, position[t] = (t - from) * (int32_t)d;
            fetch(net->tokens + token[t], d); /* from anywhere in memory */
        }
    for (size_t t = done; t < lanes; t++) token[t] = position[t] = 0;
    for (size_t c = embed_words(net, r); c < d; c++)
        for (size_t t = 0; t < lanes; t++) {
            int32_t x = net->tokens[(size_t)token[t] + c] * ((int32_t)1 << net->token_shift);
            x += net->positions[(size_t)position[t] + c] * ((int32_t)1 << net->position_shift);
            r->residual[c * lanes + t] = (int16_t)clamp(x, LEAST16, MOST16);
        }
    for (size_t c = 0; c < (size_t)net->inner; c++)
        for (size_t t = done; t < lanes; t++) r->context[c * lanes + t] = 0;
}

static void classify(const ticket *net, const sentence *s, const room *r, int32_t *logits) {
    const ticket_linear *l = &net->classifier;
    size_t width = (size_t)net->width;
    for (int32_t class = 0; class < net->classes; class++) logits[class] = l->bias[class];
    if (s->from == s->to) return;
    for (size_t c = 0; c < width; c += 4) {
        uint32_t totals[4] = {0};
        total_inputs(r, s, c, width, totals);
        for (size_t i = 0; i < 4 && c + i < width; i++) {
            int32_t pooled = mean((int32_t)totals[i] - 128 * (s->to - s->from), s, net->pool_gain);
            for (int32_t class = 0; class < net->classes; class++)
                logits[class] += l->weight[(size_t)class * width + c + i] * pooled;
        }
    }
}

TICKET_API void ticket_logits(const ticket *net, const int32_t *ids, const int32_t *ends, int32_t sentences,
                              int32_t lanes, int32_t *logits, void *space) {
    room r;
    lay_out(net, lanes, &r, space);
    begin();
    embed(net, ids, ends, sentences, &r);
    for (int32_t i = 0; i < net->depth; i++) {
        const ticket_layer *layer = net->layers + i;
        normalize(net->width, &r, layer->attention_gain, layer->attention_offset);
        linear(&layer->query, r.input, &r, 128, r.query);
        linear(&layer->key, r.input, &r, 128, r.key);
        linear(&layer->value, r.input, &r, 128, r.value);
        (layer->table ? softmax : inhibitor)(net, layer, &r, ends, sentences);
        linear(&layer->output, arrange(r.context, layer->output.columns, lanes, r.arranged), &r, 0, NULL);
        normalize(net->width, &r, layer->hidden_gain, layer->hidden_offset);
        linear(&layer->up, r.input, &r, 0, r.hidden);
        linear(&layer->down, arrange(r.hidden, layer->down.columns, lanes, r.arranged), &r, 0, NULL);
    }
    finish();
    normalize(net->width, &r, NULL, NULL);
    for (int32_t index = 0; index < sentences; index++) {
        sentence s = sentence_of(net, ends, index);
        classify(net, &s, &r, logits + (size_t)index * (size_t)net->classes);
    }
}
