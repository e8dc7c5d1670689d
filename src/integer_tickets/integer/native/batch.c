/* Many texts and sentences. Sentences go side by side, in as many lanes as stay in the nearest caches. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* for syscall */
#endif
#include "ticket.h"
#if TICKET_FORM == 3 && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

int32_t ticket_form(void) { return TICKET_FORM; }

#if TICKET_FORM == 3
/* 1 where the kernel lets this process use tiles. */
static int32_t tiles_allowed(void) {
#ifdef __linux__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 0;
#endif
}
#else
#define tiles_allowed() 1
#endif

/* 1 where this processor has the instructions that these files were compiled for, and all may be used. */
int32_t ticket_runs_here(void) {
#if TICKET_FORM >= 2
    return tiles_allowed() && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
#elif TICKET_FORM == 1
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

static int32_t whole_blocks(int32_t lanes) { return (lanes + TICKET_BLOCK - 1) / TICKET_BLOCK * TICKET_BLOCK; }

/* For what `ticket_batch` takes at once: `most` lanes, or one sentence that is longer. */
size_t ticket_batch_space(const ticket *net, int32_t most) {
    return ticket_space(net, whole_blocks(most > net->length ? most : net->length));
}

/* As ticket_logits, but for any number of sentences; they are taken `most` lanes at a time. */
void ticket_batch(const ticket *net, const int32_t *ids, const int64_t *ends, int64_t sentences, int32_t most,
                  int32_t *logits, void *space) {
    enum { TOGETHER = 64 };
    int32_t own[TOGETHER];
    for (int64_t first = 0; first < sentences;) {
        int64_t from = first ? ends[first - 1] : 0;
        int32_t number = 0, used = 0;
        while (number < TOGETHER && first + number < sentences) {
            int64_t end = ends[first + number] - from;
            if (number && end > most) break;
            own[number++] = used = (int32_t)end;
        }
        ticket_logits(net, ids + from, own, number, whole_blocks(used), logits + first * net->classes, space);
        first += number;
    }
}

/* As ticket_batch, of a right-padded batch: ids (sentences x n) and counts. 0 where a number is out of range. */
int32_t ticket_padded(const ticket *net, const int64_t *ids, const int64_t *counts, int64_t sentences, int64_t n,
                      int32_t most, int32_t *logits, void *space) {
    enum { TOGETHER = 64, LONGEST = 256 };
    int32_t own[TOGETHER], packed[LONGEST];
    if (most > LONGEST || net->length > LONGEST) return 0;
    for (int64_t first = 0; first < sentences;) {
        int32_t number = 0, used = 0;
        for (; number < TOGETHER && first + number < sentences; number++, ids += n) {
            int64_t count = counts[first + number];
            if (count < 0 || count > n || count > net->length) return 0;
            if (number && used + count > most) break;
            for (int64_t j = 0; j < count; j++) {
                if (ids[j] < 0 || ids[j] >= net->vocabulary) return 0;
                packed[used++] = (int32_t)ids[j];
            }
            own[number] = used;
        }
        ticket_logits(net, packed, own, number, whole_blocks(used), logits + first * net->classes, space);
        first += number;
    }
    return 1;
}

/* Ids of texts, or of pairs where pair[i] is not 0: text i is the bytes from ends[2i - 1] (0 at first) to ends[2i],
 * its second text those from there to ends[2i + 1]. `ids` has room for (count + 1) * length; id_ends as for
 * ticket_batch. */
void ticket_encode(const ticket *net, const uint8_t *bytes, const int64_t *ends, const uint8_t *pair, int64_t count,
                   int32_t *ids, int64_t *id_ends) {
    int64_t from = 0, used = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t middle = ends[2 * i], end = ends[2 * i + 1];
        const uint8_t *first = bytes + from, *second = bytes + middle;
        if (pair[i])
            used += ticket_pair_ids(net, first, (size_t)(middle - from), second, (size_t)(end - middle), ids + used);
        else
            used += ticket_ids(net, first, (size_t)(middle - from), ids + used);
        id_ends[i] = used, from = end;
    }
}
