/* Finding them: the head of the file is mapped and walked through, every length checked against what is left of it.
 *
 *     "GGUF" version:u32 n_tensors:u64 n_values:u64 { key:string type:u32 value } { name:string n_dims:u32 dims:u64[] type:u32 offset:u64 } …
 *     string = length:u64 bytes; array = type:u32 n:u64 values; offsets count from the end of the head, aligned
 *
 * gguf_init_from_file() takes 106 ms for a vocabulary of 152,000 tokens, since it keeps them all; this takes 3.3 ms (Zen 5, n=5). */
#include "llama/unread.h"
#include "base/file.h"
#include "base/mem.h"
#include "llama/layout.h"
#include "llama/maps.h"
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- walking ---- */

struct cursor {
    const unsigned char *at, *end;
    bool failed; /* something goes beyond the end */
};

static const unsigned char *pass(struct cursor *c, uint64_t n_bytes) {
    const unsigned char *from = c->at;
    if (c->failed || n_bytes > (uint64_t)(c->end - c->at)) {
        c->failed = true;
        return NULL;
    }
    c->at += n_bytes;
    return from;
}

static uint64_t number(struct cursor *c, unsigned n_bytes) {
    const unsigned char *from = pass(c, n_bytes);
    uint64_t value = 0;
    for (unsigned i = 0; from && i < n_bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

struct text {
    const char *bytes; /* in the file, not ended by a zero */
    uint64_t n;
};

static struct text string(struct cursor *c) {
    uint64_t n = number(c, 8);
    return (struct text){(const char *)pass(c, n), n};
}

static bool is(const struct text *t, const char *what) {
    return t->bytes && t->n == strlen(what) && memcmp(t->bytes, what, t->n) == 0;
}

static unsigned width_of(uint64_t type) {
    static const unsigned char width[] = {
        [GGUF_TYPE_UINT8] = 1,  [GGUF_TYPE_INT8] = 1,  [GGUF_TYPE_UINT16] = 2,  [GGUF_TYPE_INT16] = 2,
        [GGUF_TYPE_UINT32] = 4, [GGUF_TYPE_INT32] = 4, [GGUF_TYPE_FLOAT32] = 4, [GGUF_TYPE_BOOL] = 1,
        [GGUF_TYPE_UINT64] = 8, [GGUF_TYPE_INT64] = 8, [GGUF_TYPE_FLOAT64] = 8};
    return type < sizeof width ? width[type] : 0;
}

/* Those that a loop can get through: the rest of the head has at least n bytes. */
static bool can_hold(const struct cursor *c, uint64_t n) {
    return !c->failed && n <= (uint64_t)(c->end - c->at);
}

static void pass_value(struct cursor *c, uint64_t type) {
    if (type == GGUF_TYPE_STRING) {
        string(c);
    } else if (type == GGUF_TYPE_ARRAY) {
        uint64_t of = number(c, 4), n = number(c, 8);
        if (!can_hold(c, n) || of == GGUF_TYPE_ARRAY)
            c->failed = true;
        else if (of != GGUF_TYPE_STRING)
            pass(c, width_of(of) * n);
        for (uint64_t i = 0; of == GGUF_TYPE_STRING && i < n && !c->failed; i++)
            string(c);
    } else {
        pass(c, width_of(type));
        c->failed = c->failed || width_of(type) == 0;
    }
}

static uint64_t pass_values(struct cursor *c, uint64_t n) {
    uint64_t alignment = GGUF_DEFAULT_ALIGNMENT;
    for (uint64_t i = 0; i < n && !c->failed; i++) {
        struct text key = string(c);
        uint64_t type = number(c, 4);
        if (is(&key, GGUF_KEY_GENERAL_ALIGNMENT) && type == GGUF_TYPE_UINT32)
            alignment = number(c, 4);
        else
            pass_value(c, type);
    }
    return alignment;
}

/* ---- tensors ---- */

struct tensor {
    struct text name;
    enum ggml_type type;
    uint64_t cols, rows, n_dims, offset, n_bytes;
};

static struct tensor next_tensor(struct cursor *c) {
    struct tensor t = {.name = string(c), .cols = 1, .rows = 1};
    t.n_dims = number(c, 4);
    for (uint64_t d = 0; d < t.n_dims && d < GGML_MAX_DIMS && !c->failed; d++) {
        uint64_t size = number(c, 8);
        if (size == 0 || size > INT32_MAX || (d > 0 && t.rows > INT64_MAX / size))
            c->failed = true;
        else
            *(d == 0 ? &t.cols : &t.rows) *= size;
    }
    uint64_t type = number(c, 4);
    t.offset = number(c, 8);
    t.type = type < GGML_TYPE_COUNT ? (enum ggml_type)type : GGML_TYPE_COUNT;
    if (t.n_dims > GGML_MAX_DIMS || t.type == GGML_TYPE_COUNT || ggml_blck_size(t.type) <= 0 ||
        t.cols % (uint64_t)ggml_blck_size(t.type) != 0)
        c->failed = true;
    else if (!c->failed && !mem_mul(ggml_row_size(t.type, (int64_t)t.cols), t.rows, &t.n_bytes))
        c->failed = true;
    return t;
}

/* Of "blk.12.attn_q.weight" 12. */
static int layer_of(const struct text *name) {
    static const char prefix[] = "blk.";
    enum { N = sizeof prefix - 1 };
    if (name->n < N || memcmp(name->bytes, prefix, N) != 0)
        return INT_MAX;
    int layer = 0;
    for (uint64_t i = N; i < name->n && name->bytes[i] >= '0' && name->bytes[i] <= '9' && layer < 10000; i++)
        layer = layer * 10 + name->bytes[i] - '0';
    return layer;
}

static int by_copying(const void *a, const void *b) {
    const struct unread_part *x = a, *y = b;
    if (x->copied != y->copied)
        return x->copied - y->copied;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static bool add(struct unread *u, const struct tensor *t, bool copied) {
    if (mem_grow((void **)&u->parts, &u->capacity, u->n + 1, sizeof *u->parts) < 0)
        return false;
    u->parts[u->n++] = (struct unread_part){t->offset, t->offset + t->n_bytes, copied, layer_of(&t->name)};
    u->copied_bytes += copied ? t->n_bytes : 0;
    return true;
}

/* Tensors of one shape follow each other layer by layer: what the last few were told is remembered. */
struct asked {
    struct tensor t[8];
    bool copies[8];
    int n;
};

static bool copies(struct asked *a, const struct tensor *t) {
    enum { N = sizeof a->t / sizeof *a->t };
    for (int i = 0; i < a->n && i < N; i++)
        if (a->t[i].type == t->type && a->t[i].rows == t->rows && a->t[i].cols == t->cols)
            return a->copies[i];
    int at = a->n++ % N;
    a->t[at] = *t;
    a->copies[at] = layout_copies(t->type, (int64_t)t->rows, (int64_t)t->cols);
    return a->copies[at];
}

static void find(struct unread *u, struct cursor *c, const unsigned char *file) {
    struct asked asked = {.n = 0};
    struct tensor table = {.n_bytes = 0};
    bool has_head = false;
    pass(c, 4);
    uint64_t version = number(c, 4), n_tensors = number(c, 8), n_values = number(c, 8);
    uint64_t alignment = pass_values(c, n_values);
    if (version < 2 || alignment == 0 || !can_hold(c, n_tensors))
        return;
    for (uint64_t i = 0; i < n_tensors; i++) {
        struct tensor t = next_tensor(c);
        if (c->failed)
            return;
        u->model_bytes += t.n_bytes;
        has_head = has_head || is(&t.name, "output.weight");
        if (is(&t.name, "token_embd.weight"))
            table = t;
        else if (t.n_dims == 2 && copies(&asked, &t) && !add(u, &t, true))
            return;
    }
    bool head_copied = table.n_bytes && !has_head && copies(&asked, &table);
    if (table.n_bytes && (has_head || head_copied))
        add(u, &table, head_copied);
    uint64_t data = ((uint64_t)(c->at - file) + alignment - 1) / alignment * alignment;
    for (int64_t i = 0; i < u->n; i++)
        u->parts[i].begin += data, u->parts[i].end += data;
    if (u->n > 0)
        qsort(u->parts, (size_t)u->n, sizeof *u->parts, by_copying);
}

void unread_find(struct unread *out, const char *path) {
    struct stat s;
    *out = (struct unread){.n = 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &s) == 0 && s.st_size > 0) {
        unsigned char *file = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (file != MAP_FAILED) {
            struct cursor c = {file, file + s.st_size, false};
            find(out, &c, file);
            if (c.failed)
                unread_release(out);
            munmap(file, (size_t)s.st_size);
        }
    }
    close(fd);
}

void unread_release(struct unread *u) {
    free(u->parts);
    *u = (struct unread){.n = 0};
}

/* ---- unmapping ---- */

void unread_unmap(const struct unread *u, const char *path, int64_t first, int64_t end) {
    struct stat file;
    struct mapping m;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *maps = first < end && stat(path, &file) == 0 ? maps_open() : NULL;
    while (maps && maps_next(maps, &m)) {
        if (m.access[3] != 's' || m.inode != file.st_ino)
            continue;
        uint64_t until = m.offset + (m.end - m.start);
        for (int64_t i = first; i < end; i++) {
            uint64_t from = u->parts[i].begin > m.offset ? u->parts[i].begin : m.offset;
            uint64_t to = u->parts[i].end < until ? u->parts[i].end : until;
            from = (from + page - 1) / page * page;
            to = to / page * page;
            if (from < to)
                madvise((void *)(m.start + (from - m.offset)), to - from, MADV_DONTNEED);
        }
    }
    if (maps)
        fclose(maps);
}
