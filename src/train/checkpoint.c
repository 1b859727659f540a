/* Reading is done twice over: once to check every byte, once to apply, so a broken file changes nothing. Slabs travel in
 * chunks, because they may lie on a GPU and be larger than what is free here. */
#include "train/checkpoint.h"
#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, CHUNK_BYTES = 1 << 20, PART_BYTES = 64, MAX_SECTIONS = 4 };

/* A payload: in backend memory (`ops`) or in the caller's. `to` receives it when reading. */
struct section {
    const char *name;
    const struct ops *ops;
    const void *from;
    void *to;
    int64_t n_bytes;
};

/* FNV-1a over 8-byte words: finds torn and rotten files, not forgeries. Chunks but the last are multiples of 8. */
static uint64_t hash_add(uint64_t h, const void *bytes, size_t n) {
    const char *p = bytes;
    for (; n > 0;) {
        uint64_t word = 0;
        size_t part = n < sizeof word ? n : sizeof word;
        memcpy(&word, p, part);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 32;
        p += part;
        n -= part;
    }
    return h;
}
static const uint64_t HASH_START = 0xcbf29ce484222325u;

static uint64_t layout_of(const struct nn_model *m) {
    uint64_t h = hash_add(HASH_START, &m->lora.alpha, sizeof m->lora.alpha);
    for (int i = 0; i < m->trained->n_tensors; i++) {
        const struct nn_tensor *t = &m->trained->tensors[i];
        h = hash_add(h, t->name, strlen(t->name));
        h = hash_add(h, (int64_t[3]){t->rows, t->cols, t->offset}, 3 * sizeof(int64_t));
    }
    return h;
}

static int64_t padding(int64_t n) {
    return (PART_BYTES - n % PART_BYTES) % PART_BYTES;
}

/* ---- writing ---- */

static bool write_section(FILE *f, const struct section *s, char *chunk) {
    struct checkpoint_section head = {.n_bytes = s->n_bytes};
    struct checkpoint_seal seal = {.hash = HASH_START};
    static const char zeros[PART_BYTES];
    strncpy(head.name, s->name, sizeof head.name - 1);
    bool ok = fwrite(&head, sizeof head, 1, f) == 1;
    for (int64_t at = 0; ok && at < s->n_bytes; at += CHUNK_BYTES) {
        size_t n = (size_t)(s->n_bytes - at < CHUNK_BYTES ? s->n_bytes - at : CHUNK_BYTES);
        if (s->ops)
            s->ops->download(s->ops, chunk, (const char *)s->from + at, n);
        else
            memcpy(chunk, (const char *)s->from + at, n);
        seal.hash = hash_add(seal.hash, chunk, n);
        ok = fwrite(chunk, 1, n, f) == n;
    }
    size_t pad = (size_t)padding(s->n_bytes);
    return ok && fwrite(zeros, 1, pad, f) == pad && fwrite(&seal, sizeof seal, 1, f) == 1;
}

int checkpoint_save(const char *path, const struct optimizer *o, const void *user, size_t n_user,
                    struct err *e) {
    const struct nn_model *m = o->model;
    int64_t slab = m->trained->n_values * (int64_t)sizeof(float);
    const struct section sections[MAX_SECTIONS] = {
        {.name = "weights", .ops = m->ops, .from = m->trained->value, .n_bytes = slab},
        {.name = "moment1", .ops = m->ops, .from = o->m, .n_bytes = slab},
        {.name = "moment2", .ops = m->ops, .from = o->v, .n_bytes = slab},
        {.name = "user", .from = user, .n_bytes = (int64_t)n_user}};
    struct checkpoint_header h = {.magic = CHECKPOINT_MAGIC,
                                  .version = VERSION,
                                  .n_sections = MAX_SECTIONS,
                                  .layout = layout_of(m),
                                  .n_values = m->trained->n_values,
                                  .step = o->step};
    char *chunk = malloc(CHUNK_BYTES);
    if (!chunk)
        return err_set(e, ERR_NO_MEMORY, "checkpoint_save", "no room to write %s", path);
    struct file_writer w;
    int rc = file_writer_begin(&w, path, e);
    if (rc == 0) {
        bool ok = fwrite(&h, sizeof h, 1, w.stream) == 1;
        for (int i = 0; ok && i < MAX_SECTIONS; i++)
            ok = write_section(w.stream, &sections[i], chunk);
        rc = ok ? file_writer_commit(&w, e) : err_set_errno(e, ERR_IO, "checkpoint_save", "writing %s", path);
        if (rc < 0)
            file_writer_abort(&w);
    }
    free(chunk);
    return rc;
}

/* ---- reading ---- */

static int broken(const char *path, const char *what, struct err *e) {
    err_set(e, ERR_FORMAT, "checkpoint_load", "%s is not a whole checkpoint: %s", path, what);
    return err_hint(e, "delete it to start this training again");
}

/* One payload: hashes it and, when `apply`, stores it. */
static const char *read_payload(FILE *f, const struct section *s, int64_t n_bytes, char *chunk, bool apply) {
    struct checkpoint_seal seal;
    uint64_t hash = HASH_START;
    for (int64_t at = 0; at < n_bytes; at += CHUNK_BYTES) {
        size_t n = (size_t)(n_bytes - at < CHUNK_BYTES ? n_bytes - at : CHUNK_BYTES);
        if (fread(chunk, 1, n, f) != n)
            return "it ends early";
        hash = hash_add(hash, chunk, n);
        if (apply && s->to && s->ops)
            s->ops->upload(s->ops, (char *)s->to + at, chunk, n);
        else if (apply && s->to)
            memcpy((char *)s->to + at, chunk, n);
    }
    size_t pad = (size_t)padding(n_bytes);
    if (fread(chunk, 1, pad, f) != pad || fread(&seal, sizeof seal, 1, f) != 1)
        return "it ends early";
    return seal.hash == hash ? NULL : "a checksum is wrong";
}

