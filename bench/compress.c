/* Figures 5.1, 5.3, 5.4 and 5.6: what compression costs a student of the embedded base, and what ours saves of that.
 *
 *     make bench-compress                                one seed of each example, 5,000 held-out rows
 *     COMPRESS_SEEDS=5 make bench-compress               as figure 5.1 asks
 *     COMPRESS_EXAMPLES=1 COMPRESS_ROWS=1000 COMPRESS_TRAIN=600 make bench-compress    a quick look
 *
 * Students are trained by the verbs on rows of the examples' own simulators (no teacher: what a teacher gets wrong is figure
 * 1.2's matter), then compressed in this program in several ways and scored on rows that nothing has seen. Work is kept under
 * build/bench/runs/compress, so a measurement that was stopped goes on at the next student. Losses are mean -log P(right label), in
 * nats; differences are paired over the same rows. */
#include "compress/compress.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "chain.h"
#include "config.h"
#include "figures.h"
#include "format/yaml.h"
#include "llama/lm.h"
#include "task/encode.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_STRINGS = 10000, PATH = 600 };

static const struct example {
    const char *name, *instruction, *labels[2], *fields;
} examples[] = {
    {"healthcare-claims",
     "Flag the claim as suspicious when the delay is under 2 days, or when the delay is under 7 days and the "
     "approved share is below 0.80; otherwise it is normal.",
     {"suspicious", "normal"},
     "  - {name: delay, type: integer, min: 0, max: 60}\n"
     "  - {name: approved share, type: number, decimals: 2, min: 0, max: 1}\n"
     "  - {name: claim amount, type: integer, min: 20, max: 5000}\n"
     "  - {name: holder age, type: integer, min: 0, max: 99}\n"
     "  - {name: visit type, type: category, values: [outpatient, inpatient, emergency]}\n"},
    {"cold-chain",
     "Label the shipment spoiled when the warmest reading is over 12.0 degrees, or when the packaging is "
     "passive and the "
     "excursion is over 90 minutes; otherwise it is usable.",
     {"spoiled", "usable"},
     "  - {name: warmest reading, type: number, decimals: 1, min: 0, max: 30}\n"
     "  - {name: excursion, type: integer, min: 0, max: 600}\n"
     "  - {name: transit, type: integer, min: 1, max: 120}\n"
     "  - {name: packaging, type: category, values: [passive, insulated, refrigerated]}\n"},
    {"line-maintenance",
     "Mark the compressor as worn when the vibration is at least 7.1 and the bearing temperature is at least "
     "85 degrees; "
     "otherwise it is healthy.",
     {"worn", "healthy"},
     "  - {name: vibration, type: number, decimals: 1, min: 0, max: 20}\n"
     "  - {name: bearing temperature, type: integer, min: 20, max: 120}\n"
     "  - {name: runtime, type: integer, min: 0, max: 8000}\n"
     "  - {name: lubricant, type: category, values: [mineral, synthetic]}\n"},
};
enum { N_EXAMPLES = sizeof examples / sizeof *examples };

static _Noreturn void give_up(const struct err *e) {
    log_err(e);
    exit(1);
}

static void must(int rc, const struct err *e) {
    if (rc < 0)
        give_up(e);
}

/* ---- a student ---- */

struct student_files {
    char dir[256], log[300], f16[PATH];
    struct task task;
    struct rows training, validation, test;
    struct scores whole; /* of the 16-bit file on the test rows */
};

static void simulate(const struct chain *c, const struct example *x, const char *part, int64_t n, int seed,
                     char path[PATH]) {
    char rule[256], rows[32], seed_text[32];
    snprintf(rule, sizeof rule, "examples/%s/rule.yaml", x->name);
    snprintf(path, PATH, "build/bench/runs/compress/%s-%d.%s-%lld.csv", x->name, seed, part, (long long)n);
    snprintf(rows, sizeof rows, "%lld", (long long)n);
    snprintf(seed_text, sizeof seed_text, "%d", 100 * seed + part[0]);
    if (!file_exists(path))
        chain_run(c, (const char *const[]){chain_program("edgestill-simulate"), rule, "--rows", rows,
                                           "--balanced", "--seed", seed_text, "--out", path, NULL});
}

