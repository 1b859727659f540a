/* Text files as UTF-8, whatever they were saved in: UTF-8 with or without a byte order mark; UTF-16, by its mark; and Windows-1252,
 * taken where bytes above 127 are there, none of them part of UTF-8 and all of them characters of Windows-1252.
 *
 *     FILE *f;
 *     const char *encoding;
 *     if (text_file_open(&f, &encoding, "rows.csv", &e) == 0) ...
 *     fclose(f); */
#ifndef FORMAT_TEXT_FILE_H
#define FORMAT_TEXT_FILE_H

#include "base/err.h"
#include <stdio.h>

/* *out reads UTF-8, from after the mark; *encoding (may be NULL) is NULL for UTF-8, else its name. What cannot be converted ends
 * the stream with EILSEQ. A file that is damaged UTF-8 is given as it is: its reader says where. ERR_NOT_FOUND, ERR_IO. */
int text_file_open(FILE **out, const char **encoding, const char *path, struct err *e);

#endif
