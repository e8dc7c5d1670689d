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

TICKET_API int32_t ticket_ids(const ticket *net, const uint8_t *text, size_t size, int32_t *ids) {
    const ticket_tokenizer *k = &net->tokenizer;
    int32_t number = 0;
    for (size_t i = 0; i < size && number < net->length;) {
        size_t from = i++;
        if (is_space(text[from])) continue;
        if (!is_punctuation(text[from]))
            while (i < size && !is_space(text[i]) && !is_punctuation(text[i])) i++;
        if (k->count)
            number += pieces(k, text + from, i - from, ids + number, net->length - number);
        else
            ids[number++] = i - from > LONGEST_WORD ? UNKNOWN : hash(k, text + from, i - from);
    }
    if (number > net->length) number = net->length;
    if (!number) ids[number++] = UNKNOWN;
    return number;
}

TICKET_API int32_t ticket_pair_ids(const ticket *net, const uint8_t *first, size_t first_size, const uint8_t *second,
                                   size_t second_size, int32_t *ids) {
    int32_t length = net->length, *rest = ids + length, room = length - 1;
    int32_t a = ticket_ids(net, first, first_size, ids), b = ticket_ids(net, second, second_size, rest);
    int32_t most = room - a > room / 2 ? room - a : room / 2;
    if (b > most) b = most;
    if (a > room - b) a = room - b;
    ids[a] = SEPARATOR; /* a is less than length, and what follows moves down */
    for (int32_t i = 0; i < b; i++) ids[a + 1 + i] = rest[i];
    return a + 1 + b;
}
