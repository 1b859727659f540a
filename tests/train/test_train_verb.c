/* `edgestill train` on a project with a tiny base and made-up records: what it writes, that it is done once, that the
 * adapter and the merged file run in llama.cpp, and what is refused with which words. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "cmd/rehearse.h"
#include "config.h"
#include "llama/lm.h"
#include "store/store.h"
#include "support/run_verb.h"
#include "support/scratch.h"
#include "support/tiny_gguf.h"
#include "support/tiny_task.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void write_text(const char *path, const char *text) {
    struct err e = {0};
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
}

/* `edgestill VERB -C p --quiet WORDS...`: the code; *result (may be NULL) the document. */
static int run(const char *verb, json_t **result, struct err *e, const char *const words[]) {
    return run_verb(verb, "p", strcmp(verb, "train") == 0, result, e, words);
}

/* Accepted records of the tiny task; `label` NULL: by its rule. */
static void add_records(int n, uint64_t seed, enum store_split split, const char *label) {
    struct store *s;
    struct task t;
    struct arena a;
    struct rng r;
    struct err e = {0};
    rng_seed(&r, seed);
    arena_init(&a);
    assert_int_equal(tiny_task(&t, &e), 0);
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_WRITE, &e), 0);
    assert_int_equal(store_begin(s, &e), 0);
    for (int i = 0; i < n; i++) {
        struct record x = tiny_record(&t, &a, &r);
        struct str json = {0};
        int64_t id;
        record_to_json(&t, &x, &json);
        struct store_record row = {.source = "teacher", .data = str_text(&json), .weight = 1};
        row.label = label ? label : t.labels[x.label].name;
        row.status = STORE_ACCEPTED;
        row.split = split;
        assert_int_equal(store_record_add(s, &row, &id, &e), 0);
        str_release(&json);
    }
    assert_int_equal(store_commit(s, &e), 0);
    store_close(s);
    arena_release(&a);
    task_release(&t);
}

static void write_base(enum ggml_type type) {
    struct err e = {0};
    struct tiny_gguf m = {.n_embd = 256, .n_ff = 256, .n_vocab = 640, .type = type, .seed = 3};
    assert_int_equal(tiny_gguf_write("data/seed/base.gguf", &m, &e), 0);
}

static int set_up(void **state) {
    (void)state;
    struct task t;
    struct project p;
    struct str yaml = {0};
    struct err e = {0};
    scratch_enter();
    setenv("HOME", "/nonexistent", 1);
    setenv("EDGESTILL_DATA_DIR", "data", 1);
    unsetenv("XDG_CONFIG_HOME");
    file_make_folders("p", &e);
    file_make_folders("data/seed", &e);
    if (symlink(EDGESTILL_SOURCE_DIR "/catalog", "data/catalog") != 0 || tiny_task(&t, &e) < 0)
        return -1;
    write_base(GGML_TYPE_F16);
    task_to_yaml(&t, &yaml, &e);
    write_text("p/task.yaml", str_text(&yaml));
    str_release(&yaml);
    task_release(&t);
    write_text("p/edgestill.yaml", "format: edgestill.project/1\ntask: flag quick claims\ndevice: rpi5-8gb\n"
                                   "base: embedded\nteacher:\n  kind: none\nrecords: 400\nseed: 1\n");
    int rc = project_open(&p, "p", &e);
    if (rc == 0)
        rc = project_lock_write(&p, "task.yaml", NULL, &e);
    project_release(&p);
    if (rc < 0)
        print_error("%s\n", e.message);
    return rc;
}

static void test_gates(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1")), ERR_GATE);
    assert_int_equal(run("plan", NULL, &e, WORDS("--accept", "1")), 0);
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1")), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "generate"));
}

static int rehearse(struct rehearsal *r, struct err *e) {
    struct project p;
    struct plan plan;
    struct task task;
    *e = (struct err){0};
    int rc = project_open(&p, "p", e);
    if (rc == 0 && (rc = project_plan(&p, &plan, e)) == 0) {
        rc = project_task(&p, true, &task, e);
        plan.trim_vocabulary = true;
        if (rc == 0)
            rc = rehearse_export(&p, &task, &plan, 1, r, e);
        task_release(&task);
        plan_release(&plan);
    }
    project_release(&p);
    return rc;
}