static void write_task(const struct example *x, const char *dir) {
    struct str s = {0};
    struct err e = {0};
    char path[PATH];
    str_addf(&s,
             "format: edgestill.task/1\nkind: classify\nname: %s\nsentence: %s\ninstruction: "
             "\"%s\"\nfields:\n%slabels:\n"
             "  - {name: %s, definition: as the instruction says}\n  - {name: %s, definition: otherwise}\n",
             x->name, x->name, x->instruction, x->fields, x->labels[0], x->labels[1]);
    snprintf(path, sizeof path, "%s/task.yaml", dir);
    must(str_check(&s, &e), &e);
    must(file_write(path, s.data, s.len, &e), &e);
    str_release(&s);
}

static void train(const struct example *x, const char *dir, const char *log, const char *data, int seed,
                  const char *form) {
    struct chain c = {dir, log};
    char program[1024], seed_text[32], project[PATH];
    snprintf(program, sizeof program, "%s", chain_program("edgestill"));
    snprintf(seed_text, sizeof seed_text, "%d", seed);
    snprintf(project, sizeof project, "%s/edgestill.yaml", dir);
    if (!file_exists(project)) {
        char *whole = realpath(data, NULL);
        chain_run(&c, (const char *const[]){program, "init", dir, "--task", x->name, "--device", "rpi5-8gb",
                                            "--base", "embedded", "--teacher", "none", "--data", whole,
                                            "--label", "label", "--seed", seed_text, NULL});
        free(whole);
        write_task(x, dir);
    }
    chain_run(&c, (const char *const[]){program, "task", "-C", dir, "--accept", NULL});
    chain_run(&c, (const char *const[]){program, "plan", "-C", dir, "--accept", "1", NULL});
    chain_run(&c, (const char *const[]){program, "generate", "-C", dir, "--split", "90/10/0", NULL});
    chain_run(&c, (const char *const[]){program, "train", "-C", dir, "--form", form, NULL});
}

static void read_rows(const struct task *t, const char *path, struct rows *out) {
    struct err e = {0};
    must(rows_read(out, t, path, &(struct rows_options){.label_column = "label"}, &e), &e);
}

static void score(const struct student_files *s, const char *gguf, struct scores *out) {
    struct err e = {0};
    must(scores_init(out, &s->task, &s->test, &e), &e);
    must(score_model(out, gguf, &s->task, &s->test, &(struct score_options){0}, NULL, &e), &e);
}

static void student_begin(struct student_files *s, const struct example *x, int seed, const char *form) {
    struct err e = {0};
    struct arena a;
    struct node *root = NULL;
    char data[PATH], validation[PATH], test[PATH], task[PATH];
    *s = (struct student_files){0};
    snprintf(s->dir, sizeof s->dir, "build/bench/runs/compress/%s-%d-%s", x->name, seed, form);
    snprintf(s->log, sizeof s->log, "%s.log", s->dir);
    printf("%s, seed %d, %s (log: %s)\n", x->name, seed, form, s->log);
    struct chain c = {s->dir, s->log};
    simulate(&c, x, "train", chain_setting("COMPRESS_TRAIN", 1000), seed, data);
    simulate(&c, x, "validation", 300, seed, validation);
    simulate(&c, x, "unseen", chain_setting("COMPRESS_ROWS", 5000), seed, test);
    train(x, s->dir, s->log, data, seed, form);
    snprintf(task, sizeof task, "%s/task.yaml", s->dir);
    snprintf(s->f16, sizeof s->f16, "%s/train/merged-f16.gguf", s->dir);
    arena_init(&a);
    must(yaml_node_read(&a, task, &root, &e), &e);
    must(task_from_node(&s->task, root, &e), &e);
    arena_release(&a);
    read_rows(&s->task, data, &s->training);
    read_rows(&s->task, validation, &s->validation);
    read_rows(&s->task, test, &s->test);
    score(s, s->f16, &s->whole);
}

static void student_end(struct student_files *s) {
    scores_release(&s->whole);
    rows_release(&s->training);
    rows_release(&s->validation);
    rows_release(&s->test);
    task_release(&s->task);
}

/* ---- ways to compress it ---- */

struct outcome {
    double bits, accuracy, loss, divergence;
    int64_t bytes;
    struct paired paired; /* against the 16-bit file */
};

static double loss_of(const struct scores *s) {
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum -= log(fmax(s->prob[i * s->n_labels + s->truth[i]], 1e-12));
    return sum / (double)s->n;
}

static double accuracy_of(const struct scores *s) {
    int64_t right = 0;
    for (int64_t i = 0; i < s->n; i++)
        right += s->answer[i] == s->truth[i];
    return (double)right / (double)s->n;
}

