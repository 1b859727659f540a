/* `edgestill train`: fine-tunes the accepted base on the accepted records. Writes train/adapter.gguf, train/merged-f16.gguf,
 * train/prompt.json, train/log.jsonl; a run that was stopped goes on where it was. */
#include "base/file.h"
#include "cmd/train_forms.h"
#include "cmd/training.h"
#include "llama/lm.h"
#include "train/checkpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    {"without", OPTION_STRING, "SAVINGS",
     "leave out exact savings, to check them: all, or some of prefix, packing, last-block, logits, "
     "vocabulary, "
     "first-gradient, lora, separated by commas",
     NULL},
    {"patience", OPTION_INT, "N", "evaluations without a better one before stopping; 0: never stop early",
     NULL},
    {"form", OPTION_STRING, "FORM",
     "what of the prompt the student reads: full, short or none, then labelled or compact: \"none-compact\"; "
     "auto: "
     "the shortest that answers as well (default: as edgestill.yaml says, else full-labelled)",
     NULL},
    {"cold", OPTION_FLAG, NULL,
     "begin with new adapters in a shorter form too, not with those of the whole prompt's student", NULL},
    {"trim", OPTION_FLAG, NULL,
     "train on a vocabulary cut to what the task needs: less memory, and faster where answers are long",
     NULL},
    {"seed", OPTION_INT64, "N", "another order of the records, other first adapters (default: the project's)",
     NULL},
    {"threads", OPTION_INT, "N", "threads to compute with (default: one a core)", NULL},
    {"restart", OPTION_FLAG, NULL, "forget an unfinished run and start anew", NULL},
    {0},
};

const char *training_path(struct training *t, const char *name) {
    const char *path = project_path(&t->project, name);
    if (!path)
        err_set(t->e, ERR_NO_MEMORY, "train", "out of memory");
    return path;
}

/* A file of the stage itself, by its name below the project. */
const char *training_name(struct training *t, const char *name) {
    const char *whole = arena_printf(&t->project.arena, "%s/%s", t->folder, name);
    if (!whole)
        err_set(t->e, ERR_NO_MEMORY, "train", "out of memory");
    return whole;
}

const char *training_file(struct training *t, const char *name) {
    const char *whole = training_name(t, name);
    return whole ? training_path(t, whole) : NULL;
}

/* ---- open and closed ---- */

static int find_base(struct training *t) {
    struct str path = {0};
    int rc = plan_base_file(&t->plan, &path, t->e);
    str_add(&t->base_path, str_text(&path));
    if (rc == 0)
        rc = training_set_base(t, str_text(&path));
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
        rc = (records = training_path(t, PROJECT_RECORDS)) ? store_open(&t->store, records, STORE_READ, t->e)
                                                           : ERR_NO_MEMORY;
    if (rc == ERR_NOT_FOUND)
        err_hint(t->e, "make the records first: %s", project_command(&t->project, "generate"));
    if (rc == 0)
        rc = lm_backend_init(NULL, t->e); /* also keeps ggml from printing about broken files */
    if (rc == 0)
        rc = model_file_open(&t->base, str_text(&t->base_path), t->e);
    if (rc == 0)
        rc = training_choose(t);
    return rc == 0 ? training_describe(t) : rc;
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

/* ---- the run ---- */

/* The first 60 bits of a SHA-256 in hexadecimal. */
static uint64_t first_bits(const char *hex) {
    char digits[16] = {0};
    memcpy(digits, hex, 15);
    return strtoull(digits, NULL, 16);
}

/* Where the base, the prompt, or what the run begins with is another one, a checkpoint is another run's. */
static int identify(struct training *t) {
    char base[SHA256_HEX], start[SHA256_HEX] = "";
    int rc = manifest_hash(t->project.dir, str_text(&t->base_path), base, t->e);
    if (rc == 0 && t->start)
        rc = manifest_hash(t->project.dir, t->start, start, t->e);
    t->settings.identity = first_bits(base) * 31 + first_bits(t->prompt.hash) + 7 * first_bits(start) +
                           (t->kept == TRAIN_BASE_BF16) + 2 * t->products.bf16;
    return rc;
}

static int fine_tune(struct training *t) {
    struct progress progress;
    struct train_files files = {training_file(t, "checkpoint"), training_file(t, "best"),
                                training_file(t, "log.jsonl")};
    const char *start = t->start ? training_path(t, t->start) : NULL;
    if (!files.checkpoint || !files.best || !files.log || (t->start && !start))
        return ERR_NO_MEMORY;
    int rc = identify(t);
    if (rc == 0 && start)
        rc = checkpoint_load_weights(start, &t->model, t->e);
    if (rc < 0)
        return rc;
    if (cmd_flag(t->c, "restart"))
        unlink(files.checkpoint);
    return train_run(&t->model, &t->rows.train, &t->rows.validation, &t->settings, &files, &progress,
                     &t->result, t->e);
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
    if (!(folder = training_path(t, t->folder)))
        return ERR_NO_MEMORY;
    if ((rc = file_make_folders(folder, t->e)) < 0 || (rc = training_read(t)) < 0)
        return rc;
    training_print(t);
    if ((rc = training_make_model(t)) < 0 || (rc = fine_tune(t)) < 0 || (rc = training_export(t)) < 0)
        return rc;
    training_report(t);
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

/* A shorter form is learned in a fraction of the steps, and better, from what the whole prompt's student knows (decision 23). */
static int train_whole_first(struct cmd_ctx *c, const char *form) {
    cmd_print(c, "%s begins with the adapters of the whole prompt's student, in %s:\n", form,
              TRAINING_WHOLE_FOLDER);
    int rc = train_form(c, TRAINING_WHOLE_FOLDER, TRAINING_WHOLE_FORM);
    if (rc == 0)
        cmd_print(c, "\n%s:\n", form);
    return rc;
}

static int run_train(struct cmd_ctx *c) {
    char form[PROMPT_FORM_TEXT];
    struct prompt_form parsed;
    int rc = find_form(c, form);
    if (rc < 0)
        return rc;
    if (strcmp(form, "auto") == 0)
        return train_forms(c, train_form);
    bool shorter = prompt_form_parse(form, &parsed) && strcmp(form, TRAINING_WHOLE_FORM) != 0;
    if (shorter && !cmd_flag(c, "cold"))
        rc = train_whole_first(c, form);
    return rc < 0 ? rc : train_form(c, "train", form);
}

const struct verb verb_train = {"train", "fine-tune the accepted base on the accepted records", "[options]",
                                options, run_train};
