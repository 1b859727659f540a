/* Random models of real shapes, and their bundles. */
#include "bench/shapes.h"
#include "base/file.h"
#include "base/rng.h"
#include "deliver/bundle.h"
#include "format/json.h"
#include "llama/quantize.h"
#include "task/encode.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Shapes from the models' config.json, as in catalog/models.yaml. */
#define QWEN3(vocab)                                                                                         \
    {                                                                                                        \
        .arch = "qwen3", .n_layer = 28, .n_embd = 1024, .n_head = 16, .n_kv = 8, .head_dim = 128,            \
        .n_ff = 3072, .n_vocab = vocab, .n_ctx = 40960, .rope_base = 1e6F, .rms_epsilon = 1e-6F,             \
        .tied = true, .seed = 1, .type = GGML_TYPE_F16                                                       \
    }
const struct shape_model shape_qwen3 = {"qwen3-0.6b-q3_k_m", QWEN3(151936), "Q3_K_M"};
const struct shape_model shape_qwen3_trimmed = {"qwen3-0.6b-16k-q3_k_m", QWEN3(16000), "Q3_K_M"};
const struct shape_model shape_qwen3_16 = {"qwen3-0.6b-f16", QWEN3(151936), "F16"};
const struct shape_model shape_tinyllama = {"tinyllama-1.1b-q4_k_m",
                                            {.n_layer = 22,
                                             .n_embd = 2048,
                                             .n_head = 32,
                                             .n_kv = 4,
                                             .n_ff = 5632,
                                             .n_vocab = 32000,
                                             .seed = 1,
                                             .type = GGML_TYPE_F16},
                                            "Q4_K_M"};
#define SMALL                                                                                                \
    { .n_embd = 64, .n_head = 2, .n_kv = 1, .n_ff = 128, .n_vocab = 300, .seed = 1, .type = GGML_TYPE_F16 }
const struct shape_model shape_small = {"small-q8_0", SMALL, "Q8_0"};
const struct shape_model shape_small_16 = {"small-f16", SMALL, "F16"};

const struct shape_model *shape_pick(const struct shape_model *m) {
    return getenv("DEVICE_SMALL") ? &shape_small : m;
}

int shape_file(const struct shape_model *m, const char *prompt_tag, char path[256], struct err *e) {
    char f16[256];
    struct tiny_gguf shape = m->shape;
    shape.prompt_tag = prompt_tag;
    snprintf(path, 256, "build/bench/shapes/%s%s%.12s.gguf", m->name, prompt_tag ? "-" : "",
             prompt_tag ? prompt_tag : "");
    snprintf(f16, sizeof f16, "%.240s.f16", path);
    if (file_exists(path))
        return 0;
    fprintf(stderr, "making %s (random weights)\n", path);
    int rc = file_make_folders("build/bench/shapes", e);
    if (rc == 0)
        rc = tiny_gguf_write(f16, &shape, e);
    if (rc == 0)
        rc = quantize_file(f16, path, &(struct quantize_options){.type = m->type}, e);
    unlink(f16);
    return rc;
}

/* ---- a task of the right length ---- */

static void add_words(struct str *out, int n, struct rng *r) {
    static const char *const words[] = {"claim", "delay", "normal", "visit",
                                        "type",  "share", "value",  "record"};
    for (int i = 0; i < n; i++)
        str_addf(out, " %s", words[rng_range(r, 0, 7)]);
}

/* Names of fields are two words where values are short. */
static const char *const long_names[] = {"first", "second", "third", "fourth"};
static const char *const short_names[] = {"claim delay", "approved share", "visit type", "claim amount",
                                          "record type", "record days",    "delay days", "approved amount",
                                          "visit share", "record label",   "claim days", "claim type"};

struct fields {
    const char *const *names;
    int n;
};
static struct fields fields_of(const struct shape_request *q) {
    return q->short_values ? (struct fields){short_names, 12} : (struct fields){long_names, 4};
}

static int build_task(struct task *t, const struct shape_request *q, int n_words, struct err *e) {
    struct fields fields = fields_of(q);
    struct str json = {0};
    struct rng r;
    struct arena a;
    struct node *root = NULL;
    rng_seed(&r, 1);
    str_add(&json, "{\"format\":\"edgestill.task/"
                   "1\",\"kind\":\"classify\",\"name\":\"shape\",\"sentence\":\"Label records.\","
                   "\"instruction\":\"Label the record:");
    add_words(&json, n_words, &r);
    str_add(&json, "\",\"fields\":[");
    for (int i = 0; i < fields.n; i++)
        str_addf(&json, "%s{\"name\":\"%s\",\"type\":\"text\"}", i ? "," : "", fields.names[i]);
    str_add(&json, "],\"labels\":[{\"name\":\"good\",\"definition\":\"otherwise\"},{\"name\":\"weak\","
                   "\"definition\":\"a rule\"}]}");
    arena_init(&a);
    int rc = json_node_parse(&a, "shape", 0, str_text(&json), json.len, &root, e);
    if (rc == 0)
        rc = task_from_node(t, root, e);
    arena_release(&a);
    str_release(&json);
    return rc;
}

/* n_words over all fields; of short values every second is a number instead of words. */
static int build_record(const struct task *t, const struct shape_request *q, struct arena *a, int n_words,
                        struct rng *r, struct record *out, struct err *e) {
    struct fields fields = fields_of(q);
    struct str json = {0};
    struct node *root = NULL;
    for (int i = 0; i < fields.n; i++) {
        str_addf(&json, "%s\"%s\":\"", i ? "," : "{", fields.names[i]);
        if (q->short_values && i % 2)
            str_addf(&json, "%d", (int)rng_range(r, 10, 99));
        else
            add_words(&json, n_words / fields.n + (i < n_words % fields.n), r);
        str_add_char(&json, '"');
    }
    str_add_char(&json, '}');
    int rc = json_node_parse(a, "record", 0, str_text(&json), json.len, &root, e);
    if (rc == 0)
        rc = record_from_node(t, a, false, root, out, e);
    str_release(&json);
    return rc;
}

