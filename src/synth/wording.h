/* A sentence in the words that the embedded teacher knows (seed/README.md): people say the same thing in more ways than a model of
 * three million parameters was taught. "exceeds 5" becomes "is over 5", "a load that is idle or full" "a load (idle or full)",
 * ". Otherwise it is ok" "; otherwise it is ok". What a sentence says is not changed, and one in the family's own words comes
 * back as it was. */
#ifndef SYNTH_WORDING_H
#define SYNTH_WORDING_H

#include "base/err.h"
#include "base/str.h"

/* Writes the reworded sentence into `out`, which is cleared first. Whatever is not known is left as it stands. ERR_NO_MEMORY. */
int wording_plain(const char *sentence, struct str *out, struct err *e);

/* The same for a condition that stands by itself, as a label's definition does: "delay < 2" becomes "the delay is under 2". */
int wording_condition(const char *condition, struct str *out, struct err *e);

/* The same sentence with its fields in another order: the list begins with field `by` (counted from 0, round and round). A small
 * model that loses its place in one order finds it in another. Unchanged where there is no list of fields. ERR_NO_MEMORY. */
int wording_turned(const char *plain, int by, struct str *out, struct err *e);

#endif
