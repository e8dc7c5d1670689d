/* An integer network and its tokenizer in C: text or token ids in, logits out. docs/arithmetic.md has the rules.
 *
 * C99 with two's complement and arithmetic shifts; no floating point, no allocation, nothing of the C library. All data
 * are read only, all working space is the caller's, so that one ticket serves any number of threads.
 */
#ifndef TICKET_H
#define TICKET_H

#include <stddef.h>
#include <stdint.h>

/* A linear layer that reads bytes: weight @ (byte - 128 or byte) + bias, the 128 being folded into the bias.
 * Where `start` is there, weights that are 0 are left out: those of row r are start[r] to start[r + 1] - 1. */
typedef struct {
    const int8_t *weight;
    const uint16_t *column; /* of each weight, or NULL: all rows x columns of them are there */
    const uint32_t *start;
    const uint16_t *order;     /* which row is computed first, second, ...; NULL: in their order (always, in plain C) */
    const int32_t *bias;       /* modulo 2^32; like the weights, in the order in which rows are computed */
    const int16_t *multiplier; /* of each row, or one for all; NULL for the classifier */
    int32_t rows, columns;
    uint8_t per_row, pre_shift, shift;
} ticket_linear;

typedef struct {
    ticket_linear query, key, value, output, up, down;
    const int16_t *multiplier; /* these of each head */
    const int32_t *offset;     /* Inhibitor */
    const uint8_t *shift;
    const uint8_t *pre_shift; /* softmax */
    const uint8_t *table;     /* softmax, 256 entries; NULL: Inhibitor */
    const int16_t *attention_gain, *attention_offset; /* post-norm, `width` of each: what goes past attention */
    const int16_t *hidden_gain, *hidden_offset;       /* and past the hidden layer; NULL: the residual itself does */
    int32_t heads;
    uint8_t gain, is_signed;
} ticket_layer;

/* How text becomes ids. Pieces of the same kind stand in the order of their bytes. */
typedef struct {
    const uint8_t *bytes;   /* of all pieces, one after the other */
    const uint32_t *start;  /* count + 1: where each piece begins among them */
    const uint16_t *id;     /* of each piece */
    int32_t begins, count;  /* pieces that begin a word, which come first; pieces in all, 0: ids are hashes of words */
    int32_t size;           /* ids in all */
    int32_t truncates_left; /* 1: of a text with too many tokens the last ones are read, else the first ones */
} ticket_tokenizer;

typedef struct {
    const int8_t *tokens, *positions; /* vocabulary x width, length x width */
    const ticket_layer *layers;
    ticket_linear classifier;
    const int16_t *length_multiplier; /* length + 1 */
    const uint8_t *length_shift;
    ticket_tokenizer tokenizer;
    int32_t vocabulary, length, width, head_width, depth, classes;
    int32_t inner, hidden; /* the most of any layer */
    uint8_t token_shift, position_shift, pool_gain;
} ticket;

/* What the steps are compiled for: 0 for any processor (always with TICKET_PLAIN), 1 for AVX2, 2 for AVX-512 with VNNI,
 * 3 for these and the tiles of AMX, for which a process needs the kernel's leave (`ticket_runs_here` asks for it). */
#if defined(TICKET_PLAIN) || !defined(__AVX2__)
#define TICKET_FORM 0
#elif !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__)
#define TICKET_FORM 1
#elif !defined(__AMX_INT8__)
#define TICKET_FORM 2
#else
#define TICKET_FORM 3
#endif

/* Lanes, each of them one token, are worked on in blocks of so many. */
#if TICKET_FORM
#define TICKET_BLOCK 16
#else
#define TICKET_BLOCK 8
#endif

#ifndef TICKET_API
#define TICKET_API /* static, where all is one file */
#endif

/* Bytes of working space for so many lanes, a multiple of TICKET_BLOCK; at any address that is a multiple of 64. */
TICKET_API size_t ticket_space(const ticket *net, int32_t lanes);

/* Logits (sentences x classes) of sentences side by side in the lanes: sentence s has the ids ends[s - 1] to
 * ends[s] - 1 (from 0 for the first one), each 0 to vocabulary - 1, at most `length` of them, or none at all. The last
 * end is at most `lanes`. */
TICKET_API void ticket_logits(const ticket *net, const int32_t *ids, const int32_t *ends, int32_t sentences,
                              int32_t lanes, int32_t *logits, void *space);

/* The ids of a text of `size` bytes, at most `length` of them; how many. */
TICKET_API int32_t ticket_ids(const ticket *net, const uint8_t *text, size_t size, int32_t *ids);

/* The ids of a pair of texts; `ids` has room for 2 * length of them. */
TICKET_API int32_t ticket_pair_ids(const ticket *net, const uint8_t *first, size_t first_size, const uint8_t *second,
                                   size_t second_size, int32_t *ids);

#endif