static int count(struct shape_task *t, const struct lm *m, const struct record *r, int64_t *n,
                 struct err *e) {
    struct tokens tokens = {0};
    int rc =
        r ? encode_record(&tokens, m, &t->task, &t->prompt, r, e) : encode_head(&tokens, m, &t->prompt, e);
    *n = tokens.n;
    tokens_release(&tokens);
    return rc;
}

static int fit_prefix(struct shape_task *t, const struct lm *m, const struct shape_request *q,
                      struct err *e) {
    for (int words = 1;; words++) {
        int rc = build_task(&t->task, q, words, e);
        if (rc == 0)
            rc = prompt_from_base(&t->prompt, &t->task, m, (struct prompt_form){0}, e);
        if (rc == 0)
            rc = count(t, m, NULL, &t->prefix_tokens, e);
        if (rc < 0 || t->prefix_tokens >= q->n_prefix)
            return rc;
        prompt_release(&t->prompt);
        task_release(&t->task);
    }
}

static int fit_records(struct shape_task *t, const struct lm *m, const struct shape_request *q,
                       struct err *e) {
    enum { ROWS = 24 };
    struct rng r;
    int words = fields_of(q).n, rc = 0;
    rng_seed(&r, 2);
    t->rows.records = calloc(ROWS, sizeof *t->rows.records);
    if (!t->rows.records)
        return err_set(e, ERR_NO_MEMORY, "shape_task_make", "no memory for rows");
    for (t->record_tokens = 0; t->record_tokens < q->n_record && rc == 0; words++) {
        rc = build_record(&t->task, q, &t->rows.arena, words, &r, &t->rows.records[0], e);
        if (rc == 0)
            rc = count(t, m, &t->rows.records[0], &t->record_tokens, e);
    }
    for (t->rows.n = 0; t->rows.n < ROWS && rc == 0; t->rows.n++) {
        rc = build_record(&t->task, q, &t->rows.arena, words - 1, &r, &t->rows.records[t->rows.n], e);
        t->rows.records[t->rows.n].label = (int)rng_range(&r, 0, 1);
    }
    return rc;
}

/* The same task and records, written in the form that was asked for. */
static int take_form(struct shape_task *t, const struct lm *m, const struct shape_request *q, struct err *e) {
    prompt_release(&t->prompt);
    int rc = prompt_from_base(&t->prompt, &t->task, m, q->form, e);
    if (rc == 0)
        rc = count(t, m, NULL, &t->prefix_tokens, e);
    return rc == 0 ? count(t, m, &t->rows.records[0], &t->record_tokens, e) : rc;
}

int shape_task_make(struct shape_task *t, const char *model, const struct shape_request *q, struct err *e) {
    struct lm *m = NULL;
    *t = (struct shape_task){0};
    arena_init(&t->rows.arena);
    int rc = lm_open(&m, model, &(struct lm_options){.vocab_only = true}, e);
    if (rc == 0)
        rc = fit_prefix(t, m, q, e);
    if (rc == 0)
        rc = fit_records(t, m, q, e);
    if (rc == 0)
        rc = take_form(t, m, q, e);
    for (int i = 0; i < t->task.n_labels && rc == 0; i++) {
        int32_t ids[64];
        const char *label = t->task.labels[i].name;
        int64_t n = lm_tokenize(m, label, strlen(label), LM_PLAIN, ids, 64, e);
        t->label_tokens = n > t->label_tokens ? (int)n : t->label_tokens;
    }
    lm_free(m);
    return rc;
}

void shape_task_release(struct shape_task *t) {
    rows_release(&t->rows);
    prompt_release(&t->prompt);
    task_release(&t->task);
}

/* ---- bundles, texts ---- */

int shape_bundle_make(const struct shape_task *t, const char *model, const struct shape_bundle *b,
                      struct err *e) {
    struct plan plan = {.quantisation = "as in its name",
                        .context = b->n_ctx ? b->n_ctx : 512,
                        .ubatch = b->n_batch ? b->n_batch : 128,
                        .threads = b->n_threads,
                        .prefix_state = true};
    struct bundle_result r;
    if (b->memory_bytes > 0)
        plan.predicted.memory_bytes = (struct estimate){b->memory_bytes, b->memory_bytes, b->memory_bytes,
                                                        "the limit of this measurement"};
    struct bundle_request q = {.arch = b->arch,
                               .device = "this machine",
                               .model = model,
                               .task = &t->task,
                               .plan = &plan,
                               .golden = &t->rows,
                               .n_golden = strcmp(b->arch, "arm64") == 0 ? t->rows.n : 4,
                               .folder = b->folder,
                               .n_threads = b->n_threads};
    return bundle_make(&r, &q, e);
}

int shape_record(const struct shape_task *t, int64_t i, struct str *json) {
    return record_to_json(&t->task, &t->rows.records[i % t->rows.n], json);
}

int shape_prompt(const struct shape_task *t, int64_t i, struct str *text) {
    str_add(text, t->prompt.head);
    int rc = prompt_render(&t->prompt, &t->task, &t->rows.records[i % t->rows.n], text);
    str_add(text, t->prompt.tail);
    return rc;
}
