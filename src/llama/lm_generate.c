/* Greedy generation: the most probable token until an end token. */
#include "llama/lm_internal.h"
#include <stdlib.h>

static int32_t most_probable(const float *logits, int32_t n_vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

int lm_generate(struct lm *m, int seq, int64_t n_max, struct str *text, struct lm_generation *out,
                struct err *e) {
    if (!m->logits || m->logits_seq != seq)
        return err_set(e, ERR_USAGE, "lm_generate", "the prompt must be decoded, with logits, just before");
    int64_t room = m->n_ctx - lm_position(m, seq);
    int64_t limit = n_max < room ? n_max : room;
    int32_t *ids = malloc((size_t)(limit > 0 ? limit : 1) * sizeof *ids);
    if (!ids)
        return err_set(e, ERR_NO_MEMORY, "lm_generate", "no memory for %lld tokens", (long long)limit);
    struct lm_generation g = {0};
    int rc = 0;
    while (g.n_tokens < limit && rc == 0) {
        int32_t next = most_probable(m->logits, m->n_vocab);
        g.ended = lm_token_is_end(m, next);
        if (g.ended)
            break;
        ids[g.n_tokens++] = next;
        const float *logits;
        if (g.n_tokens < limit)
            rc = lm_decode(m, seq, &next, 1, &logits, e);
    }
    if (rc == 0)
        rc = lm_detokenize(m, ids, g.n_tokens, false, text, e);
    free(ids);
    if (rc == 0 && out)
        *out = g;
    return rc;
}
