/* `edgestill train`: fine-tunes the accepted base on the accepted records. Writes train/adapter.gguf, train/merged-f16.gguf,
 * train/prompt.json, train/log.jsonl; a run that was stopped goes on where it was. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "cmd/train_forms.h"
#include "cmd/train_reasons.h"
#include "compress/vocabulary.h"
#include "llama/lm.h"
#include "plan/plan.h"
#include "train/host/likely.h"
#include "train/host/rows.h"
#include "train/host/verify.h"
#include "train/host/weights.h"
#include "train/loop.h"
#include "train/rate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERIFIED_ROWS = 16 };

static const struct option_def options[] = {
    {"epochs", OPTION_INT, "N", "passes over the records, at most (default: from the number of records)",
     NULL},
    {"batch", OPTION_INT, "N", "records of one optimiser step (default: from the number of records)", NULL},
    {"rate", OPTION_NUMBER, "X", "peak learning rate (default: from the size of the base)", NULL},
    {"schedule", OPTION_STRING, "SHAPE",
     "learning rate after the warm-up: cosine, linear or constant (default: as edgestill.yaml says, else "
     "as planned)",
     NULL},
    {"warmup", OPTION_NUMBER, "X",
     "share of the steps in which the learning rate climbs to its peak (default: as planned)", NULL},
    {"rank", OPTION_INT, "N", "rank of the adapters (default: as planned)", NULL},
    {"rslora", OPTION_FLAG, NULL, "scale adapters by alpha over the root of the rank, not over the rank",
     NULL},
    {"layers", OPTION_INT, "N", "adapters on the last N blocks alone (default: on all)", NULL},
    {"base-memory", OPTION_STRING, "HOW",
     "keep the frozen base as f32, rounded to bf16, or stored as in its file (default: by size and memory)",
     NULL},
    {"products", OPTION_STRING, "HOW",
     "f32, or bf16: operands of products rounded to 8 bits of precision, only where this processor has units "
     "for that "
     "and a measurement at the start says it is faster",
     "f32"},
    {"soft", OPTION_NUMBER, "X",
     "share of the teacher's votes or probabilities in the target, from 0 to 1; the rest is the label "
     "(default: 0; 0.5 with "
     "--teacher-model)",
     NULL},
    {"teacher-model", OPTION_STRING, "FILE",
     "a GGUF with the base's vocabulary: its most probable tokens are the soft target", NULL},
    {"top-k", OPTION_INT, "N", "how many of them at each token of an answer", "8"},
    {"rationale", OPTION_NUMBER, "X",
     "weight of the teacher's reasons, learned beside the answers (default: 1 where task.yaml says "
     "rationale: true, "
     "else 0)",
     NULL},
    {"plain", OPTION_FLAG, NULL, "make none of the exact savings: slow, to check them", NULL},
    {"patience", OPTION_INT, "N", "evaluations without a better one before stopping; 0: never stop early",
     NULL},
    {"form", OPTION_STRING, "FORM",
     "what of the prompt the student reads: full, short or none, then labelled or compact: \"none-compact\"; "
     "auto: "
     "the shortest that answers as well (default: as edgestill.yaml says, else full-labelled)",
     NULL},
    {"trim", OPTION_FLAG, NULL, "train on a vocabulary cut to what the task needs: faster, and less memory",
     NULL},
    {"seed", OPTION_INT, "N", "another order of the records, other first adapters (default: the project's)",
     NULL},
    {"threads", OPTION_INT, "N", "threads to compute with (default: one a core)", NULL},
    {"restart", OPTION_FLAG, NULL, "forget an unfinished run and start anew", NULL},
    {0},
};

struct training {
    struct cmd_ctx *c;
    struct err *e;
    const char *folder; /* of what is made, below the project: "train" */
    const char *form_name;
    struct project project;
    struct task task;
    struct plan plan;
    struct str base_path;
    struct store *store;
    struct manifest manifest;
    struct lm *lm; /* the base's vocabulary */
    struct prompt prompt;
    struct prompt_form form;
    struct model_file *base;
    struct train_rows rows;
    float rationale; /* weight of the reasons; 0: none */
    struct ops ops;
    struct nn_model model;
    struct nn_lora lora;
    int wished; /* enum train_base, how the base is to be kept; -1: as memory allows */
    enum train_base kept;
    float usual_warmup; /* the default */
    struct train_products products;
    struct ops_count count;
    struct train_settings settings;
    char reasons[TRAIN_N_REASONS][160];
    struct train_memory memory;
    struct train_result result;
    double export_error; /* largest difference of a probability between trainer and export */
};

