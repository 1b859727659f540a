/* Files beside the candidates, and the hash that they belong to. */
#include "compress/kept.h"
#include "base/file.h"
#include "format/json.h"
#include "llama/lm.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILES = 64 };
#define CHOICE "choice.json"
#define LOSSES "losses.json"
#define DEPTH  "depth.json"

static const char *scores_path(struct compress_run_state *x, int i) {
    return arena_printf(&x->r->arena, "%s/scores-%d.csv", x->q->folder, i);
}

/* ---- the hash ---- */

static void add_device(struct str *s, const struct bits_device *d) {
    str_addf(s, "%lld %lld", (long long)d->tokens_read, (long long)d->head_rows);
    for (int i = 0; i < d->n_speeds; i++)
        str_addf(s, " %s %.17g %.17g", d->speeds[i].type, d->speeds[i].s_per_mac, d->speeds[i].s_per_byte);
}

/* Everything that decides what a candidate holds or how it answers, and which answers are asked for in what order. */
static int hash_request(const struct compress_run_state *x, char key[SHA256_HEX], struct err *e) {
    const struct compress_request *q = x->q;
    char source[SHA256_HEX], imatrix[SHA256_HEX] = "";
    struct str s = {0}, task = {0};
    int rc = sha256_file(q->source, source, e);
    if (rc == 0 && q->imatrix)
        rc = sha256_file(q->imatrix, imatrix, e);
    if (rc == 0)
        rc = task_to_json(q->task, &task, e);
    str_addf(&s,
             "choice/5 %s %s %s %s %s %d%d%d%d%d%d%d %d %d %.17g %.17g %lld %.17g %.17g %lld %.17g %.17g\n",
             source, imatrix, q->training->sha256, q->validation ? q->validation->sha256 : "", lm_version(),
             q->whole_vocabulary, q->lean, q->no_search, q->no_imatrix, q->prefer_speed,
             q->base && file_exists(q->base), q->adapter && file_exists(q->adapter), q->layers,
             q->vocabulary.reserve, q->vocabulary.most_rise, q->vocabulary.least_gain,
             (long long)q->calibration.n_rows, q->calibration.prefix_weight, q->calibration.answer_weight,
             (long long)q->budget.bytes, q->budget.bits, q->budget.seconds);
    for (int i = 0; i < q->n_types; i++)
        str_addf(&s, "%s ", q->types[i]);
    add_device(&s, &q->device);
    str_add(&s, str_text(&task));
    if (rc == 0)
        rc = str_check(&s, e);
    if (rc == 0)
        sha256_bytes(s.data, s.len, key);
    str_release(&s);
    str_release(&task);
    return rc;
}

static void remove_all(struct compress_run_state *x) {
    static const char *const names[] = {CHOICE, LOSSES, DEPTH, "short-f16.gguf"};
    for (int i = 0; i < MOST_FILES; i++) {
        const char *scores = scores_path(x, i), *candidate = compress_candidate_path(x, i);
        if (scores)
            unlink(scores);
        if (candidate)
            unlink(candidate);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = compress_path(x, names[i]);
        if (path)
            unlink(path);
    }
}

int kept_begin(struct compress_run_state *x, struct err *e) {
    char key[SHA256_HEX];
    json_t *before = NULL;
    const char *path = compress_path(x, CHOICE);
    if (!path)
        return compress_no_memory(e);
    int rc = hash_request(x, key, e);
    if (rc < 0)
        return rc;
    json_file_read(path, &before, NULL);
    const char *its = json_string_value(json_object_get(before, "request"));
    bool same = its && strcmp(its, key) == 0;
    json_decref(before);
    if (same)
        return 0;
    remove_all(x);
    json_t *now = json_pack("{s:s}", "request", key);
    rc = now ? json_file_write(path, now, e) : compress_no_memory(e);
    json_decref(now);
    return rc;
}

void kept_end(struct compress_run_state *x) {
    remove_all(x);
}

/* ---- answers ---- */

bool kept_scores_read(struct compress_run_state *x, int i, struct scores *s) {
    struct scores old = {0};
    const char *path = scores_path(x, i);
    if (s->written || !path || scores_read(&old, x->q->task, path, NULL) < 0)
        return false;
    bool same = old.n == s->n;
    for (int64_t k = 0; same && k < s->n; k++)
        same = old.truth[k] == s->truth[k];
    if (!same) {
        scores_release(&old);
        return false;
    }
    scores_release(s);
    *s = old;
    return true;
}

