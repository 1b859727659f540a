/* Where the students come from, and how they are judged. */
#include "bench/compressing.h"
#include "base/file.h"
#include "base/log.h"
#include "format/yaml.h"
#include "store/store.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const struct example compress_examples[COMPRESS_N_EXAMPLES] = {
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
     "passive and the excursion is over 90 minutes; otherwise it is usable.",
     {"spoiled", "usable"},
     "  - {name: warmest reading, type: number, decimals: 1, min: 0, max: 30}\n"
     "  - {name: excursion, type: integer, min: 0, max: 600}\n"
     "  - {name: transit, type: integer, min: 1, max: 120}\n"
     "  - {name: packaging, type: category, values: [passive, insulated, refrigerated]}\n"},
    {"line-maintenance",
     "Mark the compressor as worn when the vibration is at least 7.1 and the bearing temperature is at least "
     "85 degrees; otherwise it is healthy.",
     {"worn", "healthy"},
     "  - {name: vibration, type: number, decimals: 1, min: 0, max: 20}\n"
     "  - {name: bearing temperature, type: integer, min: 20, max: 120}\n"
     "  - {name: runtime, type: integer, min: 0, max: 8000}\n"
     "  - {name: lubricant, type: category, values: [mineral, synthetic]}\n"},
};

void bench_must(int rc, const struct err *e) {
    if (rc >= 0)
        return;
    log_err(e);
    exit(1);
}

/* ---- a student of our own ---- */

static void simulate(const struct student_files *s, const char *part, int64_t n, char path[COMPRESS_PATH]) {
    char rule[256], rows[32], seed_text[32];
    struct chain c = {s->dir, s->log};
    snprintf(rule, sizeof rule, "examples/%s/rule.yaml", s->example->name);
    snprintf(path, COMPRESS_PATH, COMPRESS_RUNS "/%s-%d.%s-%lld.csv", s->example->name, s->seed, part,
             (long long)n);
    snprintf(rows, sizeof rows, "%lld", (long long)n);
    snprintf(seed_text, sizeof seed_text, "%d", 100 * s->seed + part[0]);
    if (!file_exists(path))
        chain_run(&c, (const char *const[]){chain_program("edgestill-simulate"), rule, "--rows", rows,
                                            "--balanced", "--seed", seed_text, "--out", path, NULL});
}

static void write_task(const struct example *x, const char *dir) {
    struct str s = {0};
    struct err e = {0};
    char path[COMPRESS_PATH];
    str_addf(&s,
             "format: edgestill.task/1\nkind: classify\nname: %s\nsentence: %s\ninstruction: "
             "\"%s\"\nfields:\n%slabels:\n"
             "  - {name: %s, definition: as the instruction says}\n  - {name: %s, definition: otherwise}\n",
             x->name, x->name, x->instruction, x->fields, x->labels[0], x->labels[1]);
    snprintf(path, sizeof path, "%s/task.yaml", dir);
    bench_must(str_check(&s, &e), &e);
    bench_must(file_write(path, s.data, s.len, &e), &e);
    str_release(&s);
}

static void begin_project(const struct student_files *s, const char *program, const char *data) {
    struct chain c = {s->dir, s->log};
    char seed_text[32], project[COMPRESS_PATH];
    snprintf(seed_text, sizeof seed_text, "%d", s->seed);
    snprintf(project, sizeof project, "%s/edgestill.yaml", s->dir);
    if (!file_exists(project)) {
        char *whole = realpath(data, NULL);
        chain_run(&c, (const char *const[]){program, "init", s->dir, "--task", s->example->name, "--device",
                                            "rpi5-8gb", "--base", "embedded", "--teacher", "none", "--data",
                                            whole, "--label", "label", "--seed", seed_text, NULL});
        free(whole);
        write_task(s->example, s->dir);
    }
    chain_run(&c, (const char *const[]){program, "task", "-C", s->dir, "--accept", NULL});
    chain_run(&c, (const char *const[]){program, "plan", "-C", s->dir, "--accept", "1", NULL});
    chain_run(&c, (const char *const[]){program, "generate", "-C", s->dir, "--split", "90/10/0", NULL});
}

static void train(const struct student_files *s, const char *data, const char *form) {
    struct chain c = {s->dir, s->log};
    char program[1024];
    snprintf(program, sizeof program, "%s", chain_program("edgestill"));
    if (data)
        begin_project(s, program, data);
    chain_run(&c, (const char *const[]){program, "train", "-C", s->dir, "--form", form, NULL});
}

/* ---- the demonstration's ---- */

static const char *demo_folder(void) {
    const char *named = getenv("COMPRESS_PROJECTS");
    return named ? named : "build/bench/runs/demo";
}