static void judge(const struct student_files *s, const char *gguf, struct outcome *o) {
    struct scores scores;
    struct err e = {0};
    score(s, gguf, &scores);
    struct scored a = scores_view(&scores), b = scores_view(&s->whole);
    o->accuracy = accuracy_of(&scores);
    o->loss = loss_of(&scores);
    o->divergence = compress_divergence(s->whole.prob, scores.prob, scores.n, scores.n_labels);
    o->bytes = file_size(gguf);
    must(paired_compare(&a, &b, &(struct bootstrap_options){.n_resamples = 200}, &o->paired, &e), &e);
    scores_release(&scores);
}

/* By compress_run; what is not set in `q` is the student's. */
static void compress(const struct student_files *s, const char *type, struct compress_request q,
                     struct outcome *o) {
    char folder[PATH], file[PATH + 16];
    struct err e = {0};
    struct compress_result r;
    snprintf(folder, sizeof folder, "%s/bench-model", s->dir);
    snprintf(file, sizeof file, "%s/student.gguf", folder);
    q.source = s->f16;
    q.folder = folder;
    q.task = &s->task;
    q.training = &s->training;
    q.validation = &s->validation;
    q.types = &type;
    q.n_types = 1;
    must(compress_run(&r, &q, &e), &e);
    o->bits = r.candidates[r.chosen].bits_per_weight;
    compress_release(&r);
    judge(s, file, o);
}

/* ---- 5.1 ---- */

static void add_quality(struct figures *f, const char *id, const struct example *x, int seed,
                        const char *what, const struct outcome *o) {
    char name[160], note[160];
    snprintf(name, sizeof name, "%s %d: %s minus 16-bit", x->name, seed, what);
    snprintf(note, sizeof note,
             "%.2f bits a weight, %.1f%% right, divergence %.2g; min, max: 95%% interval, paired", o->bits,
             100 * o->accuracy, o->divergence);
    figures_add(f, &(struct figure){id, name, "points", 100 * o->paired.difference, 1,
                                    100 * o->paired.interval.low, 100 * o->paired.interval.high, note});
}

static void chosen_and_small(struct figures *f, const struct example *x, int seed,
                             const struct student_files *s) {
    struct outcome o;
    char name[128];
    snprintf(name, sizeof name, "%s %d: 16-bit", x->name, seed);
    figures_add(f, &(struct figure){.id = "5.1",
                                    .name = name,
                                    .unit = "% right",
                                    .value = 100 * accuracy_of(&s->whole),
                                    .n = s->test.n});
    compress(s, "Q4_K_S", (struct compress_request){.recovery = COMPRESS_RECOVER_NEVER}, &o);
    add_quality(f, "5.1", x, seed, "chosen at about 4.5 bits", &o);
    compress(s, "Q2_K", (struct compress_request){.no_search = true, .recovery = COMPRESS_RECOVER_NEVER}, &o);
    add_quality(f, "5.1", x, seed, "Q2_K as llama.cpp mixes it", &o);
    compress(s, "Q2_K", (struct compress_request){.recovery = COMPRESS_RECOVER_NEVER}, &o);
    add_quality(f, "5.1", x, seed, "Q2_K's size, types searched", &o);
    compress(s, "Q2_K", (struct compress_request){.recovery = COMPRESS_RECOVER_ALWAYS}, &o);
    add_quality(f, "5.1", x, seed, "Q2_K's size, searched and recovered", &o);
}

/* ---- 5.3 ---- */

static int64_t tokens_of(const struct student_files *s) {
    struct err e = {0};
    struct lm *m;
    struct prompt p;
    struct tokens ids = {0};
    must(lm_open(&m, s->f16, &(struct lm_options){.vocab_only = true}, &e), &e);
    must(prompt_from_model(&p, &s->task, m, &e), &e);
    for (int64_t i = 0; i < s->validation.n; i++) {
        must(encode_head(&ids, m, &p, &e), &e);
        must(encode_record(&ids, m, &s->task, &p, &s->validation.records[i], &e), &e);
    }
    int64_t n = ids.n / s->validation.n;
    tokens_release(&ids);
    prompt_release(&p);
    lm_free(m);
    return n;
}