int kept_scores_write(struct compress_run_state *x, int i, const struct rows *rows, const struct scores *s,
                      struct err *e) {
    const char *path = scores_path(x, i);
    if (s->written)
        return 0;
    return path ? scores_write(s, x->q->task, rows, path, e) : compress_no_memory(e);
}

/* ---- depth ---- */

bool kept_depth_read(struct compress_run_state *x, struct depth_result *d) {
    json_t *j = NULL;
    const char *path = compress_path(x, DEPTH);
    if (!path || json_file_read(path, &j, NULL) < 0)
        return false;
    struct depth_result r = {0};
    json_t *dropped = NULL;
    json_int_t judged = 0, taught = 0;
    bool good = json_unpack(j, "{s:i, s:i, s:o, s:I, s:I, s:f, s:f, s:f}", "before", &r.before, "after",
                            &r.after, "dropped", &dropped, "judged_rows", &judged, "taught_rows", &taught,
                            "cut", &r.cut, "healed", &r.healed, "seconds", &r.seconds) == 0;
    size_t n = json_array_size(dropped);
    good = good && n <= DEPTH_MOST_LAYERS && (int)n == r.before - r.after;
    for (size_t i = 0; good && i < n; i++)
        r.dropped[i] = (int)json_integer_value(json_array_get(dropped, i));
    json_decref(j);
    r.judged_rows = judged;
    r.taught_rows = taught;
    if (good)
        *d = r;
    return good;
}

int kept_depth_write(struct compress_run_state *x, const struct depth_result *d, struct err *e) {
    const char *path = compress_path(x, DEPTH);
    json_t *j = depth_to_json(d);
    int rc = path && j ? json_file_write(path, j, e) : compress_no_memory(e);
    json_decref(j);
    return rc;
}

/* ---- losses ---- */

int kept_losses_write(struct compress_run_state *x, const struct bits_table *t, struct err *e) {
    const char *path = compress_path(x, LOSSES);
    json_t *types = json_array(), *matrices = json_array(), *j = NULL;
    for (int i = 0; i < t->n_types; i++)
        json_array_append_new(types, json_string(t->types[i].name));
    for (int i = 0; i < t->n_matrices; i++) {
        json_t *losses = json_array();
        for (int k = 0; k < t->n_types; k++)
            json_array_append_new(losses, json_real(t->matrices[i].loss[k]));
        json_array_append_new(matrices, json_pack("{s:s, s:o}", "name", t->matrices[i].name, "loss", losses));
    }
    j = json_pack("{s:o, s:o}", "types", types, "matrices", matrices);
    int rc = path && j ? json_file_write(path, j, e) : compress_no_memory(e);
    json_decref(j);
    return rc;
}

static bool take_losses(const json_t *j, struct bits_table *t) {
    const json_t *types = json_object_get(j, "types"), *matrices = json_object_get(j, "matrices");
    if ((int)json_array_size(types) != t->n_types || (int)json_array_size(matrices) != t->n_matrices)
        return false;
    for (int i = 0; i < t->n_types; i++) {
        const char *name = json_string_value(json_array_get(types, (size_t)i));
        if (!name || strcmp(name, t->types[i].name) != 0)
            return false;
    }
    for (int i = 0; i < t->n_matrices; i++) {
        const json_t *m = json_array_get(matrices, (size_t)i), *losses = json_object_get(m, "loss");
        const char *name = json_string_value(json_object_get(m, "name"));
        if (!name || strcmp(name, t->matrices[i].name) != 0 || (int)json_array_size(losses) != t->n_types)
            return false;
        for (int k = 0; k < t->n_types; k++)
            t->matrices[i].loss[k] = json_number_value(json_array_get(losses, (size_t)k));
    }
    return true;
}

bool kept_losses_read(struct compress_run_state *x, struct bits_table *t) {
    json_t *j = NULL;
    const char *path = compress_path(x, LOSSES);
    bool taken = path && json_file_read(path, &j, NULL) == 0 && take_losses(j, t);
    json_decref(j);
    return taken;
}
