/* What vectors.h declares. */
#include "vectors.h"
#include <pthread.h>

int runs_here(void) {
#if LANES == 16
    return __builtin_cpu_supports("avx512f") != 0;
#elif LANES == 8
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

typedef struct {
    int (*work)(const void *, int64_t, int64_t);
    const void *task;
    int64_t from, to;
    int started, failed;
    pthread_t thread;
} share;

static void *run(void *argument) {
    share *mine = argument;
    mine->failed = mine->work(mine->task, mine->from, mine->to);
    return NULL;
}

/* Threads of its own, made anew: they cost microseconds, and a second OpenMP runtime beside that of PyTorch would keep
 * its threads spinning. */
int over_threads(int (*work)(const void *, int64_t, int64_t), const void *task, int64_t count, int64_t threads) {
    if (threads > count) threads = count;
    if (threads <= 1) return work(task, 0, count);
    share *shares = calloc((size_t)threads, sizeof(share));
    if (!shares) return 1;
    for (int64_t t = 0; t < threads; t++) {
        shares[t] = (share){.work = work, .task = task, .from = count * t / threads, .to = count * (t + 1) / threads};
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
