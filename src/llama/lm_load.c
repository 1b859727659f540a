/* Loading a model's file.
 *
 * llama.cpp maps the file whole, and repacks some tensors for the processor into memory of its own; their pages stay mapped though
 * nobody reads them again. `drop_copied` unmaps those parts (llama/unread.h), and no others, as the copying gets on: so at no moment do
 * a tensor and its copy both count for more than a 32nd of the file. (Unmapping all that was mapped, 32 times, was simpler
 * and took 0.3 s of 0.7 to load Qwen3-0.6B where a fault is dear: what decisions do read came back page by page.)
 *
 * Writing the copies is mostly waiting for the kernel to hand out pages, one by one; `huge_pages` asks for 2 MB at a time, which
 * makes decisions sooner as well. (A second thread that asked ahead brought nothing more, and counted 80 to 130 MB.)
 * `vocab_beside` has the vocabulary read by a second thread meanwhile (llama/vocab_reader.h). */
#include "base/thread.h"
#include "llama/lm_internal.h"
#include "llama/maps.h"
#include "llama/unread.h"
#include "llama/vocab_reader.h"
#include <malloc.h>
#include <sys/mman.h>

/* ---- pages ---- */

/* Refused where the kernel has none. */
static void ask_for_huge_pages(void) {
    enum { LEAST = 8 << 20 };
    struct mapping m;
    FILE *maps = maps_open();
    while (maps && maps_next(maps, &m)) {
        if (str_equal(m.access, "rw-p") && m.inode == 0 && m.end - m.start >= LEAST)
            madvise((void *)m.start, m.end - m.start, MADV_HUGEPAGE);
    }
    if (maps)
        fclose(maps);
}

struct following {
    const char *path;
    const struct lm_options *options;
    bool begun;
    struct unread unread;
    int64_t n_unmapped;
    double unmapped_bytes; /* of copied parts */
};

/* llama.cpp takes first the tensors that stay as they are, then copies the others, layer by layer; how much is left tells how far it
 * has come. Where another version has another order, a part is unmapped too early and read once more, or later. */
static void unmap_copied(struct following *f, double progress) {
    const struct unread *u = &f->unread;
    double copied = (double)u->copied_bytes - (1 - progress) * (double)u->model_bytes;
    if (copied - f->unmapped_bytes < (double)u->model_bytes / 32)
        return;
    int64_t first = f->n_unmapped;
    for (; f->n_unmapped < u->n; f->n_unmapped++) {
        const struct unread_part *p = &u->parts[f->n_unmapped];
        double bytes = (double)(p->end - p->begin);
        if (f->unmapped_bytes + bytes > copied)
            break;
        f->unmapped_bytes += bytes;
    }
    unread_unmap(u, f->path, first, f->n_unmapped);
}

static void begin(struct following *f) {
    f->begun = true;
    if (f->options->huge_pages)
        ask_for_huge_pages();
    if (!f->options->drop_copied)
        return;
    unread_find(&f->unread, f->path);
    while (f->n_unmapped < f->unread.n && !f->unread.parts[f->n_unmapped].copied)
        f->n_unmapped++;
    unread_unmap(&f->unread, f->path, 0, f->n_unmapped);
}

/* llama.cpp's first call comes when all is allocated and nothing is written. */
static bool on_progress(float progress, void *context) {
    struct following *f = context;
    if (!f->begun)
        begin(f);
    unmap_copied(f, progress);
    return true;
}

/* ---- the whole ---- */

static struct llama_model *load(const struct lm *m, const struct lm_options *o, struct lm_log_listener *log) {
    struct llama_model_params p = compat_model_params(o->vocab_only, o->lock_memory, o->no_repack);
    struct following f = {.path = m->path, .options = o};
    if (m->reader)
        p.kv_overrides = vocab_reader_overrides(m->reader);
    if (o->drop_copied || o->huge_pages) {
        p.progress_callback = on_progress;
        p.progress_callback_user_data = &f;
    }
    lm_log_begin(log);
    struct llama_model *model = llama_model_load_from_file(m->path, p);
    lm_log_end(log);
    unread_unmap(&f.unread, m->path, 0, f.unread.n); /* what is left, and what was read once more */
    unread_release(&f.unread);
    return model;
}

static int cannot_load(const struct lm *m, const char *errors, struct err *e) {
    err_set(e, ERR_FORMAT, "lm_open", "llama.cpp cannot load %s: %s", m->path,
            errors[0] ? errors : "no reason given");
    err_hint(e, "EDGESTILL_LOG=debug shows all that llama.cpp says; this is %s", lm_version());
    return ERR_FORMAT;
}

int lm_load(struct lm *m, const struct lm_options *o, struct err *e) {
    struct lm_log_listener log = {0};
    int rc = o->checked ? 0 : lm_check_model(m->path, e);
    if (rc < 0)
        return rc;
    m->reader =
        o->vocab_beside && !o->vocab_only && thread_core_count() > 1 ? vocab_reader_begin(m->path) : NULL;
    m->model = load(m, o, &log);
    return m->model ? 0 : cannot_load(m, log.errors, e);
}

int lm_load_vocabulary(struct lm *m, struct err *e) {
    char errors[sizeof((struct lm_log_listener *)0)->errors] = "";
    const struct llama_model *from = m->model;
    if (m->reader) {
        from = m->vocabulary = vocab_reader_end(m->reader, errors, sizeof errors);
        m->reader = NULL;
        malloc_trim(0); /* what the reader's file head took, in a heap that nobody uses from now on */
    }
    if (!from)
        return cannot_load(m, errors, e);
    m->vocab = llama_model_get_vocab(from);
    m->n_vocab = llama_vocab_n_tokens(m->vocab);
    return 0;
}

void lm_unload(struct lm *m) {
    if (m->reader)
        lm_load_vocabulary(m, NULL);
    if (m->model)
        llama_model_free(m->model); /* and its adapters */
    if (m->vocabulary)
        llama_model_free(m->vocabulary);
}
