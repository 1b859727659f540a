/* Compress's own choice for the machine that the measurement runs on. */
#include "bench/device_choice.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "bench/planner_here.h"
#include "cmd/compress_text.h"
#include "format/json.h"
#include "llama/type_rate.h"
#include "model/file.h"
#include "plan/rates.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Asked for beside what the task needs. A vocabulary of made-up words has few that merges lead to, so some 500 tokens are all
 * that is left; 16,000 would weigh 9 MB more. */
enum { RESERVE = 16000 };

static int label_rows(const struct shape_task *t, const char *source, struct err *e) {
    struct scores s;
    int rc = scores_init(&s, &t->task, &t->rows, e);
    if (rc < 0)
        return rc;
    rc = score_model(&s, source, &t->task, &t->rows, &(struct score_options){0}, NULL, e);
    for (int64_t i = 0; i < s.n && rc == 0; i++)
        t->rows.records[i].label = s.answer[i];
    scores_release(&s);
    return rc;
}

/* Rates of this machine, as the verb reads them of a device that was probed. */
static int measure_device(struct bits_device *out, const struct shape_task *t, int n_threads, struct arena *a,
                          struct err *e) {
    struct catalog c;
    struct catalog_device here;
    struct device_rates rates;
    double gmacs[N_TYPE_RATES] = {0};
    int rc = catalog_load(&c, NULL, e);
    if (rc < 0)
        return rc;
    planner_here_device(&here);
    here.cores = (struct catalog_figure){true, n_threads, n_threads, n_threads, "asked for"};
    rc = type_rates_measure(gmacs, n_threads, NULL, e);
    for (int i = 0; i < CATALOG_N_READS && rc == 0; i++)
        here.reads[i] = (struct catalog_figure){true, gmacs[i], gmacs[i], gmacs[i], "measured here"};
    if (rc == 0)
        rc = rates_for_device(&c, &here, a, &rates, e);
    const struct bits_speed *speeds = rc == 0 ? rates_by_type(&rates, a) : NULL;
    if (rc == 0 && !speeds)
        rc = err_set(e, ERR_NO_MEMORY, "chosen_file", "out of memory");
    int64_t rows = (int64_t)t->label_tokens * t->task.n_labels;
    *out = (struct bits_device){.speeds = speeds,
                                .n_speeds = N_TENSOR_TYPES,
                                .tokens_read = t->record_tokens + rows,
                                .head_rows = rows};
    catalog_release(&c);
    return rc;
}

/* Appends; what does not fit is cut off. */
static void say(struct device_choice *out, const char *format, ...) {
    size_t at = strlen(out->types);
    va_list args;
    va_start(args, format);
    vsnprintf(out->types + at, sizeof out->types - at, format, args);
    va_end(args);
}

/* The types' counts from the file itself, and what the choice said of it. */
static int describe(struct device_choice *out, const char *folder, struct err *e) {
    enum { MOST = 16 };
    struct model_file *f;
    char name[320];
    const char *types[MOST];
    int counts[MOST] = {0}, n = 0;
    double bits = 0, values = 0;
    int rc = model_file_open(&f, out->path, e);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
        struct model_tensor t = model_file_tensor(f, i);
        int k = 0;
        bits += 8 * (double)t.n_bytes;
        values += (double)(t.rows * t.cols);
        while (k < n && strcmp(types[k], t.type) != 0)
            k++;
        if (t.rows == 1 || k == MOST)
            continue;
        types[k] = t.type;
        counts[k]++;
        n += k == n;
    }
    for (int k = 0; k < n; k++)
        say(out, "%s%d matrices %s", k ? ", " : "", counts[k], types[k]);
    say(out, ": %.2f bits a weight", bits / values);
    model_file_close(f);
    json_t *report = NULL;
    snprintf(name, sizeof name, "%s/compress.json", folder);
    if (json_file_read(name, &report, NULL) == 0) {
        const char *reason = json_string_value(json_object_get(report, "reason"));
        const json_t *kept = json_object_get(json_object_get(report, "vocabulary"), "after");
        say(out, "; %lld tokens kept; compress of its candidates: %.160s",
            (long long)json_integer_value(kept), reason ? reason : "");
    }
    json_decref(report);
    return 0;
}

static int choose(const struct shape_task *t, const char *source, const char *folder, int n_threads,
                  struct err *e) {
    static const char *const planned = "Q3_K_M";
    struct arena a;
    char path[320];
    struct compress_result r;
    struct compress_request q = {.source = source,
                                 .folder = folder,
                                 .task = &t->task,
                                 .training = &t->rows,
                                 .validation = &t->rows,
                                 .types = &planned,
                                 .n_types = 1,
                                 .lean = true,
                                 .prefer_speed = true,
                                 .vocabulary = {.reserve = RESERVE}};
    arena_init(&a);
    interrupt_install();
    int rc = label_rows(t, source, e);
    if (rc == 0)
        rc = measure_device(&q.device, t, n_threads, &a, e);
    if (rc == 0)
        rc = compress_run(&r, &q, e);
    if (rc == 0) {
        json_t *report = compress_to_json(&r, t->rows.n);
        snprintf(path, sizeof path, "%s/compress.json", folder);
        rc = json_file_write(path, report, e);
        json_decref(report);
        compress_release(&r);
    }
    arena_release(&a);
    return rc;
}

int device_choice_make(struct device_choice *out, const struct shape_task *t, int n_threads, struct err *e) {
    char folder[200], source[256];
    const struct shape_model *m = getenv("DEVICE_SMALL") ? &shape_small_16 : &shape_qwen3_16;
    *out = (struct device_choice){0};
    snprintf(folder, sizeof folder, "build/bench/shapes/%s-chosen-%.12s-%d", m->name, t->prompt.tag,
             n_threads);
    snprintf(out->path, sizeof out->path, "%s/student.gguf", folder);
    if (!file_exists(out->path)) {
        int rc = shape_file(m, t->prompt.tag, source, e);
        if (rc == 0)
            rc = choose(t, source, folder, n_threads, e);
        if (rc < 0)
            return rc;
        unlink(source); /* more than a gigabyte */
    }
    return describe(out, folder, e);
}
