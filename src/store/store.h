/* records.sqlite: everything that generation paid for. The only folder that knows SQLite.
 *
 *   call     one row for each request that was sent to a teacher: the journal, and through its sums the
 * ledger record   one example with its label, status, split and where it came from note     small named
 * texts: the file's format, hashes, what an endpoint was found to support
 *
 * A call is written, and on disk, before it is sent, and its answer before it is used (store_commit returns
 * after fsync). One process writes at a time (store_open refuses a second writer); any number may read. A
 * writer that opens the file after a crash finds the calls that were under way marked `doubt`: they may have
 * been paid for, and count.
 *
 *     struct store *s;
 *     if (store_open(&s, "records.sqlite", STORE_READ, &e) < 0) return e.code;
 *     store_records_each(s, STORE_TRAIN, take_row, context, &e);
 *     store_close(s);
 *
 * One struct store serves one thread. Functions return 0 or a negative err_code; texts given to callbacks are
 * borrowed until the callback returns, texts found into an arena live as long as the arena. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include <stdbool.h>
#include <stdint.h>

#define STORE_FORMAT "edgestill.records/1"

struct store;

enum store_mode {
    STORE_READ, /* ERR_NOT_FOUND when there is no file */
    STORE_WRITE /* made when absent */
};
int store_open(struct store **out, const char *path, enum store_mode mode, struct err *e);
void store_close(struct store *s); /* NULL is fine; an open transaction is undone */

/* Statements outside begin and commit are durable one by one. Not nested. */
int store_begin(struct store *s, struct err *e);
int store_commit(struct store *s, struct err *e);
void store_rollback(struct store *s);

/* ---- notes ---- */
int store_note_set(struct store *s, const char *key, const char *text, struct err *e);
int store_note_get(struct store *s, const char *key, struct arena *a, const char **text,
                   struct err *e); /* NULL: none */

/* ---- records ---- */

/* pending: waits for its label; accepted: in the data set; spare: good, but its quota was full; rejected: see
 * reason */
#define STORE_STATUSES(X)                                                                                    \
    X(PENDING, "pending") X(ACCEPTED, "accepted") X(SPARE, "spare") X(REJECTED, "rejected")
enum store_status {
#define X(name, text) STORE_##name,
    STORE_STATUSES(X)
#undef X
        STORE_ALL_STATUSES = -1
};

#define STORE_SPLITS(X) X(NO_SPLIT, "none") X(TRAIN, "train") X(VALIDATION, "validation") X(TEST, "test")
enum store_split {
#define X(name, text) STORE_##name,
    STORE_SPLITS(X)
#undef X
        STORE_ALL_SPLITS = -1
};

const char *store_status_text(enum store_status status);
const char *store_split_text(enum store_split split);

struct store_record {
    int64_t id;
    const char *source; /* "teacher" or "own" */
    const char *data;   /* canonical JSON of the declared fields (record_to_json); rejects: as it came */
    const char *label;  /* the label that counts; NULL: none yet */
    const char *wanted; /* the label that the teacher was asked to write; NULL for own rows */
    const char *cell;   /* the quota cell it was written for; NULL for own rows */
    double weight;      /* 1, or the share of votes for the label, or its probability */
    /* of all labels, from a teacher that scores them: {"normal":0.98,...} (task/belief.h); NULL: none */
    const char *probabilities;
    enum store_status status;
    enum store_split split;
    const char *reason;  /* why rejected; NULL otherwise */
    int64_t write_call;  /* journal row it came from, 0: none */
    int64_t write_index; /* which record of that answer; own rows: line of the file */
    int64_t label_call;  /* journal row of the label that counts, 0: none */
};

/* Accepted records of a split (STORE_ALL_SPLITS: all of them), in the order of their ids. A negative return
 * of `row` stops and is returned. The callback must not add or change records of the same store. */
int store_records_each(struct store *s, enum store_split split,
                       int (*row)(void *context, const struct store_record *r, struct err *e), void *context,
                       struct err *e);

