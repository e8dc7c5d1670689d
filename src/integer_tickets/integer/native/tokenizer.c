/* What ticket.h declares of the tokenizer: bytes, ASCII rules, greedy longest match (docs/format.md). */
#include "ticket.h"

enum { UNKNOWN = 1, SEPARATOR = 2, FIRST_PIECE = 3, LONGEST_WORD = 200 };

static int is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int is_punctuation(uint8_t c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

static int32_t hash(const ticket_tokenizer *k, const uint8_t *word, size_t size) {
    uint32_t value = 0x811C9DC5u;
    for (size_t i = 0; i < size; i++) value = (value ^ lower(word[i])) * 0x01000193u;
    return FIRST_PIECE + (int32_t)(value % (uint32_t)(k->size - FIRST_PIECE));
}

/* Of the pieces low..high - 1, which agree in their first `depth` bytes, the first one whose next byte is at least
 * `byte`; a piece without a next byte comes before all others. */
static int32_t bound(const ticket_tokenizer *k, int32_t low, int32_t high, size_t depth, int32_t byte) {
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        size_t place = k->start[middle] + depth;
        if (place < k->start[middle + 1] && k->bytes[place] >= byte)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The index of the longest piece among low..high - 1 that the bytes begin with, or -1; its length. */
static int32_t longest(const ticket_tokenizer *k, int32_t low, int32_t high, const uint8_t *bytes, size_t size,
                       size_t *length) {
    int32_t found = -1;
    for (size_t depth = 0; depth < size; depth++) {
        int32_t byte = lower(bytes[depth]);
        low = bound(k, low, high, depth, byte);
        high = bound(k, low, high, depth, byte + 1);
        if (low == high) break;
        if (k->start[low + 1] - k->start[low] == depth + 1) found = low, *length = depth + 1;
    }
    return found;
}

/* The ids of a word, of which the first `room` are written; how many there are. */
static int32_t pieces(const ticket_tokenizer *k, const uint8_t *word, size_t size, int32_t *ids, int32_t room) {
    int32_t number = 0, unknown = size > LONGEST_WORD, low = 0, high = k->begins;
    for (size_t place = 0; place < size && !unknown;) {
        size_t length = 0;
        int32_t piece = longest(k, low, high, word + place, size - place, &length);
        unknown = piece < 0;
        if (!unknown && number < room) ids[number] = k->id[piece];
        number++, place += length, low = k->begins, high = k->count;
    }
    if (unknown) {
        if (room > 0) ids[0] = UNKNOWN;
        number = 1;
    }
    return number;
}

/* The ids of a word, of which the first `room` (at least one) are written; how many there are. */
static int32_t word_ids(const ticket_tokenizer *k, const uint8_t *word, size_t size, int32_t *ids, int32_t room) {
    if (k->count) return pieces(k, word, size, ids, room);
    ids[0] = size > LONGEST_WORD ? UNKNOWN : hash(k, word, size);
    return 1;
}

/* The first ids of a text, at most `length`; how many. */
static int32_t first_ids(const ticket *net, const uint8_t *text, size_t size, int32_t *ids) {
    int32_t number = 0;
    for (size_t i = 0; i < size && number < net->length;) {
        size_t from = i++;
        if (is_space(text[from])) continue;
        if (!is_punctuation(text[from]))
            while (i < size && !is_space(text[i]) && !is_punctuation(text[i])) i++;
        number += word_ids(&net->tokenizer, text + from, i - from, ids + number, net->length - number);
    }
    return number < net->length ? number : net->length;
}

/* The last ids of a text, at most `length`; how many. */
static int32_t last_ids(const ticket *net, const uint8_t *text, size_t size, int32_t *ids) {
    int32_t own[LONGEST_WORD], begin = net->length;
    for (size_t i = size; i > 0 && begin > 0;) {
        size_t to = i--;
        if (is_space(text[i])) continue;
        if (!is_punctuation(text[i]))
            while (i > 0 && !is_space(text[i - 1]) && !is_punctuation(text[i - 1])) i--;
        int32_t number = word_ids(&net->tokenizer, text + i, to - i, own, LONGEST_WORD);
        while (number > 0 && begin > 0) ids[--begin] = own[--number];
    }
    for (int32_t i = begin; i < net->length; i++) ids[i - begin] = ids[i];
    return net->length - begin;
}

TICKET_API int32_t ticket_ids(const ticket *net, const uint8_t *text, size_t size, int32_t *ids) {
    int32_t number = (net->tokenizer.truncates_left ? last_ids : first_ids)(net, text, size, ids);
    if (!number) ids[number++] = UNKNOWN;
    return number;
}

TICKET_API int32_t ticket_pair_ids(const ticket *net, const uint8_t *first, size_t first_size, const uint8_t *second,
                                   size_t second_size, int32_t *ids) {
    int32_t length = net->length, *rest = ids + length, room = length - 1;
    int32_t a = ticket_ids(net, first, first_size, ids), b = ticket_ids(net, second, second_size, rest);
    int32_t most = room - a > room / 2 ? room - a : room / 2;
    int32_t second_kept = b < most ? b : most, first_kept = a < room - second_kept ? a : room - second_kept;
    if (net->tokenizer.truncates_left) {
        for (int32_t i = 0; i < first_kept; i++) ids[i] = ids[a - first_kept + i];
        rest += b - second_kept;
    }
    ids[first_kept] = SEPARATOR; /* that is less than length, and what follows moves down */
    for (int32_t i = 0; i < second_kept; i++) ids[first_kept + 1 + i] = rest[i];
    return first_kept + 1 + second_kept;
}
