/* Arenas, checked sizes, growable arrays: see mem.h.
 *
 * An arena is a list of blocks; objects are cut from the newest one. An object too large for that gets a
 * block of its own behind it, so that the room left in the newest block is still used. */
#include "base/mem.h"

#include "base/cgroup.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#if !defined(ARENA_DEBUG) && defined(__SANITIZE_ADDRESS__)
#define ARENA_DEBUG 1
#elif !defined(ARENA_DEBUG) && defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_DEBUG 1
#endif
#endif

struct arena_block {
    struct arena_block *next;
    size_t capacity, used; /* bytes after the header */
};

enum { ALIGNMENT = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 256 * 1024 };
enum { HEADER = (sizeof(struct arena_block) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT };

void arena_init(struct arena *a) {
    *a = (struct arena){0};
}

static void free_blocks(struct arena_block *block) {
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_reset(struct arena *a) {
#ifdef ARENA_DEBUG
    free_blocks(a->blocks);
    a->blocks = NULL;
#else
    if (a->blocks) {
        free_blocks(a->blocks->next);
        a->blocks->next = NULL;
        a->blocks->used = 0;
    }
#endif
    a->used_bytes = 0;
}

void arena_release(struct arena *a) {
    free_blocks(a->blocks);
    *a = (struct arena){0};
}

static struct arena_block *block_new(size_t capacity) {
    size_t whole;
    if (!mem_add(capacity, HEADER, &whole))
        return NULL;
    struct arena_block *block = malloc(whole);
    if (block)
        *block = (struct arena_block){.capacity = capacity};
    return block;
}

#ifdef ARENA_DEBUG
/* one malloc an object of exactly its size: the sanitizers see every overrun */
static void *cut(struct arena *a, size_t size, size_t rounded) {
    (void)rounded;
    struct arena_block *block = block_new(size);
    if (!block)
        return NULL;
    block->next = a->blocks;
    a->blocks = block;
    return (char *)block + HEADER;
}
#else
static void *cut(struct arena *a, size_t size, size_t rounded) {
    (void)size;
    struct arena_block *head = a->blocks;
    if (head && head->capacity - head->used >= rounded) {
        void *object = (char *)head + HEADER + head->used;
        head->used += rounded;
        return object;
    }
    size_t usual = FIRST_BLOCK;
    if (head)
        usual = head->capacity < LARGEST_BLOCK / 2 ? head->capacity * 2 : LARGEST_BLOCK;
    bool apart = head && rounded > usual / 2;
    struct arena_block *block = block_new(apart || rounded > usual ? rounded : usual);
    if (!block)
        return NULL;
    block->used = rounded;
    block->next = apart ? head->next : head;
    *(apart ? &head->next : &a->blocks) = block;
    return (char *)block + HEADER;
}
#endif

void *arena_alloc(struct arena *a, size_t size_bytes) {
    size_t padded;
    if (!mem_add(size_bytes, ALIGNMENT - 1, &padded))
        return NULL;
    size_t rounded = padded / ALIGNMENT * ALIGNMENT;
    if (rounded == 0)
        rounded = ALIGNMENT;
    void *object = cut(a, size_bytes, rounded);
    if (!object)
        return NULL;
    a->used_bytes += rounded;
    return memset(object, 0, size_bytes);
}

void *arena_calloc(struct arena *a, size_t n, size_t size_bytes) {
    size_t whole;
    return mem_mul(n, size_bytes, &whole) ? arena_alloc(a, whole) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n) {
    size_t whole;
    if (!s || !mem_add(n, 1, &whole))
        return NULL;
    char *copy = arena_alloc(a, whole);
    if (copy && n > 0)
        memcpy(copy, s, n);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s) {
    return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_printf(struct arena *a, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

bool mem_mul(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

bool mem_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

int mem_grow(void **items, int64_t *capacity, int64_t n, size_t size_bytes) {
    if (n <= *capacity)
        return 0;
    int64_t wanted = *capacity + *capacity / 2;
    if (wanted < n)
        wanted = n;
    if (wanted < 8)
        wanted = 8;
    size_t whole;
    if (!mem_mul((size_t)wanted, size_bytes, &whole))
        return ERR_NO_MEMORY;
    void *grown = realloc(*items, whole);
    if (!grown)
        return ERR_NO_MEMORY;
    *items = grown;
    *capacity = wanted;
    return 0;
}

/* The value of a "Name:   123 kB" line of a /proc file, in bytes; 0 when there is none. */
static int64_t proc_bytes(const char *path, const char *name) {
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    char line[256];
    long long kilobytes = 0;
    size_t n = strlen(name);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, name, n) != 0 || line[n] != ':')
            continue;
        if (sscanf(line + n + 1, "%lld", &kilobytes) != 1)
            kilobytes = 0;
        break;
    }
    fclose(f);
    return (int64_t)kilobytes * 1024;
}

int64_t mem_peak_bytes(void) {
    /* not ru_maxrss first: it is inherited from whoever started this process */
    int64_t peak = proc_bytes("/proc/self/status", "VmHWM");
    struct rusage usage;
    if (peak <= 0 && getrusage(RUSAGE_SELF, &usage) == 0)
        peak = (int64_t)usage.ru_maxrss * 1024;
    return peak;
}

int64_t mem_total_bytes(void) {
    int64_t total = proc_bytes("/proc/meminfo", "MemTotal");
    int64_t limit = cgroup_memory_limit();
    return limit > 0 && (total <= 0 || limit < total) ? limit : total;
}

int64_t mem_available_bytes(void) {
    int64_t available = proc_bytes("/proc/meminfo", "MemAvailable");
    int64_t limit = cgroup_memory_limit();
    if (limit <= 0)
        return available;
    int64_t left = limit - cgroup_memory_used();
    if (left < 0)
        left = 0;
    return available <= 0 || left < available ? left : available;
}