static const char *path_of(struct training *t, const char *name) {
    const char *path = project_path(&t->project, name);
    if (!path)
        err_set(t->e, ERR_NO_MEMORY, "train", "out of memory");
    return path;
}

/* A file of the stage itself, by its name below the project. */
static const char *name_in(struct training *t, const char *name) {
    const char *whole = arena_printf(&t->project.arena, "%s/%s", t->folder, name);
    if (!whole)
        err_set(t->e, ERR_NO_MEMORY, "train", "out of memory");
    return whole;
}

static const char *path_in(struct training *t, const char *name) {
    const char *whole = name_in(t, name);
    return whole ? path_of(t, whole) : NULL;
}

/* ---- what is to be done ---- */

static int64_t base_params(const struct training *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < model_file_n_tensors(t->base); i++) {
        struct model_tensor x = model_file_tensor(t->base, i);
        n += x.rows * x.cols;
    }
    return n;
}

static int choose_base_memory(struct training *t, bool lora) {
    const char *how = cmd_string(t->c, "base-memory");
    t->wished = how ? train_base_find(how) : -1;
    if (how && t->wished < 0)
        return err_set(t->e, ERR_USAGE, "train", "--base-memory is f32, bf16 or stored, not '%s'", how);
    if (how && !lora && t->wished != TRAIN_BASE_F32)
        return err_set(t->e, ERR_USAGE, "train", "full training needs the base as f32");
    return 0;
}

static int choose_schedule(struct training *t) {
    struct train_settings *s = &t->settings;
    const char *said = cmd_string(t->c, "schedule"), *in_project = t->project.schedule;
    const char *name = said ? said : in_project ? in_project : t->plan.schedule;
    int shape = name ? schedule_find(name) : (int)s->schedule;
    if (shape < 0)
        return err_set(t->e, ERR_USAGE, "train", "--schedule is cosine, linear or constant, not '%s'", name);
    t->usual_warmup = s->warmup;
    double planned = t->plan.warmup >= 0 ? t->plan.warmup : (double)s->warmup;
    double warmup = cmd_number(t->c, "warmup", planned);
    if (!(warmup >= 0 && warmup < 1))
        return err_set(t->e, ERR_USAGE, "train", "--warmup is a share of the steps from 0 to below 1, not %g",
                       warmup);
    s->schedule = (enum schedule_shape)shape;
    s->warmup = (float)warmup;
    return 0;
}

/* Defaults from data and model, then what the user says. */
static int choose_settings(struct training *t) {
    struct cmd_ctx *c = t->c;
    struct train_settings *s = &t->settings;
    struct train_shape shape = {.n_params = base_params(t), .lora = t->plan.method == PLAN_LORA};
    int rc = store_accepted_count(t->store, STORE_TRAIN, &shape.n_rows, t->e);
    if (rc < 0)
        return rc;
    train_settings_default(s, &shape, t->reasons);
    s->epochs = cmd_int(c, "epochs", s->epochs);
    s->batch_rows = cmd_int(c, "batch", s->batch_rows);
    s->learning_rate = (float)cmd_number(c, "rate", (double)s->learning_rate);
    s->patience = cmd_int(c, "patience", s->patience);
    if ((rc = choose_schedule(t)) < 0)
        return rc;
    bool likely = cmd_string(c, "teacher-model") != NULL;
    double share = cmd_number(c, "soft", likely ? 0.5 : 0);
    if (!(share >= 0 && share <= 1))
        return err_set(t->e, ERR_USAGE, "train", "--soft is a share from 0 to 1, not %g", share);
    s->soft_share = likely ? 0 : (float)share;
    s->likely_share = likely ? (float)share : 0;
    double rationale = cmd_number(c, "rationale", t->task.rationale ? 1 : 0);
    if (!(rationale >= 0 && rationale <= 10))
        return err_set(t->e, ERR_USAGE, "train", "--rationale is a weight from 0 to 10, not %g", rationale);
    if (rationale > 0 && cmd_flag(c, "trim"))
        return err_set(t->e, ERR_USAGE, "train",
                       "--trim cuts the vocabulary that the teacher's reasons need: add --rationale 0");
    t->rationale = (float)rationale;
    s->seed = (uint64_t)cmd_int(c, "seed", (int64_t)t->project.seed);
    s->count = &t->count;
    if (cmd_flag(c, "plain")) {
        s->no_prefix = true;
        s->plain = NN_PLAIN_LAST | NN_PLAIN_LOGITS | NN_PLAIN_INPUT | NN_PLAIN_VOCABULARY | NN_PLAIN_LORA;
    }
    t->lora.rank_stabilised = cmd_flag(c, "rslora");
    t->lora.rank = (int)cmd_int(c, "rank", t->plan.rank);
    t->lora.alpha = t->plan.rank > 0 ? (float)(t->plan.alpha * t->lora.rank / t->plan.rank) : 0;
    if (!prompt_form_parse(t->form_name, &t->form))
        return err_set(t->e, ERR_USAGE, "train",
                       "--form takes auto, or full, short or none, then labelled or compact: not \"%s\"",
                       t->form_name);
    const char *products = cmd_string(c, "products");
    if (strcmp(products, "f32") != 0 && strcmp(products, "bf16") != 0)
        return err_set(t->e, ERR_USAGE, "train", "--products is f32 or bf16, not '%s'", products);
    int rc_base = choose_base_memory(t, shape.lora);
    if (rc_base < 0)
        return rc_base;
    if (s->epochs < 1 || s->batch_rows < 1 || !(s->learning_rate > 0) || s->patience < 0 ||
        cmd_int(c, "threads", 0) < 0 || (shape.lora && (t->lora.rank < 1 || t->lora.rank > 1024)))
        return err_set(t->e, ERR_USAGE, "train",
                       "--epochs, --batch, --rate and --rank must be positive (rank at most 1024), "
                       "--patience and --threads "
                       "not negative");
    return 0;
}

