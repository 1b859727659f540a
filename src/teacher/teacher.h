/* A teacher: an endpoint, a model, what it supports, what it costs, and the journal that makes each paid answer count once.
 *
 *     struct teacher *t;
 *     teacher_open(&t, &(struct teacher_config){.kind = "embedded", .gguf = path}, store, &e);
 *     teacher_run(t, &(struct teacher_job){.next = next_question, .take = take_answer, .context = me}, &e);
 *     teacher_close(t);
 *
 * teacher_run asks the questions that `next` hands out, many at once, and gives each answer to `take`. For every question: is
 * there an answered call of the same key in the journal? Then that is the answer, and nothing is sent. Otherwise the
 * call is written and committed, sent, its answer written and committed, and only then taken. What may have been billed
 * without an answer (a broken connection, a program killed) stays in the journal as `doubt` and counts against the budget.
 *
 * Errors of teacher_run leave everything resumable: ERR_BUDGET (the next question might pass the budget), ERR_INTERRUPTED,
 * ERR_AUTH, ERR_NET, ERR_TEACHER. One thread; not reentrant. */
#ifndef TEACHER_TEACHER_H
#define TEACHER_TEACHER_H

#include "base/err.h"
#include "net/net.h"
#include "store/store.h"
#include "teacher/chat.h"
#include "teacher/protocol.h"
#include <stdbool.h>
#include <stdint.h>

struct teacher;

/* general.name of the embedded teacher's file (seed/export writes it from the recipe's name). */
#define TEACHER_EMBEDDED_NAME "edgestill teacher"

struct teacher_config {
    const char *kind;     /* "embedded", "gguf" (any model file, in this process) or "openai" */
    const char *url;      /* openai: ".../v1" */
    const char *model;    /* openai */
    const char *key_env;  /* openai: environment variable that holds the key; NULL: none */
    const char *key_file; /* openai: file (mode 0600) that holds it; NULL: none */
    /* "plain" or "full"; NULL: plain of the embedded model, also as a file of kind gguf; else full */
    const char *style;
    const char *gguf;          /* embedded, gguf: the model file */
    int parallel;              /* requests at once [8; embedded: 2 a core, 4 to 16; gguf: 4] */
    int requests_per_minute;   /* what the endpoint allows; 0: not known, found by being refused */
    int64_t tokens_per_minute; /* the same, read and written together */
    bool probe; /* openai: the first question ever to this endpoint and model finds out what it supports */
    bool no_thinking; /* openai: ask it not to think before it answers */
    bool sampling;    /* openai: send temperature and seed (many endpoints refuse them); embedded: always */
    double price_in, price_out; /* US dollars per million tokens; both 0: as the price table says, */
    bool price_given;           /* but where this is set */
    bool has_budget;
    double budget; /* US dollars, over everything in the journal and under way */
    void (*say)(void *context, const char *line); /* a message for people, now and then; NULL: none */
    void *say_context;
    struct net_options net; /* zero: sensible; parallel and direct are set by the teacher */
};

/* Nothing is sent, and no process started, before the first question that the journal cannot answer. The store must be open for
 * writing and outlive the teacher. */
int teacher_open(struct teacher **out, const struct teacher_config *c, struct store *s, struct err *e);
void teacher_close(struct teacher *t); /* NULL is fine; ends the embedded teacher's process */

/* Prices in use. *known is false when there are none: then everything counts as free, and a quote must say so. */
struct teacher_price {
    double in, out;     /* US dollars per million tokens */
    const char *source; /* "promised by the user", "tokenmix.ai, 2026-05", "runs on this machine" */
    bool known;
};

/* What is known of a teacher before it is asked. Texts are borrowed from it. */
struct teacher_traits {
    enum protocol_style style;
    bool runs_here, scores; /* teacher_is_embedded, teacher_scores */
    int thinks;             /* teacher_thinks */
    int parallel;
    const char *model_file; /* teacher_model_file */
    struct teacher_price price;
};
struct teacher_traits teacher_traits(const struct teacher *t);

/* The same of a teacher that is not opened: no credential is read, no file hashed. `s` (open for reading; NULL: nobody asked it
 * anything yet) remembers what the endpoint supports. Texts are borrowed from c. */
int teacher_foresee(const struct teacher_config *c, struct store *s, struct teacher_traits *out,
                    struct err *e);

const char *teacher_name(
    const struct teacher *t); /* for people and the journal: "https://… kimi-k2.6", "embedded:1f2e…" */
enum protocol_style teacher_style(const struct teacher *t);
bool teacher_is_embedded(const struct teacher *t); /* embedded or gguf: runs here, costs nothing */
bool teacher_scores(
    const struct teacher *t); /* gguf: LABEL questions come with exact probabilities (local.h) */
/* embedded, gguf: its file; NULL: an endpoint. */
const char *teacher_model_file(const struct teacher *t);
int teacher_parallel(const struct teacher *t);
struct store *teacher_store(struct teacher *t);

struct teacher_price teacher_price(const struct teacher *t);
/* The same before a teacher is opened: by the model's name alone. */
struct teacher_price teacher_list_price(const char *model);

/* Does it think before it answers? -1: not known yet, since it was not probed. */
int teacher_thinks(const struct teacher *t);

struct teacher_question {
    const char *purpose; /* "draft", "write", "label": for the ledger */
    const char *cell;    /* journalled beside; NULL: none */
    int64_t tag;         /* handed back */
    int64_t repeat;      /* which asking of the same text: part of the key */
    const struct protocol_request *request;
    double temperature;
    uint64_t seed;
    bool logprobs; /* ask for the probabilities of the answer's tokens; they stay in the journal */
};

struct teacher_answer {
    int64_t call;         /* the journal's row */
    const char *content;  /* after the thoughts; never NULL */
    const char *thoughts; /* NULL: none */
    bool truncated, refused;
    bool from_journal; /* not asked now */
    /* exact probabilities of the labels (chat.h), from a teacher that scores; NULL: none */
    const struct chat_label *labels;
    int n_labels;
};

struct teacher_job {
    /* 1 with the next question (borrowed until the next call), 0 when there are no more, or a negative code. */
    int (*next)(void *context, struct teacher_question *q, struct err *e);
    /* In the order of arrival. The texts are borrowed. A negative return stops. */
    int (*take)(void *context, int64_t tag, const struct teacher_answer *a, struct err *e);
    void *context;
};
int teacher_run(struct teacher *t, const struct teacher_job *job, struct err *e);

/* The answer of a call as it stands in the journal, into `a`. */
int teacher_recall(struct store *s, int64_t call, struct arena *a, struct teacher_answer *out, struct err *e);

#endif
