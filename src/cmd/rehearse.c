/* See rehearse.h. Files of the rehearsal live in a folder of their own and are removed whatever happens. */
#include "cmd/rehearse.h"
#include "base/clock.h"
#include "base/file.h"
#include "cmd/manifest.h"
#include "cmd/rehearse_delivery.h"
#include "format/json.h"
#include "llama/lm.h"
#include "train/host/weights.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REHEARSAL_FORMAT "edgestill.rehearsal/1"

enum { MOST_TOKENS = 64, RANK = 2 };

/* 16-bit weights and cache: measured 3e-3 to 6e-3. On a quantised base llama.cpp rounds activations to 8 bits: 0.1 to 0.2. What
 * goes wrong in an export (an order of heads, a scale, a transposed matrix) gives 1 and more. */
#define MERGED_TOLERANCE  0.05
#define ADAPTER_TOLERANCE 0.5

struct stage_set {
    struct ops ops;
    struct model_file *file;
    struct nn_model model;
    struct nn_run run;
    int32_t token[MOST_TOKENS], position[MOST_TOKENS], target[MOST_TOKENS], start[2];
    int64_t n; /* tokens */
    const char *base, *folder, *merged, *adapter;
    struct delivery delivery;
    const char *mix;
    int n_threads;
};

/* ---- the trainer's side ---- */

/* B is zero in a fresh adapter; here it must matter. */
static int fill_adapter(struct nn_model *m, struct err *e) {
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 1; i < m->adapter.n_tensors; i += 2) {
        const struct nn_tensor *b = &m->adapter.tensors[i];
        int64_t n = b->rows * b->cols;
        float *values = malloc((size_t)n * sizeof *values);
        if (!values)
            return err_set(e, ERR_NO_MEMORY, "rehearse", "no room for an adapter");
        for (int64_t j = 0; j < n; j++)
            values[j] = 0.02f * (float)rng_normal(&rng);
        nn_set_write(m, &m->adapter, b, values);
        free(values);
    }
    return 0;
}

static int open_trainer(struct stage_set *s, struct err *e) {
    struct model_config config;
    struct rng rng;
    rng_seed(&rng, 3);
    int rc = model_file_open(&s->file, s->base, e);
    if (rc == 0)
        rc = model_file_config(s->file, &config, e);
    if (rc == 0)
        rc = ops_open_cpu(&s->ops, s->n_threads, e);
    if (rc == 0)
        rc = nn_model_init_packed(&s->model, &config, &s->ops,
                                  e); /* of any size: no more memory than the file's */
    if (rc == 0)
        rc = weights_load(&s->model, s->file, e);
    if (rc == 0)
        rc = nn_model_add_lora(&s->model, &(struct nn_lora){.rank = RANK, .alpha = 2 * RANK}, &rng, e);
    if (rc == 0)
        rc = fill_adapter(&s->model, e);
    if (rc == 0)
        rc = nn_run_init(&s->run, &s->model,
                         &(struct nn_limits){.n_tokens = MOST_TOKENS, .forward_only = true}, e);
    return rc;
}

static void close_trainer(struct stage_set *s) {
    nn_run_release(&s->run);
    nn_model_release(&s->model);
    model_file_close(s->file);
    if (s->ops.close)
        s->ops.close(&s->ops);
}

static int trainer_logits(struct stage_set *s, float *logits, struct err *e) {
    struct nn_batch b = {
        .n_tokens = s->n, .token = s->token, .position = s->position, .target = s->target, .n_seq = 1};
    for (int i = 0; i < s->n; i++)
        s->position[i] = i;
    s->start[1] = (int32_t)s->n;
    b.start = s->start;
    int rc = nn_batch_check(&s->model, &b, e);
    return rc == 0 ? nn_forward_logits(&s->model, &s->run, &b, logits, e) : rc;
}

/* ---- llama.cpp's side ---- */

static double difference(const float *x, const float *y, int64_t n) {
    double squares = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        squares += (double)y[i] * (double)y[i];
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst / sqrt(squares / (double)n);
}

static int compare(struct stage_set *s, const char *model, const char *lora, const float *ours,
                   double tolerance, double *measured, struct err *e) {
    struct lm *m = NULL;
    int64_t n = s->n * s->model.config.n_vocab;
    float *theirs = malloc((size_t)n * sizeof *theirs);
    struct lm_options o = {
        .n_ctx = 2 * MOST_TOKENS, .n_threads = s->n_threads, .lora = lora, .logits_all_rows = true};
    int rc = theirs ? lm_open(&m, model, &o, e) : err_set(e, ERR_NO_MEMORY, "rehearse", "no room for logits");
    if (rc == 0)
        rc = lm_logits(m, s->token, s->n, theirs, e);
    if (rc == 0) {
        *measured = difference(theirs, ours, n);
        if (!(*measured < tolerance))
            rc = err_set(e, ERR_MISMATCH, "rehearse",
                         "llama.cpp and the trainer disagree about %s%s: logits differ by %.2g", s->base,
                         lora ? " with an adapter" : " after merging", *measured);
    }
    lm_free(m);
    free(theirs);
    return rc;
}

/* Any text will do. */
static int tokenise(struct stage_set *s, struct err *e) {
    static const char text[] = "Say whether the record is good or bad.\n- value: 12\n- kind: other\n";
    struct lm *m = NULL;
    int rc = lm_open(&m, s->base, &(struct lm_options){.vocab_only = true}, e);
    s->n = rc == 0 ? lm_tokenize(m, text, strlen(text), LM_PLAIN, s->token, MOST_TOKENS, e) : rc;
    lm_free(m);
    return s->n < 0 ? (int)s->n : 0;
}

