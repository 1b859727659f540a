/* Loading a model's file.
 *
 * llama.cpp maps the file whole, and repacks some tensors for the processor into memory of its own; their pages stay mapped though
 * nobody reads them again. `drop_copied` unmaps all pages once at the beginning, when llama.cpp has just touched them all, and once at
 * the end: what is read again comes back from the page cache by minor faults, the rest does not. Qwen3-0.6B's shape at Q3_K_M:
 * 565 -> 472 MB at the peak, and no difference in time. */
#include "llama/lm_internal.h"
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- pages ---- */

/* Shared mappings of the file, found by its inode: "start-end r--s offset device inode path". */
static void drop_pages(const char *path) {
    char line[512];
    struct stat file;
    FILE *maps = stat(path, &file) == 0 ? fopen("/proc/self/maps", "r") : NULL;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end, inode;
        char shared;
        if (sscanf(line, "%lx-%lx %*c%*c%*c%c %*s %*s %lu", &start, &end, &shared, &inode) == 4 &&
            shared == 's' && inode == file.st_ino)
            madvise((void *)start, end - start, MADV_DONTNEED); /* refused for locked pages: they stay */
    }
    if (maps)
        fclose(maps);
}

struct dropping {
    const char *path;
    bool begun;
};

static bool on_progress(float progress, void *context) {
    struct dropping *d = context;
    (void)progress;
    if (!d->begun)
        drop_pages(d->path);
    d->begun = true;
    return true;
}

/* ---- the whole ---- */

static struct llama_model *load(const char *path, const struct lm_options *o, struct lm_log_listener *log) {
    struct llama_model_params p = compat_model_params(o->vocab_only, o->lock_memory, o->no_repack);
    struct dropping d = {.path = path};
    if (o->drop_copied) {
        p.progress_callback = on_progress;
        p.progress_callback_user_data = &d;
    }
    lm_log_begin(log);
    struct llama_model *model = llama_model_load_from_file(path, p);
    lm_log_end(log);
    if (o->drop_copied && model)
        drop_pages(path);
    return model;
}

int lm_load(struct lm *m, const struct lm_options *o, struct err *e) {
    struct lm_log_listener log = {0};
    int rc = o->checked ? 0 : lm_check_model(m->path, e);
    if (rc < 0)
        return rc;
    m->model = load(m->path, o, &log);
    if (!m->model) {
        err_set(e, ERR_FORMAT, "lm_open", "llama.cpp cannot load %s: %s", m->path,
                log.errors[0] ? log.errors : "no reason given");
        err_hint(e, "EDGESTILL_LOG=debug shows all that llama.cpp says; this is %s", lm_version());
        return ERR_FORMAT;
    }
    m->vocab = llama_model_get_vocab(m->model);
    m->n_vocab = llama_vocab_n_tokens(m->vocab);
    return 0;
}
