/* A folder's files as a .tar.zst that is the same, byte for byte, whenever and by whomever it is made: entries sorted, owner
 * root, times zero, modes 755 and 644, one compression thread. */
#ifndef DELIVER_ARCHIVE_H
#define DELIVER_ARCHIVE_H

#include "base/err.h"
#include "base/progress.h"

struct archive_item {
    const char *name; /* below the folder */
    bool executable;
};

/* The files appear as "<top>/<name>", in the order given. Atomic. */
struct archive_request {
    const char *folder, *top, *out;
    const struct archive_item *items;
    int64_t n_items;
    struct progress *progress; /* by bytes; may be NULL */
};
int archive_make(const struct archive_request *q, struct err *e);

#endif
