/* The tables of records.sqlite, version 3. docs/formats.md explains the columns to people; a later version
 * adds its changes as a script of its own and raises the number. */
#include "store/sql.h"

const int store_schema_version = 3;

/* What version 2 added. */
#define EDITS                                                                                                \
    "CREATE TABLE edit ("                                                                                    \
    " id INTEGER PRIMARY KEY,"                                                                               \
    " record INTEGER NOT NULL REFERENCES record (id),"                                                       \
    " at_unix_ms INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,"                                   \
    " before TEXT NOT NULL, after TEXT NOT NULL);"

/* What version 3 added to `record`. */
#define BELIEF "ALTER TABLE record ADD COLUMN probabilities TEXT;"

const char store_schema_from_1[] = EDITS BELIEF;
const char store_schema_from_2[] = BELIEF;

const char store_schema[] =
    "CREATE TABLE note (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"

    /* The journal. `key` says what was asked of whom, and which repetition: it has one answered row at most.
     */
    "CREATE TABLE call ("
    " id INTEGER PRIMARY KEY,"
    " key TEXT NOT NULL,"
    " purpose TEXT NOT NULL,"
    " teacher TEXT NOT NULL,"
    " cell TEXT,"
    " request TEXT NOT NULL,"
    " reserved_in INTEGER NOT NULL, reserved_out INTEGER NOT NULL, reserved_money REAL NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('sent', 'answered', 'failed', 'doubt')),"
    " http_status INTEGER,"
    " response TEXT,"
    " problem TEXT,"
    " tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0, money REAL NOT NULL "
    "DEFAULT 0,"
    " seconds REAL NOT NULL DEFAULT 0,"
    " sent_unix_ms INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX call_answered ON call (key) WHERE state = 'answered';"
    "CREATE INDEX call_open ON call (state) WHERE state IN ('sent', 'doubt');"

    "CREATE TABLE record ("
    " id INTEGER PRIMARY KEY,"
    " source TEXT NOT NULL CHECK (source IN ('teacher', 'own')),"
    " data TEXT NOT NULL,"
    " label TEXT, wanted TEXT, cell TEXT,"
    " weight REAL NOT NULL,"
    " status TEXT NOT NULL CHECK (status IN ('pending', 'accepted', 'spare', 'rejected')),"
    " split TEXT NOT NULL CHECK (split IN ('none', 'train', 'validation', 'test')),"
    " reason TEXT,"
    " write_call INTEGER REFERENCES call (id), write_index INTEGER NOT NULL,"
    " label_call INTEGER REFERENCES call (id),"
    " CHECK ((status = 'rejected') = (reason IS NOT NULL)));"
    "CREATE INDEX record_status ON record (status, split);"
    "CREATE UNIQUE INDEX record_write ON record (write_call, write_index) WHERE write_call IS NOT "
    "NULL;" EDITS BELIEF;
