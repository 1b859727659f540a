/* A model's answers to rows with known labels, and what they are worth: scored once, kept as arrays.
 *
 *     struct scores s;
 *     scores_init(&s, task, &rows, &e);
 *     score_model(&s, "model/student.gguf", task, &rows, &(struct score_options){.n_free = 500}, &progress, &e);
 *     struct scored view = scores_view(&s);          // for metrics, intervals, comparisons
 *     scores_write(&s, task, "eval/student-quant.rows.csv", &e);
 *     scores_release(&s);
 *
 * Of the kinds extract and respond the scores are those of two labels, 0 right and 1 wrong: truth is always 0, an answer that
 * keeps to the schema is 0 or 1, any other is -1 (invalid), and `text` has what was written.
 *
 * A model is scored with task/classify.h: the code that the device runs, with the prompt that the model's own chat template
 * frames. Its answer is the most probable label. Beside that it answers the first n_free rows freely (greedy), for the
 * share of answers that are no label at all. */
#ifndef EVAL_SCORE_H
#define EVAL_SCORE_H

#include "base/progress.h"
#include "eval/metrics.h"
#include "eval/rows.h"
#include "task/prompt.h"

struct scores {
    int64_t n;
    int n_labels, positive;
    int *truth, *answer;
    double *prob; /* [n, n_labels]; NULL where the answers came without */
    char **text;  /* extract, respond: [n] answers as written, NULL where there is none; else NULL */
    bool written; /* extract or respond */
    int64_t n_free, n_free_invalid, n_free_same; /* answered freely; no label; the label scored highest */
    double seconds;
    int64_t n_tokens;             /* read */
    char prompt_hash[SHA256_HEX]; /* "" for a teacher */
};

/* extract, respond: takes the answer to row i as `text` (NULL: none), valid or not, and compares. */
int scores_set_text(struct scores *s, const struct rows *rows, int64_t i, const char *text, bool valid,
                    struct err *e);

/* Room for the rows' answers; truth filled in. */
int scores_init(struct scores *s, const struct task *t, const struct rows *rows, struct err *e);
void scores_release(struct scores *s);             /* safe to repeat */
struct scored scores_view(const struct scores *s); /* borrowed */

struct score_options {
    int n_threads;       /* cores to use; 0: all. A small model is scored by several at once, a core each */
    int64_t n_free;      /* rows to answer freely too; 0: none */
    const char *kv_type; /* of lm_options; NULL: "f16" */
    const char *prompt_hash;        /* ERR_MISMATCH when the model's prompt is another; NULL: any */
    const char *lora;               /* adapter to apply; NULL: none */
    const struct prompt_form *form; /* in which a base is asked; NULL: as the model says */
};

/* Loads the GGUF, scores every row, closes it. */
int score_model(struct scores *s, const char *gguf, const struct task *t, const struct rows *rows,
                const struct score_options *o, struct progress *progress, struct err *e);

/* Rows as CSV: row, truth, answer (empty: invalid), and p:<label> for each label where there are probabilities. Of extract
 * and respond: row, truth, answer, valid, right. */
int scores_write(const struct scores *s, const struct task *t, const struct rows *rows, const char *path,
                 struct err *e);
/* And back. ERR_MISMATCH when the file was made for other labels. */
int scores_read(struct scores *s, const struct task *t, const char *path, struct err *e);

#endif