static bool find_demo(struct student_files *s) {
    char trained[COMPRESS_PATH], chosen[COMPRESS_PATH];
    snprintf(s->project, sizeof s->project, "%.500s/%s-%d", demo_folder(), s->example->name, s->seed);
    snprintf(trained, sizeof trained, "%.560s/train/merged-f16.gguf", s->project);
    snprintf(chosen, sizeof chosen, "%.560s/model/compress.json", s->project);
    return file_exists(trained) && file_exists(chosen);
}

/* The rows that `make bench-demo` scored, which all seeds of an example share, where it scored as many; else as many of the same
 * world, which nothing has seen. */
static void find_rows(const struct student_files *s, int64_t n, char path[COMPRESS_PATH]) {
    snprintf(path, COMPRESS_PATH, "%.400s/%s.%lld-rows.csv", demo_folder(), s->example->name, (long long)n);
    if (!s->of_demo || !file_exists(path))
        simulate(s, "unseen", n, path);
}

/* Its student in another form is trained in a copy of what comes before training. */
static void copy_project(const struct student_files *s) {
    static const char *const parts[] = {
        "edgestill.yaml",       "task.yaml", "task.lock", "plan.yaml", "plan.lock", "records.sqlite",
        "records.manifest.json"};
    struct chain c = {s->dir, s->log};
    struct err e = {0};
    bench_must(file_make_folders(s->dir, &e), &e);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char from[COMPRESS_PATH + 32];
        snprintf(from, sizeof from, "%s/%s", s->project, parts[i]);
        if (file_exists(from))
            chain_run(&c, (const char *const[]){"/bin/cp", "-n", from, s->dir, NULL});
    }
}

/* ---- both ---- */

void student_score_file(const struct student_files *s, const char *gguf, struct scores *out) {
    struct err e = {0};
    bench_must(scores_init(out, &s->task, &s->test, &e), &e);
    bench_must(score_model(out, gguf, &s->task, &s->test, &(struct score_options){0}, NULL, &e), &e);
}

static bool newer(const char *path, const char *than) {
    struct stat a, b;
    return stat(path, &a) == 0 && stat(than, &b) == 0 &&
           (a.st_mtim.tv_sec > b.st_mtim.tv_sec ||
            (a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec >= b.st_mtim.tv_nsec));
}

bool student_recall(const struct student_files *s, const char *who, const char *gguf, struct scores *out) {
    char name[64], answers[COMPRESS_PATH];
    snprintf(name, sizeof name, "eval/%s.json", who);
    snprintf(answers, sizeof answers, "%.520s/eval/%s.rows.csv", s->project, who);
    json_t *j = chain_json(s->project, name);
    const char *rows = json_string_value(json_object_get(json_object_get(j, "rows"), "sha256"));
    bool same = rows && strcmp(rows, s->test.sha256) == 0 && newer(answers, gguf);
    json_decref(j);
    return same && scores_read(out, &s->task, answers, NULL) == 0;
}

/* The 16-bit file's answers are the most expensive ones, and needed by every part: those of `eval`, else kept beside the student. */
static void score_whole(struct student_files *s) {
    char path[COMPRESS_PATH];
    struct err e = {0};
    if (student_recall(s, "student-f16", s->f16, &s->whole))
        return;
    snprintf(path, sizeof path, "%s.f16-%lld.rows.csv", s->dir, (long long)s->test.n);
    if (newer(path, s->f16)) {
        bench_must(scores_read(&s->whole, &s->task, path, &e), &e);
        return;
    }
    student_score_file(s, s->f16, &s->whole);
    bench_must(scores_write(&s->whole, &s->task, &s->test, path, &e), &e);
}

static void read_task(struct student_files *s) {
    struct err e = {0};
    struct arena a;
    struct node *root = NULL;
    char path[COMPRESS_PATH + 16];
    snprintf(path, sizeof path, "%s/task.yaml", s->project);
    arena_init(&a);
    bench_must(yaml_node_read(&a, path, &root, &e), &e);
    bench_must(task_from_node(&s->task, root, &e), &e);
    arena_release(&a);
}

/* Training and validation rows are the project's own. */
static void read_records(struct student_files *s) {
    struct err e = {0};
    struct store *store;
    char path[COMPRESS_PATH + 16];
    snprintf(path, sizeof path, "%s/records.sqlite", s->project);
    bench_must(store_open(&store, path, STORE_READ, &e), &e);
    bench_must(
        rows_from_store(&s->training, &s->task, store, "records", STORE_TRAIN, &(struct rows_options){0}, &e),
        &e);
    bench_must(rows_from_store(&s->validation, &s->task, store, "records", STORE_VALIDATION,
                               &(struct rows_options){0}, &e),
               &e);
    store_close(store);
}

