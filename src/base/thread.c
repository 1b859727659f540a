/* The pool: see thread.h.
 *
 * Invariants, all under `mutex`:
 *  1. `round` grows by one for each loop; a worker runs each round exactly once.
 *  2. `pending` is the number of workers that have not finished the current round; the caller waits for 0, so
 * work, context and n are constant while a worker reads them.
 *  3. The calling thread is thread 0 and takes the first range itself.
 *
 * Loops follow each other within microseconds, and waking a sleeping thread takes tens of them (more on a virtual machine): who waits
 * looks at `round` or `pending` for a short while first, without the mutex, and sleeps only then; where that is in vain, as on a
 * machine with more threads than cores, for a shorter one the next time. Both are written under the mutex, and what was seen
 * without it is read again with it. */
#include "base/thread.h"

#include "base/cgroup.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { FEWEST_SPINS = 1000, MOST_SPINS = 20000 }; /* some 12 and 250 microseconds */

struct worker {
    struct thread_pool *pool;
    pthread_t thread;
    int index;
    int spins; /* its own */
};

struct thread_pool {
    pthread_mutex_t mutex;
    pthread_cond_t start, finished;
    _Atomic int64_t round;
    _Atomic int pending;
    bool quit, busy;
    void (*work)(void *context, int64_t begin, int64_t end, int thread);
    void *context;
    int64_t n;
    int spins;                /* the caller's */
    int n_threads, n_started; /* n_started: workers that exist, n_threads - 1 when complete */
    struct worker workers[];
};

static void run_range(const struct thread_pool *p, int index) {
    /* split without n * index, which may overflow */
    int64_t share = p->n / p->n_threads, rest = p->n % p->n_threads;
    int64_t begin = share * index + (index < rest ? index : rest);
    int64_t end = begin + share + (index < rest ? 1 : 0);
    if (begin < end)
        p->work(p->context, begin, end, index);
}

static void rest_a_moment(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Looks up to `*spins` times; four times as often the next time when that was enough, a quarter less when it was not. */
static void adapt(int *spins, bool enough) {
    int next = enough ? 4 * *spins : *spins / 4 * 3;
    *spins = next < FEWEST_SPINS ? FEWEST_SPINS : next > MOST_SPINS ? MOST_SPINS : next;
}

static void await_round(struct worker *w, int64_t seen) {
    int left = w->spins;
    while (left > 0 && atomic_load_explicit(&w->pool->round, memory_order_relaxed) == seen)
        rest_a_moment(), left--;
    adapt(&w->spins, left > 0);
}

static void await_finish(struct thread_pool *p) {
    int left = p->spins;
    while (left > 0 && atomic_load_explicit(&p->pending, memory_order_relaxed) > 0)
        rest_a_moment(), left--;
    adapt(&p->spins, left > 0);
}

static void *worker_main(void *argument) {
    struct worker *w = argument;
    struct thread_pool *p = w->pool;
    int64_t seen = 0;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->quit && p->round == seen)
            pthread_cond_wait(&p->start, &p->mutex);
        if (p->quit)
            break;
        seen = p->round;
        pthread_mutex_unlock(&p->mutex);
        run_range(p, w->index);
        pthread_mutex_lock(&p->mutex);
        if (--p->pending == 0)
            pthread_cond_signal(&p->finished);
        pthread_mutex_unlock(&p->mutex);
        await_round(w, seen);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

struct thread_pool *thread_pool_new(int n_threads, struct err *e) {
    if (n_threads <= 0)
        n_threads = thread_core_count();
    struct thread_pool *p = calloc(1, sizeof *p + (size_t)n_threads * sizeof p->workers[0]);
    if (!p) {
        err_set(e, ERR_NO_MEMORY, "thread_pool_new", "out of memory for %d threads", n_threads);
        return NULL;
    }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->finished, NULL);
    p->n_threads = n_threads;
    p->spins = FEWEST_SPINS;
    for (int i = 0; i < n_threads - 1; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i + 1, .spins = FEWEST_SPINS};
        int failed = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (failed) {
            err_set(e, ERR_FAILED, "thread_pool_new", "cannot start thread %d of %d: %s", i + 2, n_threads,
                    strerror(failed));
            thread_pool_free(p);
            return NULL;
        }
        p->n_started++;
    }
    return p;
}

void thread_pool_free(struct thread_pool *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->quit = true;
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

int thread_pool_size(const struct thread_pool *p) {
    return p ? p->n_threads : 1;
}

void thread_pool_for(struct thread_pool *p, int64_t n,
                     void (*work)(void *context, int64_t begin, int64_t end, int thread), void *context) {
    if (n <= 0)
        return;
    if (!p || p->n_threads == 1 || n == 1) {
        work(context, 0, n, 0);
        return;
    }
    pthread_mutex_lock(&p->mutex);
    assert(!p->busy && "one loop at a time, and none inside another");
    p->busy = true;
    p->work = work;
    p->context = context;
    p->n = n;
    p->pending = p->n_started;
    p->round++;
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->mutex);
    run_range(p, 0);
    await_finish(p);
    pthread_mutex_lock(&p->mutex);
    while (p->pending > 0)
        pthread_cond_wait(&p->finished, &p->mutex);
    p->busy = false;
    pthread_mutex_unlock(&p->mutex);
}

int thread_core_count(void) {
    int cores = 1;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    double limit = cgroup_cpu_limit();
    if (limit > 0 && ceil(limit) < cores)
        cores = (int)ceil(limit);
    return cores < 1 ? 1 : cores;
}
