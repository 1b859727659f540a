/* What compression came to: as text for people, with the front as a plot, and as edgestill.compress/1. */
#ifndef CMD_COMPRESS_TEXT_H
#define CMD_COMPRESS_TEXT_H

#include "cmd/cmd.h"
#include "compress/compress.h"

#define COMPRESS_FORMAT "edgestill.compress/1"

void compress_print(struct cmd_ctx *c, const struct compress_result *r, int64_t n_validation);
json_t *compress_to_json(const struct compress_result *r, int64_t n_validation); /* NULL: out of memory */

#endif