void student_begin(struct student_files *s, const struct example *x, int seed, const char *form) {
    struct err e = {0};
    char data[COMPRESS_PATH], test[COMPRESS_PATH];
    int64_t n_test = chain_setting("COMPRESS_ROWS", 5000);
    bool as_trained = strcmp(form, "full-labelled") == 0;
    *s = (struct student_files){.example = x, .seed = seed};
    s->of_demo = find_demo(s);
    snprintf(s->dir, sizeof s->dir, COMPRESS_RUNS "/%s-%d-%s%s", x->name, seed, form,
             s->of_demo ? "-taught" : "");
    snprintf(s->log, sizeof s->log, "%s.log", s->dir);
    printf("%s, seed %d, %s%s (log: %s)\n", x->name, seed, form, s->of_demo ? ", of the demonstration" : "",
           s->log);
    fflush(stdout);
    find_rows(s, n_test, test);
    if (s->of_demo && !as_trained) {
        copy_project(s);
        train(s, NULL, form);
    } else if (!s->of_demo) {
        simulate(s, "train", chain_setting("COMPRESS_TRAIN", 1000), data);
        train(s, data, form);
    }
    if (!s->of_demo || !as_trained)
        snprintf(s->project, sizeof s->project, "%s", s->dir);
    bench_must(file_make_folders(s->dir, &e), &e);
    snprintf(s->f16, sizeof s->f16, "%.560s/train/merged-f16.gguf", s->project);
    read_task(s);
    read_records(s);
    bench_must(rows_read(&s->test, &s->task, test,
                         &(struct rows_options){.label_column = "label", .limit = n_test}, &e),
               &e);
    score_whole(s);
}

void student_end(struct student_files *s) {
    scores_release(&s->whole);
    rows_release(&s->training);
    rows_release(&s->validation);
    rows_release(&s->test);
    task_release(&s->task);
}

double scores_loss(const struct scores *s) {
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum -= log(fmax(s->prob[i * s->n_labels + s->truth[i]], 1e-12));
    return sum / (double)s->n;
}

double scores_accuracy(const struct scores *s) {
    int64_t right = 0;
    for (int64_t i = 0; i < s->n; i++)
        right += s->answer[i] == s->truth[i];
    return (double)right / (double)s->n;
}

void student_judge(const struct student_files *s, const struct scores *scores, const char *gguf,
                   struct outcome *o) {
    struct err e = {0};
    struct scored a = scores_view(scores), b = scores_view(&s->whole);
    o->accuracy = scores_accuracy(scores);
    o->loss = scores_loss(scores);
    o->divergence = compress_divergence(s->whole.prob, scores->prob, scores->n, scores->n_labels);
    o->bytes = file_size(gguf);
    bench_must(paired_compare(&a, &b, &(struct bootstrap_options){.n_resamples = 200}, &o->paired, &e), &e);
}

static double bits_of_chosen(const char *project) {
    json_t *j = chain_json(project, "model/compress.json"), *one;
    double bits = NAN;
    size_t i;
    json_array_foreach(json_object_get(j, "candidates"), i,
                       one) if (json_is_true(json_object_get(one, "chosen"))) bits =
        chain_number(one, "bits_per_weight", NULL);
    json_decref(j);
    return bits;
}

void student_chosen(const struct student_files *s, struct outcome *o) {
    char file[COMPRESS_PATH];
    struct scores scores;
    struct chain c = {s->project, s->log};
    snprintf(file, sizeof file, "%.560s/model/student.gguf", s->project);
    if (!s->of_demo)
        chain_run(&c, (const char *const[]){chain_program("edgestill"), "compress", "-C", s->project, NULL});
    if (!student_recall(s, "student-quant", file, &scores))
        student_score_file(s, file, &scores);
    student_judge(s, &scores, file, o);
    o->bits = bits_of_chosen(s->project);
    scores_release(&scores);
}

void compress_and_score(const struct student_files *s, struct compress_request q, struct scores *scores,
                        struct outcome *o) {
    char folder[COMPRESS_PATH], file[COMPRESS_PATH + 16];
    struct err e = {0};
    struct compress_result r;
    snprintf(folder, sizeof folder, "%s/bench-model", s->dir);
    snprintf(file, sizeof file, "%s/student.gguf", folder);
    q.source = s->f16;
    q.folder = folder;
    q.task = &s->task;
    q.training = &s->training;
    /* there is but one candidate: only recovery has something to choose on other rows */
    q.validation = q.recovery == COMPRESS_RECOVER_ALWAYS ? &s->validation : NULL;
    bench_must(compress_run(&r, &q, &e), &e);
    o->bits = r.candidates[r.chosen].bits_per_weight;
    compress_release(&r);
    student_score_file(s, file, scores);
    student_judge(s, scores, file, o);
}

void compress_and_judge(const struct student_files *s, struct compress_request q, struct outcome *o) {
    struct scores scores;
    compress_and_score(s, q, &scores, o);
    scores_release(&scores);
}
