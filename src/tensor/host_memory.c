/* Aligned, zeroed host memory for the CPU tables. */
#include "tensor/host_memory.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

void *host_memory_alloc(const struct ops *o, size_t size_bytes) {
    (void)o;
    if (size_bytes > SIZE_MAX - ALIGNMENT)
        return NULL;
    size_t rounded = (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *p = aligned_alloc(ALIGNMENT, rounded ? rounded : ALIGNMENT);
    return p ? memset(p, 0, rounded) : NULL;
}

static void host_free(const struct ops *o, void *p) {
    (void)o;
    free(p);
}

static void host_copy_bytes(const struct ops *o, void *to, const void *from, size_t size_bytes) {
    (void)o;
    memcpy(to, from, size_bytes);
}

static void host_zero(const struct ops *o, void *p, size_t size_bytes) {
    (void)o;
    memset(p, 0, size_bytes);
}

static void host_copy(const struct ops *o, float *to, const float *from, int64_t n) {
    (void)o;
    memcpy(to, from, (size_t)n * sizeof *to);
}

void host_memory_fill(struct ops *o) {
    o->alloc = host_memory_alloc;
    o->free = host_free;
    o->upload = host_copy_bytes;
    o->download = host_copy_bytes;
    o->zero = host_zero;
    o->copy = host_copy;
}
