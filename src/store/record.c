/* Records: adding, changing, reading in order, counting, hashing. */
#include "store/sql.h"
#include <stdio.h>
#include <string.h>

#define COLUMNS                                                                                              \
    "id, source, data, label, wanted, cell, weight, status, split, reason, ifnull(write_call, 0), "          \
    "write_index,"                                                                                           \
    " ifnull(label_call, 0), "
/* A file of version 1 or 2 that is only read has no such column. */
#define SELECT(s, rest)                                                                                      \
    ((s)->version < 3 ? "SELECT " COLUMNS "NULL FROM record" rest                                            \
                      : "SELECT " COLUMNS "probabilities FROM record" rest)

static const char *const status_names[] = {
#define X(name, text) text,
    STORE_STATUSES(X)
#undef X
};
static const char *const split_names[] = {
#define X(name, text) text,
    STORE_SPLITS(X)
#undef X
};
enum {
    N_STATUSES = sizeof status_names / sizeof *status_names,
    N_SPLITS = sizeof split_names / sizeof *split_names
};

const char *store_status_text(enum store_status status) {
    return status_names[status];
}

const char *store_split_text(enum store_split split) {
    return split == STORE_ALL_SPLITS ? "all" : split_names[split];
}

/* The schema's CHECKs make any other text impossible. */
static int name_index(const char *const names[], int n, const char *text) {
    for (int i = 0; i < n; i++)
        if (text && strcmp(names[i], text) == 0)
            return i;
    return 0;
}

static void read_row(sqlite3_stmt *q, struct store_record *r) {
    *r = (struct store_record){
        .id = sqlite3_column_int64(q, 0),
        .source = sql_column(q, 1),
        .data = sql_column(q, 2),
        .label = sql_column(q, 3),
        .wanted = sql_column(q, 4),
        .cell = sql_column(q, 5),
        .weight = sqlite3_column_double(q, 6),
        .status = (enum store_status)name_index(status_names, N_STATUSES, sql_column(q, 7)),
        .split = (enum store_split)name_index(split_names, N_SPLITS, sql_column(q, 8)),
        .reason = sql_column(q, 9),
        .write_call = sqlite3_column_int64(q, 10),
        .write_index = sqlite3_column_int64(q, 11),
        .label_call = sqlite3_column_int64(q, 12),
        .probabilities = sql_column(q, 13),
    };
}

