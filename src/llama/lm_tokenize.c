/* Text to tokens and back, and what a model's chat template puts around one user message. */
#include "llama/lm_internal.h"
#include <stdlib.h>
#include <string.h>

int64_t lm_tokenize(const struct lm *m, const char *text, size_t n_bytes, enum lm_tokenize_mode mode,
                    int32_t *ids, int64_t capacity, struct err *e) {
    if (n_bytes > INT32_MAX)
        return err_set(e, ERR_INPUT, "lm_tokenize", "a text of %zu bytes is too long", n_bytes);
    if (n_bytes == 0)
        return 0;
    int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    int32_t n = llama_tokenize(m->vocab, text, (int32_t)n_bytes, ids, room, false, mode == LM_SPECIALS);
    if (n == INT32_MIN)
        return err_set(e, ERR_INPUT, "lm_tokenize", "a text of %zu bytes has too many tokens", n_bytes);
    if (n < 0)
        return err_set(e, ERR_INPUT, "lm_tokenize", "the text has %d tokens where at most %d are allowed", -n,
                       room);
    return n;
}

int lm_detokenize(const struct lm *m, const int32_t *ids, int64_t n, bool specials, struct str *out,
                  struct err *e) {
    char small[512];
    if (n == 0)
        return 0;
    if (n > INT32_MAX)
        return err_set(e, ERR_INPUT, "lm_detokenize", "%lld tokens are too many", (long long)n);
    int32_t need = llama_detokenize(m->vocab, ids, (int32_t)n, small, sizeof small, false, specials);
    if (need >= 0) {
        str_add_bytes(out, small, (size_t)need);
        return str_check(out, e);
    }
    char *text = malloc((size_t)-need);
    if (!text)
        return err_set(e, ERR_NO_MEMORY, "lm_detokenize", "no memory for %d bytes", -need);
    int32_t got = llama_detokenize(m->vocab, ids, (int32_t)n, text, -need, false, specials);
    if (got > 0)
        str_add_bytes(out, text, (size_t)got);
    free(text);
    return str_check(out, e);
}

/* ---- special tokens ---- */

int32_t lm_token_bos(const struct lm *m) {
    int32_t t = llama_vocab_bos(m->vocab);
    return t >= 0 && llama_vocab_is_control(m->vocab, t)
               ? t
               : -1; /* llama.cpp's default where none is named: token 11 */
}

int32_t lm_token_eot(const struct lm *m) {
    return m->eot;
}

bool lm_token_is_end(const struct lm *m, int32_t token) {
    return token == m->eot || llama_vocab_is_eog(m->vocab, token);
}

bool lm_adds_bos(const struct lm *m) {
    return llama_vocab_get_add_bos(m->vocab);
}

static const char *token_text(const struct lm *m, int32_t token) {
    return token >= 0 ? llama_vocab_get_text(m->vocab, token) : "";
}

/* ---- chat template ---- */

/* Stand in for what a user and the assistant say; no template changes them. */
static const char user_mark[] = "EDGESTILL-USER", answer_mark[] = "EDGESTILL-ANSWER";

/* The template applied to one user message (and an answer, when `answered`), appended. ERR_UNSUPPORTED when llama.cpp does
 * not know it. */
static int apply_template(const struct lm *m, bool answered, struct str *out, struct err *e) {
    const char *template = llama_model_chat_template(m->model, NULL);
    struct llama_chat_message talk[2] = {{"user", user_mark}, {"assistant", answer_mark}};
    char text[4096];
    if (!template)
        return err_set(e, ERR_UNSUPPORTED, "lm_chat_frame", "%s has no chat template", m->path);
    int32_t n = llama_chat_apply_template(template, talk, answered ? 2 : 1, !answered, text, sizeof text);
    if (n < 0 || n > (int32_t)sizeof text)
        return err_set(e, ERR_UNSUPPORTED, "lm_chat_frame", "llama.cpp does not know the chat template of %s",
                       m->path);
    str_add_bytes(out, text, (size_t)n);
    return str_check(out, e);
}

/* The token that the template puts after an answer is what ends a turn, where it is one that ends generation; else the
 * vocabulary's end of turn, else its end of sequence. */
int32_t lm_find_end_of_turn(const struct lm *m) {
    struct str text = {0};
    int32_t found = -1;
    if (apply_template(m, true, &text, NULL) == 0) {
        const char *after = strstr(str_text(&text), answer_mark);
        int32_t ids[64];
        after = after ? after + strlen(answer_mark) : "";
        int64_t n = lm_tokenize(m, after, strlen(after), LM_SPECIALS, ids, 64, NULL);
        for (int64_t i = 0; i < n && found < 0; i++)
            found = llama_vocab_is_eog(m->vocab, ids[i]) ? ids[i] : -1;
    }
    str_release(&text);
    if (found < 0)
        found = llama_vocab_eot(m->vocab);
    return found >= 0 ? found : llama_vocab_eos(m->vocab);
}

