/* The loop that trains a seed model: see trainer.h. */
#include "trainer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "induction.h"
#include "train/checkpoint.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_TOKENS = 2048, SAVE_EVERY_S = 60, EXAMINATION_SEED = 1000003, EXAMINATIONS = 60 };

/* What a checkpoint carries beside weights and moments. */
struct cursor {
    int64_t document; /* next of the stream */
    double tokens;    /* real tokens seen */
    double seconds;   /* of training */
    double loss;      /* running mean on the assistant's tokens */
    int64_t n_logged;
};

struct trainer {
    const struct recipe *recipe;
    const struct trainer_options *options;
    double total_tokens;
    struct bpe *bpe;
    struct ops ops;
    struct nn_model model;
    struct nn_run run;
    struct optimizer optimizer;
    struct cursor cursor;
    struct corpus_document next; /* drawn, not yet in a batch */
    bool have_next;
    int32_t token[STEP_TOKENS], position[STEP_TOKENS], target[STEP_TOKENS], start[STEP_TOKENS + 1];
    float weight[STEP_TOKENS];
    struct nn_batch batch;
    double batch_weight;
};

static void batch_begin(struct trainer *t) {
    t->batch = (struct nn_batch){.token = t->token,
                                 .position = t->position,
                                 .target = t->target,
                                 .weight = t->weight,
                                 .start = t->start};
    t->batch_weight = 0;
    t->start[0] = 0;
}

/* A document as one sequence; its last token predicts nothing. */
static void batch_add(struct trainer *t, const struct corpus_document *d) {
    int64_t at = t->batch.n_tokens, n = d->n - 1;
    for (int64_t i = 0; i < n; i++) {
        float w = d->weights[i + 1];
        t->token[at + i] = d->ids[i];
        t->position[at + i] = (int32_t)i;
        t->target[at + i] = w > 0 ? d->ids[i + 1] : -1;
        t->weight[at + i] = w;
        t->batch_weight += (double)w;
    }
    t->batch.n_tokens += n;
    t->start[++t->batch.n_seq] = (int32_t)t->batch.n_tokens;
}

static double difficulty(const struct trainer *t) {
    return t->cursor.tokens < t->recipe->easy_tokens ? t->cursor.tokens / t->recipe->easy_tokens : 1;
}

static void batch_fill(struct trainer *t) {
    batch_begin(t);
    for (;;) {
        if (!t->have_next)
            corpus_document(t->bpe, t->recipe->corpus, t->recipe->seed, t->cursor.document, difficulty(t),
                            &t->next);
        t->have_next = t->batch.n_tokens > 0 && t->batch.n_tokens + t->next.n - 1 > STEP_TOKENS;
        if (t->have_next)
            return;
        batch_add(t, &t->next);
        t->cursor.document++;
    }
}

/* Warm-up, a long plateau, a linear end: a longer run can go on from the plateau. */
static float learning_rate(const struct trainer *t) {
    const struct recipe *r = t->recipe;
    double warm = (double)(t->optimizer.step + 1) / (double)r->warmup_steps;
    double left = r->decay > 0 ? (1 - t->cursor.tokens / t->total_tokens) / r->decay : 1;
    double f = warm < 1 ? warm : 1;
    return r->learning_rate * (float)(left < f ? (left > 0.01 ? left : 0.01) : f);
}

static int train_step(struct trainer *t, struct err *e) {
    double loss_sum = 0;
    nn_zero_gradients(&t->model);
    batch_fill(t);
    int code = nn_forward_backward(&t->model, &t->run, &t->batch, t->batch_weight, &loss_sum, e);
    if (code < 0)
        return code;
    t->cursor.tokens += (double)t->batch.n_tokens;
    t->optimizer.options.learning_rate = learning_rate(t);
    double loss = loss_sum / t->batch_weight;
    t->cursor.loss = t->optimizer.step == 0 ? loss : 0.99 * t->cursor.loss + 0.01 * loss;
    return optimizer_step(&t->optimizer, NULL, e);
}

