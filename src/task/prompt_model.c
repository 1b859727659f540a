/* The prompt as a model's own chat template frames it. */
#include "llama/lm.h"
#include "task/prompt.h"

int prompt_from_model(struct prompt *p, const struct task *t, const struct lm *m, struct err *e) {
    struct str open = {0}, close = {0}, end = {0};
    int rc = lm_chat_frame(m, &open, &close, &end, e);
    if (rc == 0)
        rc = prompt_init(p, t, str_text(&open), str_text(&close), str_text(&end), e);
    str_release(&open);
    str_release(&close);
    str_release(&end);
    return rc;
}
