/* Opening, closing, transactions and notes.
 *
 * Invariants
 *  1. A commit that returned 0 is on disk (write-ahead log, synchronous = FULL).
 *  2. One writer: an exclusive lock on "<path>-writer", held while open for writing. The lock has a file of
 * its own, because closing any descriptor of the database would drop the locks that SQLite itself holds on
 * it.
 *  3. While a writer is open, `sent` calls are its own. Those it finds when it opens belong to one that died:
 * `doubt`.
 *  4. After a clean close the database is one file again, readable from a read-only folder. */
#include "base/file.h"
#include "store/sql.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define ORIGIN "store_open"

/* ---- statements ---- */

int sql_error(struct store *s, const char *doing, struct err *e) {
    int code = ERR_IO;
    const char *hint = NULL;
    switch (sqlite3_errcode(s->db) & 0xff) {
    case SQLITE_FULL:
        code = ERR_NO_SPACE;
        hint = "free some space and run the same command again: nothing that was committed is lost";
        break;
    case SQLITE_NOMEM:
        code = ERR_NO_MEMORY;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        code = ERR_FORMAT;
        hint = "it is not an edgestill record file, or it is damaged; move it away to begin anew";
        break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        hint = "is its folder writable?";
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        hint = "another program uses it; try again when that has ended";
        break;
    default:
        break;
    }
    err_set(e, code, "store", "cannot %s %s: %s", doing, s->path, sqlite3_errmsg(s->db));
    if (hint)
        err_hint(e, "%s", hint);
    return code;
}

int sql_run(struct store *s, const char *script, struct err *e) {
    return sqlite3_exec(s->db, script, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_error(s, "change", e);
}

sqlite3_stmt *sql_get(struct store *s, const char *literal, struct err *e) {
    for (int i = 0; i < s->n_statements; i++)
        if (s->statements[i].text == literal)
            return s->statements[i].statement;
    if (s->n_statements == SQL_STATEMENTS) {
        err_set(e, ERR_FAILED, "store", "more than %d kinds of statement", (int)SQL_STATEMENTS);
        return NULL;
    }
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(s->db, literal, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
        sql_error(s, "read", e);
        return NULL;
    }
    s->statements[s->n_statements].text = literal;
    s->statements[s->n_statements++].statement = statement;
    return statement;
}

int sql_row(struct store *s, sqlite3_stmt *q, struct err *e) {
    switch (sqlite3_step(q)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return sql_error(s, sqlite3_stmt_readonly(q) ? "read" : "write", e);
    }
}

void sql_done(sqlite3_stmt *q) {
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
}

int sql_finish(struct store *s, sqlite3_stmt *q, struct err *e) {
    int rc = sql_row(s, q, e);
    sql_done(q);
    return rc < 0 ? rc : 0;
}

void sql_text(sqlite3_stmt *q, int index, const char *text) {
    if (text)
        sqlite3_bind_text(q, index, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(q, index);
}

const char *sql_column(sqlite3_stmt *q, int column) {
    return (const char *)sqlite3_column_text(q, column);
}

/* ---- opening ---- */

static int take_lock(struct store *s, struct err *e) {
    size_t n = strlen(s->path) + sizeof "-writer";
    char *path = malloc(n);
    if (!path)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    snprintf(path, n, "%s-writer", s->path);
    int rc = 0;
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock_fd < 0) {
        rc = err_set_errno(e, ERR_IO, ORIGIN, "cannot write %s", path);
        err_hint(e, "is the project folder writable?");
    } else if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK
                 ? err_set(e, ERR_FAILED, ORIGIN, "another edgestill is writing to %s", s->path)
                 : err_set_errno(e, ERR_IO, ORIGIN, "cannot lock %s", path);
        err_hint(e, "wait for it to end, or stop it");
    }
    free(path);
    return rc;
}

static int64_t pragma_number(struct store *s, const char *text) {
    sqlite3_stmt *q = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        value = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return value;
}

static int make_schema(struct store *s, struct err *e) {
    int rc = store_begin(s, e);
    if (rc == 0)
        rc = sql_run(s, store_schema, e);
    if (rc == 0)
        rc = store_note_set(s, "format", STORE_FORMAT, e);
    char version[64];
    snprintf(version, sizeof version, "PRAGMA user_version = %d", store_schema_version);
    if (rc == 0)
        rc = sql_run(s, version, e);
    if (rc == 0)
        return store_commit(s, e);
    store_rollback(s);
    return rc;
}

/* An older file becomes a current one the next time it is written to; until then it is read as it is. */
static int bring_up_to_date(struct store *s, int64_t from, struct err *e) {
    char version[64];
    snprintf(version, sizeof version, "PRAGMA user_version = %d", store_schema_version);
    int rc = store_begin(s, e);
    if (rc == 0)
        rc = sql_run(s, from == 1 ? store_schema_from_1 : store_schema_from_2, e);
    if (rc == 0)
        rc = sql_run(s, version, e);
    if (rc == 0)
        return store_commit(s, e);
    store_rollback(s);
    return rc;
}

