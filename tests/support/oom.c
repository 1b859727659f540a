/* Failing allocations: see oom.h. */
#include "oom.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define SANITIZED 1
#endif

static atomic_llong countdown; /* 0: off; 1: the next one fails */
static atomic_bool hit;

void oom_arm(int64_t nth) {
    atomic_store(&hit, false);
    atomic_store(&countdown, nth);
}

bool oom_disarm(void) {
    atomic_store(&countdown, 0);
    return atomic_load(&hit);
}

#ifdef SANITIZED
bool oom_available(void) {
    return false;
}
#else
bool oom_available(void) {
    return true;
}

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static bool must_fail(void) {
    if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_store(&hit, true);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) {
    return must_fail() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    return must_fail() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
    return must_fail() ? NULL : __libc_realloc(p, n);
}
#endif
