/* Writing several texts at once, each in a sequence of its own: one decode call computes a token of each.
 *
 *     lm_decode(m, seq, prompt, n, &logits, &e);
 *     lm_writer_new(&w[k], m, seq, &(struct lm_writing){.n_max = 200, .temperature = 1, .seed = 7}, &e);   // for each text
 *     while (some are not lm_writer_done)
 *         lm_writers_step(m, w, n_texts, &e);
 *     lm_writer_text(w[k], INT64_MAX, &text, &e);
 *
 * At most lm_options.n_outputs texts. After a failed step the sequences must be cleared. Functions return 0 or a negative err_code. */
#ifndef LLAMA_WRITER_H
#define LLAMA_WRITER_H

#include "llama/lm.h"

struct lm_writer;

struct lm_writing {             /* borrowed until lm_writer_free */
    struct lm_grammar *grammar; /* NULL: free; several texts may be held to one */
    int64_t n_max;              /* tokens */
    double temperature; /* 0: the most probable token; else drawn from softmax(logits / temperature) */
    uint64_t seed;
    /* Asked after each token with the text so far; true ends the text. NULL: never. */
    bool (*stop)(void *context, const char *text);
    void *context;
};

/* The prompt was decoded, with logits, just before. */
int lm_writer_new(struct lm_writer **out, struct lm *m, int seq, const struct lm_writing *how, struct err *e);
void lm_writer_free(struct lm_writer *w); /* NULL is fine; the sequence stays as it is */

/* A token for each that is not done. */
int lm_writers_step(struct lm *m, struct lm_writer *const writers[], int n, struct err *e);

/* How far it is; `out` may be NULL. The last token of a text that did not end by itself is not in the sequence. */
bool lm_writer_done(const struct lm_writer *w, struct lm_generation *out);
const int32_t *lm_writer_ids(const struct lm_writer *w); /* [n_tokens], borrowed until the next step */
/* Text of its first n tokens (or of all there are), appended. */
int lm_writer_text(const struct lm_writer *w, int64_t n, struct str *text, struct err *e);

#endif
