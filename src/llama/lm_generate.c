/* Writing: token after token until one that ends the turn, free or held to a grammar, the most probable one or drawn.
 *
 * A grammar looks at every token of the vocabulary, which costs more than a small model's decoding. So the token that would be
 * taken without it is shown to it first; only when that is not allowed are all of them. Where tokens are drawn this changes
 * nothing: an allowed token comes with p(t) at once or with (1 - A) p(t) / A afterwards, A the sum over those that are
 * allowed, which is p(t) / A together.
 *
 * A writer has chosen its next token before that token is computed, since a row of logits lives only until the next decoding. */
#include "base/mem.h"
#include "base/rng.h"
#include "llama/lm_internal.h"
#include "llama/writer.h"
#include <math.h>
#include <stdlib.h>

/* Invariant: while not done, ids[n - 1] is chosen and not yet in the sequence. */
struct lm_writer {
    struct lm *lm;
    int seq;
    struct lm_writing how;
    struct rng rng;
    struct llama_sampler *grammar; /* NULL: nothing holds the text */
    llama_token_data *candidates;  /* n_vocab, of the grammar, or ours where tokens are drawn without one */
    int32_t *ids;
    int64_t n, capacity, limit;
    bool done, ended;
};

/* ---- grammars ---- */

/* `start` has read nothing yet: each text gets a copy of it, which shares no state and parses nothing. */
struct lm_grammar {
    struct llama_sampler *start;
    llama_token_data *candidates; /* n_vocab: one text at a time looks at them */
};

int lm_grammar_new(struct lm_grammar **out, const struct lm *m, const char *gbnf, struct err *e) {
    struct lm_grammar *g = calloc(1, sizeof *g);
    if (g)
        g->candidates = malloc((size_t)m->n_vocab * sizeof *g->candidates);
    if (!g || !g->candidates) {
        lm_grammar_free(g);
        return err_set(e, ERR_NO_MEMORY, "lm_grammar_new", "no memory for a grammar's candidates");
    }
    struct lm_log_listener l = {0};
    lm_log_begin(&l);
    g->start = llama_sampler_init_grammar(m->vocab, gbnf, "root");
    lm_log_end(&l);
    if (!g->start) {
        lm_grammar_free(g);
        return err_set(e, ERR_INPUT, "lm_grammar_new", "llama.cpp cannot read the grammar: %s", l.errors);
    }
    *out = g;
    return 0;
}

void lm_grammar_free(struct lm_grammar *g) {
    if (!g)
        return;
    if (g->start)
        llama_sampler_free(g->start);
    free(g->candidates);
    free(g);
}

/* ---- choosing ---- */

static int32_t most_probable(const float *logits, int32_t n_vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

/* From softmax(logit / temperature) over the n candidates with a finite logit; -1: there are none. */
static int32_t draw(struct rng *rng, const llama_token_data *c, size_t n, double temperature) {
    double most = -INFINITY, sum = 0;
    int32_t last = -1;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, (double)c[i].logit);
    if (isinf(most))
        return -1;
    for (size_t i = 0; i < n; i++)
        sum += exp(((double)c[i].logit - most) / temperature);
    double at = rng_double(rng) * sum;
    for (size_t i = 0; i < n && at >= 0; i++) {
        double p = exp(((double)c[i].logit - most) / temperature);
        if (p > 0) {
            last = c[i].id;
            at -= p;
        }
    }
    return last;
}

static void all_candidates(struct lm_writer *w, const float *logits) {
    for (int32_t i = 0; i < w->lm->n_vocab; i++)
        w->candidates[i] = (llama_token_data){i, logits[i], 0};
}

static bool allows(const struct lm_writer *w, int32_t token, float logit) {
    llama_token_data one = {token, logit, 0};
    llama_token_data_array array = {&one, 1, -1, false};
    llama_sampler_apply(w->grammar, &array);
    return one.logit > -INFINITY;
}

/* Of the candidates; -1: none is left. */
static int32_t pick(struct lm_writer *w, size_t n) {
    if (w->how.temperature > 0)
        return draw(&w->rng, w->candidates, n, w->how.temperature);
    int32_t best = -1;
    float most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (w->candidates[i].logit > most) {
            best = w->candidates[i].id;
            most = w->candidates[i].logit;
        }
    return best;
}

/* -1: the grammar allows no token of this vocabulary. */
static int32_t next_token(struct lm_writer *w, const float *logits) {
    int32_t first;
    if (w->how.temperature > 0) {
        all_candidates(w, logits);
        first = pick(w, (size_t)w->lm->n_vocab);
    } else {
        first = most_probable(logits, w->lm->n_vocab);
    }
    if (!w->grammar || first < 0 || allows(w, first, logits[first]))
        return first;
    all_candidates(w, logits);
    llama_token_data_array array = {w->candidates, (size_t)w->lm->n_vocab, -1, false};
    llama_sampler_apply(w->grammar, &array);
    return pick(w, array.size);
}

/* ---- a writer ---- */

