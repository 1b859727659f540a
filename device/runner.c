/* Deciding records of a bundle. */
#include "runner.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>

static int open_model(struct runner *r, int n_threads, struct err *e) {
    const struct bundle *b = &r->bundle;
    int cores = thread_core_count();
    r->n_threads = n_threads > 0 ? n_threads : (int)b->n_threads;
    if (r->n_threads == 0 || (n_threads == 0 && r->n_threads > cores))
        r->n_threads = cores;
    struct lm_options o = {.n_ctx = (int)b->n_ctx,
                           .n_batch = (int)b->n_batch,
                           .n_outputs = (int)b->n_outputs,
                           .n_threads = r->n_threads,
                           .kv_type = b->kv_type};
    double start = clock_seconds();
    int rc = lm_open(&r->lm, b->model_path, &o, e);
    r->load_s = clock_seconds() - start;
    return rc;
}

static int open_classifier(struct runner *r, struct err *e) {
    struct bundle *b = &r->bundle;
    const char *path = bundle_path(b, "prefix.state");
    double start = clock_seconds();
    if (!path)
        return err_set(e, ERR_NO_MEMORY, "runner_open", "no memory for the bundle");
    int rc = classifier_new_from(&r->classifier, r->lm, &b->task, &b->prompt, path, b->model_sha256,
                                 &r->prefix_loaded, e);
    r->prefix_s = clock_seconds() - start;
    if (rc == 0 && b->prefix_state && !r->prefix_loaded)
        log_warn(
            "the saved prefix does not fit this model, prompt or llama.cpp; it was computed again (%.1f s)",
            r->prefix_s);
    return rc;
}

int runner_open(struct runner *r, const char *dir, int n_threads, struct err *e) {
    *r = (struct runner){0};
    arena_init(&r->record);
    int rc = bundle_open(&r->bundle, dir, e);
    if (rc < 0)
        return rc;
    char *kernels = file_join(dir, "lib/backends");
    rc = lm_backend_init(kernels && file_is_folder(kernels) ? kernels : NULL, e);
    free(kernels);
    if (rc == 0)
        rc = open_model(r, n_threads, e);
    if (rc == 0)
        rc = open_classifier(r, e);
    r->probabilities = calloc((size_t)r->bundle.task.n_labels, sizeof *r->probabilities);
    if (rc == 0 && !r->probabilities)
        rc = err_set(e, ERR_NO_MEMORY, "runner_open", "no memory for the labels");
    if (rc < 0)
        runner_close(r);
    return rc;
}

void runner_close(struct runner *r) {
    classifier_free(r->classifier);
    lm_free(r->lm);
    free(r->probabilities);
    bundle_close(&r->bundle);
    arena_release(&r->record);
    *r = (struct runner){0};
}

int runner_decide(struct runner *r, const char *json, size_t n, int line, struct decision *out,
                  struct err *e) {
    struct node *root;
    struct record record;
    const struct task *t = &r->bundle.task;
    double start = clock_seconds();
    arena_reset(&r->record);
    int rc = json_node_parse(&r->record, "input", line, json, n, &root, e);
    if (rc == 0)
        rc = record_from_node(t, &r->record, false, root, &record, e);
    if (rc == 0)
        rc = classifier_score(r->classifier, &record, r->probabilities, e);
    if (rc < 0)
        return rc;
    const struct node *id = task_field_index(t, "id") < 0 ? node_get(root, "id") : NULL;
    *out = (struct decision){.label = classifier_last(r->classifier).best,
                             .probabilities = r->probabilities,
                             .ms = (clock_seconds() - start) * 1e3,
                             .id = id ? id->text : NULL};
    return 0;
}

int runner_write(const struct runner *r, const struct decision *d, struct str *out, struct err *e) {
    const struct task *t = &r->bundle.task;
    str_add_char(out, '{');
    if (d->id) {
        str_add(out, "\"id\":");
        json_text_string(out, d->id);
        str_add_char(out, ',');
    }
    str_add(out, "\"label\":");
    json_text_string(out, t->labels[d->label].name);
    str_add(out, ",\"probabilities\":{");
    for (int i = 0; i < t->n_labels; i++) {
        str_add(out, i ? "," : "");
        json_text_string(out, t->labels[i].name);
        str_addf(out, ":%.4f", d->probabilities[i]);
    }
    str_addf(out, "},\"ms\":%.1f}", d->ms);
    return str_check(out, e);
}
