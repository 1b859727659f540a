/* Files: whole reads, atomic writes, folders. Every error names the path. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/err.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Appends the whole file to `out`. ERR_NOT_FOUND when there is none; ERR_INPUT when larger than max_bytes (0:
 * 1 GiB). */
int file_read(const char *path, int64_t max_bytes, struct str *out, struct err *e);

/* Write beside, fsync, rename: `path` is either the old file or the whole new one, never a part. */
int file_write(const char *path, const void *bytes, size_t n, struct err *e);

/* The same for a writer that streams: begin opens "<path>.part"; commit makes it durable and renames; abort
 * removes. */
struct file_writer {
    FILE *stream; /* write with stdio */
    char *path, *part_path;
};
int file_writer_begin(struct file_writer *w, const char *path, struct err *e);
void file_writer_behind(
    struct file_writer *w); /* what is written so far goes to the disk from now on: a shorter commit */
int file_writer_commit(struct file_writer *w, struct err *e); /* also checks ferror */
void file_writer_abort(struct file_writer *w);                /* safe after commit */

bool file_exists(const char *path);
bool file_is_folder(const char *path);
int64_t file_size(const char *path);                            /* -1 when it cannot be had */
int file_make_folders(const char *path, struct err *e);         /* mkdir -p */
int file_copy(const char *from, const char *to, struct err *e); /* atomic; keeps the mode */
int file_remove_tree(const char *path, struct err *e);          /* absent is fine */
int64_t file_free_bytes(const char *path); /* free space where path is or would be; -1 unknown */

/* "folder/name" into a new string (free()); NULL when out of memory. */
char *file_join(const char *folder, const char *name);

#endif
