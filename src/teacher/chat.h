/* The chat-completions protocol of OpenAI and those who speak it: a question as a request body, a response body as an answer,
 * and what an endpoint turned out not to support. No network here. */
#ifndef TEACHER_CHAT_H
#define TEACHER_CHAT_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

/* What an endpoint supports; each is believed until the endpoint refuses it (chat_caps_degrade) or a probe shows that it is ignored
 * (chat_caps_learn). The names are those of the stored form, "json_schema=1 json_object=1 ...".
 *   usage         the reply counts tokens        logprobs      probabilities of tokens are told
 *   thinking_off  it can be told not to think     thinks        it thought, in the probe (not a capability: false until seen)
 *   probed        a probe was answered */
#define CHAT_CAPS(X)                                                                                         \
    X(json_schema)                                                                                           \
    X(json_object)                                                                                           \
    X(seed) X(temperature) X(max_tokens) X(logprobs) X(usage) X(thinking_off) X(thinks) X(probed)
struct chat_caps {
#define X(name) bool name;
    CHAT_CAPS(X)
#undef X
};

void chat_caps_init(struct chat_caps *c, bool sampling); /* sampling: are temperature and seed sent at all? */
void chat_caps_text(const struct chat_caps *c, struct str *out);
void chat_caps_read(struct chat_caps *c, const char *text); /* names that are not there keep their value */

/* An endpoint refused a request with HTTP 400 or 422 and `body`: gives up the capability that the message is about, or the
 * likeliest one, and appends one line on it to `message`. False when there is nothing left to give up. */
bool chat_caps_degrade(struct chat_caps *c, const char *body, bool schema_asked, struct str *message);

struct chat_reply;

/* What the reply to a probe (PROBE_SCHEMA asked for, logprobs too) shows, one clause for each change appended to `message`. */
#define CHAT_PROBE_SCHEMA                                                                                    \
    "{\"type\":\"object\",\"properties\":{\"answer\":{\"type\":\"string\",\"enum\":[\"yes\",\"no\"]}},"      \
    "\"required\":[\"answer\"],\"additionalProperties\":false}"
void chat_caps_learn(struct chat_caps *c, const struct chat_reply *r, struct str *message);

struct chat_question {
    const char *model;
    const char *system, *user;
    const char *schema_name, *schema; /* "" or NULL: free text */
    const char *grammar; /* GBNF in the schema's place, for a llama-server of ours alone; NULL: none */
    double temperature;  /* sent when caps.temperature */
    uint64_t seed;       /* sent when caps.seed */
    int64_t max_tokens;
    bool logprobs;    /* ask for them, when caps.logprobs */
    bool no_thinking; /* ask it not to think, when caps.thinking_off */
};
int chat_request(const struct chat_caps *c, const struct chat_question *q, struct str *body, struct err *e);

/* Beside `choices`, only from a teacher in this process: {"normal":0.98,"suspicious":0.02}, over all of a task's labels. */
#define CHAT_LABELS "label_probabilities"
struct chat_label {
    const char *name;
    double probability;
};

struct chat_reply {
    const char *content;  /* what comes after the thoughts; never NULL */
    const char *thoughts; /* reasoning_content, or a <think> block; NULL: none */
    bool truncated;       /* cut off at max_tokens */
    bool refused;         /* by a content filter, or in the `refusal` field */
    bool has_usage, has_logprobs;
    int64_t tokens_in, tokens_out;
    const struct chat_label *labels; /* NULL: none; otherwise they sum to 1 */
    int n_labels;
};
/* ERR_TEACHER when the body is no chat completion (half a document, an error page, bytes that are not UTF-8). */
int chat_reply_read(const char *body, size_t n, struct arena *a, struct chat_reply *out, struct err *e);

/* The message of an error body ({"error":{"message":...}} and its relatives), else the start of the body; one line, appended. */
void chat_error_text(const char *body, size_t n, struct str *out);

#endif
