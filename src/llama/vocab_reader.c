/* The weights' model is told by overriding metadata that its vocabulary has n tokens of no kind: then llama.cpp builds no tables. */
#include "llama/vocab_reader.h"
#include "llama/head.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct vocab_reader {
    pthread_t thread;
    char *path;
    struct llama_model_kv_override overrides[3]; /* ended by one without a key */
    struct llama_model *vocabulary;
    struct lm_log_listener log;
};

/* ---- overriding ---- */

/* false: the head does not say, or llama.cpp's fields are too short for it. */
static bool find_overrides(struct llama_model_kv_override overrides[2], const char *path) {
    struct head h;
    struct head_value v;
    struct head_text architecture = {NULL, 0};
    uint64_t n_tokens = 0;
    if (!head_open(&h, path))
        return false;
    for (uint64_t i = 0; i < h.n_values && head_value(&h, &v); i++) {
        if (head_is(&v.key, "general.architecture") && v.type == GGUF_TYPE_STRING)
            architecture = v.text;
        else if (head_is(&v.key, "tokenizer.ggml.tokens") && v.type == GGUF_TYPE_ARRAY)
            n_tokens = v.n;
    }
    overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    snprintf(overrides[0].key, sizeof overrides[0].key, "tokenizer.ggml.model");
    snprintf(overrides[0].val_str, sizeof overrides[0].val_str, "no_vocab");
    overrides[1].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
    overrides[1].val_i64 = (int64_t)n_tokens;
    bool found =
        !h.failed && n_tokens > 0 && n_tokens <= INT32_MAX && architecture.bytes && architecture.n < 100;
    if (found)
        snprintf(overrides[1].key, sizeof overrides[1].key, "%.*s.vocab_size", (int)architecture.n,
                 architecture.bytes);
    head_close(&h);
    return found;
}

const struct llama_model_kv_override *vocab_reader_overrides(const struct vocab_reader *r) {
    return r->overrides;
}

/* ---- reading ---- */

/* A thread's heap grows page by page under a lock that the other thread's page faults wait for, and its pages are small ones. So it
 * is let grow once to what the tables will take, in huge pages where the kernel has them. (Reading Qwen3's 152,000 tokens beside its
 * weights took 1.1 times as long as one after the other without this, and 0.75 with it.) Pieces, since one that large would be
 * mapped by itself. */
static void make_room(int64_t n_tokens) {
    enum { BYTES_A_TOKEN = 380, PIECE = 100 << 10, MOST = 600 };
    char *pieces[MOST], *first = NULL, *last = NULL;
    int64_t n = 0, most = n_tokens * BYTES_A_TOKEN / PIECE;
    for (; n < most && n < MOST && (pieces[n] = malloc(PIECE)); n++) {
        first = !first || pieces[n] < first ? pieces[n] : first;
        last = !last || pieces[n] > last ? pieces[n] : last;
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)first + page - 1) / page * page;
    bool adjoin = first && last - first < 2 * n * PIECE; /* else something of others may lie between */
    if (adjoin && (uintptr_t)last > from)
        madvise((void *)from, ((uintptr_t)last - from) / page * page, MADV_HUGEPAGE);
    while (n > 0)
        free(pieces[--n]);
}

static void *read_vocabulary(void *context) {
    struct vocab_reader *r = context;
    make_room(r->overrides[1].val_i64);
    lm_log_begin(&r->log);
    r->vocabulary = llama_model_load_from_file(r->path, compat_model_params(true, false, false));
    lm_log_end(&r->log);
    return NULL;
}

static void release(struct vocab_reader *r) {
    free(r->path);
    free(r);
}

struct vocab_reader *vocab_reader_begin(const char *path) {
    struct vocab_reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->path = strdup(path);
    if (r->path && find_overrides(r->overrides, path) &&
        pthread_create(&r->thread, NULL, read_vocabulary, r) == 0)
        return r;
    release(r);
    return NULL;
}

struct llama_model *vocab_reader_end(struct vocab_reader *r, char *errors, size_t capacity) {
    pthread_join(r->thread, NULL);
    struct llama_model *vocabulary = r->vocabulary;
    snprintf(errors, capacity, "%s", r->log.errors);
    release(r);
    return vocabulary;
}
