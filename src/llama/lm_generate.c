/* Greedy generation: the most probable token until an end token, free or held to a grammar.
 *
 * A grammar looks at every token of the vocabulary, which costs more than a small model's decoding. So the most probable
 * token alone is shown to it first; only when it is not allowed are all of them. */
#include "llama/lm_internal.h"
#include <math.h>
#include <stdlib.h>

static int32_t most_probable(const float *logits, int32_t n_vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

/* `start` has read nothing yet: each text gets a copy of it, which shares no state and parses nothing. */
struct lm_grammar {
    struct llama_sampler *start;
    llama_token_data *candidates; /* n_vocab */
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

/* One text's; the sampler is NULL where nothing holds it. */
struct guided {
    struct llama_sampler *grammar;
    llama_token_data *candidates; /* the grammar's */
};

static int guide(struct guided *g, const struct lm_grammar *grammar, struct err *e) {
    *g = (struct guided){0};
    if (!grammar)
        return 0;
    g->candidates = grammar->candidates;
    g->grammar = llama_sampler_clone(grammar->start);
    return g->grammar ? 0 : err_set(e, ERR_NO_MEMORY, "lm_generate", "no memory for a grammar's state");
}

static void guide_end(struct guided *g) {
    if (g->grammar)
        llama_sampler_free(g->grammar);
}

static bool allows(const struct guided *g, int32_t token, float logit) {
    llama_token_data one = {token, logit, 0};
    llama_token_data_array array = {&one, 1, -1, false};
    llama_sampler_apply(g->grammar, &array);
    return one.logit > -INFINITY;
}

/* -1: the grammar allows no token of this vocabulary. */
static int32_t next_token(const struct guided *g, const float *logits, int32_t n_vocab) {
    int32_t best = most_probable(logits, n_vocab);
    if (!g->grammar || allows(g, best, logits[best]))
        return best;
    for (int32_t i = 0; i < n_vocab; i++)
        g->candidates[i] = (llama_token_data){i, logits[i], 0};
    llama_token_data_array array = {g->candidates, (size_t)n_vocab, -1, false};
    llama_sampler_apply(g->grammar, &array);
    best = -1;
    for (size_t i = 0; i < array.size; i++) {
        const llama_token_data *c = &array.data[i];
        if (c->logit > -INFINITY && (best < 0 || c->logit > logits[best]))
            best = c->id;
    }
    return best;
}

static int write_tokens(struct lm *m, int seq, const struct guided *guided, int64_t limit, int32_t *ids,
                        struct lm_generation *g, struct err *e) {
    int rc = 0;
    while (g->n_tokens < limit && rc == 0) {
        int32_t next = next_token(guided, m->logits, m->n_vocab);
        g->ended = next >= 0 && lm_token_is_end(m, next);
        if (g->ended || next < 0)
            return 0;
        ids[g->n_tokens++] = next;
        if (guided->grammar)
            llama_sampler_accept(guided->grammar, next);
        const float *logits;
        if (g->n_tokens < limit)
            rc = lm_decode(m, seq, &next, 1, &logits, e);
    }
    return rc;
}

int lm_generate_grammar(struct lm *m, int seq, struct lm_grammar *grammar, int64_t n_max, struct str *text,
                        struct lm_generation *out, struct err *e) {
    if (!m->logits || m->logits_seq != seq)
        return err_set(e, ERR_USAGE, "lm_generate", "the prompt must be decoded, with logits, just before");
    int64_t room = m->n_ctx - lm_position(m, seq);
    int64_t limit = n_max < room ? n_max : room;
    int32_t *ids = malloc((size_t)(limit > 0 ? limit : 1) * sizeof *ids);
    if (!ids)
        return err_set(e, ERR_NO_MEMORY, "lm_generate", "no memory for %lld tokens", (long long)limit);
    struct lm_generation g = {0};
    struct guided guided;
    int rc = guide(&guided, grammar, e);
    if (rc == 0)
        rc = write_tokens(m, seq, &guided, limit, ids, &g, e);
    if (rc == 0)
        rc = lm_detokenize(m, ids, g.n_tokens, false, text, e);
    guide_end(&guided);
    free(ids);
    if (rc == 0 && out)
        *out = g;
    return rc;
}

int lm_generate(struct lm *m, int seq, int64_t n_max, struct str *text, struct lm_generation *out,
                struct err *e) {
    return lm_generate_grammar(m, seq, NULL, n_max, text, out, e);
}