static void forms(struct figures *f, const struct example *x) {
    static const char *const names[] = {"full-labelled", "short-labelled", "none-labelled", "short-compact",
                                        "none-compact"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct student_files s;
        char name[128];
        student_begin(&s, x, 1, names[i]);
        snprintf(name, sizeof name, "%s, %s: a decision", x->name, names[i]);
        figures_add(f, &(struct figure){.id = "5.3",
                                        .name = name,
                                        .unit = "tokens",
                                        .value = (double)tokens_of(&s),
                                        .n = s.validation.n});
        snprintf(name, sizeof name, "%s, %s: 16-bit", x->name, names[i]);
        figures_add(f, &(struct figure){.id = "5.3",
                                        .name = name,
                                        .unit = "% right",
                                        .value = 100 * accuracy_of(&s.whole),
                                        .n = s.test.n});
        student_end(&s);
    }
}

/* ---- 5.4 ---- */

static void add_loss(struct figures *f, const struct example *x, const char *type, const char *how,
                     const struct outcome *o) {
    char name[128], note[120];
    snprintf(name, sizeof name, "%s, %s, %s: loss", x->name, type, how);
    snprintf(note, sizeof note, "%lld bytes; divergence from 16-bit %.3g", (long long)o->bytes,
             o->divergence);
    figures_add(f, &(struct figure){
                       .id = "5.4", .name = name, .unit = "nats", .value = o->loss, .n = 1, .note = note});
}

static void mixes(struct figures *f, const struct example *x, const struct student_files *s) {
    static const char *const types[] = {"Q4_K_M", "Q3_K_M", "Q2_K"};
    struct outcome o = {.loss = loss_of(&s->whole), .bytes = file_size(s->f16)};
    add_loss(f, x, "16-bit", "as trained", &o);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct quantize_preview p;
        struct err e = {0};
        must(quantize_preview(&p, s->f16, &(struct quantize_options){.type = types[i]}, &e), &e);
        struct bits_budget equal = {.bytes = p.tensor_bytes};
        quantize_preview_release(&p);
        struct compress_request q = {.whole_vocabulary = true, .recovery = COMPRESS_RECOVER_NEVER};
        q.no_search = true;
        compress(s, types[i], q, &o);
        add_loss(f, x, types[i], "stock with importance matrix", &o);
        q.no_imatrix = true;
        compress(s, types[i], q, &o);
        add_loss(f, x, types[i], "stock without", &o);
        q.no_search = q.no_imatrix = false;
        q.budget = equal;
        compress(s, types[i], q, &o);
        add_loss(f, x, types[i], "searched at equal size", &o);
    }
}

/* ---- 5.6 ---- */

static const char *const quantize_program[] = {EDGESTILL_LLAMA_QUANTIZE};

/* One of llama.cpp's tools, beside llama-quantize. */
static void run_tool(const struct chain *c, const char *tool, const char *const args[]) {
    const char *argv[24];
    char path[1024];
    int n = 0;
    size_t count = sizeof quantize_program / sizeof *quantize_program;
    for (size_t i = 0; i < count; i++)
        argv[n++] = quantize_program[i];
    snprintf(path, sizeof path, "%s", argv[n - 1]);
    char *last = strrchr(path, '/');
    snprintf(last ? last + 1 : path, sizeof path - (size_t)(last ? last + 1 - path : 0), "%s", tool);
    argv[n - 1] = path;
    for (int i = 0; args[i] && n < 23; i++)
        argv[n++] = args[i];
    argv[n] = NULL;
    chain_run(c, argv);
}

static void add_random_text(struct rng *r, struct str *out) {
    for (int64_t n = rng_range(r, 1, 24); n > 0; n--) {
        uint32_t c = (uint32_t)rng_range(r, 32,
                                         rng_chance(r, 0.6)   ? 0x7E
                                         : rng_chance(r, 0.8) ? 0x7FF
                                                              : 0x1FFFF);
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        if (c < 0x80)
            str_addf(out, "%c", (int)c);
        else if (c < 0x800)
            str_addf(out, "%c%c", (int)(0xC0 | c >> 6), (int)(0x80 | (c & 63)));
        else if (c < 0x10000)
            str_addf(out, "%c%c%c", (int)(0xE0 | c >> 12), (int)(0x80 | (c >> 6 & 63)),
                     (int)(0x80 | (c & 63)));
        else
            str_addf(out, "%c%c%c%c", (int)(0xF0 | c >> 18), (int)(0x80 | (c >> 12 & 63)),
                     (int)(0x80 | (c >> 6 & 63)), (int)(0x80 | (c & 63)));
    }
}

