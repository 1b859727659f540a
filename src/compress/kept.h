/* What an interrupted choice leaves behind, so that the next one goes on: candidates that are whole, their answers to the validation
 * rows, the table of losses. All of it belongs to one request, whose hash is in choice.json; with another hash it is removed. What was
 * collected from training rows has a key of its own (matrix.c) and outlives the choice. */
#ifndef COMPRESS_KEPT_H
#define COMPRESS_KEPT_H

#include "compress/internal.h"

/* Before anything is made: keeps what is there when it belongs to this request, else removes it. */
int kept_begin(struct compress_run_state *x, struct err *e);
/* After the chosen file has its name: all of it goes. */
void kept_end(struct compress_run_state *x);

/* Answers number `i` of this run: read into s, which is initialised; false when they are not there or of other rows. */
bool kept_scores_read(struct compress_run_state *x, int i, struct scores *s);
int kept_scores_write(struct compress_run_state *x, int i, const struct rows *rows, const struct scores *s,
                      struct err *e);

/* Which layers were left out of short-f16.gguf, which goes with the rest; false when that is not there. */
bool kept_depth_read(struct compress_run_state *x, struct depth_result *d);
int kept_depth_write(struct compress_run_state *x, const struct depth_result *d, struct err *e);

/* Losses of the table's matrices; false when they are not there or of other matrices or types. */
bool kept_losses_read(struct compress_run_state *x, struct bits_table *t);
int kept_losses_write(struct compress_run_state *x, const struct bits_table *t, struct err *e);

#endif
