/* Golden rows and measurements. */
#include "selftest.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "format/json.h"
#include "lines.h"
#include "task/encode.h"
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPEATS = 3, DECODED_TOKENS = 16 };

struct times {
    double *seconds;
    int64_t n, capacity;
};

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The q-th quantile of the values seen, which get sorted: the smallest that at least q of them do not exceed. */
static double quantile(struct times *t, double q) {
    if (t->n == 0)
        return NAN;
    qsort(t->seconds, (size_t)t->n, sizeof *t->seconds, compare_doubles);
    int64_t at = (int64_t)ceil(q * (double)t->n) - 1;
    return t->seconds[at < 0 ? 0 : at];
}

static double median_of(double *values, int n) {
    struct times t = {.seconds = values, .n = n};
    return quantile(&t, 0.5);
}

/* ---- golden rows ---- */

struct golden {
    int label;
    const char *answer;    /* extract, respond; in the arena */
    double *probabilities; /* in the arena */
    struct str record;     /* JSON */
};

static int read_golden(struct arena *a, const struct task *t, const char *line, size_t n, int64_t number,
                       struct golden *g, struct err *e) {
    struct node *root, *record = NULL, *probabilities = NULL;
    const char *label = NULL;
    int rc = json_node_parse(a, "golden.jsonl", (int)number, line, n, &root, e);
    if (rc < 0 || (rc = node_map(root, "record", true, &record, e)) < 0)
        return rc;
    str_clear(&g->record);
    json_text_node(&g->record, record);
    if (t->kind != TASK_CLASSIFY)
        return node_string(root, "answer", true, &g->answer, e);
    if ((rc = node_string(root, "label", true, &label, e)) < 0 ||
        (rc = node_map(root, "probabilities", true, &probabilities, e)) < 0)
        return rc;
    g->label = task_label_index(t, label);
    if (g->label < 0)
        return node_error(root, e, "selftest", "the task has no label \"%s\"", label);
    g->probabilities = arena_calloc(a, (size_t)t->n_labels, sizeof *g->probabilities);
    if (!g->probabilities)
        return err_set(e, ERR_NO_MEMORY, "selftest", "no memory for the golden rows");
    for (int i = 0; i < t->n_labels && rc == 0; i++)
        rc = node_number(probabilities, t->labels[i].name, true, &g->probabilities[i], e);
    return rc < 0 ? rc : str_check(&g->record, e);
}

static struct selftest_disagreement *note_disagreement(struct selftest *s, int64_t row) {
    int64_t missed = row - 1 - s->n_agreeing;
    if (missed >= SELFTEST_DISAGREEMENTS)
        return NULL;
    s->disagreements[missed].row = row;
    return &s->disagreements[missed];
}

static void compare_written(struct selftest *s, const struct golden *g, const struct decision *d) {
    int64_t row = ++s->n_rows;
    if (str_equal(g->answer, d->answer)) {
        s->n_agreeing++;
        return;
    }
    struct selftest_disagreement *x = note_disagreement(s, row);
    if (!x)
        return;
    snprintf(x->host, sizeof x->host, "%.60s", g->answer);
    snprintf(x->here, sizeof x->here, "%.60s", d->answer);
    x->host_p = 1;
}

static void compare(struct selftest *s, const struct golden *g, const struct decision *d) {
    const double *host = g->probabilities, *here = d->probabilities;
    for (int i = 0; i < s->runner.bundle.task.n_labels; i++)
        s->largest_difference = fmax(s->largest_difference, fabs(host[i] - here[i]));
    int64_t row = ++s->n_rows;
    const struct task_label *labels = s->runner.bundle.task.labels;
    struct selftest_disagreement *x;
    if (d->label == g->label || fabs(host[g->label] - host[d->label]) <= s->runner.bundle.tolerance) {
        s->n_agreeing++;
    } else if ((x = note_disagreement(s, row))) {
        snprintf(x->host, sizeof x->host, "%.79s", labels[g->label].name);
        snprintf(x->here, sizeof x->here, "%.79s", labels[d->label].name);
        x->host_p = host[g->label];
        x->here_p = here[g->label];
    }
}

