/* The manifest of a stage: what it was made from and what it made. A verb whose manifest is current has nothing to do.
 *
 *     struct manifest m;
 *     manifest_init(&m, project.dir, "train", MANIFEST_TRAIN, &e);
 *     manifest_input(&m, "plan.yaml", &e);                     // every input: its hash
 *     manifest_setting(&m, "epochs", json_integer(3));         // every setting that changes the outcome
 *     manifest_seed(&m, project.seed);
 *     if (manifest_is_current(&m, &why)) ...                   // "up to date"; else why holds "plan.yaml changed"
 *     ... the work ...
 *     manifest_output(&m, "train/adapter.gguf", &e);           // last: outputs, then write
 *     manifest_write(&m, &e);
 *     manifest_release(&m);
 *
 * File: {"format":"edgestill.manifest/1","stage":"train","inputs":{path: sha256},"settings":{...},"seed":1,
 * "versions":{...},"outputs":{path: sha256},"created_at":"...","seconds":12.5,"stat":{path: [bytes, mtime in ms]}}.
 * `stat` spares hashing a large file again while its size and time are what they were.
 * Out of memory in the void functions comes back from manifest_write. */
#ifndef CMD_MANIFEST_H
#define CMD_MANIFEST_H

#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_FORMAT "edgestill.manifest/1"

/* Where each stage keeps its manifest, below the project folder. */
#define MANIFEST_GENERATE "records.manifest.json"
#define MANIFEST_TRAIN    "train/manifest.json"
#define MANIFEST_COMPRESS "model/manifest.json"
#define MANIFEST_EVAL     "eval/manifest.json"
#define MANIFEST_BUNDLE   "dist/manifest.json"

struct manifest {
    char *dir, *path; /* project folder; the manifest's file */
    json_t *document; /* what will be written */
    json_t *before;   /* what is on disk; NULL: nothing usable */
    double start_s;
    bool failed; /* an addition ran out of memory */
};

int manifest_init(struct manifest *m, const char *project_dir, const char *stage, const char *name,
                  struct err *e);
void manifest_release(struct manifest *m);

/* A file by its path below the project folder, or absolute. "edgestill.yaml#data.label" is one value of a YAML file: other
 * edits of the file do not count. */
int manifest_input(struct manifest *m, const char *name, struct err *e);
/* Something that is not a file, e.g. "records:train", by a hash that the stage computes; its name has a colon. The stage
 * that makes it lists the same name and hash among its outputs (manifest_output_hash). */
void manifest_input_hash(struct manifest *m, const char *name, const char *sha256);
void manifest_setting(struct manifest *m, const char *name, json_t *value); /* takes value */
void manifest_seed(struct manifest *m, uint64_t seed);
void manifest_version(struct manifest *m, const char *name, const char *version); /* recorded, not compared */
int manifest_output(struct manifest *m, const char *name, struct err *e);
void manifest_output_hash(struct manifest *m, const char *name, const char *sha256);

/* Are inputs, settings and seed those on disk, and all outputs there as they were? If not, `why` (may be NULL) gets the first
 * difference, appended. */
bool manifest_is_current(const struct manifest *m, struct str *why);

/* The hash that manifest_input would record: of a file, or of one value of a YAML file ("edgestill.yaml#device"). */
int manifest_hash(const char *project_dir, const char *name, char hex[SHA256_HEX], struct err *e);

/* Writes the file, atomically. */
int manifest_write(struct manifest *m, struct err *e);

/* The state of a stage from its manifest alone: are the recorded inputs and outputs still what they were? `upstream`:
 * outputs by name of the stages before, for inputs that are not files; NULL: those are taken as unchanged. */
enum manifest_state { MANIFEST_ABSENT, MANIFEST_CURRENT, MANIFEST_STALE };
enum manifest_state manifest_state(const char *project_dir, const char *name, const json_t *upstream,
                                   struct str *why);

#endif
