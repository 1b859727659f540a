/* Filling the quota grid from a teacher, until every label has exactly its number of accepted records.
 *
 *     struct generate_report r = {0};
 *     generate_run(teacher, store, task, &(struct generate_options){.n_records = 1000, .seed = 1}, &progress, &r, &e);
 *     ... r.grid ...
 *     generate_report_release(&r);
 *
 * One wave: ask for records where the grid is short (WRITE, many at once); check them; let each be labelled by a question of
 * its own (LABEL); accept, keep as spare, or reject. The next wave asks for what is still missing. The state of a wave is a
 * function of what is committed, so a run that was killed goes on with the same questions, and those that were answered are
 * not asked again; and given the same answers, the same records come out, however long each took.
 *
 * A teacher of the full style is shown up to three accepted records of what it is to write (of the cell, or else of the label), other ones
 * in each question; their ids are noted in the store before the wave is asked, so that a run that goes on asks the same, and they
 * are training records from then on. A quarter of each label's quota is asked for in pairs on a boundary (grid_add_pairs).
 *
 * After the first wave of classify, records with crossed corners (cross.h) wait for their label beside those that were written.
 *
 * With several votes the commonest answer counts, its share of the votes becomes the record's weight, and without a majority the
 * record is rejected as `votes disagree`, for review. A teacher that scores the labels (teacher_scores) is asked once: the
 * probabilities are the record's, and that of its label the weight. Of extract and respond the answers stand where labels do,
 * and there is one quota for all of them.
 *
 * Generation ends with ERR_TEACHER when a wave brought hardly anything that was not there yet (saturation).
 *
 * The label that counts is the LABEL answer. A record whose label is not the one it was written for fills a gap of its own label,
 * or is rejected as `label disagreement`. */
#ifndef SYNTH_GENERATE_H
#define SYNTH_GENERATE_H

#include "base/progress.h"
#include "eval/rows.h"
#include "store/store.h"
#include "synth/grid.h"
#include "synth/split.h"
#include "teacher/teacher.h"

struct generate_options {
    int64_t n_records; /* accepted ones wanted; rounded up to a multiple of the number of labels */
    uint64_t seed;
    int per_call; /* records in one answer [4] */
    int votes;    /* times that each record is labelled [1]; the share of the winner is its weight */
    /* cross records for a label that is short (cross.h): fewer questions, see decision 14 for what it can cost */
    bool aim;
    int64_t wave_calls;          /* most WRITE questions in one wave [64, or a third of what is missing] */
    const struct rows *held_out; /* rows that must not be repeated; NULL: none */
    /* [n_declared] the fields of own training rows that a teacher may be shown as exemplars; NULL: no own row is shown */
    const bool *shared_fields;
    struct split_shares shares;
    bool has_shares; /* otherwise 80/10/10 */
    /* Called once, after the first small wave was judged and before the rest is asked; NULL: nobody wants to know. */
    void (*first)(void *context, const struct grid *g);
    void *first_context;
};

struct generate_report {
    struct grid grid; /* cells and labels as they ended */
    int n_waves;
    int64_t wave_written, wave_new; /* records of the latest wave; those of them that were no copies */
};
void generate_report_release(struct generate_report *r);

/* 0 when all quotas are met and all splits assigned. ERR_TEACHER with the reason when a label cannot be filled; ERR_BUDGET,
 * ERR_NET, ERR_INTERRUPTED as teacher_run: run again to go on. *out is filled in every case (release it). */
int generate_run(struct teacher *t, struct store *s, const struct task *task,
                 const struct generate_options *o, struct progress *progress, struct generate_report *out,
                 struct err *e);

/* What is still to be asked, before anything is. */
struct generate_quote {
    int64_t missing;           /* records */
    int64_t calls, calls_high; /* expected, and if much is rejected */
    int64_t tokens_in, tokens_out;
    double money, money_high; /* US dollars */
    double seconds, seconds_low, seconds_high;
    const char *basis; /* of the time: "measured on earlier answers", "by the file's size and …", "assumed" */
};
int generate_quote(struct teacher *t, struct store *s, const struct task *task,
                   const struct generate_options *o, struct generate_quote *out, struct err *e);

/* The same of a teacher that is not opened; s NULL: there are no records yet. */
int generate_foresee(const struct teacher_traits *t, struct store *s, const struct task *task,
                     const struct generate_options *o, struct generate_quote *out, struct err *e);

/* Refuses to mix records of two tasks in one file: notes the task's fields and labels at the first call, compares later.
 * ERR_MISMATCH. */
int generate_check_task(struct store *s, const struct task *task, struct err *e);

#endif