int trainer_examine(struct nn_model *m, struct bpe *b, int n_conditions, int64_t n, double *share,
                    struct err *e) {
    static struct corpus_document d;
    int32_t position[CORPUS_DOCUMENT_MAX], target[CORPUS_DOCUMENT_MAX], start[2] = {0, 0};
    int64_t right = 0, n_vocab = m->config.n_vocab;
    struct nn_run run = {0};
    float *logits = malloc((size_t)CORPUS_DOCUMENT_MAX * (size_t)n_vocab * sizeof *logits);
    struct nn_limits limits = {
        .n_tokens = CORPUS_DOCUMENT_MAX, .n_targets = CORPUS_DOCUMENT_MAX, .forward_only = true};
    int code = logits == NULL ? err_set(e, ERR_NO_MEMORY, "trainer_examine", "no memory for logits")
                              : nn_run_init(&run, m, &limits, e);
    for (int64_t i = 0; i < n && code == 0; i++) {
        int64_t answer = 0, at = 0;
        if (n_conditions < 0)
            corpus_draft_examination(b, EXAMINATION_SEED, i, n_conditions == -2, &d, &answer);
        else
            corpus_examination(b, EXAMINATION_SEED + (uint64_t)n_conditions, i, n_conditions, &d, &answer);
        int64_t length = d.n - 2; /* the last two: end of turn's successor and newline are not asked for */
        for (int64_t k = 0; k < length; k++) {
            position[k] = (int32_t)k;
            target[k] = k + 1 >= answer ? d.ids[k + 1] : -1;
        }
        start[1] = (int32_t)length;
        struct nn_batch batch = {.n_tokens = length,
                                 .token = d.ids,
                                 .position = position,
                                 .target = target,
                                 .n_seq = 1,
                                 .start = start};
        code = nn_forward_logits(m, &run, &batch, logits, e);
        bool exact = code == 0;
        for (int64_t k = answer - 1; k < length && exact; k++, at++) {
            const float *row = logits + at * n_vocab;
            for (int64_t v = 0; v < n_vocab; v++)
                exact = exact && (v == d.ids[k + 1] || row[v] < row[d.ids[k + 1]]);
        }
        right += exact;
    }
    nn_run_release(&run);
    free(logits);
    if (code == 0)
        *share = (double)right / (double)n;
    return code;
}

/* One line of train.jsonl; the examinations cost a second or two. */
static int write_log(struct trainer *t, double tokens_per_s, struct err *e) {
    static const int kinds[] = {1, 2, 3, -1, -2};
    struct str path = {0}, line = {0};
    str_addf(&line,
             "{\"step\":%" PRId64
             ",\"tokens\":%.0f,\"seconds\":%.0f,\"loss\":%.4f,\"learning_rate\":%.2e,\"tokens_per_s\":%.0f",
             t->optimizer.step, t->cursor.tokens, t->cursor.seconds, t->cursor.loss,
             (double)t->optimizer.options.learning_rate, tokens_per_s);
    int code = 0;
    for (size_t i = 0; t->recipe->corpus != CORPUS_BASE && i < sizeof kinds / sizeof *kinds && code == 0;
         i++) {
        static const char *const names[] = {"one_condition", "two_conditions", "three_conditions", "draft",
                                            "refuse"};
        double share = 0;
        code = trainer_examine(&t->model, t->bpe, kinds[i], EXAMINATIONS, &share, e);
        str_addf(&line, ",\"%s\":%.3f", names[i], share);
    }
    str_add(&line, "}\n");
    str_addf(&path, "%s/train.jsonl", t->options->folder);
    FILE *log = fopen(str_text(&path), "a");
    if (code == 0 && (log == NULL || fputs(str_text(&line), log) < 0))
        code = err_set_errno(e, ERR_IO, "trainer_run", "writing %s", str_text(&path));
    if (log != NULL)
        fclose(log);
    t->cursor.n_logged++;
    str_release(&path);
    str_release(&line);
    return code;
}

static int save(struct trainer *t, struct err *e) {
    char *path = file_join(t->options->folder, "checkpoint");
    int code =
        path == NULL ? ERR_NO_MEMORY : checkpoint_save(path, &t->optimizer, &t->cursor, sizeof t->cursor, e);
    free(path);
    return code;
}

