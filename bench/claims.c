/* Figure 1.3: the chain on a public table of healthcare claims, with the table's own labelled rows as supervision and no
 * teacher.
 *
 *     CLAIMS_CSV=…/healthcare-claims.csv make bench-claims        five random 60/20/20 splits
 *     CLAIMS_TEST_CSV=…/other.csv                                 score that file instead of a split (it is read by nothing
 *                                                                 but the scoring); the table is split 75/25
 *     CLAIMS_SEEDS=1                                              a quick look
 *
 * The table's licence is not known: it is read from where it lies, and what is made of it stays under build/bench/runs/claims.
 * Three sets of columns: all with the derived share approved / claimed; all as they stand; leak-free, without the two that
 * are known only after the decision. Each figure at the threshold that the validation rows chose for it; PR-AUC needs
 * none. Beside each stands what gradient-boosted trees reach on the same splits' kind, the practical ceiling. */
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "chain.h"
#include "figures.h"
#include "format/csv.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS_MAX = 20, N_FIGURES = 4, PARTS = 3 };

static const char *const figure_names[N_FIGURES] = {"accuracy", "balanced accuracy", "F1", "PR-AUC"};
static const char *const figure_keys[N_FIGURES] = {"accuracy", "balanced_accuracy", "f1", "pr_auc"};

