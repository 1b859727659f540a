/* The prior over accuracy. */
#include "plan/accuracy.h"

#include "base/str.h"
#include <math.h>
#include <string.h>
#include <strings.h>

/* The anchor: 5 of 100 wrong at 1.1 billion parameters (Sharma, Pau, Cano; one task). */
static const double ANCHOR_PARAMS = 1.1e9, ANCHOR_WRONG = 0.05, PER_FOURFOLD = 2;
/* Public scores and fine-tuned accuracy go together only loosely: 25 points of MMLU above the line halve the wrong answers. */
static const double POINTS_PER_HALF = 25;
/* Perplexity of Llama-3-8B in 16 bits; a tenth more of it is taken to cost an eighth more wrong answers, and the loss of a
 * smaller model to grow with the fourth root of its size (Qwen2.5-0.5B loses 2.1% at Q4_K_M where the 8B loses 2.8%, but 18% at
 * Q2_K: facts on quantisation). */
static const double PERPLEXITY_8B = 6.23, WRONG_PER_PERPLEXITY = 1.25, UNKNOWN_LOSS = 0.25;
/* Below this nothing was published that the line could rest on: one in five wrong, anywhere between half and one in fifty. */
static const double LEAST_PARAMS = 1e8, WRONG_BELOW = 0.2, SPREAD_BELOW = 10;
static const double SPREAD = 2.5, SPREAD_CORRECTED = 1.8, MOST_WRONG = 0.5;

struct accuracy_line accuracy_fit(const struct catalog *c) {
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < c->n_models; i++) {
        const struct catalog_model *m = &c->models[i];
        if (!m->mmlu.known || m->params <= 0 || strcasestr(m->mmlu.source, "cloze") != NULL)
            continue;
        double x = log(m->params / 1e9) / log(4);
        sx += x;
        sy += m->mmlu.value;
        sxx += x * x;
        sxy += x * m->mmlu.value;
        n++;
    }
    double d = (double)n * sxx - sx * sx;
    if (n < 4 || d <= 0)
        return (struct accuracy_line){.n = 0};
    double slope = ((double)n * sxy - sx * sy) / d;
    return (struct accuracy_line){(sy - slope * sx) / (double)n, slope, n};
}

static bool has_score(const struct accuracy_query *q) {
    return q->line->n > 0 && q->score != NULL && q->score->known &&
           strcasestr(q->score->source, "cloze") == NULL;
}

/* Share of wrong answers by size and score, before quantisation. */
static double wrong_by_size(const struct accuracy_query *q) {
    double wrong = ANCHOR_WRONG * pow(PER_FOURFOLD, -log(q->params / ANCHOR_PARAMS) / log(4));
    if (has_score(q)) {
        double line = q->line->at_1b + q->line->per_fourfold * log(q->params / 1e9) / log(4);
        wrong *= pow(2, -(q->score->value - line) / POINTS_PER_HALF);
    }
    return fmin(wrong, MOST_WRONG);
}

static double wrong_factor(enum mix m, double params) {
    double loss = mix_perplexity_cost(m) >= 0 ? mix_perplexity_cost(m) : UNKNOWN_LOSS;
    return 1 + WRONG_PER_PERPLEXITY * loss / PERPLEXITY_8B * pow(8e9 / params, 0.25);
}

static struct estimate around_wrong(double wrong, double spread, const char *basis) {
    wrong = fmin(wrong, MOST_WRONG);
    return (struct estimate){1 - wrong, 1 - fmin(wrong * spread, MOST_WRONG), 1 - wrong / spread, basis};
}

struct estimate accuracy_prior(const struct accuracy_query *q, struct arena *a) {
    double by_size = wrong_by_size(q), factor = wrong_factor(q->mix, q->params), wrong = by_size * factor;
    const struct accuracy_measured *m = q->measured;
    bool same_base = m != NULL && str_equal(m->base, q->base);
    if (same_base && strcasecmp(m->quantisation, mix_name(q->mix)) == 0)
        return (struct estimate){
            m->value, m->low, m->high,
            a == NULL ? "" : arena_printf(a, "measured here on %lld rows", (long long)m->n_rows)};
    enum mix other = MIX_F16;
    if (same_base && mix_from_name(m->quantisation, &other)) {
        wrong = fmax(1 - m->value, 1e-3) * factor / wrong_factor(other, q->params);
        return around_wrong(
            wrong, SPREAD_CORRECTED,
            a == NULL ? ""
                      : arena_printf(a,
                                     "%s was measured at %.3f here; quantisation to %s changes the wrong "
                                     "answers by %.2f times",
                                     m->quantisation, m->value, mix_name(q->mix),
                                     factor / wrong_factor(other, q->params)));
    }
    if (q->params < LEAST_PARAMS)
        return around_wrong(
            WRONG_BELOW, SPREAD_BELOW,
            a == NULL ? ""
                      : arena_printf(a,
                                     "a guess: nothing is published about models of %.0f million parameters; "
                                     "evaluate to know",
                                     q->params / 1e6));
    return around_wrong(
        wrong, SPREAD,
        a == NULL ? ""
                  : arena_printf(a,
                                 "prior: %.3f wrong by size%s (0.05 at 1.1B, halved by four times the "
                                 "parameters), times %.2f for %s by its perplexity; evaluate to know",
                                 by_size, has_score(q) ? " and MMLU" : "", factor, mix_name(q->mix)));
}
