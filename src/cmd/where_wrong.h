/* Deciding on one more round of generation where the student is wrong (synth/rounds.h): scores the student on the validation rows,
 * says what the round before brought for its money, and plans the next unless that was less than the user asks for.
 *
 *     struct where_wrong w = {.c = c, .project = &p, .task = &task, .store = s, .n_records = 1000, .each = 50, ...};
 *     int code = where_wrong_plan(&w);      // w.planned: there is a round to fill
 *     ... quote, consent ... no: where_wrong_forget(&w) */
#ifndef CMD_WHERE_WRONG_H
#define CMD_WHERE_WRONG_H

#include "cmd/cmd.h"
#include "cmd/project.h"
#include "store/store.h"

struct where_wrong {
    struct cmd_ctx *c;
    struct project *project;
    const struct task *task;
    struct store *store;
    int64_t n_records; /* of the main set */
    int64_t n_round;   /* records of a round; 0: a fifth of the main set */
    int64_t most;      /* rounds in all */
    /* points of validation accuracy for a dollar, or for 100 records where nothing is paid */
    double least_gain;
    bool planned; /* out: a round is to be filled: a new one, or one that was not filled yet */
    bool is_new;  /* out: planned by this call */
};

/* ERR_INPUT when there is no student trained on the records as they are. Not planning is no error: why stands in the result
 * as round.stopped. */
int where_wrong_plan(struct where_wrong *w);

/* Takes back a round that this call planned and for which nothing was asked. */
int where_wrong_forget(struct where_wrong *w);

#endif