/* Models that think before they answer have it switched off: an empty thought, as their own template writes it. */
static bool has_thinking_switch(const struct lm *m) {
    const char *template = llama_model_chat_template(m->model, NULL);
    return template && strstr(template, "enable_thinking") && strstr(template, "</think>");
}

/* A base that was never taught a chat gets a plain frame; fine-tuning teaches it. */
static int plain_frame(const struct lm *m, struct str *open, struct str *close) {
    str_add(open, lm_adds_bos(m) ? token_text(m, lm_token_bos(m)) : "");
    str_add(close, "\n### Answer:\n");
    return 0;
}

static int template_frame(const struct lm *m, struct str *open, struct str *close, struct err *e) {
    struct str text = {0};
    int rc = apply_template(m, false, &text, e);
    const char *mark = rc == 0 ? strstr(str_text(&text), user_mark) : NULL;
    if (rc == 0 && !mark)
        rc = err_set(e, ERR_UNSUPPORTED, "lm_chat_frame", "the chat template of %s hides the user's message",
                     m->path);
    if (rc == 0) {
        const char *bos = token_text(m, lm_token_bos(m));
        if (lm_adds_bos(m) && !str_starts(str_text(&text), bos))
            str_add(open, bos);
        str_add_bytes(open, str_text(&text), (size_t)(mark - str_text(&text)));
        str_add(close, mark + strlen(user_mark));
        if (has_thinking_switch(m))
            str_add(close, "<think>\n\n</think>\n\n");
    }
    str_release(&text);
    return rc;
}

int lm_chat_frame(const struct lm *m, struct str *open, struct str *close, struct str *end_of_turn,
                  struct err *e) {
    int rc = llama_model_chat_template(m->model, NULL) ? template_frame(m, open, close, e)
                                                       : plain_frame(m, open, close);
    if (rc < 0) {
        err_hint(e, "take a base whose template llama.cpp knows (edgestill models lists tried ones)");
        return rc;
    }
    if (m->eot < 0)
        return err_set(e, ERR_UNSUPPORTED, "lm_chat_frame", "%s has no token that ends a turn", m->path);
    str_add(end_of_turn, token_text(m, m->eot));
    if (str_check(open, e) < 0 || str_check(close, e) < 0)
        return ERR_NO_MEMORY;
    return str_check(end_of_turn, e);
}

/* ---- a question ---- */

/* Without a template: what a model that was never taught a chat may still continue. */
static void plain_question(const char *system, const char *user, struct str *out) {
    str_addf(out, "%s\n\n%s\n### Answer:\n", system, user);
}

static int template_question(const struct lm *m, const char *template, const char *system, const char *user,
                             struct str *out, struct err *e) {
    struct llama_chat_message talk[2] = {{"system", system}, {"user", user}};
    size_t room = 2 * (strlen(system) + strlen(user)) + 4096;
    char *text = malloc(room);
    if (!text)
        return err_set(e, ERR_NO_MEMORY, "lm_chat_tokens", "no memory for a question of %zu bytes", room);
    int32_t n = llama_chat_apply_template(template, talk, 2, true, text, (int32_t)room);
    if (n > 0 && n <= (int32_t)room)
        str_add_bytes(out, text, (size_t)n);
    free(text);
    if (n <= 0 || n > (int32_t)room)
        return err_set(e, ERR_UNSUPPORTED, "lm_chat_tokens",
                       "llama.cpp does not know the chat template of %s", m->path);
    if (has_thinking_switch(m))
        str_add(out, "<think>\n\n</think>\n\n");
    return 0;
}

int64_t lm_chat_tokens(const struct lm *m, const char *system, const char *user, int32_t *ids,
                       int64_t capacity, struct err *e) {
    const char *template = llama_model_chat_template(m->model, NULL);
    const char *bos = lm_adds_bos(m) ? token_text(m, lm_token_bos(m)) : "";
    struct str talk = {0}, text = {0};
    int64_t rc = 0;
    if (template)
        rc = template_question(m, template, system, user, &talk, e);
    else
        plain_question(system, user, &talk);
    str_add(&text, str_starts(str_text(&talk), bos) ? "" : bos);
    str_add(&text, str_text(&talk));
    if (rc == 0)
        rc = talk.failed ? str_check(&talk, e) : str_check(&text, e);
    if (rc == 0)
        rc = lm_tokenize(m, str_text(&text), text.len, LM_SPECIALS, ids, capacity, e);
    str_release(&talk);
    str_release(&text);
    return rc;
}
