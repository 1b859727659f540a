/* Memory: arenas named by lifetime, checked sizes, growable arrays.
 *
 * An arena owns many objects with one end. In debug builds (ARENA_DEBUG, on under sanitizers) each object is
 * one malloc, so that the sanitizers see overruns. Allocation failure in an arena or in mem_* ends in NULL;
 * callers report ERR_NO_MEMORY. Not thread-safe: one arena, one thread at a time. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used_bytes;          /* handed out since init or the last reset */
};

void arena_init(struct arena *a);
void arena_reset(struct arena *a);   /* ends all objects, keeps one block for reuse */
void arena_release(struct arena *a); /* ends all objects and blocks; safe to repeat */

/* Zeroed, aligned to 16 bytes. NULL when out of memory or when n * size overflows. */
void *arena_alloc(struct arena *a, size_t size_bytes);
void *arena_calloc(struct arena *a, size_t n, size_t size_bytes);
char *arena_strdup(struct arena *a, const char *s); /* NULL in, NULL out */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* a * b or a + b into *out; false on overflow. For every size read from a file. */
bool mem_mul(size_t a, size_t b, size_t *out);
bool mem_add(size_t a, size_t b, size_t *out);

/* Room for at least `n` elements in an array that grows by half: reallocates *items and sets *capacity.
 * 0 or ERR_NO_MEMORY (then *items is as before). */
int mem_grow(void **items, int64_t *capacity, int64_t n, size_t size_bytes);

/* Peak resident set of this process so far, and what the machine has, in bytes (0 where unknown). */
int64_t mem_peak_bytes(void);
int64_t mem_total_bytes(void);
int64_t mem_available_bytes(void);

#endif
