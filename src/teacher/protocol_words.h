/* Inside src/teacher/ only: the schema of a draft whose words must be the sentence's. */
#ifndef TEACHER_PROTOCOL_WORDS_H
#define TEACHER_PROTOCOL_WORDS_H

#include "base/str.h"

/* JSON schema of a plain draft of this sentence, appended: either a specification whose names, values, units and conditions
 * all stand in the sentence, or a refusal; one variant for each type of field, so that a grammar made of it leaves no way
 * to a field without its range or values. Properties are in the order in which the embedded teacher writes them. */
void protocol_draft_schema(const char *sentence, struct str *out);

#endif
