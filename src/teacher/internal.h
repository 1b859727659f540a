/* Inside src/teacher/ only: what teacher.c opens and run.c drives. */
#ifndef TEACHER_INTERNAL_H
#define TEACHER_INTERNAL_H

#include "base/hash.h"
#include "teacher/chat.h"
#include "teacher/embedded.h"
#include "teacher/local.h"
#include "teacher/teacher.h"

enum { TEACHER_KEY_MAX = 512, TEACHER_PARALLEL_MAX = 256, TEACHER_SERVERS_MAX = 4 };

/* Another question with the key of one that is under way: takes the same answer. */
struct follower {
    int64_t tag;
    struct follower *next;
};

/* One question under way. free -> ready -> begun (journalled, not sent) -> sent -> done -> free, or ready again */
enum slot_state { SLOT_FREE, SLOT_READY, SLOT_BEGUN, SLOT_SENT, SLOT_DONE };
struct slot {
    struct teacher *teacher;
    enum slot_state state;
    struct arena arena; /* purpose, cell, followers */
    const char *purpose, *cell;
    struct protocol_request request; /* a copy: a refused capability means asking anew */
    double temperature;
    uint64_t seed;
    bool logprobs;
    int64_t tag;
    char key[SHA256_HEX];
    struct follower *followers;
    struct str body;             /* as sent */
    int64_t call;                /* journal row of the attempt at hand */
    struct store_usage reserved; /* by that row */
    int bad_answers;             /* answers that were no chat completion */
    int caps_version;            /* of the teacher when the body was made */
    struct net_answer outcome;   /* once done; its body is `answer`, its problem `problem` */
    struct str answer;
    struct chat_reply reply; /* once settled as answered; texts live in the arena */
    char problem[400];
};

struct teacher {
    struct teacher_config config; /* texts live in the arena */
    struct arena arena;
    struct store *store;
    char *name;
    char *key; /* the credential; NULL: none */
    enum protocol_style style;
    struct teacher_price price;
    struct chat_caps caps;
    int caps_version;
    struct embedded *servers[TEACHER_SERVERS_MAX];
    int n_servers;       /* of the embedded teacher: slot i asks server i % n_servers */
    struct local *local; /* gguf: the model, once something is asked */
    struct net *net;
    char *chat_url[TEACHER_SERVERS_MAX]; /* the first alone where it is somebody else's server */
    double spent;                        /* answered, billed failures, doubts: US dollars */
    double reserved;                     /* by what is under way */
    int parallel;                        /* most questions under way */
    struct slot *slots;
    int n_slots;     /* more than `parallel` where questions are held ready for when an answer comes */
    struct err stop; /* why the run at hand is to end; code 0: it goes on */
};

/* run.c */
struct slot *slot_in(struct teacher *t, enum slot_state state); /* the first one; NULL: none */
int slots_busy(const struct teacher *t);                        /* not free */
void slot_free(struct slot *s);

/* calls.c: journal and money. */
void teacher_stop(struct teacher *t, const struct err *why); /* the run is to end; the first reason stays */
/* Ends the slot's call. `used` counts for answered and failed calls; one in doubt keeps its reservation as spent. */
int calls_end(struct slot *s, enum store_call_state state, const struct net_answer *a, const char *problem,
              const struct store_usage *used, struct err *e);
/* One line on what went wrong, with what the server said. */
void calls_add_failure(const struct teacher *t, const struct net_answer *a, struct str *out);
/* Writes the calls of ready slots that there is room and money for into the open transaction, commits it, and sends them. Returns
 * how many; on failure nothing of the transaction stays. */
int calls_commit(struct teacher *t, struct err *e);
/* The same in a transaction of its own, where there is something to begin. ERR_BUDGET when nothing is under way and nothing can be
 * afforded. */
int calls_begin_ready(struct teacher *t, struct err *e);

/* settle.c: journals the outcomes of all slots that are done, and gives the answers away. */
int settle_done(struct teacher *t, const struct teacher_job *job, struct err *e);
struct teacher_answer settle_answer_of(int64_t call, const struct chat_reply *r, bool from_journal);

/* ERR_TEACHER when a process of the embedded teacher has ended. */
int teacher_check_servers(struct teacher *t, struct err *e);

/* way.c. Starts what is needed to ask so many questions at once: the model, the embedded servers, the network. Safe to repeat. */
int teacher_connect(struct teacher *t, int n_questions, struct err *e);
void teacher_disconnect(struct teacher *t);

/* Callbacks of net_request (context: the slot). A teacher in this process asks nothing again. */
struct teacher_way {
    int (*again)(void *context, const struct net_answer *last);
    void (*done)(void *context, const struct net_answer *a);
};
int teacher_send(struct slot *s, const struct teacher_way *way, struct err *e);
int teacher_under_way(const struct teacher *t);
int teacher_step(struct teacher *t, int64_t wait_ms, struct err *e);
void teacher_drain(struct teacher *t); /* nothing new is sent */
void teacher_abort(struct teacher *t);

/* teacher_run without a probe before it. */
int teacher_ask(struct teacher *t, const struct teacher_job *job, struct err *e);

/* Asks one small question when the endpoint was never probed, and remembers what its answer shows. */
int teacher_probe(struct teacher *t, struct err *e);

/* Remembers in the store what the endpoint supports. */
int teacher_keep_caps(struct teacher *t, struct err *e);

/* Removes the credential from a text, should a server have echoed it. */
void teacher_redact(const struct teacher *t, struct str *text);

double teacher_cost(const struct teacher *t, int64_t tokens_in, int64_t tokens_out);
void teacher_say(const struct teacher *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
