/* See loop_log.h. */
#include "train/loop_log.h"
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

int train_log_open(struct train_log *l, const char *path, int64_t n_bytes, struct err *e) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    *l = (struct train_log){.path = path};
    if (fd < 0)
        return err_set_errno(e, ERR_IO, "train_log_open", "opening %s", path);
    off_t size = lseek(fd, 0, SEEK_END);
    if (size > n_bytes && (ftruncate(fd, n_bytes) != 0 || lseek(fd, 0, SEEK_END) < 0)) {
        close(fd);
        return err_set_errno(e, ERR_IO, "train_log_open", "cutting %s back", path);
    }
    l->stream = fdopen(fd, "a");
    if (l->stream)
        return 0;
    close(fd);
    return err_set_errno(e, ERR_IO, "train_log_open", "opening %s", path);
}

void train_log_close(struct train_log *l) {
    if (l->stream)
        fclose(l->stream);
    l->stream = NULL;
}

void train_log_line(struct train_log *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(l->stream, format, args);
    va_end(args);
    fputc('\n', l->stream);
}

int train_log_flush(struct train_log *l, int64_t *n_bytes, struct err *e) {
    if (fflush(l->stream) != 0 || ferror(l->stream))
        return err_set_errno(e, ERR_IO, "train_log_flush", "writing %s", l->path);
    *n_bytes = ftell(l->stream);
    return 0;
}
