/* A small world of texts for examples of the kinds extract and respond: slots with values, and phrases that use them. It makes own
 * rows with known answers, as a user would bring them; no part of the chain reads it.
 *
 *     kind: extract    a phrase is drawn and filled: {"utterance": text, "answer": {slot: value, or null where not said}}
 *     kind: respond    slots are drawn; the first phrase whose `when` holds is the answer: {slot: value, ..., "reply": text}
 */
#ifndef EXAMPLES_SIMULATE_PHRASES_H
#define EXAMPLES_SIMULATE_PHRASES_H

#include "base/err.h"
#include "base/str.h"
#include "format/node.h"
#include <stdint.h>

#define PHRASES_FORMAT "edgestill.phrases/1"

/* `n` rows as JSON Lines, appended. The document stays as it is; ERR_INPUT points into it. */
int phrases_rows(const struct node *root, int64_t n, uint64_t seed, struct str *out, struct err *e);

#endif
