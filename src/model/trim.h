/* A model file with a part of its vocabulary: the rows of embedding and head that are kept, in their order, and the tokenizer's
 * metadata to match. Everything else is carried over as it is.
 *
 * "edgestill.vocabulary" in the new file lists the ids that its tokens had (of the first file, when it was trimmed twice). */
#ifndef MODEL_TRIM_H
#define MODEL_TRIM_H

#include "model/vocab.h"

#define MODEL_TRIM_KEY "edgestill.vocabulary"

/* ERR_INPUT: the file is quantised already; ERR_UNSUPPORTED: something else in it is as long as the vocabulary, and nobody
 * knows what it means. */
int model_trim(struct model_file *f, const char *path, const struct vocab *v, const bool *keep,
               struct err *e);

bool model_is_trimmed(const struct model_file *f);

#endif
