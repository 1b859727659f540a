/* Settings: defaults, what the plan, the project and the user say, and the manifest that they go into. */
#include "cmd/training.h"
#include "llama/lm.h"
#include <string.h>

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

/* Full training has no adapters: what is said of them would be passed over in silence. */
static int check_adapters(struct training *t, bool lora) {
    struct cmd_ctx *c = t->c;
    if (lora || (!cmd_flag(c, "rslora") && cmd_int(c, "layers", 0) == 0 && cmd_int(c, "rank", 0) == 0))
        return 0;
    err_set(t->e, ERR_USAGE, "train",
            "--rank, --rslora and --layers are of adapters, and the plan trains all weights");
    return err_hint(t->e, "leave them out, or say method: lora in plan.yaml and accept it: %s",
                    project_command(&t->project, "plan --accept 0"));
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

/* The exact savings, as --without names them. */
static const struct {
    const char *name;
    unsigned plain;
} savings[] = {
    {"prefix", TRAIN_PLAIN_PREFIX}, {"packing", TRAIN_PLAIN_PACKING},    {"last-block", NN_PLAIN_LAST},
    {"logits", NN_PLAIN_LOGITS},    {"vocabulary", NN_PLAIN_VOCABULARY}, {"first-gradient", NN_PLAIN_INPUT},
    {"lora", NN_PLAIN_LORA},
};
enum { N_SAVINGS = sizeof savings / sizeof *savings };

static int leave_out(struct training *t, const char *name, size_t n) {
    bool all = n == 3 && memcmp(name, "all", 3) == 0, found = all;
    for (int i = 0; i < N_SAVINGS; i++)
        if (all || (strlen(savings[i].name) == n && memcmp(savings[i].name, name, n) == 0)) {
            t->settings.plain |= savings[i].plain;
            found = true;
        }
    if (found)
        return 0;
    return err_set(
        t->e, ERR_USAGE, "train",
        "--without takes all, or of prefix, packing, last-block, logits, vocabulary, first-gradient "
        "and lora some, separated by commas: not \"%.*s\"",
        (int)n, name);
}

static int choose_savings(struct training *t) {
    const char *s = cmd_string(t->c, "without");
    int rc = 0;
    while (s && rc == 0) {
        const char *comma = strchr(s, ',');
        rc = leave_out(t, s, comma ? (size_t)(comma - s) : strlen(s));
        s = comma ? comma + 1 : NULL;
    }
    return rc;
}

/* Defaults from data and model, then what the user says. */
int training_choose(struct training *t) {
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
    t->lora.rank_stabilised = cmd_flag(c, "rslora");
    t->lora.rank = (int)cmd_int(c, "rank", t->plan.rank);
    t->lora.alpha = t->plan.rank > 0 ? (float)(t->plan.alpha * t->lora.rank / t->plan.rank) : 0;
    if (!prompt_form_parse(t->form_name, &t->form))
        return err_set(t->e, ERR_USAGE, "train",
                       "--form takes auto, or full, short or none, then labelled or compact: not \"%s\"",
                       t->form_name);
    if ((rc = choose_savings(t)) < 0)
        return rc;
    bool whole = strcmp(t->form_name, TRAINING_WHOLE_FORM) == 0;
    t->start = whole || cmd_flag(c, "cold") ? NULL : TRAINING_WHOLE_FOLDER "/best";
    const char *products = cmd_string(c, "products");
    if (strcmp(products, "f32") != 0 && strcmp(products, "bf16") != 0)
        return err_set(t->e, ERR_USAGE, "train", "--products is f32 or bf16, not '%s'", products);
    if ((rc = choose_base_memory(t, shape.lora)) < 0 || (rc = check_adapters(t, shape.lora)) < 0)
        return rc;
    if (s->epochs < 1 || s->batch_rows < 1 || !(s->learning_rate > 0) || s->patience < 0 ||
        cmd_int(c, "threads", 0) < 0 || (shape.lora && (t->lora.rank < 1 || t->lora.rank > 1024)))
        return err_set(t->e, ERR_USAGE, "train",
                       "--epochs, --batch, --rate and --rank must be positive (rank at most 1024), "
                       "--patience and --threads "
                       "not negative");
    return 0;
}

bool training_wants_bf16(const struct training *t) {
    return strcmp(cmd_string(t->c, "products"), "bf16") == 0;
}

int training_describe(struct training *t) {
    struct manifest *m = &t->manifest;
    char hex[SHA256_HEX];
    static const enum store_split splits[] = {STORE_TRAIN, STORE_VALIDATION};
    const char *file = training_name(t, "manifest.json");
    int rc = file ? manifest_init(m, t->project.dir, "train", file, t->e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = manifest_input(m, "task.yaml", t->e);
    if (rc == 0)
        rc = manifest_input(m, "plan.yaml", t->e);
    if (rc == 0)
        rc = manifest_input(m, str_text(&t->base_path), t->e);
    if (rc == 0 && t->start)
        rc = manifest_input(m, t->start, t->e);
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
    if (training_wants_bf16(t))
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
        manifest_setting(m, "without", json_string(cmd_string(t->c, "without")));
    manifest_version(m, "llama.cpp", lm_version());
    return 0;
}

void training_print(struct training *t) {
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
    int64_t shared = s->plain & TRAIN_PLAIN_PREFIX ? 0 : dataset_shared(&t->rows.train);
    if (shared > 0)
        cmd_print(c, "  %-14s %lld   tokens that all prompts begin with: computed once a step\n", "shared",
                  (long long)shared);
}
