/* Walking:
 *
 *     "GGUF" version:u32 n_tensors:u64 n_values:u64 { key:string type:u32 value } { name:string n_dims:u32 dims:u64[] type:u32 offset:u64 } …
 *     string = length:u64 bytes; array = type:u32 n:u64 values */
#include "llama/head.h"
#include <fcntl.h>
#include <gguf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- bytes ---- */

static const unsigned char *pass(struct head *h, uint64_t n_bytes) {
    const unsigned char *from = h->at;
    if (h->failed || n_bytes > (uint64_t)(h->end - h->at)) {
        h->failed = true;
        return NULL;
    }
    h->at += n_bytes;
    return from;
}

uint64_t head_number(struct head *h, unsigned n_bytes) {
    const unsigned char *from = pass(h, n_bytes);
    uint64_t value = 0;
    for (unsigned i = 0; from && i < n_bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

struct head_text head_string(struct head *h) {
    uint64_t n = head_number(h, 8);
    return (struct head_text){(const char *)pass(h, n), n};
}

bool head_is(const struct head_text *t, const char *what) {
    return t->bytes && t->n == strlen(what) && memcmp(t->bytes, what, t->n) == 0;
}

bool head_can_hold(const struct head *h, uint64_t n) {
    return !h->failed && n <= (uint64_t)(h->end - h->at);
}

/* ---- values ---- */

/* 0: no number. */
static unsigned width_of(uint64_t type) {
    static const unsigned char width[] = {
        [GGUF_TYPE_UINT8] = 1,  [GGUF_TYPE_INT8] = 1,  [GGUF_TYPE_UINT16] = 2,  [GGUF_TYPE_INT16] = 2,
        [GGUF_TYPE_UINT32] = 4, [GGUF_TYPE_INT32] = 4, [GGUF_TYPE_FLOAT32] = 4, [GGUF_TYPE_BOOL] = 1,
        [GGUF_TYPE_UINT64] = 8, [GGUF_TYPE_INT64] = 8, [GGUF_TYPE_FLOAT64] = 8};
    return type < sizeof width ? width[type] : 0;
}

static void pass_array(struct head *h, struct head_value *v) {
    uint64_t of = head_number(h, 4);
    v->n = head_number(h, 8);
    if (!head_can_hold(h, v->n) || (of != GGUF_TYPE_STRING && width_of(of) == 0))
        h->failed = true;
    else if (of != GGUF_TYPE_STRING)
        pass(h, width_of(of) * v->n);
    for (uint64_t i = 0; of == GGUF_TYPE_STRING && i < v->n && !h->failed; i++)
        head_string(h);
}

bool head_value(struct head *h, struct head_value *out) {
    *out = (struct head_value){.key = head_string(h), .n = 1};
    out->type = head_number(h, 4);
    if (out->type == GGUF_TYPE_STRING)
        out->text = head_string(h);
    else if (out->type == GGUF_TYPE_ARRAY)
        pass_array(h, out);
    else if (width_of(out->type) > 0)
        out->bits = head_number(h, width_of(out->type));
    else
        h->failed = true;
    return !h->failed;
}

/* ---- the file ---- */

static void map(struct head *h, int fd) {
    struct stat s;
    if (fstat(fd, &s) < 0 || s.st_size <= 0)
        return;
    void *file = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED)
        return;
    h->file = h->at = file;
    h->end = h->file + s.st_size;
}

bool head_open(struct head *h, const char *path) {
    *h = (struct head){.failed = false};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    map(h, fd);
    close(fd);
    if (!h->file)
        return false;
    const unsigned char *magic = pass(h, 4);
    bool is_gguf = magic && memcmp(magic, GGUF_MAGIC, 4) == 0;
    h->version = head_number(h, 4);
    h->n_tensors = head_number(h, 8);
    h->n_values = head_number(h, 8);
    if (is_gguf && !h->failed && h->version >= 2)
        return true;
    head_close(h);
    return false;
}

void head_close(struct head *h) {
    if (h->file)
        munmap((void *)(uintptr_t)h->file, (size_t)(h->end - h->file));
    *h = (struct head){.failed = true};
}
