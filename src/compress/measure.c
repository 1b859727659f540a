/* Scoring candidates on validation rows, and choosing one. */
#include "base/file.h"
#include "compress/kept.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROWS = 128, MOST_ROWS = 1024, LARGE_FIRST_ROWS = 32, LARGE_MOST_ROWS = 96 };
static const int64_t LARGE_BYTES = 256 * 1024 * 1024;

bool compress_measures(const struct compress_run_state *x) {
    return x->q->validation && x->q->validation->n > 0;
}

/* Row i is one of the n that lie evenly over all `of` rows. */
static bool taken(int64_t i, int64_t n, int64_t of) {
    int64_t k = (i * n + of - 1) / of; /* the first k whose place k * of / n is not before i */
    return k < n && k * of / n == i;
}

static int take_rows(struct compress_run_state *x, int64_t n_first, int64_t n_rest, struct err *e) {
    const struct rows *all = x->q->validation;
    struct arena *a = &x->r->arena;
    x->first.records = arena_calloc(a, (size_t)n_first + 1, sizeof *x->first.records);
    x->rest.records = arena_calloc(a, (size_t)n_rest + 1, sizeof *x->rest.records);
    if (!x->first.records || !x->rest.records)
        return compress_no_memory(e);
    int64_t others = all->n - n_first, other = 0;
    for (int64_t i = 0; i < all->n; i++)
        if (taken(i, n_first, all->n))
            x->first.records[x->first.n++] = all->records[i];
        else if (n_rest > 0 && taken(other++, n_rest, others))
            x->rest.records[x->rest.n++] = all->records[i];
    return 0;
}

int compress_split_rows(struct compress_run_state *x, struct err *e) {
    bool large = file_size(x->q->source) > LARGE_BYTES;
    int64_t n = compress_measures(x) ? x->q->validation->n : 0, first = large ? LARGE_FIRST_ROWS : FIRST_ROWS,
            most = large ? LARGE_MOST_ROWS : MOST_ROWS;
    if (n <= 2 * first)
        first = most = n;
    most = most < n ? most : n;
    x->r->first_rows = first;
    x->r->all_rows = most;
    x->r->confirming_accuracy = NAN;
    return n > 0 ? take_rows(x, first, most - first, e) : 0;
}