static bool wants_bf16(const struct training *t) {
    return strcmp(cmd_string(t->c, "products"), "bf16") == 0;
}

static int describe(struct training *t) {
    struct manifest *m = &t->manifest;
    char hex[SHA256_HEX];
    static const enum store_split splits[] = {STORE_TRAIN, STORE_VALIDATION};
    const char *file = name_in(t, "manifest.json");
    int rc = file ? manifest_init(m, t->project.dir, "train", file, t->e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = manifest_input(m, "task.yaml", t->e);
    if (rc == 0)
        rc = manifest_input(m, "plan.yaml", t->e);
    if (rc == 0)
        rc = manifest_input(m, str_text(&t->base_path), t->e);
    for (int i = 0; i < 2 && rc == 0; i++) {
        const char *name = i == 0 ? "records:train" : "records:validation";
        rc = store_records_hash(t->store, splits[i], hex, t->e);
        if (rc == 0)
            manifest_input_hash(m, name, hex);
    }
    if (rc < 0)
        return rc;
    manifest_seed(m, t->settings.seed);
    manifest_setting(m, "vocabulary", json_string(cmd_flag(t->c, "trim") ? "task" : "full"));
    manifest_setting(m, "form", json_string(t->form_name));
    manifest_setting(m, "method", json_string(plan_method_text(t->plan.method)));
    manifest_setting(m, "rank", json_integer(t->lora.rank));
    manifest_setting(m, "alpha", json_real((double)t->lora.alpha));
    manifest_setting(m, "rank_stabilised", json_boolean(t->lora.rank_stabilised));
    manifest_setting(m, "soft", json_real((double)t->settings.soft_share));
    if (t->rationale > 0)
        manifest_setting(m, "rationale", json_real((double)t->rationale));
    manifest_setting(m, "layers", json_integer(cmd_int(t->c, "layers", 0)));
    manifest_setting(m, "epochs", json_integer(t->settings.epochs));
    manifest_setting(m, "batch", json_integer(t->settings.batch_rows));
    manifest_setting(m, "rate", json_real((double)t->settings.learning_rate));
    manifest_setting(m, "patience", json_integer(t->settings.patience));
    if (t->settings.schedule !=
        SCHEDULE_COSINE) /* said where it is not the default: students of before stay up to date */
        manifest_setting(m, "schedule", json_string(schedule_name(t->settings.schedule)));
    if (wants_bf16(t))
        manifest_setting(m, "products", json_string("bf16"));
    if (t->wished == TRAIN_BASE_BF16) /* the others are the same but for rounding */
        manifest_setting(m, "base_memory", json_string("bf16"));
    if (t->settings.warmup != t->usual_warmup)
        manifest_setting(m, "warmup", json_real((double)t->settings.warmup));
    const char *teacher = cmd_string(t->c, "teacher-model");
    if (teacher) {
        if ((rc = sha256_file(teacher, hex, t->e)) < 0)
            return err_context(t->e, "--teacher-model");
        manifest_input_hash(m, "teacher-model", hex);
        manifest_setting(m, "likely", json_real((double)t->settings.likely_share));
        manifest_setting(m, "top_k", json_integer(cmd_int(t->c, "top-k", 8)));
    }
    if (t->settings.plain) /* the same but for rounding */
        manifest_setting(m, "plain", json_true());
    manifest_version(m, "llama.cpp", lm_version());
    return 0;
}

/* The base's path without regard to the working folder: manifests take relative names as the project's. */
static int set_base(struct training *t, const char *path) {
    char *whole = realpath(path, NULL);
    if (whole) {
        str_clear(&t->base_path);
        str_add(&t->base_path, whole);
    }
    free(whole);
    return str_check(&t->base_path, t->e);
}

static int find_base(struct training *t) {
    struct str path = {0};
    int rc = plan_base_file(&t->plan, &path, t->e);
    str_add(&t->base_path, str_text(&path));
    if (rc == 0)
        rc = set_base(t, str_text(&path));
    str_release(&path);
    return rc;
}

static int open_all(struct training *t) {
    struct cmd_ctx *c = t->c;
    const char *records;
    int rc = project_open(&t->project, c->project_dir, t->e);
    if (rc == 0)
        rc = project_hold(&t->project, t->e);
    if (rc == 0)
        rc = project_task(&t->project, true, &t->task, t->e);
    if (rc == 0)
        rc = project_plan(&t->project, &t->plan, t->e);
    if (rc == 0)
        rc = find_base(t);
    if (rc == 0)
        rc = (records = path_of(t, PROJECT_RECORDS)) ? store_open(&t->store, records, STORE_READ, t->e)
                                                     : ERR_NO_MEMORY;
    if (rc == ERR_NOT_FOUND)
        err_hint(t->e, "make the records first: %s", project_command(&t->project, "generate"));
    if (rc == 0)
        rc = lm_backend_init(NULL, t->e); /* also keeps ggml from printing about broken files */
    if (rc == 0)
        rc = model_file_open(&t->base, str_text(&t->base_path), t->e);
    if (rc == 0)
        rc = choose_settings(t);
    return rc == 0 ? describe(t) : rc;
}

static void close_all(struct training *t) {
    nn_model_release(&t->model);
    if (t->ops.close)
        t->ops.close(&t->ops);
    train_rows_release(&t->rows);
    model_file_close(t->base);
    prompt_release(&t->prompt);
    lm_free(t->lm);
    manifest_release(&t->manifest);
    store_close(t->store);
    str_release(&t->base_path);
    plan_release(&t->plan);
    task_release(&t->task);
    project_release(&t->project);
}

/* ---- the model and its rows ---- */

/* From here on the base is the trimmed one, which is like any other. */
static int trim_base(struct training *t) {
    struct rows training = {0}, validation = {0};
    struct vocabulary_trim trim;
    const char *path = path_in(t, "base-trimmed.gguf");
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
    rc = set_base(t, path);
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

/* What would fit where the plan does not, as a hint. */
static int refuse_memory(struct training *t, struct nn_model shape, const struct train_base_bytes *bytes,
                         const struct train_need *need, int64_t available) {
    bool lora = shape.lora.rank > 0;
    char need_text[32], have[32];
    err_set(t->e, ERR_NO_MEMORY, "train",
            "training %s with its base kept as %s needs %s of memory, %s are free", str_text(&t->base_path),
            train_base_name(t->kept), str_bytes(need_text, sizeof need_text, t->memory.total_bytes),
            str_bytes(have, sizeof have, available));
    shape.packed = true;
    for (int b = TRAIN_BASE_BF16; b < TRAIN_N_BASES && lora; b++) {
        struct train_memory m;
        train_memory_plan(&shape, bytes->of[b], need, mem_total_bytes(), &m);
        if (m.total_bytes < available)
            return err_hint(t->e, "--base-memory %s takes %s", train_base_name((enum train_base)b),
                            str_bytes(need_text, sizeof need_text, m.total_bytes));
    }
    return err_hint(t->e, "close other programs, or accept a plan with a smaller base%s",
                    lora ? "" : " or with the method lora");
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
    struct nn_model shape = {.config = config, .lora = t->lora};
    struct train_need need =
        dataset_need(&t->rows.train, &t->rows.validation, t->settings.batch_rows, t->settings.no_prefix);
    int64_t available = mem_available_bytes(), total = mem_total_bytes();
    need.plain = t->settings.plain;
    t->kept = t->wished >= 0 ? (enum train_base)t->wished : train_base_choose(&shape, &bytes, &need, total);
    shape.packed = t->kept != TRAIN_BASE_F32;
    train_memory_plan(&shape, bytes.of[t->kept], &need, total, &t->memory);
    if (available <= 0 || t->memory.total_bytes < available)
        return 0;
    return refuse_memory(t, shape, &bytes, &need, available);
}

/* Rounded products, where they are wished and pay. */
static int choose_products(struct training *t) {
    struct train_products *p = &t->products;
    int64_t tokens = t->memory.limits.n_tokens < 1024 ? t->memory.limits.n_tokens : 1024;
    int rc = wants_bf16(t) ? train_choose_products(&t->model, tokens, p, t->e) : 0;
    if (rc < 0 || !wants_bf16(t))
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

static int make_model(struct training *t) {
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

static void print_choice(struct training *t) {
    struct cmd_ctx *c = t->c;
    const struct train_settings *s = &t->settings;
    cmd_print(c, "%lld records to train on, %lld to validate; prompts of up to %lld tokens\n",
              (long long)t->rows.train.n_rows, (long long)t->rows.validation.n_rows,
              (long long)dataset_longest(&t->rows.train));
    if (t->plan.method == PLAN_LORA)
        cmd_print(c, "  %-14s %d   as planned\n", "rank", t->lora.rank);
    if (t->rationale > 0)
        cmd_print(c,
                  "  %-14s %lld   records whose reasons are learned, too, weight %g; %lld too long for the "
                  "context\n",
                  "rationales", (long long)t->rows.n_rationales, (double)t->rationale,
                  (long long)t->rows.n_too_long);
    cmd_print(c, "  %-14s %lld   %s\n", "epochs", (long long)s->epochs, t->reasons[TRAIN_REASON_EPOCHS]);
    cmd_print(c, "  %-14s %lld   %s\n", "batch", (long long)s->batch_rows, t->reasons[TRAIN_REASON_BATCH]);
    cmd_print(c, "  %-14s %g   %s\n", "learning rate", (double)s->learning_rate,
              t->reasons[TRAIN_REASON_RATE]);
    cmd_print(c, "  %-14s %lld   %s\n", "patience", (long long)s->patience,
              t->reasons[TRAIN_REASON_PATIENCE]);
    cmd_print(c, "  %-14s %g   %s\n", "warm-up", (double)s->warmup, t->reasons[TRAIN_REASON_WARMUP]);
    cmd_print(c, "  %-14s %g   %s\n", "weight decay", (double)s->weight_decay,
              t->reasons[TRAIN_REASON_DECAY]);
    cmd_print(c, "  %-14s %s   %s\n", "schedule", schedule_name(s->schedule),
              t->reasons[TRAIN_REASON_SCHEDULE]);
    static const char *const why[] = {
        [TRAIN_BASE_F32] = "small enough, or trained itself",
        [TRAIN_BASE_BF16] =
            "its file's values are wider than there is memory for; tiles are widened on the fly",
        [TRAIN_BASE_STORED] =
            "a frozen base of this size stays as its file has it; tiles are widened on the fly"};
    cmd_print(c, "  %-14s %s   %s\n", "base kept", train_base_name(t->kept),
              t->wished >= 0 ? "as wished" : why[t->kept]);
    int64_t shared = s->no_prefix ? 0 : dataset_shared(&t->rows.train);
    if (shared > 0)
        cmd_print(c, "  %-14s %lld   tokens that all prompts begin with: computed once a step\n", "shared",
                  (long long)shared);
}

/* The first 60 bits of a SHA-256 in hexadecimal. */
static uint64_t first_bits(const char *hex) {
    char digits[16] = {0};
    memcpy(digits, hex, 15);
    return strtoull(digits, NULL, 16);
}

static int fine_tune(struct training *t) {
    char base_hash[SHA256_HEX];
    struct progress progress;
    struct train_files files = {path_in(t, "checkpoint"), path_in(t, "best"), path_in(t, "log.jsonl")};
    if (!files.checkpoint || !files.best || !files.log)
        return ERR_NO_MEMORY;
    int rc = manifest_hash(t->project.dir, str_text(&t->base_path), base_hash, t->e);
    if (rc < 0)
        return rc;
    t->settings.identity = first_bits(base_hash) * 31 + first_bits(t->prompt.hash) +
                           (t->kept == TRAIN_BASE_BF16) + 2 * t->products.bf16;
    if (cmd_flag(t->c, "restart"))
        unlink(files.checkpoint);
    return train_run(&t->model, &t->rows.train, &t->rows.validation, &t->settings, &files, &progress,
                     &t->result, t->e);
}

/* ---- what comes out ---- */

static int write_prompt(struct training *t) {
    struct str json = {0};
    const char *path = path_in(t, "prompt.json");
    int rc = path ? prompt_to_json(&t->prompt, &json, t->e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = file_write(path, json.data, json.len, t->e);
    str_release(&json);
    return rc;
}

/* The trainer's answers to some validation rows, against those of llama.cpp with what was written. */
static int verify_export(struct training *t, const char *adapter, const char *merged) {
    struct dataset some = t->rows.validation.n_rows > 0 ? t->rows.validation : t->rows.train; /* a view */
    struct packer packer = {0};
    struct nn_run run = {0};
    ops_round_products(&t->ops, false, NULL); /* llama.cpp does not round so */
    int64_t longest = dataset_longest(&some);
    some.n_rows = some.n_rows < VERIFIED_ROWS ? some.n_rows : VERIFIED_ROWS;
    double *log_prob = calloc((size_t)(some.n_rows * train_scores_of(&some)), sizeof *log_prob), worst = 0;
    int rc = log_prob ? packer_init(&packer, longest, t->e)
                      : err_set(t->e, ERR_NO_MEMORY, "train", "no room to compare answers");
    if (rc == 0)
        rc = nn_run_init(&run, &t->model, &(struct nn_limits){.n_tokens = longest, .forward_only = true},
                         t->e);
    if (rc == 0)
        rc = train_score(&t->model, &run, &packer, &some, &(struct train_scores){.log_prob = log_prob}, t->e);
    /* Measured: below 0.01 for 16-bit weights. A quantised base runs with activations of 8 bits. */
    struct verify v = {.model = merged,
                       .task = &t->task,
                       .rows = &some,
                       .log_prob = log_prob,
                       .n_rows = some.n_rows,
                       .tolerance = 0.05,
                       .n_threads = (int)cmd_int(t->c, "threads", 0)};
    if (rc == 0)
        rc = verify_run(&v, &t->export_error, t->e);
    v.model = str_text(&t->base_path);
    v.lora = adapter;
    v.tolerance = 0.2;
    if (rc == 0 && adapter)
        rc = verify_run(&v, &worst, t->e);
    free(log_prob);
    packer_release(&packer);
    nn_run_release(&run);
    return rc;
}

/* The adapter comes last: full training has none. */
static const char *const train_outputs[] = {"merged-f16.gguf", "prompt.json", "log.jsonl", "adapter.gguf"};

static int export(struct training *t) {
    bool lora = t->plan.method == PLAN_LORA;
    const char *adapter = path_in(t, "adapter.gguf"), *merged = path_in(t, "merged-f16.gguf");
    if (!adapter || !merged)
        return ERR_NO_MEMORY;
    int rc = write_prompt(t);
    if (rc == 0 && lora)
        rc = weights_write_adapter(&t->model, t->base, adapter, t->prompt.tag, t->e);
    if (rc == 0 && !lora)
        unlink(adapter);
    if (rc == 0)
        rc = weights_write_merged(&t->model, t->base, merged, MODEL_F16, t->prompt.tag, t->e);
    if (rc == 0)
        rc = verify_export(t, lora ? adapter : NULL, merged);
    for (int i = 0; i < (lora ? 4 : 3) && rc == 0; i++) {
        const char *name = name_in(t, train_outputs[i]);
        rc = name ? manifest_output(&t->manifest, name, t->e) : ERR_NO_MEMORY;
    }
    return rc == 0 ? manifest_write(&t->manifest, t->e) : rc;
}

static void report(struct training *t) {
    struct cmd_ctx *c = t->c;
    const struct train_result *r = &t->result;
    char memory[32], duration[32];
    json_object_set_new(c->result, "rows",
                        json_pack("{s:I, s:I, s:I}", "train", (json_int_t)t->rows.train.n_rows, "validation",
                                  (json_int_t)t->rows.validation.n_rows, "rationales",
                                  (json_int_t)t->rows.n_rationales));
    json_object_set_new(c->result, "steps", json_integer(r->steps));
    json_object_set_new(c->result, "best_step", json_integer(r->best_step));
    json_object_set_new(c->result, "stopped_early", json_boolean(r->stopped_early));
    json_object_set_new(c->result, "seconds", json_real(r->seconds));
    json_object_set_new(c->result, "samples_per_s", json_real(r->samples_per_s));
    json_object_set_new(c->result, "tokens_per_s", json_real(r->tokens_per_s));
    json_object_set_new(c->result, "memory_bytes", json_integer(r->memory_bytes));
    json_object_set_new(c->result, "products", json_string(t->products.bf16 ? "bf16" : "f32"));
    json_object_set_new(c->result, "base_kept", json_string(train_base_name(t->kept)));
    json_object_set_new(c->result, "product_share", json_real(r->product_share));
    json_object_set_new(c->result, "export_error", json_real(t->export_error));
    cmd_print(c, "%lld steps in %s, %.0f records/s, %.0f tokens/s, %s of memory%s\n", (long long)r->steps,
              str_duration(duration, sizeof duration, r->seconds), r->samples_per_s, r->tokens_per_s,
              str_bytes(memory, sizeof memory, r->memory_bytes), r->stopped_early ? "; stopped early" : "");
    if (t->rows.validation.n_rows > 0) {
        json_object_set_new(c->result, "validation_accuracy", json_real(r->best_accuracy));
        json_object_set_new(c->result, "validation_loss", json_real(r->best_loss));
        cmd_print(c, "validation accuracy %.1f%%, loss %.3f, at step %lld; llama.cpp agrees to %.2g\n",
                  100 * r->best_accuracy, r->best_loss, (long long)r->best_step, t->export_error);
    } else {
        cmd_print(c, "no validation records: the last weights were taken\n");
    }
    cmd_print(c, "wrote %s/merged-f16.gguf%s\n", t->folder,
              t->plan.method == PLAN_LORA ? " and adapter.gguf" : "");
}

static int train(struct training *t) {
    const char *folder;
    struct str why = {0};
    int rc = open_all(t);
    if (rc < 0)
        return rc;
    bool current = manifest_is_current(&t->manifest, &why);
    str_release(&why);
    json_object_set_new(t->c->result, "up_to_date", json_boolean(current));
    if (current && !cmd_flag(t->c, "restart")) {
        cmd_print(t->c, "%s: up to date\n", t->folder);
        return 0;
    }
    if (!(folder = path_of(t, t->folder)))
        return ERR_NO_MEMORY;
    if ((rc = file_make_folders(folder, t->e)) < 0 || (cmd_flag(t->c, "trim") && (rc = trim_base(t)) < 0) ||
        (rc = read_rows(t)) < 0 || (rc = read_teacher(t)) < 0)
        return rc;
    if ((rc = plan_memory(t)) < 0)
        return rc;
    print_choice(t);
    if ((rc = make_model(t)) < 0 || (rc = fine_tune(t)) < 0 || (rc = export(t)) < 0)
        return rc;
    report(t);
    return 0;
}

static int train_form(struct cmd_ctx *c, const char *folder, const char *form) {
    struct training t = {.c = c, .e = &c->err, .folder = folder, .form_name = form};
    int rc = train(&t);
    close_all(&t);
    return rc;
}

/* The form that is asked for, here or in edgestill.yaml. */
static int find_form(struct cmd_ctx *c, char form[PROMPT_FORM_TEXT]) {
    struct project p;
    const char *asked = cmd_string(c, "form");
    int rc = project_open(&p, c->project_dir, &c->err);
    if (rc < 0)
        return rc;
    snprintf(form, PROMPT_FORM_TEXT, "%s", asked ? asked : p.form ? p.form : "full-labelled");
    project_release(&p);
    return 0;
}

static int run_train(struct cmd_ctx *c) {
    char form[PROMPT_FORM_TEXT];
    int rc = find_form(c, form);
    if (rc < 0)
        return rc;
    return strcmp(form, "auto") == 0 ? train_forms(c, train_form) : train_form(c, "train", form);
}

const struct verb verb_train = {"train", "fine-tune the accepted base on the accepted records", "[options]",
                                options, run_train};
