/* Deciding records of a bundle. */
#include "runner.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "escalate.h"
#include "fields.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>

static int open_model(struct runner *r, const struct runner_options *q, struct err *e) {
    const struct bundle *b = &r->bundle;
    int cores = thread_core_count();
    r->n_threads = q->n_threads > 0 ? q->n_threads : (int)b->n_threads;
    if (r->n_threads == 0 || (q->n_threads == 0 && r->n_threads > cores))
        r->n_threads = cores;
    struct lm_options o = {.n_ctx = (int)b->n_ctx,
                           .n_batch = (int)b->n_batch,
                           .n_outputs = (int)b->n_outputs,
                           .n_threads = r->n_threads,
                           .kv_type = b->kv_type,
                           .drop_copied = true,
                           .huge_pages = true,
                           .vocab_beside = true,
                           .checked = b->has_fingerprint && !r->model_changed,
                           .flash_attention = b->flash_attention};
    int rc = q->any_memory ? 0 : guard_memory(b->memory_need_bytes, guard_available_bytes(), e);
    if (rc < 0)
        return rc;
    double start = clock_seconds();
    rc = lm_open(&r->lm, b->model_path, &o, e);
    r->load_s = clock_seconds() - start;
    return rc;
}

static void look_at_model(struct runner *r) {
    struct err changed = {0};
    int rc = bundle_check_model(&r->bundle, &changed);
    r->model_changed = rc < 0;
    if (rc == ERR_MISMATCH) /* one that cannot be read: opening it says why */
        log_warn("%s", changed.message);
}

static int open_classifier(struct runner *r, struct err *e) {
    struct bundle *b = &r->bundle;
    const char *path = bundle_path(b, "prefix.state");
    double start = clock_seconds();
    if (!path)
        return err_set(e, ERR_NO_MEMORY, "runner_open", "no memory for the bundle");
    /* the prefix belongs to the model's file as it is now: one that was exchanged has another */
    struct classifier_kept kept = {path, r->model_changed ? "changed" : b->model_sha256, b->grammar};
    int rc = classifier_new_from(&r->classifier, r->lm, &b->task, &b->prompt, &kept, &r->prefix_loaded, e);
    r->prefix_s = clock_seconds() - start;
    if (rc == 0 && b->task.kind == TASK_EXTRACT && !b->grammar)
        log_warn("the bundle has no " BUNDLE_GRAMMAR "; the grammar was compiled from its task here");
    if (rc == 0 && b->prefix_state && !r->prefix_loaded)
        log_warn(
            "the saved prefix does not fit this model, prompt or llama.cpp; it was computed again (%.1f s)",
            r->prefix_s);
    return rc;
}

static int lock(const struct runner_options *q) {
    struct err why = {0};
    if (q->lock_memory && guard_lock(&why) < 0)
        log_warn("%s; %s", why.message, why.hint);
    return 0;
}

int runner_open(struct runner *r, const char *dir, const struct runner_options *q, struct err *e) {
    *r = (struct runner){0};
    arena_init(&r->record);
    int rc = bundle_open(&r->bundle, dir, e);
    if (rc < 0)
        return rc;
    char *kernels = file_join(dir, "lib/backends");
    rc = lm_backend_init(kernels && file_is_folder(kernels) ? kernels : NULL, e);
    free(kernels);
    look_at_model(r);
    if (rc == 0)
        rc = open_model(r, q, e);
    if (rc == 0)
        rc = open_classifier(r, e);
    if (rc == 0)
        rc = lock(q);
    r->on_abstain = q->on_abstain;
    r->probabilities = calloc((size_t)r->bundle.task.n_labels + 1, sizeof *r->probabilities);
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
    str_release(&r->answer);
    bundle_close(&r->bundle);
    arena_release(&r->record);
    str_release(&r->request);
    str_release(&r->other);
    *r = (struct runner){0};
}

/* The record as it came, and what the model would say. */
static void ask_other(struct runner *r, const char *json, size_t n, struct decision *d) {
    struct err e = {0};
    str_clear(&r->request);
    str_clear(&r->other);
    str_add(&r->request, "{\"record\":");
    for (size_t i = 0; i < n; i++)
        str_add_char(&r->request, json[i] == '\n' || json[i] == '\r' ? ' ' : json[i]);
    str_add(&r->request, ",\"answer\":");
    int rc = runner_write(r, d, &r->request, &e);
    str_add(&r->request, "}\n");
    if (rc == 0)
        rc = str_check(&r->request, &e);
    if (rc == 0)
        rc = escalate(r->on_abstain, str_text(&r->request), ESCALATE_TIMEOUT_MS, &r->other, &e);
    if (rc < 0)
        d->other_failed = arena_strdup(&r->record, e.message);
    else
        d->other = str_text(&r->other);
}