/* The same for the records of one status (STORE_ALL_STATUSES: every record), whatever their split. */
int store_status_each(struct store *s, enum store_status status,
                      int (*row)(void *context, const struct store_record *r, struct err *e), void *context,
                      struct err *e);

int store_record_add(struct store *s, const struct store_record *r, int64_t *id, struct err *e);
/* Sets label, weight, status, split, reason and label_call of the row r->id; probabilities when they are given, and takes them away
 * when the label becomes another. */
int store_record_update(struct store *s, const struct store_record *r, struct err *e);

/* What a person changed: who, when, what, from what to what. Never taken out again. */
struct store_edit {
    int64_t record, at_unix_ms;
    const char *who, *what, *before, *after;
};
int store_edit_add(struct store *s, const struct store_edit *x, struct err *e);
/* In order; of one record, or of all (0). */
int store_edits_each(struct store *s, int64_t record,
                     int (*row)(void *context, const struct store_edit *x, struct err *e), void *context,
                     struct err *e);

/* How many records there are in each group of (source, status, label, split, reason, cell). */
struct store_count {
    const char *source, *label, *wanted, *cell, *reason; /* NULL where the record has none */
    enum store_status status;
    enum store_split split;
    int64_t n;
};
int store_counts_each(struct store *s, int (*row)(void *context, const struct store_count *c, struct err *e),
                      void *context, struct err *e);
int store_accepted_count(struct store *s, enum store_split split, int64_t *n, struct err *e);

/* SHA-256 over the accepted records of a split (data, label, split, weight, probabilities where there are some; in order): what
 * manifests name "records:train" and so on, since the file itself also changes when nothing that matters did. */
int store_records_hash(struct store *s, enum store_split split, char hex[SHA256_HEX], struct err *e);

/* ---- journal ---- */

/* sent: under way; answered: usable; failed: not billed, or billed and no use (then with its cost); doubt:
 * may have been billed */
#define STORE_CALL_STATES(X) X(SENT, "sent") X(ANSWERED, "answered") X(FAILED, "failed") X(DOUBT, "doubt")
enum store_call_state {
#define X(name, text) STORE_CALL_##name,
    STORE_CALL_STATES(X)
#undef X
};

struct store_usage {
    int64_t tokens_in, tokens_out;
    double money; /* US dollars */
};

struct store_call {
    int64_t id;
    const char *key;             /* what is asked, of whom, which repetition: one answered call a key */
    const char *purpose;         /* "draft", "write", "label" */
    const char *teacher;         /* who, without credentials */
    const char *cell;            /* write: the quota cell; else NULL */
    const char *request;         /* body as sent */
    struct store_usage reserved; /* upper bound, counted while sent or in doubt */
    enum store_call_state state;
    int64_t http_status;
    const char *response; /* body as received; NULL: none */
    const char *problem;  /* one line; NULL: none */
    struct store_usage used;
    double seconds;
    int64_t sent_unix_ms;
};

/* Writes a call in state `sent`; sets *id. Commit before sending. */
int store_call_begin(struct store *s, const struct store_call *c, int64_t *id, struct err *e);
/* Sets state, http_status, response, problem, used and seconds of the row c->id. Commit before use. */
int store_call_end(struct store *s, const struct store_call *c, struct err *e);
/* The answered call of a key, else *found false. */
int store_call_find(struct store *s, const char *key, struct arena *a, struct store_call *out, bool *found,
                    struct err *e);
int store_call_get(struct store *s, int64_t id, struct arena *a, struct store_call *out, struct err *e);

/* ---- ledger ---- */
struct store_ledger {
    int64_t n_sent, n_answered, n_failed, n_doubt;
    struct store_usage used;     /* answered, and failed with a cost */
    struct store_usage reserved; /* sent and doubt: counted against the budget until known better */
    double seconds;              /* sum over answered calls */
};
int store_ledger(struct store *s, const char *purpose, struct store_ledger *out,
                 struct err *e); /* NULL: all */

#endif
