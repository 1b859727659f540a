/* The prompt as a model's own chat template frames it. */
#include "llama/lm.h"
#include "task/prompt.h"
#include <string.h>

/* A model that was trained says with which prompt, and in which form; a base says nothing. */
static int read_tag(const struct lm *m, struct str *tag, struct prompt_form *form, struct err *e) {
    if (lm_metadata(m, "edgestill.prompt", tag, NULL) < 0)
        return 0;
    const char *blank = strchr(str_text(tag), ' ');
    if (blank && !prompt_form_parse(blank + 1, form))
        return err_set(e, ERR_MISMATCH, "prompt_from_model",
                       "the model was trained with a form of prompt that is not known here: '%s'", blank + 1);
    return 0;
}

static int check_trained(const struct prompt *p, const char *tag, struct err *e) {
    if (!*tag || strcmp(tag, p->tag) == 0)
        return 0;
    err_set(e, ERR_MISMATCH, "prompt_from_model",
            "the model was trained with another prompt (%.12s) than the task gives (%.12s)", tag, p->hash);
    return err_hint(e, "task.yaml changed since: train and compress again");
}

static int frame(struct prompt *p, const struct task *t, const struct lm *m, struct prompt_form form,
                 struct err *e) {
    struct str open = {0}, close = {0}, end = {0};
    int rc = lm_chat_frame(m, &open, &close, &end, e);
    if (rc == 0)
        rc = prompt_init_form(p, t, form, str_text(&open), str_text(&close), str_text(&end), e);
    str_release(&open);
    str_release(&close);
    str_release(&end);
    return rc;
}

int prompt_from_model(struct prompt *p, const struct task *t, const struct lm *m, struct err *e) {
    struct prompt_form form = {0};
    struct str tag = {0};
    struct prompt made;
    int rc = read_tag(m, &tag, &form, e);
    if (rc == 0)
        rc = frame(&made, t, m, form, e);
    if (rc == 0 && (rc = check_trained(&made, str_text(&tag), e)) < 0)
        prompt_release(&made);
    if (rc == 0)
        *p = made;
    str_release(&tag);
    return rc;
}

int prompt_from_base(struct prompt *p, const struct task *t, const struct lm *m, struct prompt_form form,
                     struct err *e) {
    return frame(p, t, m, form, e);
}
