/* A pool of threads for loops over independent items. Work is split by fixed ranges, so results do not depend
 * on timing: the same n_threads gives the same sums. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include "base/err.h"
#include <stdint.h>

struct thread_pool;

/* n_threads 0: one a core. Threads are created once. */
struct thread_pool *thread_pool_new(int n_threads, struct err *e);
void thread_pool_free(struct thread_pool *p);      /* NULL is fine */
int thread_pool_size(const struct thread_pool *p); /* 1 for NULL */

/* One loop at a time on a pool, and none inside another.
 * Calls work(context, begin, end, thread) for disjoint ranges that cover [0, n), and waits. NULL pool: in
 * this thread. */
void thread_pool_for(struct thread_pool *p, int64_t n,
                     void (*work)(void *context, int64_t begin, int64_t end, int thread), void *context);

int thread_core_count(void); /* cores that this process may use (affinity, cgroup) */

#endif