/* Do llama-tokenize on the file that ships and the trainer's tokenizer on the file it trained from give the same texts' ids? */
static int64_t differing_ids(const struct chain *c, const char *gguf, const struct str *text,
                             const char *text_path) {
    struct err e = {0};
    struct lm *m;
    struct str said = {0};
    int32_t *ids = calloc(text->len + 8, sizeof *ids);
    char log[PATH + 8];
    snprintf(log, sizeof log, "%s.ids", text_path);
    remove(log);
    run_tool(&(struct chain){c->dir, log}, "llama-tokenize",
             (const char *const[]){"-m", gguf, "-f", text_path, "--ids", "--no-bos", "--no-parse-special",
                                   "--log-disable", NULL});
    must(file_read(log, 0, &said, &e), &e);
    must(lm_open(&m, gguf, &(struct lm_options){.vocab_only = true}, &e), &e);
    int64_t n = lm_tokenize(m, text->data, text->len, LM_PLAIN, ids, (int64_t)text->len + 8, &e),
            differing = 0, i = 0;
    must((int)(n < 0 ? n : 0), &e);
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
    lm_free(m);
    str_release(&said);
    return differing;
}

static void tools(struct figures *f, const struct student_files *s) {
    struct chain c = {s->dir, s->log};
    struct str text = {0};
    struct rng r;
    struct err e = {0};
    struct outcome o;
    char gguf[PATH], imatrix[PATH], out[PATH], path[PATH];
    compress(s, "Q3_K_M", (struct compress_request){.recovery = COMPRESS_RECOVER_NEVER}, &o);
    snprintf(gguf, sizeof gguf, "%s/bench-model/student.gguf", s->dir);
    snprintf(imatrix, sizeof imatrix, "%s/bench-model/imatrix.gguf", s->dir);
    snprintf(out, sizeof out, "%s/bench-model/by-llama-quantize.gguf", s->dir);
    snprintf(path, sizeof path, "%s/bench-model/unicode.txt", s->dir);
    rng_seed(&r, 1);
    for (int i = 0; i < N_STRINGS; i++) {
        add_random_text(&r, &text);
        str_add(&text, "\n");
    }
    must(str_check(&text, &e), &e);
    must(file_write(path, text.data, text.len, &e), &e);
    figures_add(f, &(struct figure){.id = "5.6",
                                    .name = "ids that differ between llama-tokenize and the trainer",
                                    .unit = "ids",
                                    .value = (double)differing_ids(&c, gguf, &text, path),
                                    .n = N_STRINGS});
    run_tool(&c, "llama-perplexity",
             (const char *const[]){"-m", gguf, "-f", path, "-c", "128", "--chunks", "2", "-t", "1", NULL});
    run_tool(&c, "llama-cli",
             (const char *const[]){"-m", gguf, "-p", "1", "-n", "1", "-st", "-t", "1", NULL});
    figures_add(f, &(struct figure){.id = "5.6",
                                    .name = "llama-perplexity and llama-cli run the file",
                                    .unit = "of 2",
                                    .value = 2});
    run_tool(&c, "llama-quantize",
             (const char *const[]){"--imatrix", imatrix, s->f16, out, "Q3_K_M", "1", NULL});
    figures_add(f, &(struct figure){.id = "5.6",
                                    .name = "llama-quantize reads our importance matrix",
                                    .unit = "of 1",
                                    .value = 1});
    str_release(&text);
}

int main(void) {
    int64_t n_seeds = chain_setting("COMPRESS_SEEDS", 1),
            n_examples = chain_setting("COMPRESS_EXAMPLES", N_EXAMPLES);
    struct err e = {0};
    must(file_make_folders("build/bench/runs/compress", &e), &e);
    must(lm_backend_init(NULL, &e), &e);
    struct figures *f = figures_new("compress");
    for (int x = 0; x < N_EXAMPLES && x < n_examples; x++)
        for (int seed = 1; seed <= n_seeds; seed++) {
            struct student_files s;
            student_begin(&s, &examples[x], seed, "full-labelled");
            chosen_and_small(f, &examples[x], seed, &s);
            if (seed == 1)
                mixes(f, &examples[x], &s);
            if (seed == 1 && x == 0)
                tools(f, &s);
            student_end(&s);
        }
    forms(f, &examples[0]);
    figures_skip(f, "5.2", "Qwen3-0.6B shape", "not measured by this program yet");
    figures_skip(f, "5.5", "speed of quantising and of the whole choice at 0.6B",
                 "not measured by this program yet");
    return figures_finish(f);
}
