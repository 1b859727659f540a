/* Finding them: the list of tensors of the file's head (llama/head.h) is walked through, offsets count from the end of the head, aligned. */
#include "llama/unread.h"
#include "base/mem.h"
#include "llama/head.h"
#include "llama/layout.h"
#include "llama/maps.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- tensors ---- */

struct tensor {
    struct head_text name;
    enum ggml_type type;
    uint64_t cols, rows, n_dims, offset, n_bytes;
};

static struct tensor next_tensor(struct head *h) {
    struct tensor t = {.name = head_string(h), .cols = 1, .rows = 1};
    t.n_dims = head_number(h, 4);
    for (uint64_t d = 0; d < t.n_dims && d < GGML_MAX_DIMS && !h->failed; d++) {
        uint64_t size = head_number(h, 8);
        if (size == 0 || size > INT32_MAX || (d > 0 && t.rows > INT64_MAX / size))
            h->failed = true;
        else
            *(d == 0 ? &t.cols : &t.rows) *= size;
    }
    uint64_t type = head_number(h, 4);
    t.offset = head_number(h, 8);
    t.type = type < GGML_TYPE_COUNT ? (enum ggml_type)type : GGML_TYPE_COUNT;
    if (t.n_dims > GGML_MAX_DIMS || t.type == GGML_TYPE_COUNT || ggml_blck_size(t.type) <= 0 ||
        t.cols % (uint64_t)ggml_blck_size(t.type) != 0)
        h->failed = true;
    else if (!h->failed && !mem_mul(ggml_row_size(t.type, (int64_t)t.cols), t.rows, &t.n_bytes))
        h->failed = true;
    return t;
}

/* Of "blk.12.attn_q.weight" 12. */
static int layer_of(const struct head_text *name) {
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

static uint64_t pass_values(struct head *h) {
    uint64_t alignment = GGUF_DEFAULT_ALIGNMENT;
    struct head_value v;
    for (uint64_t i = 0; i < h->n_values && head_value(h, &v); i++)
        if (head_is(&v.key, GGUF_KEY_GENERAL_ALIGNMENT) && v.type == GGUF_TYPE_UINT32)
            alignment = v.bits;
    return alignment;
}

static void find(struct unread *u, struct head *h) {
    struct asked asked = {.n = 0};
    struct tensor table = {.n_bytes = 0};
    bool has_head = false;
    uint64_t alignment = pass_values(h);
    if (alignment == 0 || !head_can_hold(h, h->n_tensors))
        return;
    for (uint64_t i = 0; i < h->n_tensors; i++) {
        struct tensor t = next_tensor(h);
        if (h->failed)
            return;
        u->model_bytes += t.n_bytes;
        has_head = has_head || head_is(&t.name, "output.weight");
        if (head_is(&t.name, "token_embd.weight"))
            table = t;
        else if (t.n_dims == 2 && copies(&asked, &t) && !add(u, &t, true))
            return;
    }
    bool head_copied = table.n_bytes && !has_head && copies(&asked, &table);
    if (table.n_bytes && (has_head || head_copied))
        add(u, &table, head_copied);
    uint64_t data = ((uint64_t)(h->at - h->file) + alignment - 1) / alignment * alignment;
    for (int64_t i = 0; i < u->n; i++)
        u->parts[i].begin += data, u->parts[i].end += data;
    if (u->n > 0)
        qsort(u->parts, (size_t)u->n, sizeof *u->parts, by_copying);
}

void unread_find(struct unread *out, const char *path) {
    struct head h;
    *out = (struct unread){.n = 0};
    if (!head_open(&h, path))
        return;
    find(out, &h);
    if (h.failed)
        unread_release(out);
    head_close(&h);
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