static int add_time(struct times *t, double seconds, struct err *e) {
    if (mem_grow((void **)&t->seconds, &t->capacity, t->n + 1, sizeof *t->seconds) < 0)
        return err_set(e, ERR_NO_MEMORY, "selftest", "no memory for the measurements");
    t->seconds[t->n++] = seconds;
    return 0;
}

static int run_row(struct selftest *s, const struct golden *g, struct times *times, struct err *e) {
    struct decision d;
    int rc = runner_decide(&s->runner, str_text(&g->record), g->record.len, (int)s->n_rows + 1, &d, e);
    if (rc < 0)
        return rc;
    if (d.answer)
        compare_written(s, g, &d);
    else
        compare(s, g, &d);
    s->measured.tokens_per_decision += (double)classifier_last(s->runner.classifier).n_tokens;
    return add_time(times, d.ms / 1e3, e);
}

/* How many rows there are to come, for the progress; 0: unknown. */
static int64_t rows_to_come(struct bundle *b, const struct selftest_options *o) {
    int64_t n = 0;
    if (node_i64(b->manifest, "golden_rows", false, &n, NULL) < 0 || n < 0)
        n = 0;
    return o->n_rows > 0 && (n == 0 || o->n_rows < n) ? o->n_rows : n;
}

static int run_rows(struct selftest *s, const struct selftest_options *o, struct times *times,
                    struct err *e) {
    struct bundle *b = &s->runner.bundle;
    const char *path = bundle_path(b, "golden.jsonl");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return err_set_errno(e, ERR_NOT_FOUND, "selftest", "cannot read the golden rows in %s", b->dir);
    struct lines lines;
    struct arena a;
    struct progress p;
    struct golden g = {0};
    char *line;
    size_t n;
    int rc = 0;
    lines_init(&lines, fd);
    arena_init(&a);
    progress_begin(&p, "self-test", "row", rows_to_come(b, o));
    while ((o->n_rows == 0 || s->n_rows < o->n_rows) && (rc = lines_next(&lines, &line, &n, e)) == 1) {
        arena_reset(&a);
        rc = read_golden(&a, &b->task, line, n, s->n_rows + 1, &g, e);
        if (rc == 0)
            rc = run_row(s, &g, times, e);
        progress_update(&p, s->n_rows);
        if (rc == 0)
            rc = interrupt_check(e);
        if (rc < 0)
            break;
    }
    progress_end(&p);
    str_release(&g.record);
    lines_release(&lines);
    arena_release(&a);
    close(fd);
    if (rc == 0 && s->n_rows == 0)
        rc = err_set(e, ERR_FORMAT, "selftest", "%s has no rows", path);
    return rc < 0 ? rc : 0;
}

/* ---- speed ---- */

static int measure_reading(struct selftest *s, const struct tokens *head, struct err *e) {
    double seconds[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        lm_clear(s->runner.lm, 0);
        double start = clock_seconds();
        int rc = lm_decode(s->runner.lm, 0, head->ids, head->n, NULL, e);
        if (rc < 0)
            return rc;
        seconds[i] = clock_seconds() - start;
    }
    s->measured.prefill_tps = (double)head->n / median_of(seconds, REPEATS);
    return 0;
}

static int measure_writing(struct selftest *s, const struct tokens *head, struct err *e) {
    double seconds[DECODED_TOKENS];
    for (int i = 0; i < DECODED_TOKENS; i++) {
        const float *logits;
        double start = clock_seconds();
        int rc = lm_decode(s->runner.lm, 0, &head->ids[i % head->n], 1, &logits, e);
        if (rc < 0)
            return rc;
        seconds[i] = clock_seconds() - start;
    }
    s->measured.decode_tps = 1 / median_of(seconds, DECODED_TOKENS);
    return 0;
}

