/* The JSON schemas of protocol.h as grammars in GBNF, for a teacher that is run here: its text is held to the schema token by token.
 *
 * Understood: object (all properties in their order, those that are not required may be left out), array (minItems, maxItems),
 * string (enum, maxLength), const, integer and number (minimum, maximum), boolean, null, lists of types, anyOf, $ref into $defs.
 * A number is written with as many decimals as its bounds are ("minimum":0.00 asks for two), and bounds hold to the last digit. */
#ifndef TEACHER_GRAMMAR_H
#define TEACHER_GRAMMAR_H

#include "base/err.h"
#include "base/str.h"

/* Appended; the rule to begin with is `root`. ERR_FORMAT (no JSON), ERR_UNSUPPORTED naming the place in the schema. */
int grammar_from_schema(const char *schema, struct str *out, struct err *e);

#endif
