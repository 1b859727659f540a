/* From a sentence to a task, drafted by the teacher through structured output, checked, and asked again at most three times
 * when it is not right. The user reads and accepts what comes out. */
#ifndef SYNTH_DRAFT_H
#define SYNTH_DRAFT_H

#include "base/err.h"
#include "task/task.h"
#include "teacher/teacher.h"

struct draft_result {
    bool reworded;       /* the task's sentence says the same in the embedded teacher's words (wording.h) */
    int attempts;        /* 1 to 4 */
    char complaint[400]; /* about the attempt before the last; "" when the first was right */
    /* How a rule was read that could be read otherwise ("a or b and c", without a comma); "" when none could be */
    char reading[400];
};

/* A teacher asked in the plain style drafts from wording_plain(sentence), which becomes the task's sentence.
 * `name`: the task's short name, [a-z0-9-]+. ERR_UNSUPPORTED when the teacher refuses the sentence (its words are in the
 * message), ERR_TEACHER when no draft could be used. */
int draft_task(struct teacher *t, const char *name, const char *sentence, uint64_t seed, struct task *out,
               struct draft_result *result, struct err *e);

/* Most that drafting can cost, in US dollars, and how many calls. */
double draft_quote(const struct teacher *t, const char *sentence, int *calls);

#endif
