/* Archives through libarchive. */
#include "deliver/archive.h"
#include "base/file.h"
#include "base/interrupt.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 18 };

struct writer {
    struct archive *archive;
    const struct archive_request *q;
    char *chunk; /* CHUNK_BYTES */
    int64_t done_bytes;
};

static int archive_failed(const struct writer *w, struct err *e) {
    const char *why = archive_error_string(w->archive);
    return err_set(e, archive_errno(w->archive) == ENOSPC ? ERR_NO_SPACE : ERR_IO, "archive_make",
                   "cannot write %s: %s", w->q->out, why ? why : "unknown reason");
}

static int write_header(struct writer *w, const struct archive_item *x, int64_t size_bytes, struct err *e) {
    struct str name = {0};
    struct archive_entry *entry = archive_entry_new();
    str_addf(&name, "%s/%s", w->q->top, x->name);
    int rc =
        entry ? str_check(&name, e) : err_set(e, ERR_NO_MEMORY, "archive_make", "no memory for an entry");
    if (rc == 0) {
        archive_entry_set_pathname(entry, str_text(&name));
        archive_entry_set_size(entry, size_bytes);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, x->executable ? 0755 : 0644);
        archive_entry_set_mtime(entry, 0, 0);
        archive_entry_set_uname(entry, "root");
        archive_entry_set_gname(entry, "root");
        if (archive_write_header(w->archive, entry) != ARCHIVE_OK)
            rc = archive_failed(w, e);
    }
    archive_entry_free(entry);
    str_release(&name);
    return rc;
}

static int write_contents(struct writer *w, FILE *f, const char *path, struct err *e) {
    size_t n;
    while ((n = fread(w->chunk, 1, CHUNK_BYTES, f)) > 0) {
        if (archive_write_data(w->archive, w->chunk, n) != (la_ssize_t)n)
            return archive_failed(w, e);
        w->done_bytes += (int64_t)n;
        progress_update(w->q->progress, w->done_bytes);
        if (interrupt_requested())
            return interrupt_check(e);
    }
    return ferror(f) ? err_set_errno(e, ERR_IO, "archive_make", "cannot read %s", path) : 0;
}

static int add_item(struct writer *w, const struct archive_item *x, struct err *e) {
    char *path = file_join(w->q->folder, x->name);
    FILE *f = path ? fopen(path, "rb") : NULL;
    int rc = f ? 0 : err_set_errno(e, ERR_IO, "archive_make", "cannot open %s in %s", x->name, w->q->folder);
    if (rc == 0)
        rc = write_header(w, x, file_size(path), e);
    if (rc == 0)
        rc = write_contents(w, f, path, e);
    if (f)
        fclose(f);
    free(path);
    return rc;
}

static int write_all(struct writer *w, FILE *stream, struct err *e) {
    if (archive_write_set_format_pax_restricted(w->archive) != ARCHIVE_OK ||
        archive_write_add_filter_zstd(w->archive) != ARCHIVE_OK ||
        archive_write_set_filter_option(w->archive, "zstd", "compression-level", "9") != ARCHIVE_OK ||
        /* a stream's last block is filled up with zeros otherwise, as a tape's: zstd and tar end with an error there */
        archive_write_set_bytes_in_last_block(w->archive, 1) != ARCHIVE_OK ||
        archive_write_open_FILE(w->archive, stream) != ARCHIVE_OK)
        return archive_failed(w, e);
    for (int64_t i = 0; i < w->q->n_items; i++) {
        int rc = add_item(w, &w->q->items[i], e);
        if (rc < 0)
            return rc;
    }
    return archive_write_close(w->archive) == ARCHIVE_OK ? 0 : archive_failed(w, e);
}

int archive_make(const struct archive_request *q, struct err *e) {
    struct file_writer out = {0};
    struct writer w = {.q = q};
    int rc = file_writer_begin(&out, q->out, e);
    if (rc < 0)
        return rc;
    w.archive = archive_write_new();
    w.chunk = malloc(CHUNK_BYTES);
    rc = w.archive && w.chunk ? write_all(&w, out.stream, e)
                              : err_set(e, ERR_NO_MEMORY, "archive_make", "no memory to write %s", q->out);
    if (w.archive)
        archive_write_free(w.archive);
    free(w.chunk);
    if (rc == 0)
        rc = file_writer_commit(&out, e);
    file_writer_abort(&out);
    return rc;
}