/* A decision when nothing is cached. */
static int measure_cold(struct selftest *s, const char *dir, struct err *e) {
    struct arena a;
    struct golden g = {0};
    struct str text = {0};
    double seconds[REPEATS];
    char *path = file_join(dir, "golden.jsonl");
    arena_init(&a);
    int rc = path ? file_read(path, 0, &text, e) : err_set(e, ERR_NO_MEMORY, "selftest", "no memory");
    if (rc == 0)
        rc = read_golden(&a, &s->runner.bundle.task, text.data, strcspn(text.data, "\n"), 1, &g, e);
    for (int i = 0; i < REPEATS && rc == 0; i++) {
        struct decision d;
        lm_clear(s->runner.lm, 0);
        rc = runner_decide(&s->runner, str_text(&g.record), g.record.len, 1, &d, e);
        seconds[i] = rc == 0 ? d.ms / 1e3 : 0;
    }
    if (rc == 0)
        s->measured.cold_s = median_of(seconds, REPEATS);
    free(path);
    str_release(&text);
    str_release(&g.record);
    arena_release(&a);
    return rc;
}

static int measure_speed(struct selftest *s, const char *dir, struct err *e) {
    struct tokens head = {0};
    int rc = encode_head(&head, s->runner.lm, &s->runner.bundle.prompt, e);
    if (rc == 0)
        rc = measure_cold(s, dir, e);
    if (rc == 0)
        rc = measure_reading(s, &head, e);
    if (rc == 0 && head.n + DECODED_TOKENS <= lm_n_ctx(s->runner.lm))
        rc = measure_writing(s, &head, e);
    tokens_release(&head);
    return rc;
}

/* What the planner and compress want to know of this processor. An emulator's says nothing, and a short test is meant to be short.
 * After the peak of memory was taken: the products are no part of the plan. Without them the test is none the worse. */
static int measure_types(struct selftest *s, const struct selftest_options *o, struct err *e) {
    struct progress p;
    struct err why = {0};
    double gmacs[N_TYPE_RATES];
    if (s->emulated || o->n_rows > 0)
        return 0;
    progress_begin(&p, "rates by type", "type", N_TYPE_RATES);
    int rc = type_rates_measure(gmacs, s->runner.n_threads, &p, &why);
    progress_end(&p);
    if (rc == 0)
        memcpy(s->reads_gmacs, gmacs, sizeof gmacs);
    else if (rc != ERR_INTERRUPTED)
        log_warn("no rates by type of weights: %s", why.message);
    return rc == ERR_INTERRUPTED ? interrupt_check(e) : 0;
}

/* ---- the whole ---- */

static void take_times(struct selftest *s, struct times *t) {
    s->measured.load_s = s->runner.load_s;
    s->measured.prefix_s = s->runner.prefix_s;
    s->measured.decision_s = quantile(t, 0.5);
    s->measured.decision_p95_s = quantile(t, 0.95);
    s->measured.tokens_per_decision /= (double)s->n_rows;
}

static void take_state(struct selftest *s) {
    s->measured.memory_bytes = (double)mem_peak_bytes();
    s->swapped_bytes = machine_swapped_bytes();
    s->major_faults = machine_major_faults();
    s->temperature_c = machine_temperature_c("/sys");
    s->throttled = machine_throttled("/sys");
    int64_t limit = s->runner.bundle.memory_limit_bytes;
    s->memory_known = limit > 0 && !s->emulated; /* an emulator's memory is its own */
    s->memory_kept = !s->memory_known || (s->measured.memory_bytes <= (double)limit && s->swapped_bytes <= 0);
}

int selftest_run(struct selftest *s, const char *dir, const struct selftest_options *o, struct err *e) {
    struct times times = {0};
    *s = (struct selftest){.measured = {.decode_tps = NAN}};
    machine_describe(&s->machine);
    s->emulated = o->emulated || s->machine.emulated;
    int rc = runner_open(&s->runner, dir, &o->runner, e);
    if (rc < 0)
        return rc;
    rc = o->no_verify ? 0 : bundle_verify(&s->runner.bundle, e);
    if (rc == 0)
        rc = bundle_hash(&s->runner.bundle, s->bundle_sha256, e);
    if (rc == 0)
        rc = run_rows(s, o, &times, e);
    if (rc == 0) {
        take_times(s, &times);
        rc = measure_speed(s, dir, e);
    }
    free(times.seconds);
    if (rc == 0) {
        take_state(s);
        rc = measure_types(s, o, e);
    }
    if (rc < 0) {
        selftest_release(s);
        return rc;
    }
    s->passed = s->n_agreeing == s->n_rows && s->memory_kept;
    return 0;
}

void selftest_release(struct selftest *s) {
    runner_close(&s->runner);
}