/* Whoever decides a second record will go on, and the first has mapped what decisions read of the model's file. Where the plan
 * has no room for the file beside what repacking copied of it, the rest leaves the page cache. */
static void make_room(const struct runner *r) {
    const struct bundle *b = &r->bundle;
    char *state = file_join(b->dir, "prefix.state");
    if (b->memory_limit_bytes > 0 && b->memory_limit_bytes < 2 * file_size(b->model_path)) {
        guard_forget_unread(b->model_path);
        if (state)
            guard_forget_unread(state);
    }
    free(state);
}

int runner_decide(struct runner *r, const char *json, size_t n, int line, struct decision *out,
                  struct err *e) {
    struct node *root;
    struct record record;
    struct fields_doubt doubt;
    const struct task *t = &r->bundle.task;
    double start = clock_seconds();
    if (r->n_decided == 1)
        make_room(r);
    arena_reset(&r->record);
    int rc = json_node_parse(&r->record, "record", line, json, n, &root, e);
    if (rc == 0)
        rc = fields_check(t, root, e);
    if (rc == 0)
        rc = record_from_node(t, &r->record, false, root, &record, e);
    if (rc == 0)
        rc = fields_doubt(t, root, &record, &r->record, &doubt, e);
    bool written = t->kind != TASK_CLASSIFY, valid = true;
    str_clear(&r->answer);
    if (rc == 0)
        rc = written ? classifier_write(r->classifier, &record, &r->answer, &valid, e)
                     : classifier_score(r->classifier, &record, r->probabilities, e);
    if (rc < 0)
        return rc;
    const struct node *id = task_field_index(t, "id") < 0 ? node_get(root, "id") : NULL;
    *out = (struct decision){.label = classifier_last(r->classifier).best,
                             .probabilities = r->probabilities,
                             .answer = written ? str_text(&r->answer) : NULL,
                             .valid = valid,
                             .missing = doubt.missing,
                             .unknown = doubt.unknown,
                             .outside = doubt.outside,
                             .ms = (clock_seconds() - start) * 1e3,
                             .id = id ? id->text : NULL};
    out->abstained = !written && r->probabilities[out->label] < r->bundle.abstain_threshold;
    if (out->abstained && r->on_abstain)
        ask_other(r, json, n, out);
    r->n_decided++;
    guard_watch(&r->watch);
    return 0;
}

/* What belongs to every answer, and its end. */
static int write_end(const struct decision *d, struct str *out, struct err *e) {
    if (d->missing)
        str_addf(out, ",\"missing\":%s", d->missing);
    if (d->unknown)
        str_addf(out, ",\"unknown\":%s", d->unknown);
    if (d->outside)
        str_addf(out, ",\"outside\":%s", d->outside);
    str_addf(out, ",\"ms\":%.1f}", d->ms);
    return str_check(out, e);
}

int runner_write(const struct runner *r, const struct decision *d, struct str *out, struct err *e) {
    const struct task *t = &r->bundle.task;
    str_add_char(out, '{');
    if (d->id) {
        str_add(out, "\"id\":");
        json_text_string(out, d->id);
        str_add_char(out, ',');
    }
    if (d->answer) {
        str_add(out, "\"answer\":");
        if (d->valid && t->kind == TASK_EXTRACT)
            str_add(out, d->answer);
        else
            json_text_string(out, d->answer);
        str_addf(out, ",\"valid\":%s", d->valid ? "true" : "false");
        return write_end(d, out, e);
    }
    str_add(out, "\"label\":");
    json_text_string(out, t->labels[d->label].name);
    str_add(out, ",\"probabilities\":{");
    for (int i = 0; i < t->n_labels; i++) {
        str_add(out, i ? "," : "");
        json_text_string(out, t->labels[i].name);
        str_addf(out, ":%.4f", d->probabilities[i]);
    }
    str_add_char(out, '}');
    if (r->bundle.abstain_threshold > 0)
        str_addf(out, ",\"abstained\":%s", d->abstained ? "true" : "false");
    if (d->other || d->other_failed) {
        str_add(out, d->other ? ",\"other\":" : ",\"other_failed\":");
        json_text_string(out, d->other ? d->other : d->other_failed);
    }
    return write_end(d, out, e);
}
