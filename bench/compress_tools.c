/* Files of all kinds of tokenizer, cut down and quantised, and a student's from step to step, given to llama-tokenize,
 * llama-perplexity, llama-cli and llama-server. */
#include "bench/compress_tools.h"
#include "base/file.h"
#include "bench/compressing.h"
#include "bench/serving.h"
#include "config.h"
#include "llama/lm.h"
#include "model/trim.h"
#include "support/tiny_vocab.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_STRINGS = 10000, MAX_FILES = 16 };
#define TOOLS_DIR COMPRESS_RUNS "/tools"
#define TOOLS_LOG COMPRESS_RUNS "/tools.log"

static const char *const quantize_words[] = {EDGESTILL_LLAMA_QUANTIZE};

int llama_tool_words(const char *tool, char path[1024], const char *argv[], int room) {
    int n = 0, count = sizeof quantize_words / sizeof *quantize_words;
    for (int i = 0; i < count && n < room; i++)
        argv[n++] = quantize_words[i];
    snprintf(path, 1024, "%s", argv[n - 1]);
    char *last = strrchr(path, '/');
    char *at = last ? last + 1 : path;
    snprintf(at, 1024 - (size_t)(at - path), "%s", tool);
    argv[n - 1] = path;
    return n;
}

double llama_tool_run(const char *log, const char *tool, const char *const args[]) {
    const char *argv[40];
    char path[1024];
    int n = llama_tool_words(tool, path, argv, 8);
    for (int i = 0; args[i] && n < 39; i++)
        argv[n++] = args[i];
    argv[n] = NULL;
    return chain_run(&(struct chain){"", log}, argv);
}

/* ---- token ids ---- */

struct pair_of {
    struct lm *whole, *small;
    int32_t new_id[TINY_VOCAB_TOKENS];
    int64_t kept, differing,
        lost; /* texts all of whose tokens are kept; of those with other ids; that came back changed */
};

static void compare_text(struct pair_of *p, const char *text, size_t n) {
    enum { ROOM = 2 * TINY_TEXT_BYTES };
    int32_t a[ROOM], b[ROOM];
    struct err e = {0};
    struct str back = {0}, whole = {0};
    int64_t na = lm_tokenize(p->whole, text, n, LM_PLAIN, a, ROOM, &e),
            nb = lm_tokenize(p->small, text, n, LM_PLAIN, b, ROOM, &e);
    bench_must((int)(na < 0 ? na : nb < 0 ? nb : 0), &e);
    bool kept = true, same = na == nb;
    for (int64_t i = 0; i < na; i++)
        kept = kept && p->new_id[a[i]] >= 0;
    for (int64_t i = 0; kept && same && i < na; i++)
        same = b[i] == p->new_id[a[i]];
    p->kept += kept;
    p->differing += kept && !same;
    bench_must(lm_detokenize(p->small, b, nb, false, &back, &e), &e);
    bench_must(lm_detokenize(p->whole, a, na, false, &whole, &e), &e);
    p->lost += strcmp(str_text(&back), str_text(&whole)) != 0;
    str_release(&back);
    str_release(&whole);
}

/* What llama-tokenize says of the text, beside what the library says inside this program. */
static int64_t differing_ids(struct lm *m, const char *gguf, const struct str *text, const char *text_path) {
    struct err e = {0};
    struct str said = {0};
    int32_t *ids = calloc(text->len + 8, sizeof *ids);
    char log[COMPRESS_PATH + 8];
    snprintf(log, sizeof log, "%s.ids", text_path);
    remove(log);
    llama_tool_run(log, "llama-tokenize",
                   (const char *const[]){"-m", gguf, "-f", text_path, "--ids", "--no-bos",
                                         "--no-parse-special", "--no-escape", "--log-disable", NULL});
    bench_must(file_read(log, 0, &said, &e), &e);
    int64_t n = lm_tokenize(m, text->data, text->len, LM_PLAIN, ids, (int64_t)text->len + 8, &e),
            differing = 0, i = 0;
    bench_must((int)(n < 0 ? n : 0), &e);
    const char *at = strchr(str_text(&said), '[');
    while (at && (*at == '[' || *at == ',')) {
        char *end;
        long id = strtol(at + 1, &end, 10);
        differing += i >= n || ids[i] != id;
        i++;
        at = *end == ',' ? end : NULL;
    }
    differing += i < n ? n - i : 0;
    free(ids);
    str_release(&said);
    return differing;
}

