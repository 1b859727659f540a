/* The base, cut to the task's vocabulary where that is wished, its rows and the memory for them, the model that is trained. */
#include "base/mem.h"
#include "cmd/train_reasons.h"
#include "cmd/training.h"
#include "compress/vocabulary.h"
#include "llama/lm.h"
#include "train/host/likely.h"
#include <stdlib.h>

int training_set_base(struct training *t, const char *path) {
    char *whole = realpath(path, NULL);
    if (whole) {
        str_clear(&t->base_path);
        str_add(&t->base_path, whole);
    }
    free(whole);
    return str_check(&t->base_path, t->e);
}

/* From here on the base is the trimmed one, which is like any other. */
static int trim_base(struct training *t) {
    struct rows training = {0}, validation = {0};
    struct vocabulary_trim trim;
    const char *path = training_file(t, "base-trimmed.gguf");
    if (!path)
        return ERR_NO_MEMORY;
    int64_t n_validation = 0;
    int rc = rows_from_store(&training, &t->task, t->store, "records.sqlite", STORE_TRAIN,
                             &(struct rows_options){0}, t->e);
    if (rc == 0)
        rc = store_accepted_count(t->store, STORE_VALIDATION, &n_validation, t->e);
    if (rc == 0 && n_validation > 0)
        rc = rows_from_store(&validation, &t->task, t->store, "records.sqlite", STORE_VALIDATION,
                             &(struct rows_options){0}, t->e);
    if (rc == 0)
        rc = vocabulary_trim(&trim, str_text(&t->base_path), path, &t->task, &training, &validation,
                             &(struct vocabulary_options){0}, t->e);
    rows_release(&training);
    rows_release(&validation);
    if (rc < 0 || !trim.trimmed)
        return rc;
    cmd_print(t->c, "vocabulary: %d of %d tokens\n", trim.n_after, trim.n_before);
    model_file_close(t->base);
    t->base = NULL;
    rc = training_set_base(t, path);
    return rc < 0 ? rc : model_file_open(&t->base, str_text(&t->base_path), t->e);
}

static int read_rows(struct training *t) {
    const char *base = str_text(&t->base_path);
    struct model_config config;
    int rc = model_file_config(t->base, &config, t->e);
    if (rc == 0)
        rc = lm_open(&t->lm, base, &(struct lm_options){.vocab_only = true}, t->e);
    if (rc == 0)
        rc = prompt_from_base(&t->prompt, &t->task, t->lm, t->form, t->e);
    if (rc < 0)
        return rc;
    struct train_rows_from from = {
        .store = t->store, .task = &t->task, .prompt = &t->prompt, .lm = t->lm, .n_ctx = t->plan.context};
    struct train_reasons reasons = {t->store, &t->task};
    from.soft = t->settings.soft_share > 0;
    from.rationale = t->rationale > 0 ? train_reasons_of : NULL;
    from.rationale_context = &reasons;
    from.rationale_share = t->rationale;
    if (from.n_ctx <= 0 || from.n_ctx > config.n_ctx)
        from.n_ctx = config.n_ctx;
    rc = train_rows_read(&t->rows, &from, t->e);
    if (rc == 0 && lm_n_vocab(t->lm) > config.n_vocab)
        rc = err_set(t->e, ERR_FORMAT, "train", "%s has %d tokens but weights for %d", base,
                     lm_n_vocab(t->lm), config.n_vocab);
    return rc;
}

/* The teacher's tokens along the answers of the training records. */
static int read_teacher(struct training *t) {
    struct progress progress;
    const struct likely_from from = {.teacher = cmd_string(t->c, "teacher-model"),
                                     .student = t->lm,
                                     .n_top = (int)cmd_int(t->c, "top-k", 8),
                                     .n_threads = (int)cmd_int(t->c, "threads", 0),
                                     .progress = &progress};
    if (!from.teacher)
        return 0;
    return likely_read(&t->rows.train, &from, t->e);
}

/* The last N blocks, where not all get adapters. */
static int choose_layers(struct training *t, const struct model_config *config) {
    int64_t n = cmd_int(t->c, "layers", config->n_layer);
    if (n < 1 || n > config->n_layer)
        return err_set(t->e, ERR_USAGE, "train", "--layers %lld: the base has %d blocks", (long long)n,
                       config->n_layer);
    t->lora.first_layer = config->n_layer - (int)n;
    return 0;
}

