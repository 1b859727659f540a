/* The seed models' training text, made as it is needed: conversations in ChatML, tokenised, with a loss weight a token
 * (1 on what the assistant says, 0 on the rest). The stream is a function of its seed and position alone, so training
 * can be resumed, and no text is stored. */
#ifndef SEED_CORPUS_H
#define SEED_CORPUS_H

#include "bpe.h"
#include "family.h"

enum corpus_kind { CORPUS_TEACHER, CORPUS_BASE, CORPUS_BOTH, CORPUS_DRILL };
enum { CORPUS_DOCUMENT_MAX = 1024 }; /* tokens */

struct corpus_document {
    int32_t ids[CORPUS_DOCUMENT_MAX + 1];
    float weights[CORPUS_DOCUMENT_MAX + 1]; /* of predicting ids[i] */
    int64_t n;
};

/* The vocabulary for both models. */
int corpus_vocabulary(struct bpe **out, int n_vocab, struct err *e);

/* The document numbered `index` of the stream `seed`. `difficulty` 0 to 1 is the curriculum's. */
void corpus_document(struct bpe *b, enum corpus_kind kind, uint64_t seed, int64_t index, double difficulty,
                     struct corpus_document *out);

/* One labelling conversation of a single record with `n_conditions` conditions, and where its answer begins: the teacher's
 * examination. */
void corpus_examination(struct bpe *b, uint64_t seed, int64_t index, int n_conditions,
                        struct corpus_document *out, int64_t *answer);
/* The same for drafting (kind 0) and refusing (kind 1). */
void corpus_draft_examination(struct bpe *b, uint64_t seed, int64_t index, int kind,
                              struct corpus_document *out, int64_t *answer);

#endif
