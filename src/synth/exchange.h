/* Records going out and coming in: JSON Lines in the chat format that other trainers read, and CSV.
 *
 *     {"messages":[{"role":"user","content":"<instruction>\n- delay: 5\n"},{"role":"assistant","content":"normal"}],
 *      "edgestill":{"record":{"delay":5},"answer":"normal","split":"train","weight":1,"source":"teacher"}}
 *
 * `edgestill` also has "probabilities":{"normal":0.98,...} where the teacher gave them. The user's message is the student's prompt
 * without the chat template's frame. CSV has a column for each declared field, then `answer`, `split`, `weight` and `source`
 * (`edgestill weight` where a field is called so). Coming in, `edgestill` is used where it is there; otherwise the lines
 * "- name: value" of the user's message are the record. */
#ifndef SYNTH_EXCHANGE_H
#define SYNTH_EXCHANGE_H

#include "base/err.h"
#include "store/store.h"
#include "task/task.h"

struct exchange_out {
    int64_t n; /* records written */
};

/* By the path's ending: .jsonl (chat format) or .csv. Accepted records of a split (STORE_ALL_SPLITS: all). */
int exchange_export(struct store *s, const struct task *t, enum store_split split, const char *path,
                    struct exchange_out *out, struct err *e);

struct exchange_in {
    int64_t n_new, n_known; /* taken in; left out because the same record is there */
};

/* All or nothing: a line that cannot be used is an error with its number. New records are the user's own. They keep the split, the
 * weight and the probabilities that export wrote beside them, so that a test row is one wherever it goes; without, the split is
 * drawn later (split_assign). */
int exchange_import(struct store *s, const struct task *t, const char *path, struct exchange_in *out,
                    struct err *e);

#endif
