/* What the two corpora share: a writer of ChatML conversations into one document. */
#ifndef SEED_CORPUS_WRITE_H
#define SEED_CORPUS_WRITE_H

#include "corpus.h"

struct corpus_writer {
    struct bpe *bpe;
    struct corpus_document *document;
    int64_t answer; /* where the last assistant's turn begins */
    bool full;      /* the document is too long: drawn anew */
};

void corpus_writer_begin(struct corpus_writer *w, struct bpe *b, struct corpus_document *d);
void corpus_turn(struct corpus_writer *w, const char *role, const char *text);
void corpus_base_document(struct rng *r, struct corpus_writer *w, double difficulty);
/* The system texts of the teacher's three requests; src/teacher/protocol.h must say the same (tests/seed). */
extern const char corpus_draft_system[];
void corpus_label_system(const struct family_task *t, struct str *out);
void corpus_write_system(const struct family_task *t, struct str *out);

#endif