/* Which columns; the ceiling is five random splits of gradient-boosted trees, mean and standard deviation. */
static const struct variant {
    const char *id, *name;
    bool leaks, share;
    const char *ceiling[N_FIGURES];
} variants[] = {
    {"share",
     "all with the derived share",
     true,
     true,
     {"0.995 (0.002)", "0.988 (0.002)", "0.966 (0.016)", "0.995"}},
    {"all", "all as they stand", true, false, {"0.990 (0.002)", "0.975 (0.005)", "0.934 (0.020)", "0.984"}},
    {"leak-free", "leak-free", false, false, {"0.952 (0.005)", "0.913 (0.005)", "0.666 (0.022)", "0.785"}},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

#define SENTENCE "Tell fraudulent claims from others by the labels of the table itself."

/* ---- the task, written as a user would who knows the table ---- */

static const char fields_leak[] =
    "  - {name: approved amount, column: Approved_Amount, type: number, decimals: 2}\n"
    "  - {name: claim status, column: Claim_Status, type: category, values: [Approved, Pending, Rejected]}\n";
static const char fields_free[] =
    "  - {name: delay, column: Days_Between_Service_and_Claim, type: integer, min: 0, max: 60, unit: days}\n"
    "  - {name: claim amount, column: Claim_Amount, type: number, decimals: 2}\n"
    "  - {name: visit type, column: Visit_Type, type: category, values: [Outpatient, Inpatient, Emergency]}\n"
    "  - {name: stay, column: Length_of_Stay, type: integer, min: 0, max: 60, unit: days}\n"
    "  - {name: patient age, column: Patient_Age, type: integer, min: 0, max: 120}\n"
    "  - {name: gender, column: Patient_Gender, type: category, values: [Female, Male]}\n"
    "  - {name: chronic, column: Chronic_Condition_Flag, type: integer, min: 0, max: 1}\n"
    "  - {name: visits, column: Prior_Visits_12m, type: integer, min: 0, max: 99, optional: true}\n"
    "  - {name: monthly claims, column: Number_of_Claims_Per_Provider_Monthly, type: integer, min: 0, max: "
    "999}\n"
    "  - {name: diagnosis, column: Diagnosis_Code, type: text}\n"
    "  - {name: procedure, column: Procedure_Code, type: text}\n"
    "  - {name: insurance, column: Insurance_Type, type: text, optional: true}\n"
    "  - {name: specialty, column: Provider_Specialty, type: text, optional: true}\n"
    "  - {name: state, column: Patient_State, type: text}\n"
    "  - {name: provider, column: Provider_ID, type: text}\n"
    "  - {name: date, column: Claim_Submission_Date, type: date}\n";

static void write_task(const struct variant *v, const char *path) {
    struct str s = {0};
    struct err e = {0};
    str_add(&s, "format: edgestill.task/1\nkind: classify\nname: public-claims\n"
                "sentence: " SENTENCE "\n"
                "instruction: \"Label the claim as fraud: 1 or 0.\"\nfields:\n");
    str_addf(&s, "%s%s", v->leaks ? fields_leak : "", fields_free);
    if (v->share)
        str_add(&s, "derived:\n  - {name: approved share, op: ratio, of: [approved amount, claim amount], "
                    "decimals: 2}\n");
    str_add(&s, "labels:\n  - {name: \"1\", definition: fraud}\n  - {name: \"0\", definition: "
                "otherwise}\npositive: \"1\"\n");
    if (str_check(&s, &e) < 0 || file_write(path, s.data, s.len, &e) < 0) {
        log_err(&e);
        exit(1);
    }
    str_release(&s);
}

/* ---- the splits ---- */

/* Rows are dealt out at random, as the ceiling's splits were. */
static int part_of(struct rng *r, const double share[PARTS]) {
    double u = rng_double(r);
    return u < share[0] ? 0 : u < share[0] + share[1] ? 1 : 2;
}

static void copy_row(const struct csv_reader *r, bool header, struct str *out) {
    for (int i = 0; i < csv_reader_n_columns(r); i++) {
        if (i)
            str_add_char(out, ',');
        csv_text_field(out, header ? csv_reader_name(r, i) : csv_reader_field(r, i));
    }
    str_add_char(out, '\n');
}

static void write_splits(const char *csv, const char *folder, uint64_t seed, bool own_test) {
    static const char *const names[PARTS] = {"train.csv", "validation.csv", "test.csv"};
    const double share[PARTS] = {own_test ? 0.60 : 0.75, own_test ? 0.20 : 0.25, 0.20};
    struct str parts[PARTS] = {{0}};
    struct csv_reader *r = NULL;
    struct rng rng;
    struct err e = {0};
    int rc = csv_reader_open(&r, csv, NULL, &e);
    rng_seed(&rng, seed);
    for (int i = 0; rc == 0 && i < PARTS; i++)
        copy_row(r, true, &parts[i]);
    while (rc >= 0 && (rc = csv_reader_next(r, &e)) > 0)
        copy_row(r, false, &parts[part_of(&rng, share)]);
    for (int i = 0; rc == 0 && i < (own_test ? PARTS : 2); i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        rc = str_check(&parts[i], &e);
        if (rc == 0)
            rc = file_write(path, parts[i].data, parts[i].len, &e);
    }
    csv_reader_close(r);
    for (int i = 0; i < PARTS; i++)
        str_release(&parts[i]);
    if (rc < 0) {
        log_err(&e);
        exit(1);
    }
}

/* ---- one run ---- */

struct run {
    const struct variant *variant;
    int seed;
    const char *csv, *test_csv; /* test_csv NULL: a split of the table's own */
    char dir[512], log[560], data[560], rows[560], validation[560];
};

static void prepare(struct run *r, const char *folder) {
    snprintf(r->data, sizeof r->data, "%s/split-%d%s", folder, r->seed, r->test_csv ? "-given" : "");
    snprintf(r->dir, sizeof r->dir, "%s/%s-%d%s", folder, r->variant->id, r->seed,
             r->test_csv ? "-given" : "");
    snprintf(r->log, sizeof r->log, "%s.log", r->dir);
    file_make_folders(r->data, NULL);
    write_splits(r->csv, r->data, (uint64_t)r->seed, !r->test_csv);
    snprintf(r->rows, sizeof r->rows, "%s", r->test_csv ? r->test_csv : "");
    if (!r->test_csv)
        snprintf(r->rows, sizeof r->rows, "%.500s/test.csv", r->data);
    snprintf(r->validation, sizeof r->validation, "%.500s/validation.csv", r->data);
}

static void run_chain(const struct run *r) {
    char program[1024], train[600], task[600], seed[32];
    struct chain c = {r->dir, r->log};
    snprintf(program, sizeof program, "%s", chain_program("edgestill"));
    snprintf(train, sizeof train, "%s/train.csv", r->data);
    snprintf(task, sizeof task, "%s/task.yaml", r->dir);
    snprintf(seed, sizeof seed, "%d", r->seed);
    char project_file[600];
    snprintf(project_file, sizeof project_file, "%s/edgestill.yaml", r->dir);
    if (!file_exists(project_file)) {
        chain_run(&c, (const char *const[]){program, "init", r->dir, "--task", SENTENCE, "--device",
                                            "rpi5-8gb", "--base", "embedded", "--teacher", "none", "--data",
                                            train, "--label", "Is_Fraud", "--seed", seed, NULL});
        write_task(r->variant, task);
        chain_run(&c, (const char *const[]){program, "task", "-C", r->dir, "--accept", NULL});
    }
    static const char *const verbs[][6] = {
        {"plan", "--accept", "1"}, {"generate", "--balance", "--split", "90/10/0"}, {"train"}, {"compress"}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        chain_run(&c, (const char *const[]){program, verbs[i][0], "-C", r->dir, verbs[i][1], verbs[i][2],
                                            verbs[i][3], NULL});
    chain_run(&c,
              (const char *const[]){program, "eval", "-C", r->dir, "--rows", r->rows, "--label", "Is_Fraud",
                                    "--validation", r->validation, "--only", "base,student", NULL});
}

static double figure_of(const char *dir, const char *who, int figure) {
    char name[64];
    snprintf(name, sizeof name, "eval/%s.json", who);
    json_t *j = chain_json(dir, name);
    double value = figure == 3 ? chain_number(j, "metrics", figure_keys[figure], "value", NULL)
                               : chain_number(j, "thresholds", figure_keys[figure], "value", NULL);
    json_decref(j);
    return value;
}

/* ---- figures ---- */

static void add(struct figures *f, const struct variant *v, const char *who, int figure, const double *values,
                int n) {
    char name[160], note[120];
    double mean, half, low = INFINITY, high = -INFINITY;
    chain_mean(values, n, &mean, &half);
    for (int i = 0; i < n; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    snprintf(name, sizeof name, "%s: %s, %s", v->name,
             strcmp(who, "base") == 0 ? "base" : "quantised student", figure_names[figure]);
    snprintf(note, sizeof note, "ceiling %s", v->ceiling[figure]);
    figures_add(f, &(struct figure){"1.3", name, "", mean, n, low, high, note});
}

int main(void) {
    const char *csv = getenv("CLAIMS_CSV"), *test = getenv("CLAIMS_TEST_CSV"),
               *folder = "build/bench/runs/claims";
    int64_t n_seeds = chain_setting("CLAIMS_SEEDS", 5);
    static double values[2][N_FIGURES][SEEDS_MAX];
    static const char *const whos[2] = {"base", "student-quant"};
    struct figures *f = figures_new("claims");
    if (!csv || !*csv || !file_exists(csv) || (test && *test && !file_exists(test))) {
        figures_skip(f, "1.3", "public claims table",
                     "skipped: CLAIMS_CSV (and CLAIMS_TEST_CSV) must name the table's file");
        return figures_finish(f);
    }
    if (n_seeds > SEEDS_MAX || file_make_folders(folder, NULL) < 0) {
        fprintf(stderr, "bench: at most %d seeds, and %s must be writable\n", (int)SEEDS_MAX, folder);
        return 2;
    }
    figures_context(f, "rows scored", test && *test ? "CLAIMS_TEST_CSV" : "a fifth of the table, by seed");
    for (int v = 0; v < N_VARIANTS; v++) {
        for (int seed = 1; seed <= n_seeds; seed++) {
            struct run r = {
                .variant = &variants[v], .seed = seed, .csv = csv, .test_csv = test && *test ? test : NULL};
            prepare(&r, folder);
            printf("%s, split %d of %d (log: %s)\n", variants[v].name, seed, (int)n_seeds, r.log);
            run_chain(&r);
            for (int w = 0; w < 2; w++)
                for (int i = 0; i < N_FIGURES; i++)
                    values[w][i][seed - 1] = figure_of(r.dir, whos[w], i);
        }
        for (int i = 0; i < N_FIGURES; i++)
            for (int w = 0; w < 2; w++)
                add(f, &variants[v], whos[w], i, values[w][i], (int)n_seeds);
    }
    return figures_finish(f);
}