static void test_the_export_is_rehearsed(void **state) {
    (void)state;
    static const char runner[] = EDGESTILL_SOURCE_DIR "/build/arm64/edgestill-run";
    struct err made = {0};
    assert_int_equal(file_make_folders("data/arm64", &made), 0);
    if (file_exists(runner))
        assert_int_equal(symlink(runner, "data/arm64/edgestill-run"), 0);
    struct err e;
    struct rehearsal r;
    if (rehearse(&r, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(r.repeated && r.merged > 0 && r.merged < 0.02 && r.adapter < 0.02);
    assert_true(r.trimmed);
    assert_int_equal(r.bundled,
                     file_exists("data/arm64/edgestill-run")); /* built where bundles for arm64 are */
    print_message("logits differ by %.2g merged, %.2g with the adapter\n", r.merged, r.adapter);
    assert_int_equal(rehearse(&r, &e), 0);
    assert_false(r.repeated);
    write_base(GGML_TYPE_Q8_0); /* another base: again */
    assert_int_equal(rehearse(&r, &e), 0);
    assert_true(r.repeated && r.merged < 0.02 && r.adapter < 0.3);
    assert_false(file_exists("p/rehearsal"));
    struct tiny_gguf other = {.arch = "granite"};
    assert_int_equal(tiny_gguf_write("data/seed/base.gguf", &other, &e), 0);
    assert_int_equal(rehearse(&r, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "granite"));
    assert_false(file_exists("p/rehearsal"));
    write_base(GGML_TYPE_F16);
}

static void test_it_trains_and_exports(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    add_records(60, 1, STORE_TRAIN, NULL);
    add_records(20, 2, STORE_VALIDATION, NULL);
    int rc = run("train", &j, &e, WORDS("--epochs", "3"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_int_equal(json_integer_value(json_object_get(j, "steps")), 3 * 8);
    assert_true(json_real_value(json_object_get(j, "validation_accuracy")) > 0);
    assert_true(json_real_value(json_object_get(j, "export_error")) < 0.02);
    print_message("largest difference between trainer and llama.cpp: %.2g of a probability\n",
                  json_real_value(json_object_get(j, "export_error")));
    json_decref(j);
    static const char *const files[] = {"p/train/adapter.gguf", "p/train/merged-f16.gguf",
                                        "p/train/prompt.json", "p/train/log.jsonl", ("p/" MANIFEST_TRAIN)};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_true(file_exists(files[i]));
    assert_int_equal(run("train", &j, &e, WORDS("--epochs", "3")), 0);
    assert_true(json_is_true(json_object_get(j, "up_to_date")));
    json_decref(j);
}

/* The plan's schedule is trained with, unless edgestill.yaml or the command line say otherwise. */
static void test_the_planned_schedule(void **state) {
    (void)state;
    struct err e = {0};
    struct str plan = {0}, manifest = {0};
    assert_int_equal(file_read("p/plan.yaml", 0, &plan, &e), 0);
    char *at = strstr(plan.data, "schedule: cosine");
    assert_non_null(at);
    memcpy(at, "schedule: linear", 16);
    write_text("p/plan.yaml", str_text(&plan));
    assert_int_equal(run("plan", NULL, &e, WORDS("--accept", "0")), 0);
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1", "--restart")), 0);
    assert_int_equal(file_read("p/train/manifest.json", 0, &manifest, &e), 0);
    assert_non_null(strstr(str_text(&manifest), "\"schedule\": \"linear\""));
    memcpy(at, "schedule: cosine", 16);
    write_text("p/plan.yaml", str_text(&plan));
    assert_int_equal(run("plan", NULL, &e, WORDS("--accept", "0")), 0);
    str_release(&plan);
    str_release(&manifest);
}

/* All weights, where the plan says so: nothing of adapters is written, nor listened to. */
static void test_all_weights(void **state) {
    (void)state;
    struct err e = {0};
    struct str plan = {0};
    json_t *j = NULL;
    assert_int_equal(file_read("p/plan.yaml", 0, &plan, &e), 0);
    char *at = strstr(plan.data, "method: lora");
    assert_non_null(at);
    memcpy(at, "method: full", 12);
    write_text("p/plan.yaml", str_text(&plan));
    assert_int_equal(run("plan", NULL, &e, WORDS("--accept", "0")), 0);
    int rc = run("train", &j, &e, WORDS("--epochs", "1"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_string_equal(json_string_value(json_object_get(j, "base_kept")), "f32");
    assert_true(json_number_value(json_object_get(j, "export_error")) < 0.05);
    assert_false(file_exists("p/train/adapter.gguf"));
    json_decref(j);
    assert_int_equal(run("train", NULL, &e, WORDS("--layers", "1")), ERR_USAGE);
    assert_non_null(strstr(e.message, "all weights"));
    assert_int_equal(run("train", NULL, &e, WORDS("--rank", "4")), ERR_USAGE);
    assert_int_equal(run("train", NULL, &e, WORDS("--base-memory", "stored")), ERR_USAGE);
    memcpy(at, "method: lora", 12);
    write_text("p/plan.yaml", str_text(&plan));
    assert_int_equal(run("plan", NULL, &e, WORDS("--accept", "0")), 0);
    str_release(&plan);
}

/* The validation loss that the last training's log ends with. */
static double logged_loss(void) {
    struct err e = {0};
    struct str log = {0};
    double loss = NAN;
    assert_int_equal(file_read("p/train/log.jsonl", 0, &log, &e), 0);
    for (const char *at = str_text(&log); (at = strstr(at, "\"validation_loss\":")); at++)
        loss = strtod(at + strlen("\"validation_loss\":"), NULL);
    str_release(&log);
    return loss;
}

/* Savings are exact: without some or all of them the same comes out, but for rounding. */
static void test_savings_can_be_left_out(void **state) {
    (void)state;
    struct err e = {0};
    static const char *const without[] = {"", "prefix,packing", "all"};
    double loss[3];
    for (int i = 0; i < 3; i++) {
        int rc = i == 0 ? run("train", NULL, &e, WORDS("--epochs", "1", "--restart"))
                        : run("train", NULL, &e, WORDS("--epochs", "1", "--without", without[i]));
        if (rc < 0)
            fail_msg("--without %s: %s", without[i], e.message);
        loss[i] = logged_loss();
        assert_true(fabs(loss[i] / loss[0] - 1) < 1e-4);
    }
    assert_int_equal(run("train", NULL, &e, WORDS("--without", "prefix,bags")), ERR_USAGE);
    assert_non_null(strstr(e.message, "\"bags\""));
}

/* On the smaller vocabulary, in a shorter form: the export still answers as the trainer does, and says its form. */
static void test_small_and_short(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    struct str prompt = {0};
    int rc =
        run("train", &j, &e,
            WORDS("--epochs", "1", "--trim", "--form", "short-compact", "--schedule", "linear", "--restart"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_true(file_exists("p/train/base-trimmed.gguf"));
    assert_true(file_size("p/train/merged-f16.gguf") < file_size("data/seed/base.gguf"));
    assert_true(json_number_value(json_object_get(j, "export_error")) < 0.05);
    json_decref(j);
    assert_int_equal(file_read("p/train/prompt.json", 0, &prompt, &e), 0);
    assert_non_null(strstr(str_text(&prompt), "\"form\":\"short-compact\""));
    str_clear(&prompt);
    assert_int_equal(file_read("p/train/manifest.json", 0, &prompt, &e), 0);
    assert_non_null(strstr(str_text(&prompt), "\"schedule\": \"linear\""));
    str_release(&prompt);
    assert_int_equal(run("train", NULL, &e, WORDS("--form", "brief")), ERR_USAGE);
    assert_int_equal(run("train", NULL, &e, WORDS("--schedule", "steps")), ERR_USAGE);
    assert_int_equal(run("train", NULL, &e, WORDS("--warmup", "1")), ERR_USAGE);
}

/* Before its first step: mean -log P(label) over the validation rows. */
static double loss_before_the_first_step(void) {
    struct str log = {0};
    struct err e;
    static const char key[] = "\"validation_loss\":";
    assert_int_equal(file_read("p/train/log.jsonl", 0, &log, &e), 0);
    const char *at = strstr(str_text(&log), key);
    assert_non_null(at);
    double loss = strtod(at + strlen(key), NULL);
    str_release(&log);
    return loss;
}

/* A shorter form begins where the whole prompt's student ended, which is trained first, and only once. */
static void test_a_shorter_form_begins_with_the_whole_one(void **state) {
    (void)state;
    struct err e;
    struct str manifest = {0};
    const char *whole = "p/forms/full-labelled/merged-f16.gguf";
    if (run("train", NULL, &e, WORDS("--epochs", "3", "--form", "none-compact")) < 0)
        fail_msg("%s", e.message);
    double warm = loss_before_the_first_step();
    assert_true(file_exists(whole));
    assert_int_equal(file_read("p/train/manifest.json", 0, &manifest, &e), 0);
    assert_non_null(strstr(str_text(&manifest), "\"forms/full-labelled/best\""));
    unlink("p/train/merged-f16.gguf");
    struct stat before, after;
    assert_int_equal(stat(whole, &before), 0);
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "3", "--form", "none-compact")), 0);
    assert_int_equal(stat(whole, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1", "--form", "none-compact", "--cold")), 0);
    str_clear(&manifest);
    assert_int_equal(file_read("p/train/manifest.json", 0, &manifest, &e), 0);
    assert_null(strstr(str_text(&manifest), "forms/full-labelled"));
    assert_true(warm < loss_before_the_first_step());
    str_release(&manifest);
}

/* A larger file of the same vocabulary beside the labels; one of another is refused. */
static void test_a_teachers_tokens(void **state) {
    (void)state;
    struct err e;
    struct tiny_gguf teacher = {.n_embd = 256, .n_ff = 256, .n_vocab = 640, .n_layer = 3, .seed = 8};
    assert_int_equal(tiny_gguf_write("teacher.gguf", &teacher, &e), 0);
    int rc =
        run("train", NULL, &e, WORDS("--epochs", "1", "--teacher-model", "teacher.gguf", "--top-k", "4"));
    if (rc < 0)
        fail_msg("%s", e.message);
    teacher.n_vocab = 641;
    assert_int_equal(tiny_gguf_write("teacher.gguf", &teacher, &e), 0);
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1", "--teacher-model", "teacher.gguf")),
                     ERR_MISMATCH);
    assert_non_null(strstr(e.message, "641"));
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1", "--teacher-model", "nowhere.gguf")),
                     ERR_NOT_FOUND);
}

static void test_a_quantised_base(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    write_base(GGML_TYPE_Q8_0);
    int rc = run("train", &j, &e, WORDS("--epochs", "1", "--rank", "4", "--batch", "20"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_false(json_is_true(json_object_get(j, "up_to_date")));
    assert_int_equal(json_integer_value(json_object_get(j, "steps")), 3);
    json_decref(j);
    write_base(GGML_TYPE_F16);
}

static void test_a_base_rounded_to_16_bits(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    write_base(GGML_TYPE_F32);
    int rc = run("train", &j, &e, WORDS("--epochs", "1", "--base-memory", "bf16"));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_string_equal(json_string_value(json_object_get(j, "base_kept")), "bf16");
    json_decref(j);
    assert_int_equal(run("train", NULL, &e, WORDS("--base-memory", "f64")), ERR_USAGE);
    rc = run("train", &j, &e,
             WORDS("--epochs", "1", "--products", "bf16")); /* or as measured: no units, too small */
    if (rc < 0)
        fail_msg("%s", e.message);
    print_message("products: %s\n", json_string_value(json_object_get(j, "products")));
    assert_true(json_number_value(json_object_get(j, "export_error")) < 0.05);
    json_decref(j);
    assert_int_equal(run("train", NULL, &e, WORDS("--products", "int8")), ERR_USAGE);
    write_base(GGML_TYPE_F16);
}

static void test_a_prompt_over_the_context(void **state) {
    (void)state;
    struct err e;
    struct tiny_gguf m = {.n_embd = 256, .n_ff = 256, .n_vocab = 640, .n_ctx = 40, .seed = 3};
    assert_int_equal(tiny_gguf_write("data/seed/base.gguf", &m, &e), 0);
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "1")), ERR_INPUT);
    print_message("%s; %s\n", e.message, e.hint);
    assert_non_null(strstr(e.message, "record 1 takes"));
    assert_non_null(strstr(e.message, "the context holds 40"));
    assert_non_null(strstr(e.hint, "larger context"));
    write_base(GGML_TYPE_F16);
}

/* ---- what a teacher said ---- */

/* All accepted records, each changed by `change`. */
struct changes {
    struct arena arena;
    struct store_record items[100];
    int n;
};

static int collect(void *context, const struct store_record *r, struct err *e) {
    struct changes *c = context;
    (void)e;
    c->items[c->n] = *r;
    c->items[c->n].label = arena_strdup(&c->arena, r->label);
    c->items[c->n].reason = NULL;
    c->items[c->n++].probabilities = NULL;
    return 0;
}

static void change_records(void (*change)(struct store *s, struct store_record *r, int index)) {
    struct store *s;
    struct err e = {0};
    struct changes c = {.n = 0};
    arena_init(&c.arena);
    assert_int_equal(store_open(&s, "p/records.sqlite", STORE_WRITE, &e), 0);
    assert_int_equal(store_records_each(s, STORE_ALL_SPLITS, collect, &c, &e), 0);
    for (int i = 0; i < c.n; i++) {
        change(s, &c.items[i], i);
        assert_int_equal(store_record_update(s, &c.items[i], &e), 0);
    }
    store_close(s);
    arena_release(&c.arena);
}

static void doubt_label(struct store *s, struct store_record *r, int index) {
    (void)s, (void)index;
    r->probabilities = strcmp(r->label, "normal") == 0 ? "{\"suspicious\":0.75,\"normal\":0.25}"
                                                       : "{\"suspicious\":0.25,\"normal\":0.75}";
}

static void swap_label(struct store *s, struct store_record *r, int index) {
    (void)s, (void)index;
    r->label = strcmp(r->label, "normal") == 0 ? "suspicious" : "normal";
}

/* The loss of the first step: all records at once, so that it is the base's. */
static double first_loss(const char *option, const char *value) {
    struct str log = {0};
    struct err e;
    int rc = run("train", NULL, &e, WORDS("--epochs", "1", "--batch", "100", "--restart", option, value));
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_int_equal(file_read("p/train/log.jsonl", 0, &log, &e), 0);
    const char *at = strstr(strstr(str_text(&log), "\"step\","), "\"loss\":");
    double loss = strtod(at + 7, NULL);
    str_release(&log);
    return loss;
}

/* Probabilities as a model file in this process gives them (tests/teacher/test_local: generate stores them): the target is three parts
 * the other label, so the loss is that mixture of both labels'. The log has six digits. */
static void test_stored_probabilities_are_the_soft_target(void **state) {
    (void)state;
    double label = first_loss("--soft", "0");
    change_records(doubt_label);
    assert_true(fabs(first_loss("--soft", "0") - label) < 2e-6); /* not asked for: the label alone */
    double soft = first_loss("--soft", "1"), half = first_loss("--soft", "0.5");
    change_records(swap_label); /* which takes the probabilities away */
    double other = first_loss("--soft", "0");
    change_records(swap_label);
    assert_true(fabs(label - other) > 0.01);
    assert_true(fabs(soft - (0.25 * label + 0.75 * other)) < 5e-6);
    assert_true(fabs(half - (0.625 * label + 0.375 * other)) < 5e-6);
}

/* An answered call for each record, with reasons; every tenth record's label was corrected since. */
static void give_reasons(struct store *s, struct store_record *r, int index) {
    char key[32], body[300];
    struct err e = {0};
    const char *said = index % 10 ? r->label : strcmp(r->label, "normal") == 0 ? "suspicious" : "normal";
    snprintf(key, sizeof key, "reasons %d", index);
    snprintf(body, sizeof body,
             "{\"choices\":[{\"message\":{\"content\":\"- the delay is short: no\\nAnswer: "
             "%s\"},\"finish_reason\":"
             "\"stop\"}]}",
             said);
    struct store_call c = {
        .key = key, .purpose = "label", .teacher = "t", .request = "{}", .state = STORE_CALL_SENT};
    assert_int_equal(store_call_begin(s, &c, &c.id, &e), 0);
    c.state = STORE_CALL_ANSWERED;
    c.response = body;
    assert_int_equal(store_call_end(s, &c, &e), 0);
    r->label_call = c.id;
}

static void ask_for_reasons(void) {
    struct str yaml = {0};
    struct err e = {0};
    struct project p;
    assert_int_equal(file_read("p/task.yaml", 0, &yaml, &e), 0);
    str_add(&yaml, "rationale: true\n");
    write_text("p/task.yaml", str_text(&yaml));
    str_release(&yaml);
    assert_int_equal(project_open(&p, "p", &e), 0);
    assert_int_equal(project_lock_write(&p, "task.yaml", NULL, &e), 0);
    project_release(&p);
    assert_int_equal(run("plan", NULL, &e, WORDS("--accept", "1")), 0);
}

static void test_reasons_are_learned_beside_the_answers(void **state) {
    (void)state;
    struct err e;
    json_t *j = NULL;
    double without = first_loss("--soft", "0");
    change_records(give_reasons);
    assert_true(fabs(first_loss("--soft", "0") - without) < 2e-6); /* kept, and not asked for */
    ask_for_reasons();
    double with = first_loss("--rationale", "1"), twice = first_loss("--rationale", "2");
    assert_true(with > without + 1); /* an untrained base guesses reasons token by token */
    assert_true(fabs((twice - without) - 2 * (with - without)) < 1e-5);
    assert_true(fabs(first_loss("--rationale", "0") - without) < 2e-6);
    assert_int_equal(run("train", &j, &e, WORDS("--epochs", "1")), 0); /* the task says so */
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "rows"), "rationales")), 54);
    assert_true(json_number_value(json_object_get(j, "export_error")) < 0.02); /* answers as before */
    json_decref(j);
    assert_int_equal(run("train", NULL, &e, WORDS("--trim")), ERR_USAGE);
    assert_int_equal(run("train", NULL, &e, WORDS("--rationale", "-1")), ERR_USAGE);
}

