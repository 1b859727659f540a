/* The journal of calls and the ledger that is its sums. */
#include "store/sql.h"
#include <string.h>

static const char *const state_names[] = {
#define X(name, text) text,
    STORE_CALL_STATES(X)
#undef X
};
enum { N_STATES = sizeof state_names / sizeof *state_names };

static enum store_call_state state_of(const char *text) {
    for (int i = 0; i < N_STATES; i++)
        if (text && strcmp(state_names[i], text) == 0)
            return (enum store_call_state)i;
    return STORE_CALL_DOUBT; /* the schema's CHECK makes any other text impossible */
}

int store_call_begin(struct store *s, const struct store_call *c, int64_t *id, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s,
                "INSERT INTO call (key, purpose, teacher, cell, request, reserved_in, reserved_out,"
                " reserved_money, state, sent_unix_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'sent', ?9)",
                e);
    if (!q)
        return ERR_IO;
    const char *texts[] = {c->key, c->purpose, c->teacher, c->cell, c->request};
    for (int i = 0; i < 5; i++)
        sql_text(q, i + 1, texts[i]);
    sqlite3_bind_int64(q, 6, c->reserved.tokens_in);
    sqlite3_bind_int64(q, 7, c->reserved.tokens_out);
    sqlite3_bind_double(q, 8, c->reserved.money);
    sqlite3_bind_int64(q, 9, c->sent_unix_ms);
    int rc = sql_finish(s, q, e);
    if (rc == 0)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

int store_call_end(struct store *s, const struct store_call *c, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s,
                "UPDATE call SET state = ?2, http_status = ?3, response = ?4, problem = ?5, tokens_in = ?6,"
                " tokens_out = ?7, money = ?8, seconds = ?9 WHERE id = ?1",
                e);
    if (!q)
        return ERR_IO;
    sqlite3_bind_int64(q, 1, c->id);
    sql_text(q, 2, state_names[c->state]);
    sqlite3_bind_int64(q, 3, c->http_status);
    sql_text(q, 4, c->response);
    sql_text(q, 5, c->problem);
    sqlite3_bind_int64(q, 6, c->used.tokens_in);
    sqlite3_bind_int64(q, 7, c->used.tokens_out);
    sqlite3_bind_double(q, 8, c->used.money);
    sqlite3_bind_double(q, 9, c->seconds);
    int rc = sql_finish(s, q, e);
    if (rc == 0 && sqlite3_changes(s->db) != 1)
        return err_set(e, ERR_FAILED, "store_call_end", "there is no call %lld in %s", (long long)c->id,
                       s->path);
    return rc;
}

#define CALL_COLUMNS                                                                                         \
    "id, key, purpose, teacher, cell, request, reserved_in, reserved_out, reserved_money, state, "           \
    "http_status,"                                                                                           \
    " response, problem, tokens_in, tokens_out, money, seconds, sent_unix_ms"

/* A column's text copied into `a`; *ok becomes false when there is no memory. */
static const char *keep(struct arena *a, sqlite3_stmt *q, int column, bool *ok) {
    const char *text = sql_column(q, column);
    const char *copy = arena_strdup(a, text);
    if (text && !copy)
        *ok = false;
    return copy;
}

static bool read_call(sqlite3_stmt *q, struct arena *a, struct store_call *c) {
    bool ok = true;
    *c = (struct store_call){
        .id = sqlite3_column_int64(q, 0),
        .key = keep(a, q, 1, &ok),
        .purpose = keep(a, q, 2, &ok),
        .teacher = keep(a, q, 3, &ok),
        .cell = keep(a, q, 4, &ok),
        .request = keep(a, q, 5, &ok),
        .reserved = {sqlite3_column_int64(q, 6), sqlite3_column_int64(q, 7), sqlite3_column_double(q, 8)},
        .state = state_of(sql_column(q, 9)),
        .http_status = sqlite3_column_int64(q, 10),
        .response = keep(a, q, 11, &ok),
        .problem = keep(a, q, 12, &ok),
        .used = {sqlite3_column_int64(q, 13), sqlite3_column_int64(q, 14), sqlite3_column_double(q, 15)},
        .seconds = sqlite3_column_double(q, 16),
        .sent_unix_ms = sqlite3_column_int64(q, 17),
    };
    return ok;
}

/* Runs a statement that finds one call at most. Returns 1, 0 or a negative code. */
static int find_call(struct store *s, sqlite3_stmt *q, struct arena *a, struct store_call *out,
                     struct err *e) {
    struct store_call c;
    int rc = sql_row(s, q, e);
    if (rc == 1) {
        if (read_call(q, a, &c))
            *out = c;
        else
            rc = err_set(e, ERR_NO_MEMORY, "store_call_find", "out of memory");
    }
    sql_done(q);
    return rc;
}

int store_call_find(struct store *s, const char *key, struct arena *a, struct store_call *out, bool *found,
                    struct err *e) {
    sqlite3_stmt *q =
        sql_get(s, "SELECT " CALL_COLUMNS " FROM call WHERE key = ?1 AND state = 'answered'", e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, key);
    int rc = find_call(s, q, a, out, e);
    if (rc >= 0)
        *found = rc == 1;
    return rc < 0 ? rc : 0;
}

int store_call_get(struct store *s, int64_t id, struct arena *a, struct store_call *out, struct err *e) {
    sqlite3_stmt *q = sql_get(s, "SELECT " CALL_COLUMNS " FROM call WHERE id = ?1", e);
    if (!q)
        return ERR_IO;
    sqlite3_bind_int64(q, 1, id);
    int rc = find_call(s, q, a, out, e);
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "store_call_get", "there is no call %lld in %s", (long long)id,
                       s->path);
    return rc < 0 ? rc : 0;
}

static void add_group(struct store_ledger *l, sqlite3_stmt *q) {
    int64_t n = sqlite3_column_int64(q, 1);
    struct store_usage used = {sqlite3_column_int64(q, 2), sqlite3_column_int64(q, 3),
                               sqlite3_column_double(q, 4)};
    struct store_usage held = {sqlite3_column_int64(q, 5), sqlite3_column_int64(q, 6),
                               sqlite3_column_double(q, 7)};
    enum store_call_state state = state_of(sql_column(q, 0));
    int64_t *const counts[] = {&l->n_sent, &l->n_answered, &l->n_failed, &l->n_doubt};
    *counts[state] += n;
    bool open = state == STORE_CALL_SENT || state == STORE_CALL_DOUBT;
    struct store_usage *sum = open ? &l->reserved : &l->used;
    const struct store_usage *part = open ? &held : &used;
    sum->tokens_in += part->tokens_in;
    sum->tokens_out += part->tokens_out;
    sum->money += part->money;
    if (state == STORE_CALL_ANSWERED)
        l->seconds += sqlite3_column_double(q, 8);
}

int store_ledger(struct store *s, const char *purpose, struct store_ledger *out, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s,
                "SELECT state, count(*), sum(tokens_in), sum(tokens_out), sum(money), sum(reserved_in),"
                " sum(reserved_out), sum(reserved_money), sum(seconds) FROM call"
                " WHERE ?1 IS NULL OR purpose = ?1 GROUP BY state",
                e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, purpose);
    struct store_ledger l = {0};
    int rc;
    while ((rc = sql_row(s, q, e)) == 1)
        add_group(&l, q);
    sql_done(q);
    if (rc < 0)
        return rc;
    *out = l;
    return 0;
}