int lm_writer_text(const struct lm_writer *w, int64_t n, struct str *text, struct err *e) {
    return lm_detokenize(w->lm, w->ids, n < w->n ? n : w->n, false, text, e);
}

static int ask_to_stop(struct lm_writer *w, struct err *e) {
    struct str text = {0};
    int rc = lm_writer_text(w, w->n, &text, e);
    if (rc == 0)
        w->done = w->how.stop(w->how.context, str_text(&text));
    str_release(&text);
    return rc;
}

/* `logits` come after everything in ids. */
static int choose(struct lm_writer *w, const float *logits, struct err *e) {
    if (w->n >= w->limit) {
        w->done = true;
        return 0;
    }
    int32_t next = next_token(w, logits);
    w->ended = next >= 0 && lm_token_is_end(w->lm, next);
    w->done = w->ended || next < 0;
    if (w->done)
        return 0;
    if (mem_grow((void **)&w->ids, &w->capacity, w->n + 1, sizeof *w->ids) < 0)
        return err_set(e, ERR_NO_MEMORY, "lm_write", "no memory for %lld tokens", (long long)w->n);
    w->ids[w->n++] = next;
    if (w->grammar)
        llama_sampler_accept(w->grammar, next);
    return w->how.stop ? ask_to_stop(w, e) : 0;
}

static int make_guide(struct lm_writer *w, struct err *e) {
    if (w->how.grammar) {
        w->candidates = w->how.grammar->candidates;
        w->grammar = llama_sampler_clone(w->how.grammar->start);
        return w->grammar ? 0 : err_set(e, ERR_NO_MEMORY, "lm_write", "no memory for a grammar's state");
    }
    if (w->how.temperature > 0)
        w->candidates = malloc((size_t)w->lm->n_vocab * sizeof *w->candidates);
    return w->candidates || !(w->how.temperature > 0)
               ? 0
               : err_set(e, ERR_NO_MEMORY, "lm_write", "no memory for the vocabulary's candidates");
}

int lm_writer_new(struct lm_writer **out, struct lm *m, int seq, const struct lm_writing *how,
                  struct err *e) {
    if (!m->logits || m->logits_seq != seq)
        return err_set(e, ERR_USAGE, "lm_write", "the prompt must be decoded, with logits, just before");
    struct lm_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NO_MEMORY, "lm_write", "no memory for a text");
    int64_t room = m->n_ctx - lm_position(m, seq);
    w->lm = m;
    w->seq = seq;
    w->how = *how;
    w->limit = how->n_max < room ? how->n_max : room;
    rng_seed(&w->rng, how->seed);
    int rc = make_guide(w, e);
    if (rc == 0)
        rc = choose(w, m->logits, e);
    if (rc < 0) {
        lm_writer_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

void lm_writer_free(struct lm_writer *w) {
    if (!w)
        return;
    if (w->grammar)
        llama_sampler_free(w->grammar);
    if (!w->how.grammar)
        free(w->candidates);
    free(w->ids);
    free(w);
}

bool lm_writer_done(const struct lm_writer *w, struct lm_generation *out) {
    if (out)
        *out = (struct lm_generation){w->n, w->ended};
    return w->done;
}

const int32_t *lm_writer_ids(const struct lm_writer *w) {
    return w->ids;
}

/* A text that has reached its limit need not have its last token computed. */
static bool is_under_way(struct lm_writer *w) {
    w->done = w->done || w->n >= w->limit;
    return !w->done;
}

int lm_writers_step(struct lm *m, struct lm_writer *const writers[], int n, struct err *e) {
    m->batch.n_tokens = 0;
    for (int i = 0; i < n; i++) {
        struct lm_writer *w = writers[i];
        if (is_under_way(w))
            lm_batch_add(m, w->ids[w->n - 1], lm_position(m, w->seq), &(int32_t){w->seq}, 1, true);
    }
    if (m->batch.n_tokens == 0)
        return 0;
    int rc = lm_compute(m, e), row = 0;
    for (int i = 0; i < n && rc == 0; i++)
        if (!writers[i]->done)
            rc = choose(writers[i], llama_get_logits_ith(m->ctx, row++), e);
    return rc;
}

/* ---- one text, to its end ---- */

int lm_generate_grammar(struct lm *m, int seq, struct lm_grammar *grammar, int64_t n_max, struct str *text,
                        struct lm_generation *out, struct err *e) {
    struct lm_writer *w = NULL;
    struct lm_generation g = {0};
    int rc = lm_writer_new(&w, m, seq, &(struct lm_writing){.grammar = grammar, .n_max = n_max}, e);
    while (rc == 0 && !lm_writer_done(w, &g))
        rc = lm_writers_step(m, &w, 1, e);
    if (rc == 0)
        rc = lm_writer_text(w, g.n_tokens, text, e);
    lm_writer_free(w);
    if (rc == 0 && out)
        *out = g;
    return rc;
}

int lm_generate(struct lm *m, int seq, int64_t n_max, struct str *text, struct lm_generation *out,
                struct err *e) {
    return lm_generate_grammar(m, seq, NULL, n_max, text, out, e);
}
