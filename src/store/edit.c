/* Who changed what: the record table's history. */
#include "store/sql.h"

int store_edit_add(struct store *s, const struct store_edit *x, struct err *e) {
    sqlite3_stmt *q = sql_get(s,
                              "INSERT INTO edit (record, at_unix_ms, who, what, before, after)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                              e);
    if (!q)
        return ERR_IO;
    sqlite3_bind_int64(q, 1, x->record);
    sqlite3_bind_int64(q, 2, x->at_unix_ms);
    sql_text(q, 3, x->who);
    sql_text(q, 4, x->what);
    sql_text(q, 5, x->before);
    sql_text(q, 6, x->after);
    return sql_finish(s, q, e);
}

int store_edits_each(struct store *s, int64_t record,
                     int (*row)(void *context, const struct store_edit *x, struct err *e), void *context,
                     struct err *e) {
    sqlite3_stmt *q = sql_get(s,
                              "SELECT record, at_unix_ms, who, what, before, after FROM edit"
                              " WHERE ?1 = 0 OR record = ?1 ORDER BY id",
                              e);
    if (!q)
        return ERR_IO;
    sqlite3_bind_int64(q, 1, record);
    int rc;
    while ((rc = sql_row(s, q, e)) == 1) {
        struct store_edit x = {.record = sqlite3_column_int64(q, 0),
                               .at_unix_ms = sqlite3_column_int64(q, 1),
                               .who = sql_column(q, 2),
                               .what = sql_column(q, 3),
                               .before = sql_column(q, 4),
                               .after = sql_column(q, 5)};
        rc = row(context, &x, e);
        if (rc < 0)
            break;
    }
    sql_done(q);
    return rc < 0 ? rc : 0;
}
