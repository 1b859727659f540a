/* A project's teacher as the verbs use it: opened from edgestill.yaml and the command line, and asked for consent before
 * anything costs money. */
#ifndef CMD_TEACHING_H
#define CMD_TEACHING_H

#include "cmd/cmd.h"
#include "cmd/project.h"
#include "store/store.h"
#include "teacher/teacher.h"

/* --budget, --parallel, --price-in, --price-out, --sampling, --yes: rows for the option table of a verb that asks. */
#define TEACHING_OPTIONS                                                                                     \
    {"budget", OPTION_NUMBER, "USD",                                                                         \
     "hard cap on what the teacher may cost, all calls of this project together", NULL},                     \
        {"parallel", OPTION_INT, "N", "questions under way at once", NULL},                                  \
        {"price-in", OPTION_NUMBER, "USD", "the teacher's price for a million tokens read", NULL},           \
        {"price-out", OPTION_NUMBER, "USD", "the teacher's price for a million tokens written", NULL},       \
        {"sampling", OPTION_FLAG, NULL, "send temperature and seed (several endpoints refuse them)", NULL},  \
    {                                                                                                        \
        "yes", OPTION_FLAG, NULL, "agree to the quote without being asked", NULL                             \
    }

/* ERR_INPUT when the project has no teacher. Close the teacher before the store. */
int teaching_open(struct cmd_ctx *c, struct project *p, struct store *s, struct teacher **out);

/* The teacher that would be opened, as far as a quote goes (teacher_foresee); its model's path lives as long as the project. */
int teaching_foresee(struct cmd_ctx *c, struct project *p, struct store *s, struct teacher_traits *out);

/* What an answer to the quote is about. */
struct teaching_quote {
    const char *what; /* "drafting the task" */
    int64_t calls;
    int64_t tokens_in, tokens_out;             /* 0: not shown */
    double money, money_high;                  /* US dollars */
    double seconds, seconds_low, seconds_high; /* 0: not shown */
    const char *basis;                         /* of the seconds */
};

/* Shows the quote. Then 0 when it costs nothing, when --yes was given, or when the person at the terminal agrees; otherwise
 * ERR_GATE. */
int teaching_consent(struct cmd_ctx *c, const struct teacher *t, const struct teaching_quote *q);

/* The ledger as one line for people and as an object. */
json_t *teaching_ledger(struct store *s, struct str *line);

#endif