static void cut(const char *whole, const char *small, struct pair_of *p, struct rng *r) {
    struct err e = {0};
    static bool keep[TINY_VOCAB_TOKENS];
    struct model_file *f;
    struct vocab *v;
    bench_must(model_file_open(&f, whole, &e), &e);
    bench_must(vocab_open(&v, f, &e), &e);
    for (int32_t id = 0; id < TINY_VOCAB_TOKENS; id++)
        keep[id] = rng_chance(r, 0.3);
    vocab_keep_essential(v, keep);
    bench_must(vocab_keep_closure(v, keep, &e), &e);
    bench_must(model_trim(f, small, v, keep, &e), &e);
    for (int32_t id = 0, next = 0; id < TINY_VOCAB_TOKENS; id++)
        p->new_id[id] = keep[id] ? next++ : -1;
    vocab_close(v);
    model_file_close(f);
}

static void add_count(struct figures *f, const char *kind, const char *what, int64_t value, int64_t n) {
    char name[128];
    snprintf(name, sizeof name, "%s: %s", kind, what);
    figures_add(f, &(struct figure){.id = "5.6", .name = name, .unit = "", .value = (double)value, .n = n});
}

/* Ids of 10,000 texts; leaves the cut file, whole and quantised, behind. */
static void check_kind(struct figures *f, enum tiny_vocab_kind kind, char small[COMPRESS_PATH],
                       char quantised[COMPRESS_PATH]) {
    const char *name = tiny_vocab_name(kind);
    char whole[COMPRESS_PATH], path[COMPRESS_PATH];
    struct err e = {0};
    struct rng r;
    struct str texts = {0};
    struct pair_of p = {0};
    struct lm_options o = {.vocab_only = true};
    rng_seed(&r, 40 + kind);
    snprintf(whole, sizeof whole, TOOLS_DIR "/%s.gguf", name);
    snprintf(small, COMPRESS_PATH, TOOLS_DIR "/%s-trimmed.gguf", name);
    snprintf(quantised, COMPRESS_PATH, TOOLS_DIR "/%s-trimmed-q8_0.gguf", name);
    snprintf(path, sizeof path, TOOLS_DIR "/%s.txt", name);
    bench_must(tiny_vocab_write(whole, kind, &r, &e), &e);
    cut(whole, small, &p, &r);
    bench_must(quantize_file(small, quantised, &(struct quantize_options){.type = "Q8_0"}, &e), &e);
    bench_must(lm_open(&p.whole, whole, &o, &e), &e);
    bench_must(lm_open(&p.small, quantised, &o, &e), &e);
    for (int i = 0; i < N_STRINGS; i++) {
        char text[TINY_TEXT_BYTES];
        size_t n = tiny_text(&r, text);
        compare_text(&p, text, n);
        str_add_bytes(&texts, text, n);
    }
    bench_must(str_check(&texts, &e), &e);
    bench_must(file_write(path, texts.data, texts.len, &e), &e);
    add_count(f, name, "texts whose tokens are all kept, of 10,000", p.kept, N_STRINGS);
    add_count(f, name, "of those, with other ids than the whole vocabulary's", p.differing, p.kept);
    add_count(f, name, "texts that the trimmed file loses", p.lost, N_STRINGS);
    add_count(f, name, "ids that llama-tokenize gives otherwise",
              differing_ids(p.small, quantised, &texts, path), N_STRINGS);
    lm_free(p.whole);
    lm_free(p.small);
    str_release(&texts);
}

/* ---- files that load ---- */

struct file_list {
    char path[MAX_FILES][COMPRESS_PATH];
    int n;
};