int compress_score(struct compress_run_state *x, const struct compress_asked *q, struct scores *out,
                   struct err *e) {
    struct progress p;
    struct score_options o = q->options;
    o.n_threads = x->q->n_threads;
    int rc = scores_init(out, x->q->task, q->rows, e), number = x->n_scored++;
    if (rc < 0 || (q->keep && kept_scores_read(x, number, out)))
        return rc;
    progress_begin(&p, q->what, "row", q->rows->n);
    rc = score_model(out, q->gguf, x->q->task, q->rows, &o, &p, e);
    progress_end(&p);
    return rc < 0 || !q->keep ? rc : kept_scores_write(x, number, q->rows, out, e);
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

double compress_agreement(const struct scores *a, const struct scores *b) {
    int64_t same = 0;
    for (int64_t i = 0; i < a->n; i++)
        same += a->written ? str_equal(a->text[i], b->text[i]) : a->answer[i] == b->answer[i];
    return (double)same / (double)a->n;
}

/* Answers that are written come without probabilities. */
double compress_divergence_of(const struct scores *first, const struct scores *s) {
    return first->prob && s->prob ? compress_divergence(first->prob, s->prob, s->n, s->n_labels) : NAN;
}

int compress_pair(const struct scores *s, const struct scores *first, struct paired *out, struct err *e) {
    struct scored a = scores_view(s), b = scores_view(first);
    return paired_compare(&a, &b, &(struct bootstrap_options){.n_resamples = 200}, out, e);
}

/* What the source expects to lose by answering as the candidate does: where it held two labels about equally likely, next to nothing. */
static double expected_loss(const struct scores *s, const struct scores *source) {
    double sum = 0;
    if (s->written || !source->prob)
        return NAN;
    for (int64_t i = 0; i < s->n; i++) {
        const double *p = source->prob + i * source->n_labels;
        if (s->answer[i] != source->answer[i] && source->answer[i] >= 0)
            sum += p[source->answer[i]] - (s->answer[i] < 0 ? 0 : p[s->answer[i]]);
    }
    return s->n > 0 ? sum / (double)s->n : NAN;
}

static int compare(struct compress_candidate *c, const struct scores *s, const struct scores *source,
                   struct err *e) {
    c->n_rows = s->n;
    c->accuracy = compress_accuracy(s);
    c->agreement = compress_agreement(s, source);
    c->divergence = compress_divergence_of(source, s);
    c->expected_loss = expected_loss(s, source);
    return compress_pair(s, source, &c->paired, e);
}

int compress_compare(struct compress_run_state *x, struct compress_candidate *c, struct err *e) {
    return compare(c, &c->scores, &x->r->source, e);
}

/* ---- confirming ---- */

/* Two lots of answers as one, as a view: what it points to is borrowed, its arrays are freed by unite_end. */
static int unite(const struct scores *a, const struct scores *b, struct scores *out, struct err *e) {
    size_t n = (size_t)(a->n + b->n), n_labels = (size_t)a->n_labels;
    *out = *a;
    out->n = (int64_t)n;
    out->truth = calloc(n, sizeof *out->truth);
    out->answer = calloc(n, sizeof *out->answer);
    out->prob = a->prob ? calloc(n * n_labels, sizeof *out->prob) : NULL;
    out->text = a->text ? calloc(n, sizeof *out->text) : NULL;
    if (!out->truth || !out->answer || (a->prob && !out->prob) || (a->text && !out->text))
        return compress_no_memory(e);
    const struct scores *const parts[] = {a, b};
    size_t at = 0;
    for (int i = 0; i < 2; i++) {
        size_t m = (size_t)parts[i]->n;
        memcpy(out->truth + at, parts[i]->truth, m * sizeof *out->truth);
        memcpy(out->answer + at, parts[i]->answer, m * sizeof *out->answer);
        if (out->prob)
            memcpy(out->prob + at * n_labels, parts[i]->prob, m * n_labels * sizeof *out->prob);
        if (out->text)
            memcpy(out->text + at, parts[i]->text, m * sizeof *out->text);
        at += m;
    }
    return 0;
}

static void unite_end(struct scores *s) {
    free(s->truth);
    free(s->answer);
    free(s->prob);
    free(s->text);
}

static int compare_all(struct compress_run_state *x, struct compress_candidate *c, const struct scores *rest,
                       struct err *e) {
    struct scores source = {0}, all = {0};
    int rc = unite(&x->r->source, &x->source_rest, &source, e);
    if (rc == 0)
        rc = unite(&c->scores, rest, &all, e);
    if (rc == 0)
        rc = compare(c, &all, &source, e);
    if (rc == 0)
        x->r->confirming_accuracy = compress_accuracy(&source);
    unite_end(&source);
    unite_end(&all);
    return rc;
}

static int confirm(struct compress_run_state *x, int i, struct err *e) {
    struct compress_candidate *c = &x->r->candidates[i];
    struct scores rest = {0};
    const char *what = arena_printf(&x->r->arena, "confirm %s", c->name);
    struct compress_asked source = {x->q->source, "confirm with the 16-bit file", &x->rest, true, {0}},
                          its = {compress_candidate_path(x, i), what, &x->rest, !c->recovered, {0}};
    int rc = its.gguf && what ? 0 : compress_no_memory(e);
    if (rc == 0 && x->source_rest.n == 0)
        rc = compress_score(x, &source, &x->source_rest, e);
    if (rc == 0)
        rc = compress_score(x, &its, &rest, e);
    if (rc == 0)
        rc = compare_all(x, c, &rest, e);
    c->confirmed = rc == 0;
    scores_release(&rest);
    return rc;
}

int compress_choose_confirmed(struct compress_run_state *x, struct err *e) {
    for (;;) {
        compress_choose(x);
        if (x->rest.n == 0 || x->r->candidates[x->r->chosen].confirmed)
            return 0;
        int rc = confirm(x, x->r->chosen, e);
        if (rc < 0)
            return rc;
    }
}

/* ---- choosing ---- */

/* On the first of more rows, whatever is not clearly worse may still be good enough. On all rows, the tolerance may be passed by one row
 * where the source itself took the rows that it answers otherwise for toss-ups: of a hundred rows one is more than the tolerance. */
bool compress_good_enough(const struct compress_run_state *x, const struct compress_candidate *c) {
    double tolerance = (x->q->tolerance > 0 ? x->q->tolerance : 0.005) + 1e-9;
    if (!compress_measures(x))
        return true;
    if (!c->confirmed && x->rest.n > 0)
        return c->paired.interval.high >= -tolerance;
    double lost = (c->confirmed ? x->r->confirming_accuracy : x->r->source_accuracy) - c->accuracy;
    bool toss_ups = c->expected_loss <= tolerance; /* false where it is NAN */
    return lost <= tolerance + (toss_ups ? 1 / (double)c->n_rows : 0);
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
