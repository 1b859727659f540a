/* A scripted teacher for tests: answers the requests DRAFT, WRITE and LABEL of one small task by its rule, over http_script,
 * with faults as planned. What it answers depends on the request's body alone when `by_body`, so that runs can be compared.
 *
 *     struct chat_script c = {.wrong_share = 0.1};
 *     struct http_script *s = http_script_start(chat_script_serve, &c);
 */
#ifndef TESTS_CHAT_SCRIPT_H
#define TESTS_CHAT_SCRIPT_H

#include "http_script.h"
#include "task/task.h"
#include <pthread.h>
#include <stdatomic.h>

#define CHAT_SCRIPT_SENTENCE                                                                                 \
    "Triage claims. Each claim has a delay from 0 to 60 days, an approved share from 0 to 1 and a visit "    \
    "type (routine or"                                                                                       \
    " emergency). Flag it as suspicious when the delay is under 2 days, or under 7 days and the approved "   \
    "share is below"                                                                                         \
    " 0.80; otherwise it is normal."

enum chat_fault {
    CHAT_FINE,
    CHAT_500,
    CHAT_429,
    CHAT_RESET,
    CHAT_HALF,
    CHAT_NOT_JSON,
    CHAT_NOT_CHAT,
    CHAT_EMPTY,
    CHAT_NOT_UTF8,
    CHAT_TRUNCATED,
    CHAT_REFUSED,
    CHAT_FENCED,
    CHAT_FAULTS
};

struct chat_script {
    bool by_body;
    double wrong_share;   /* of written records that belong to another label */
    double invalid_share; /* of written records that break the schema */
    double fickle_share;  /* of repeated labels that are the other one */
    double copy_share;    /* of written records that are all the same */
    const char *never;    /* a label that it cannot write: all its records are of another; NULL: none */
    double fault_share;   /* of requests that meet a fault drawn from those below */
    unsigned faults;      /* bit mask of 1 << enum chat_fault */
    bool refuse_schema, refuse_sampling; /* HTTP 400 to response_format, to temperature */
    bool no_usage;
    bool refuse_logprobs, refuse_thinking; /* HTTP 400 to logprobs, to thinking */
    bool ignore_schema;                    /* the probe's schema is taken and not kept to */
    bool thinks;                           /* thoughts in reasoning_content */
    const char *key;                       /* HTTP 401 unless sent; NULL: any */
    const char *draft;                     /* DRAFT's content; NULL: the right one */
    int bad_drafts;                        /* so many useless drafts first */
    atomic_int delay_ms;
    /* counted */
    atomic_int n_pairs, n_shown; /* requests for pairs, requests that show records; both among n_write */
    atomic_int n_draft, n_write, n_label, n_probe, n_fault, n_answered;
    atomic_int n_not_to_think; /* requests that ask for no thoughts */
};

void chat_script_serve(void *context, const struct http_asked *q, struct http_reply *r);

/* The task that it speaks of. */
int chat_script_task(struct task *t, struct err *e);

/* Index of the label that its rule gives (0 suspicious, 1 normal). */
int chat_script_rule(double delay, double share);

#endif