/* The whole file after the header. Sections nobody wants (`n_bytes` < 0) are checked and skipped. */
static int read_sections(FILE *f, const char *path, const struct section *sections, char *chunk, bool apply,
                         struct err *e) {
    for (int i = 0; i < MAX_SECTIONS; i++) {
        struct checkpoint_section head;
        const struct section *s = &sections[i];
        if (fread(&head, sizeof head, 1, f) != 1)
            return broken(path, "it ends early", e);
        if (strncmp(head.name, s->name, sizeof head.name) != 0 || head.n_bytes < 0)
            return broken(path, "a section is not where it should be", e);
        if (s->n_bytes >= 0 && head.n_bytes != s->n_bytes)
            return err_set(e, ERR_MISMATCH, "checkpoint_load",
                           "%s: section %s has %lld bytes where this program has %lld", path, s->name,
                           (long long)head.n_bytes, (long long)s->n_bytes);
        const char *fault = read_payload(f, s, head.n_bytes, chunk, apply);
        if (fault)
            return broken(path, fault, e);
    }
    return fgetc(f) == EOF ? 0 : broken(path, "something follows its end", e);
}

static int read_header(FILE *f, const char *path, const struct nn_model *m, struct checkpoint_header *h,
                       struct err *e) {
    if (fread(h, sizeof *h, 1, f) != 1 || memcmp(h->magic, CHECKPOINT_MAGIC, sizeof h->magic) != 0)
        return broken(path, "it does not begin like one", e);
    if (h->version != VERSION || h->n_sections != MAX_SECTIONS)
        return broken(path, "its version is another", e);
    if (h->layout != layout_of(m) || h->n_values != m->trained->n_values) {
        err_set(e, ERR_MISMATCH, "checkpoint_load", "%s belongs to another model or adapter rank", path);
        return err_hint(e, "delete it to start this training again");
    }
    return h->step >= 0 ? 0 : broken(path, "its step is negative", e);
}

static int load(const char *path, const struct nn_model *m, const struct section *sections, int64_t *step,
                struct err *e) {
    if (!m->trained)
        return err_set(e, ERR_INPUT, "checkpoint_load", "nothing in the model is trained");
    FILE *f = fopen(path, "rb");
    if (!f)
        return errno == ENOENT ? err_set(e, ERR_NOT_FOUND, "checkpoint_load", "there is no %s", path)
                               : err_set_errno(e, ERR_IO, "checkpoint_load", "opening %s", path);
    char *chunk = malloc(CHUNK_BYTES);
    struct checkpoint_header h;
    int rc = chunk ? 0 : err_set(e, ERR_NO_MEMORY, "checkpoint_load", "no room to read %s", path);
    for (int apply = 0; rc == 0 && apply < 2; apply++) {
        rewind(f);
        rc = read_header(f, path, m, &h, e);
        if (rc == 0)
            rc = read_sections(f, path, sections, chunk, apply == 1, e);
    }
    if (rc == 0 && step)
        *step = h.step;
    free(chunk);
    fclose(f);
    return rc;
}

int checkpoint_load(const char *path, struct optimizer *o, void *user, size_t n_user, struct err *e) {
    const struct nn_model *m = o->model;
    int64_t slab = m->trained ? m->trained->n_values * (int64_t)sizeof(float) : 0;
    const struct section sections[MAX_SECTIONS] = {
        {.name = "weights", .ops = m->ops, .to = m->trained ? m->trained->value : NULL, .n_bytes = slab},
        {.name = "moment1", .ops = m->ops, .to = o->m, .n_bytes = slab},
        {.name = "moment2", .ops = m->ops, .to = o->v, .n_bytes = slab},
        {.name = "user", .to = user, .n_bytes = (int64_t)n_user}};
    return load(path, m, sections, &o->step, e);
}

int checkpoint_peek(const char *path, const struct nn_model *m, void *user, size_t n_user, struct err *e) {
    int64_t slab = m->trained ? m->trained->n_values * (int64_t)sizeof(float) : 0;
    const struct section sections[MAX_SECTIONS] = {{.name = "weights", .n_bytes = slab},
                                                   {.name = "moment1", .n_bytes = slab},
                                                   {.name = "moment2", .n_bytes = slab},
                                                   {.name = "user", .to = user, .n_bytes = (int64_t)n_user}};
    return load(path, m, sections, NULL, e);
}

int checkpoint_load_weights(const char *path, struct nn_model *m, struct err *e) {
    int64_t slab = m->trained ? m->trained->n_values * (int64_t)sizeof(float) : 0;
    const struct section sections[MAX_SECTIONS] = {
        {.name = "weights", .ops = m->ops, .to = m->trained ? m->trained->value : NULL, .n_bytes = slab},
        {.name = "moment1", .n_bytes = slab},
        {.name = "moment2", .n_bytes = slab},
        {.name = "user", .n_bytes = -1}};
    return load(path, m, sections, NULL, e);
}