static int each(struct store *s, sqlite3_stmt *q,
                int (*row)(void *, const struct store_record *, struct err *), void *context, struct err *e) {
    int rc;
    while ((rc = sql_row(s, q, e)) == 1) {
        struct store_record r;
        read_row(q, &r);
        rc = row(context, &r, e);
        if (rc < 0)
            break;
    }
    sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_records_each(struct store *s, enum store_split split,
                       int (*row)(void *context, const struct store_record *r, struct err *e), void *context,
                       struct err *e) {
    sqlite3_stmt *q =
        sql_get(s, SELECT(s, " WHERE status = 'accepted' AND (?1 IS NULL OR split = ?1) ORDER BY id"), e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, split == STORE_ALL_SPLITS ? NULL : split_names[split]);
    return each(s, q, row, context, e);
}

int store_status_each(struct store *s, enum store_status status,
                      int (*row)(void *context, const struct store_record *r, struct err *e), void *context,
                      struct err *e) {
    sqlite3_stmt *q = sql_get(s, SELECT(s, " WHERE ?1 IS NULL OR status = ?1 ORDER BY id"), e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, status == STORE_ALL_STATUSES ? NULL : status_names[status]);
    return each(s, q, row, context, e);
}

static void bind_call(sqlite3_stmt *q, int index, int64_t call) {
    if (call)
        sqlite3_bind_int64(q, index, call);
    else
        sqlite3_bind_null(q, index);
}

int store_record_add(struct store *s, const struct store_record *r, int64_t *id, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s,
                "INSERT INTO record (source, data, label, wanted, cell, weight, status, split, reason,"
                " write_call, write_index, label_call, probabilities)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                e);
    if (!q)
        return ERR_IO;
    const char *texts[] = {r->source, r->data, r->label, r->wanted, r->cell};
    for (int i = 0; i < 5; i++)
        sql_text(q, i + 1, texts[i]);
    sqlite3_bind_double(q, 6, r->weight);
    sql_text(q, 7, status_names[r->status]);
    sql_text(q, 8, split_names[r->split]);
    sql_text(q, 9, r->reason);
    bind_call(q, 10, r->write_call);
    sqlite3_bind_int64(q, 11, r->write_index);
    bind_call(q, 12, r->label_call);
    sql_text(q, 13, r->probabilities);
    int rc = sql_finish(s, q, e);
    if (rc == 0 && id)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

int store_record_update(struct store *s, const struct store_record *r, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s,
                "UPDATE record SET label = ?2, weight = ?3, status = ?4, split = ?5, reason = ?6,"
                " label_call = ?7, probabilities = CASE WHEN ?8 IS NOT NULL THEN ?8"
                " WHEN label IS ?2 THEN probabilities END WHERE id = ?1",
                e);
    if (!q)
        return ERR_IO;
    sqlite3_bind_int64(q, 1, r->id);
    sql_text(q, 2, r->label);
    sqlite3_bind_double(q, 3, r->weight);
    sql_text(q, 4, status_names[r->status]);
    sql_text(q, 5, split_names[r->split]);
    sql_text(q, 6, r->reason);
    bind_call(q, 7, r->label_call);
    sql_text(q, 8, r->probabilities);
    int rc = sql_finish(s, q, e);
    if (rc == 0 && sqlite3_changes(s->db) != 1)
        return err_set(e, ERR_FAILED, "store_record_update", "there is no record %lld in %s",
                       (long long)r->id, s->path);
    return rc;
}

int store_counts_each(struct store *s, int (*row)(void *context, const struct store_count *c, struct err *e),
                      void *context, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s,
                "SELECT source, status, label, split, reason, wanted, cell, count(*) FROM record"
                " GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7",
                e);
    if (!q)
        return ERR_IO;
    int rc;
    while ((rc = sql_row(s, q, e)) == 1) {
        struct store_count c = {
            .source = sql_column(q, 0),
            .status = (enum store_status)name_index(status_names, N_STATUSES, sql_column(q, 1)),
            .label = sql_column(q, 2),
            .split = (enum store_split)name_index(split_names, N_SPLITS, sql_column(q, 3)),
            .reason = sql_column(q, 4),
            .wanted = sql_column(q, 5),
            .cell = sql_column(q, 6),
            .n = sqlite3_column_int64(q, 7),
        };
        rc = row(context, &c, e);
        if (rc < 0)
            break;
    }
    sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_accepted_count(struct store *s, enum store_split split, int64_t *n, struct err *e) {
    sqlite3_stmt *q =
        sql_get(s, "SELECT count(*) FROM record WHERE status = 'accepted' AND (?1 IS NULL OR split = ?1)", e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, split == STORE_ALL_SPLITS ? NULL : split_names[split]);
    int rc = sql_row(s, q, e);
    if (rc == 1)
        *n = sqlite3_column_int64(q, 0);
    sql_done(q);
    return rc < 0 ? rc : 0;
}

static int hash_row(void *context, const struct store_record *r, struct err *e) {
    (void)e;
    struct sha256 *h = context;
    char weight[32];
    snprintf(weight, sizeof weight, "%.9g", r->weight);
    sha256_add_text(h, r->data);
    sha256_add_text(h, r->label ? r->label : "");
    sha256_add_text(h, store_split_text(r->split));
    sha256_add_text(h, weight);
    if (r->probabilities)
        sha256_add_text(h, r->probabilities);
    return 0;
}

int store_records_hash(struct store *s, enum store_split split, char hex[SHA256_HEX], struct err *e) {
    struct sha256 *h = sha256_new();
    if (!h)
        return err_set(e, ERR_NO_MEMORY, "store_records_hash", "out of memory");
    int rc = store_records_each(s, split, hash_row, h, e);
    char digest[SHA256_HEX];
    sha256_finish(h, digest);
    if (rc == 0)
        memcpy(hex, digest, SHA256_HEX);
    return rc;
}
