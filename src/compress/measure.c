/* Scoring candidates on validation rows, and choosing one. */
#include "compress/kept.h"
#include <math.h>

bool compress_measures(const struct compress_run_state *x) {
    return x->q->validation && x->q->validation->n > 0;
}

int compress_score(struct compress_run_state *x, const char *gguf, const char *what, bool keep,
                   struct scores *out, struct err *e) {
    struct progress p;
    struct score_options o = {.n_threads = x->q->n_threads, .kv_type = x->kv_type};
    int rc = scores_init(out, x->q->task, x->q->validation, e), number = x->n_scored++;
    if (rc < 0 || (keep && kept_scores_read(x, number, out)))
        return rc;
    progress_begin(&p, what, "row", x->q->validation->n);
    rc = score_model(out, gguf, x->q->task, x->q->validation, &o, &p, e);
    progress_end(&p);
    return rc < 0 || !keep ? rc : kept_scores_write(x, number, out, e);
}

double compress_accuracy(const struct scores *s) {
    int64_t right = 0;
    for (int64_t i = 0; i < s->n; i++)
        right += s->answer[i] == s->truth[i];
    return s->n > 0 ? (double)right / (double)s->n : NAN;
}

double compress_divergence(const double *p, const double *q, int64_t n_rows, int n_labels) {
    double sum = 0;
    for (int64_t i = 0; i < n_rows * n_labels; i++)
        sum += p[i] > 0 ? p[i] * log(p[i] / fmax(q[i], 1e-12)) : 0;
    return n_rows > 0 ? fmax(sum, 0) / (double)n_rows : NAN;
}

static double agreement(const struct scores *a, const struct scores *b) {
    int64_t same = 0;
    for (int64_t i = 0; i < a->n; i++)
        same += a->written ? str_equal(a->text[i], b->text[i]) : a->answer[i] == b->answer[i];
    return (double)same / (double)a->n;
}

/* Answers that are written come without probabilities. */
static double divergence(const struct scores *first, const struct scores *s) {
    return first->prob && s->prob ? compress_divergence(first->prob, s->prob, s->n, s->n_labels) : NAN;
}

static int pair_up(const struct scores *s, const struct scores *first, struct paired *out, struct err *e) {
    struct scored a = scores_view(s), b = scores_view(first);
    return paired_compare(&a, &b, &(struct bootstrap_options){.n_resamples = 200}, out, e);
}

int compress_compare(struct compress_run_state *x, struct compress_candidate *c, struct err *e) {
    const struct scores *s = &x->r->source;
    c->accuracy = compress_accuracy(&c->scores);
    c->agreement = agreement(&c->scores, s);
    c->divergence = divergence(s, &c->scores);
    return pair_up(&c->scores, s, &c->paired, e);
}

int compress_add_step(struct compress_run_state *x, const char *name, int64_t bytes, const struct scores *s,
                      struct err *e) {
    const struct scores *first = &x->r->source;
    struct compress_step *step = &x->r->steps[x->r->n_steps++];
    *step = (struct compress_step){.name = name,
                                   .file_bytes = bytes,
                                   .accuracy = compress_accuracy(s),
                                   .agreement = agreement(s, first),
                                   .divergence = divergence(first, s)};
    return pair_up(s, first, &step->paired, e);
}

/* ---- choosing ---- */

bool compress_good_enough(const struct compress_run_state *x, const struct compress_candidate *c) {
    double tolerance = x->q->tolerance > 0 ? x->q->tolerance : 0.005;
    return !compress_measures(x) || c->accuracy >= x->r->source_accuracy - tolerance - 1e-9;
}

/* Of about the same size: a tenth faster on the device, else closer to the source. */
static bool better(const struct compress_candidate *a, const struct compress_candidate *b) {
    if (a->device_s > 0 && b->device_s > 0 && fabs(a->device_s - b->device_s) > 0.1 * b->device_s)
        return a->device_s < b->device_s;
    if (isfinite(a->divergence) && isfinite(b->divergence))
        return a->divergence < b->divergence;
    return a->predicted_loss < b->predicted_loss;
}

static int choose_fastest(const struct compress_run_state *x) {
    const struct compress_result *r = x->r;
    int best = -1;
    for (int i = 0; i < r->n_candidates; i++)
        if (compress_good_enough(x, &r->candidates[i]) && r->candidates[i].device_s > 0 &&
            (best < 0 || better(&r->candidates[i], &r->candidates[best])))
            best = i;
    return best;
}

static int choose_good(const struct compress_run_state *x) {
    const struct compress_result *r = x->r;
    if (x->q->prefer_speed)
        return choose_fastest(x);
    int64_t least = INT64_MAX;
    int best = -1;
    for (int i = 0; i < r->n_candidates; i++)
        if (compress_good_enough(x, &r->candidates[i]) && r->candidates[i].file_bytes < least)
            least = r->candidates[i].file_bytes;
    for (int i = 0; i < r->n_candidates; i++) {
        const struct compress_candidate *c = &r->candidates[i];
        if (compress_good_enough(x, c) && c->file_bytes <= least + least / 50 &&
            (best < 0 || better(c, &r->candidates[best])))
            best = i;
    }
    return best;
}

static int choose_nearest(const struct compress_result *r) {
    int best = 0;
    for (int i = 1; i < r->n_candidates; i++) {
        const struct compress_candidate *a = &r->candidates[i], *b = &r->candidates[best];
        bool equal = a->accuracy >= b->accuracy - 1e-12 && a->accuracy <= b->accuracy + 1e-12;
        if (equal ? a->divergence < b->divergence : a->accuracy > b->accuracy)
            best = i;
    }
    return best;
}

void compress_choose(struct compress_run_state *x) {
    struct compress_result *r = x->r;
    int good = choose_good(x);
    r->chosen = good >= 0 ? good : choose_nearest(r);
    for (int i = 0; i < r->n_candidates; i++)
        r->candidates[i].chosen = i == r->chosen;
    r->reason =
        r->n_candidates == 1    ? "the only candidate"
        : !compress_measures(x) ? "the smallest; nothing was measured"
        : good >= 0 && x->q->prefer_speed
            ? "the fastest on the device of those that answer as well as the 16-bit file"
        : good >= 0
            ? "the smallest that answers as well as the 16-bit file, and of that size the closest to it"
            : "none answers as well as the 16-bit file; this one comes nearest";
}