/* With what would fit, as a hint. */
static int refuse_memory(struct training *t, const struct nn_model *shape,
                         const struct train_base_bytes *bytes, const struct train_need *need,
                         int64_t available) {
    struct train_way way;
    char need_text[32], have[32], way_text[128];
    err_set(t->e, ERR_NO_MEMORY, "train",
            "training %s with its base kept as %s needs %s of memory, %s are free", str_text(&t->base_path),
            train_base_name(t->kept), str_bytes(need_text, sizeof need_text, t->memory.total_bytes),
            str_bytes(have, sizeof have, available));
    bool fits = train_memory_fit(shape, bytes, need, mem_total_bytes(), available, &way);
    train_way_text(way_text, sizeof way_text, shape, &way);
    if (fits)
        return err_hint(t->e, "%s", way_text);
    return err_hint(
        t->e, "nothing fits with this base (%s): close other programs, or accept a plan with a smaller base",
        way_text);
}

/* How the base is kept and what the run takes, before anything large is taken. */
static int plan_memory(struct training *t) {
    struct model_config config;
    struct train_base_bytes bytes;
    int rc = model_file_config(t->base, &config, t->e);
    if (rc == 0)
        rc = choose_layers(t, &config);
    if (rc == 0)
        rc = weights_base_bytes(t->base, &bytes, t->e);
    if (rc < 0)
        return rc;
    struct nn_model shape = {.config = config};
    if (t->plan.method == PLAN_LORA) /* a plan names a rank in any case */
        shape.lora = t->lora;
    struct train_need need = dataset_need(&t->rows.train, &t->rows.validation, t->settings.batch_rows,
                                          (t->settings.plain & TRAIN_PLAIN_PREFIX) != 0);
    int64_t available = mem_available_bytes(), total = mem_total_bytes();
    need.plain = t->settings.plain;
    need.n_others = t->settings.likely_share > 0 ? t->rows.train.n_likely : 0;
    t->kept = t->wished >= 0 ? (enum train_base)t->wished : train_base_choose(&shape, &bytes, &need, total);
    shape.packed = t->kept != TRAIN_BASE_F32;
    train_memory_plan(&shape, bytes.of[t->kept], &need, total, &t->memory);
    if (available <= 0 || t->memory.total_bytes < available)
        return 0;
    return refuse_memory(t, &shape, &bytes, &need, available);
}

int training_read(struct training *t) {
    int rc = cmd_flag(t->c, "trim") ? trim_base(t) : 0;
    if (rc == 0)
        rc = read_rows(t);
    if (rc == 0)
        rc = read_teacher(t);
    return rc < 0 ? rc : plan_memory(t);
}

/* Rounded products, where they are wished and pay. */
static int choose_products(struct training *t) {
    struct train_products *p = &t->products;
    int64_t tokens = t->memory.limits.n_tokens < 1024 ? t->memory.limits.n_tokens : 1024;
    int rc = training_wants_bf16(t) ? train_choose_products(&t->model, tokens, p, t->e) : 0;
    if (rc < 0 || !training_wants_bf16(t))
        return rc;
    if (p->rounded.per_s > 0)
        cmd_print(t->c, "  %-14s %s   in bfloat16 %.2f times as fast as in single precision here\n",
                  "products", p->bf16 ? "bf16" : "f32", p->rounded.per_s / p->f32.per_s);
    else
        cmd_print(t->c, "  %-14s f32   %s\n", "products",
                  p->f32.per_s > 0 ? "this processor has no units for bfloat16"
                                   : "the model is too small for a measurement");
    return 0;
}

int training_make_model(struct training *t) {
    struct model_config config;
    struct rng rng;
    int rc = model_file_config(t->base, &config, t->e);
    if (rc == 0)
        rc = ops_open_cpu(&t->ops, (int)cmd_int(t->c, "threads", 0), t->e);
    if (rc < 0)
        return rc;
    ops_count_wrap(&t->ops, &t->count);
    bool packed = t->kept != TRAIN_BASE_F32;
    rc = (packed ? nn_model_init_packed : nn_model_init)(&t->model, &config, &t->ops, t->e);
    if (rc == 0)
        rc = (t->kept == TRAIN_BASE_BF16 ? weights_load_bf16 : weights_load)(&t->model, t->base, t->e);
    if (rc < 0)
        return rc;
    rng_seed(&rng, t->settings.seed);
    if ((rc = choose_products(t)) < 0)
        return rc;
    return t->plan.method == PLAN_LORA ? nn_model_add_lora(&t->model, &t->lora, &rng, t->e)
                                       : nn_model_train_all(&t->model, t->e);
}