static void add_file(struct file_list *l, const char *path) {
    snprintf(l->path[l->n++], COMPRESS_PATH, "%s", path);
}

/* What compress_run wrote last, under a name of its own. */
static void take_file(struct file_list *l, const struct student_files *s, const char *name) {
    char from[COMPRESS_PATH], to[COMPRESS_PATH];
    snprintf(from, sizeof from, "%s/bench-model/student.gguf", s->dir);
    snprintf(to, sizeof to, TOOLS_DIR "/%s.gguf", name);
    chain_run(&(struct chain){s->dir, TOOLS_LOG}, (const char *const[]){"/bin/cp", from, to, NULL});
    add_file(l, to);
}

static void write_student(struct file_list *l, const struct student_files *s) {
    static const char *const mix[] = {"Q3_K_M", "Q2_K"};
    char imatrix[COMPRESS_PATH];
    struct outcome o;
    struct compress_request q = {.types = &mix[0], .n_types = 1, .recovery = COMPRESS_RECOVER_NEVER};
    add_file(l, s->f16);
    q.budget.bits = 3.5;
    compress_and_judge(s, q, &o);
    take_file(l, s, "student-3.5-bits");
    q = (struct compress_request){.types = &mix[1], .n_types = 1, .recovery = COMPRESS_RECOVER_ALWAYS};
    q.recover.epochs = 1;
    compress_and_judge(s, q, &o);
    take_file(l, s, "student-recovered");
    snprintf(imatrix, sizeof imatrix, "%s/bench-model/imatrix.gguf", s->dir);
    llama_tool_run(TOOLS_LOG, "llama-quantize",
                   (const char *const[]){"--imatrix", imatrix, s->f16, TOOLS_DIR "/by-llama-quantize.gguf",
                                         "Q3_K_M", "1", NULL});
}

static void serve(const char *gguf) {
    struct serving s;
    const char *argv[24];
    char path[1024], port[16];
    int at = free_port(), n = llama_tool_words("llama-server", path, argv, 8);
    snprintf(port, sizeof port, "%d", at);
    const char *const rest[] = {"-m", gguf, "--host", "127.0.0.1", "--port", port, "-t", "1", "-c", "256"};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        argv[n++] = rest[i];
    argv[n] = NULL;
    serving_start(&s, argv, at, TOOLS_LOG);
    if (!serving_wait(&s, "/health")) {
        fprintf(stderr, "bench: llama-server does not serve %s: see " TOOLS_LOG "\n", gguf);
        exit(1);
    }
    serving_stop(&s);
}

static void load(struct figures *f, const struct file_list *l) {
    for (int i = 0; i < l->n; i++) {
        const char *gguf = l->path[i];
        llama_tool_run(TOOLS_LOG, "llama-perplexity",
                       (const char *const[]){"-m", gguf, "-f", TOOLS_DIR "/qwen2.txt", "-c", "128",
                                             "--chunks", "2", "-t", "1", NULL});
        llama_tool_run(TOOLS_LOG, "llama-cli",
                       (const char *const[]){"-m", gguf, "-p", "1", "-n", "1", "-st", "-t", "1", NULL});
        serve(gguf);
    }
    add_count(f, "files", "that llama-perplexity, llama-cli and llama-server load", l->n, l->n);
    add_count(f, "files", "importance matrices of ours that llama-quantize reads", 1, 1);
}

bool compress_tools(struct figures *f) {
    static struct file_list l;
    struct student_files s;
    struct err e = {0};
    char small[COMPRESS_PATH], quantised[COMPRESS_PATH];
    bench_must(file_make_folders(TOOLS_DIR, &e), &e);
    for (int kind = 0; kind < TINY_VOCAB_N_KINDS; kind++) {
        check_kind(f, (enum tiny_vocab_kind)kind, small, quantised);
        add_file(&l, small);
        add_file(&l, quantised);
    }
    student_begin(&s, &compress_examples[0], 1, "full-labelled");
    write_student(&l, &s);
    student_end(&s);
    load(f, &l);
    return true;
}
