/* Loading a model's file.
 *
 * llama.cpp maps the file whole, and repacks some tensors for the processor into memory of its own; their pages stay mapped though
 * nobody reads them again. `drop_copied` unmaps all pages at the beginning, when llama.cpp has just touched them all, at each 32nd
 * part of the way, and at the end: what is read again comes back from the page cache by minor faults, the rest does not. So at no
 * moment do a tensor and its copy both count for more than a 32nd of the file.
 *
 * Writing the copies is mostly waiting for the kernel to hand out pages, one by one; `huge_pages` asks for 2 MB at a time, which
 * makes decisions sooner as well. (A second thread that asked ahead brought nothing more, and counted 80 to 130 MB.)
 * Reading a vocabulary of 150,000 tokens beside the weights, as a model of its own by a second thread, was slower on two hardware
 * threads of one core (0.69 s to load Qwen3-0.6B in place of 0.57, medians of 7) and was left out. */
#include "llama/lm_internal.h"
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- pages ---- */

struct mapping {
    unsigned long start, end, inode; /* inode 0: no file */
    char access[5];                  /* "rw-p" */
};

/* The next of /proc/self/maps: "start-end rw-p offset device inode path". */
static bool next_mapping(FILE *maps, struct mapping *m) {
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &m->start, &m->end, m->access, &m->inode) == 4)
            return true;
    }
    return false;
}

/* Refused for locked pages: they stay. */
static void drop_pages(const char *path) {
    struct stat file;
    struct mapping m;
    FILE *maps = stat(path, &file) == 0 ? fopen("/proc/self/maps", "r") : NULL;
    while (maps && next_mapping(maps, &m)) {
        if (m.access[3] == 's' && m.inode == file.st_ino)
            madvise((void *)m.start, m.end - m.start, MADV_DONTNEED);
    }
    if (maps)
        fclose(maps);
}

/* Refused where the kernel has none. */
static void ask_for_huge_pages(void) {
    enum { LEAST = 8 << 20 };
    struct mapping m;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && next_mapping(maps, &m)) {
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
    float next; /* progress from which to unmap again */
};

static const float DROP_STEP = 1.0F / 32;

/* llama.cpp's first call comes when all is allocated and nothing is written. */
static bool on_progress(float progress, void *context) {
    struct following *f = context;
    if (f->options->huge_pages && !f->begun)
        ask_for_huge_pages();
    f->begun = true;
    if (f->options->drop_copied && progress >= f->next) {
        drop_pages(f->path);
        f->next = progress + DROP_STEP;
    }
    return true;
}

/* ---- the whole ---- */

static struct llama_model *load(const char *path, const struct lm_options *o, struct lm_log_listener *log) {
    struct llama_model_params p = compat_model_params(o->vocab_only, o->lock_memory, o->no_repack);
    struct following f = {.path = path, .options = o};
    if (o->drop_copied || o->huge_pages) {
        p.progress_callback = on_progress;
        p.progress_callback_user_data = &f;
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