/* The hand-overs in their order; what fails is named by its step. */
#define STEPS(X)                                                                                             \
    X(open, "reading the base into the trainer", open_trainer(s, e))                                         \
    X(tokens, "tokenising with its vocabulary", tokenise(s, e))                                              \
    X(forward, "computing in the trainer", trainer_forward(s, logits, e))                                    \
    X(adapter, "writing the adapter", weights_write_adapter(&s->model, s->file, s->adapter, NULL, e))        \
    X(merge, "merging", weights_write_merged(&s->model, s->file, s->merged, MODEL_F16, NULL, e))             \
    X(merged, "comparing the merged file",                                                                   \
      compare(s, s->merged, NULL, *logits, MERGED_TOLERANCE, &r->merged, e))                                 \
    X(lora, "comparing base and adapter",                                                                    \
      compare(s, s->base, s->adapter, *logits, ADAPTER_TOLERANCE, &r->adapter, e))                           \
    X(trim, "trimming the vocabulary", delivery_trim(&s->delivery, e))                                       \
    X(answer, "quantising, loading, answering", delivery_answer(&s->delivery, e))                            \
    X(bundle, "making the bundle", delivery_bundle(&s->delivery, e))

static int trainer_forward(struct stage_set *s, float **logits, struct err *e) {
    *logits = malloc((size_t)(s->n * s->model.config.n_vocab) * sizeof **logits);
    return *logits != NULL ? trainer_logits(s, *logits, e)
                           : err_set(e, ERR_NO_MEMORY, "rehearse", "no room for logits");
}

static int take_steps(struct stage_set *s, struct rehearsal *r, float **logits, struct err *e) {
    int rc;
#define X(name, text, call)                                                                                  \
    if ((rc = call) < 0)                                                                                     \
        return err_context(e, "the export's rehearsal stopped while %s", text);
    STEPS(X)
#undef X
    return rc;
}

static int rehearse(struct stage_set *s, struct rehearsal *r, struct err *e) {
    float *logits = NULL;
    int rc = take_steps(s, r, &logits, e);
    close_trainer(s);
    free(logits);
    return rc;
}

/* ---- once for each base ---- */

static json_t *description(struct project *p, const struct stage_set *s, struct err *e) {
    char hash[SHA256_HEX];
    if (manifest_hash(p->dir, s->base, hash, e) < 0)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:s}", "format", REHEARSAL_FORMAT, "base_sha256", hash,
                     "quantisation", s->mix, "trim", s->delivery.plan->trim_vocabulary, "device", p->device,
                     "llama", lm_version());
}

static bool done_before(const char *path, const json_t *wanted) {
    json_t *before = NULL;
    const char *key;
    json_t *value;
    bool same = file_exists(path) && json_file_read(path, &before, NULL) == 0;
    json_object_foreach((json_t *)wanted, key, value) {
        same = same && json_equal(value, json_object_get(before, key));
    }
    json_decref(before);
    return same;
}

/* Where the second half puts its files. */
static int prepare_delivery(struct project *p, const struct task *t, const struct plan *plan,
                            struct stage_set *s, struct err *e) {
    s->delivery = (struct delivery){.project = p,
                                    .task = t,
                                    .plan = plan,
                                    .merged = s->merged,
                                    .trimmed = project_path(p, "rehearsal/trimmed.gguf"),
                                    .quantised = project_path(p, "rehearsal/quantised.gguf"),
                                    .bundle = project_path(p, "rehearsal/bundle"),
                                    .n_threads = s->n_threads};
    const struct delivery *d = &s->delivery;
    return s->folder && s->merged && s->adapter && d->trimmed && d->quantised && d->bundle
               ? 0
               : err_set(e, ERR_NO_MEMORY, "rehearse", "out of memory");
}

int rehearse_export(struct project *p, const struct task *task, const struct plan *plan, int n_threads,
                    struct rehearsal *out, struct err *e) {
    struct str base = {0};
    struct stage_set s = {.mix = plan->quantisation, .n_threads = n_threads};
    double start_s = clock_seconds();
    *out = (struct rehearsal){0};
    int rc = plan_base_file(plan, &base, e);
    char *whole = rc == 0 ? realpath(str_text(&base), NULL) : NULL;
    s.base = whole ? whole : str_text(&base);
    s.folder = project_path(p, "rehearsal");
    s.merged = project_path(p, "rehearsal/f16.gguf");
    s.adapter = project_path(p, "rehearsal/adapter.gguf");
    const char *note = project_path(p, "rehearsal.json");
    if (rc == 0)
        rc = note ? prepare_delivery(p, task, plan, &s, e)
                  : err_set(e, ERR_NO_MEMORY, "rehearse", "out of memory");
    if (rc == 0)
        rc = lm_backend_init(NULL, e);
    json_t *document = rc == 0 ? description(p, &s, e) : NULL;
    if (document && !done_before(note, document)) {
        out->repeated = true;
        if ((rc = file_make_folders(s.folder, e)) == 0 && (rc = rehearse(&s, out, e)) < 0)
            err_hint(e, "nothing was spent; accept a plan with another base");
        out->trimmed = s.delivery.was_trimmed;
        out->bundled = s.delivery.was_bundled;
        file_remove_tree(s.folder, NULL);
        if (rc == 0)
            rc = json_file_write(note, document, e);
    } else if (!document && rc == 0) {
        rc = e ? e->code : ERR_FAILED;
    }
    out->seconds = clock_seconds() - start_s;
    json_decref(document);
    free(whole);
    str_release(&base);
    return rc;
}