static int check_schema(struct store *s, enum store_mode mode, struct err *e) {
    int64_t version = pragma_number(s, "PRAGMA user_version");
    if (version < 0)
        return sql_error(s, "read", e);
    s->version = mode == STORE_WRITE ? store_schema_version : version;
    if (version == store_schema_version)
        return 0;
    if (version == 1 || version == 2)
        return mode == STORE_WRITE ? bring_up_to_date(s, version, e) : 0;
    int64_t tables = pragma_number(s, "SELECT count(*) FROM sqlite_master");
    if (tables < 0)
        return sql_error(s, "read", e);
    if (version == 0 && tables == 0) {
        if (mode == STORE_WRITE)
            return make_schema(s, e);
        return err_set(e, ERR_NOT_FOUND, ORIGIN, "there are no records in %s yet", s->path);
    }
    if (version > store_schema_version)
        err_set(e, ERR_FORMAT, ORIGIN, "%s was written by a newer edgestill (format %lld, this one knows %d)",
                s->path, (long long)version, store_schema_version);
    else
        err_set(e, ERR_FORMAT, ORIGIN, "%s is a database, but not of edgestill records", s->path);
    return err_hint(e, "move it away to begin anew");
}

static int set_up(struct store *s, enum store_mode mode, struct err *e) {
    sqlite3_busy_timeout(s->db, 5000);
    if (mode == STORE_READ)
        return check_schema(s, mode, e);
    int rc = sql_run(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", e);
    if (rc == 0)
        rc = check_schema(s, mode, e);
    if (rc == 0)
        rc = sql_run(s,
                     "UPDATE call SET state = 'doubt', problem = 'under way when the program ended'"
                     " WHERE state = 'sent'",
                     e);
    return rc;
}

/* Read-only folders: without a write-ahead log beside it, the file can be read as it stands. */
static int open_unwritable(struct store *s) {
    size_t n = strlen(s->path) * 3 + 32;
    char *uri = malloc(n);
    if (!uri)
        return SQLITE_NOMEM;
    size_t at = (size_t)snprintf(uri, n, "file:");
    for (const char *c = s->path; *c; c++)
        at += (size_t)snprintf(uri + at, n - at, strchr("?#%", *c) ? "%%%02x" : "%c",
                               (unsigned)(unsigned char)*c);
    snprintf(uri + at, n - at, "?immutable=1");
    sqlite3_close(s->db);
    s->db = NULL;
    int rc = sqlite3_open_v2(uri, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    free(uri);
    return rc;
}

static int open_database(struct store *s, enum store_mode mode, struct err *e) {
    if (mode == STORE_READ && !file_exists(s->path)) {
        err_set(e, ERR_NOT_FOUND, ORIGIN, "there is no %s", s->path);
        return err_hint(e, "edgestill generate makes it");
    }
    int rc = mode == STORE_WRITE ? take_lock(s, e) : 0;
    if (rc < 0)
        return rc;
    int flags = mode == STORE_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? sql_error(s, "open", e) : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    if (mode == STORE_READ && pragma_number(s, "SELECT count(*) FROM sqlite_master") < 0 &&
        (sqlite3_errcode(s->db) & 0xff) == SQLITE_CANTOPEN && open_unwritable(s) != SQLITE_OK)
        return sql_error(s, "open", e);
    return set_up(s, mode, e);
}

int store_open(struct store **out, const char *path, enum store_mode mode, struct err *e) {
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    s->lock_fd = -1;
    s->path = strdup(path);
    int rc = s->path ? open_database(s, mode, e) : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s) {
    if (!s)
        return;
    store_rollback(s);
    for (int i = 0; i < s->n_statements; i++)
        sqlite3_finalize(s->statements[i].statement);
    if (s->db &&
        s->lock_fd >= 0) /* fails harmlessly while somebody reads: the log then stays beside the file */
        sqlite3_exec(s->db, "PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s);
}

/* ---- transactions and notes ---- */

static int run_kept(struct store *s, const char *literal, struct err *e) {
    sqlite3_stmt *q = sql_get(s, literal, e);
    return q ? sql_finish(s, q, e) : ERR_IO;
}

int store_begin(struct store *s, struct err *e) {
    int rc = run_kept(s, "BEGIN IMMEDIATE", e);
    if (rc == 0)
        s->in_transaction = true;
    return rc;
}

int store_commit(struct store *s, struct err *e) {
    int rc = run_kept(s, "COMMIT", e);
    if (rc == 0)
        s->in_transaction = false;
    else
        store_rollback(s);
    return rc;
}

void store_rollback(struct store *s) {
    if (s->in_transaction)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->in_transaction = false;
}

int store_note_set(struct store *s, const char *key, const char *text, struct err *e) {
    sqlite3_stmt *q = sql_get(s, "INSERT OR REPLACE INTO note (key, text) VALUES (?1, ?2)", e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, key);
    sql_text(q, 2, text);
    return sql_finish(s, q, e);
}

int store_note_get(struct store *s, const char *key, struct arena *a, const char **text, struct err *e) {
    sqlite3_stmt *q = sql_get(s, "SELECT text FROM note WHERE key = ?1", e);
    if (!q)
        return ERR_IO;
    sql_text(q, 1, key);
    int rc = sql_row(s, q, e);
    const char *found = rc == 1 ? arena_strdup(a, sql_column(q, 0)) : NULL;
    sql_done(q);
    if (rc < 0)
        return rc;
    if (rc == 1 && !found)
        return err_set(e, ERR_NO_MEMORY, "store_note_get", "out of memory");
    *text = found;
    return 0;
}