static void test_what_is_refused(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "0")), ERR_USAGE);
    assert_int_equal(run("train", NULL, &e, WORDS("--rank", "5000")), ERR_USAGE);
    write_text("data/seed/base.gguf", "GGUF and nothing else");
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "2")), ERR_FORMAT);
    assert_non_null(strstr(e.message, "base.gguf"));
    write_base(GGML_TYPE_F16);
    add_records(1, 3, STORE_TRAIN, "no such label");
    assert_int_equal(run("train", NULL, &e, WORDS("--epochs", "2")), ERR_INPUT);
    assert_non_null(strstr(e.message, "no such label"));
    assert_non_null(strstr(e.message, "record 81"));
    assert_true(file_exists("p/train/adapter.gguf")); /* what was there stays */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_the_export_is_rehearsed),
        cmocka_unit_test(test_it_trains_and_exports),
        cmocka_unit_test(test_the_planned_schedule),
        cmocka_unit_test(test_all_weights),
        cmocka_unit_test(test_savings_can_be_left_out),
        cmocka_unit_test(test_small_and_short),
        cmocka_unit_test(test_a_shorter_form_begins_with_the_whole_one),
        cmocka_unit_test(test_a_teachers_tokens),
        cmocka_unit_test(test_a_quantised_base),
        cmocka_unit_test(test_a_base_rounded_to_16_bits),
        cmocka_unit_test(test_a_prompt_over_the_context),
        cmocka_unit_test(test_stored_probabilities_are_the_soft_target),
        cmocka_unit_test(test_reasons_are_learned_beside_the_answers),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