static int loop(struct trainer *t, struct err *e) {
    double begin = clock_seconds(), saved = begin, before = t->cursor.seconds, logged = begin,
           logged_tokens = t->cursor.tokens;
    struct progress p;
    int code = 0;
    progress_begin(&p, t->recipe->name, "tokens", (int64_t)t->total_tokens);
    while (t->cursor.tokens < t->total_tokens && code == 0) {
        code = train_step(t, e);
        double now = clock_seconds();
        t->cursor.seconds = before + now - begin;
        bool last = t->cursor.tokens >= t->total_tokens, stop = interrupt_requested();
        stop = stop || (t->options->seconds > 0 && now - begin >= t->options->seconds);
        progress_note(&p, "loss %.4f", t->cursor.loss);
        progress_update(&p, (int64_t)t->cursor.tokens);
        if (code == 0 && (last || stop || now - saved >= SAVE_EVERY_S)) {
            code = save(t, e);
            saved = now;
        }
        if (code == 0 && (last || stop || now - logged >= 3 * SAVE_EVERY_S)) {
            code = write_log(t, (t->cursor.tokens - logged_tokens) / (now - logged), e);
            logged = clock_seconds();
            logged_tokens = t->cursor.tokens;
        }
        if (stop && code == 0 && !last)
            code = err_set(e, ERR_INTERRUPTED, "trainer_run", "stopped at %.1f million tokens",
                           t->cursor.tokens / 1e6);
    }
    progress_end(&p);
    return code;
}

static int set_up(struct trainer *t, struct err *e) {
    struct rng rng;
    rng_seed(&rng, t->recipe->seed);
    int code = corpus_vocabulary(&t->bpe, SEED_VOCABULARY, e);
    if (code == 0)
        code = (t->options->bf16 ? ops_open_cpu_bf16 : ops_open_cpu)(&t->ops, t->options->n_threads, e);
    if (code == 0)
        code = nn_model_init(&t->model, &t->recipe->config, &t->ops, e);
    if (code == 0)
        code = nn_model_randomise(&t->model, &rng, e);
    if (code == 0 && t->options->start_from == NULL)
        code = induction_prepare(&t->model, &rng, e);
    if (code == 0)
        code = nn_model_train_all(&t->model, e);
    if (code == 0)
        code = nn_run_init(&t->run, &t->model,
                           &(struct nn_limits){.n_tokens = STEP_TOKENS, .n_targets = STEP_TOKENS}, e);
    if (code == 0)
        code = optimizer_init(&t->optimizer, &t->model,
                              &(struct optimizer_options){.learning_rate = t->recipe->learning_rate,
                                                          .beta2 = 0.99F,
                                                          .epsilon = 1e-6F,
                                                          .weight_decay = t->recipe->weight_decay},
                              e);
    if (code == 0 && t->options->start_from != NULL)
        code = checkpoint_load_weights(t->options->start_from, &t->model, e);
    return code;
}

int trainer_run(const struct recipe *r, const struct trainer_options *o, struct err *e) {
    struct trainer *t = calloc(1, sizeof *t);
    char *path = file_join(o->folder, "checkpoint");
    if (t == NULL || path == NULL) {
        free(t);
        free(path);
        return err_set(e, ERR_NO_MEMORY, "trainer_run", "no memory");
    }
    t->recipe = r;
    t->options = o;
    t->total_tokens = o->tokens > 0 ? o->tokens : r->tokens;
    int code = file_make_folders(o->folder, e);
    if (code == 0)
        code = set_up(t, e);
    if (code == 0 && file_exists(path))
        code = checkpoint_load(path, &t->optimizer, &t->cursor, sizeof t->cursor, e);
    if (code == 0)
        code = loop(t, e);
    optimizer_release(&t->optimizer);
    nn_run_release(&t->run);
    nn_model_release(&t->model);
    if (t->ops.close != NULL)
        t->ops.close(&t->ops);
    bpe_free(t->bpe);
    free(t);
    free(path);
    return code;
}

int trainer_load(const struct recipe *r, const char *folder, const struct ops *ops, struct nn_model *m,
                 struct err *e) {
    char *path = file_join(folder, "checkpoint");
    int code = path == NULL ? err_set(e, ERR_NO_MEMORY, "trainer_load", "no memory")
                            : nn_model_init(m, &r->config, ops, e);
    if (code == 0)
        code = nn_model_train_all(m, e);
    if (code == 0)
        code = checkpoint_load_weights(path, m, e);
    free(path);
    return code;
}
