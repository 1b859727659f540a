/* Inside src/store/ only: the open database and the few moves that every statement makes.
 *
 *     sqlite3_stmt *q = sql_get(s, "SELECT text FROM note WHERE key = ?1", e);   // prepared once, kept
 *     sql_text(q, 1, key);
 *     int rc = sql_row(s, q, e);           // 1 a row, 0 no more, or a negative err_code
 *     ... sqlite3_column_text(q, 0) ...
 *     sql_done(q);                         // always, also after an error
 */
#ifndef STORE_SQL_H
#define STORE_SQL_H

#include "store/store.h"
#include <sqlite3.h>

enum { SQL_STATEMENTS = 32 };

struct store {
    sqlite3 *db;
    char *path;
    int64_t version; /* of the schema that the file has */
    int lock_fd;     /* writers: holds the lock that keeps a second one out; -1 otherwise */
    bool in_transaction;
    struct {
        const char *text; /* a literal: compared by address */
        sqlite3_stmt *statement;
    } statements[SQL_STATEMENTS];
    int n_statements;
};

/* The tables, as SQL; store_schema_version is kept in PRAGMA user_version. */
extern const char store_schema[];
extern const char store_schema_from_1[]; /* what brings version 1 up to date */
extern const char store_schema_from_2[];
extern const int store_schema_version;

/* SQLite's last complaint as an error of ours; `doing` completes "cannot ...". */
int sql_error(struct store *s, const char *doing, struct err *e);

int sql_run(struct store *s, const char *script, struct err *e);
sqlite3_stmt *sql_get(struct store *s, const char *literal, struct err *e);
int sql_row(struct store *s, sqlite3_stmt *q, struct err *e);
void sql_done(sqlite3_stmt *q);
/* For statements without rows: run to the end and done. */
int sql_finish(struct store *s, sqlite3_stmt *q, struct err *e);

void sql_text(sqlite3_stmt *q, int index, const char *text); /* NULL binds NULL; borrowed until sql_done */
const char *sql_column(sqlite3_stmt *q, int column);         /* NULL for NULL; borrowed until the next row */

#endif
