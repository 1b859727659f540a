/* The prompt as a model's own chat template frames it. */
#include "llama/lm.h"
#include "task/prompt.h"
#include <string.h>

/* A model that was trained says with which prompt; a base says nothing. */
static int check_trained(const struct prompt *p, const struct lm *m, struct err *e) {
    struct str trained = {0};
    int rc = 0;
    if (lm_metadata(m, "edgestill.prompt", &trained, NULL) == 0 && strcmp(str_text(&trained), p->hash) != 0) {
        rc = err_set(e, ERR_MISMATCH, "prompt_from_model",
                     "the model was trained with another prompt (%.12s) than the task gives (%.12s)",
                     str_text(&trained), p->hash);
        err_hint(e, "task.yaml changed since: train and compress again");
    }
    str_release(&trained);
    return rc;
}

int prompt_from_model(struct prompt *p, const struct task *t, const struct lm *m, struct err *e) {
    struct str open = {0}, close = {0}, end = {0};
    struct prompt made;
    int rc = lm_chat_frame(m, &open, &close, &end, e);
    if (rc == 0)
        rc = prompt_init(&made, t, str_text(&open), str_text(&close), str_text(&end), e);
    if (rc == 0 && (rc = check_trained(&made, m, e)) < 0)
        prompt_release(&made);
    if (rc == 0)
        *p = made;
    str_release(&open);
    str_release(&close);
    str_release(&end);
    return rc;
}
