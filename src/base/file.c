/* Files: see file.h. Written files become visible by rename after fsync, so that a power cut leaves the old
 * file or the new one. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEFAULT_MAX_BYTES ((int64_t)1 << 30)

static int open_error(struct err *e, const char *origin, const char *path) {
    int code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
    return err_set_errno(e, code, origin, "%s: cannot open", path);
}

static int read_all(int fd, const char *path, int64_t max_bytes, struct str *out, struct err *e) {
    size_t start = out->len;
    char chunk[64 * 1024];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, ERR_IO, "file_read", "%s: cannot read", path);
        if (n == 0)
            return str_check(out, e);
        str_add_bytes(out, chunk, (size_t)n);
        if (out->failed)
            return err_set(e, ERR_NO_MEMORY, "file_read", "%s: out of memory after %zu bytes", path,
                           out->len - start);
        if ((int64_t)(out->len - start) > max_bytes)
            return err_set(e, ERR_INPUT, "file_read", "%s: larger than the %" PRId64 " bytes allowed here",
                           path, max_bytes);
    }
}

int file_read(const char *path, int64_t max_bytes, struct str *out, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return open_error(e, "file_read", path);
    size_t before = out->len;
    int code = read_all(fd, path, max_bytes > 0 ? max_bytes : DEFAULT_MAX_BYTES, out, e);
    close(fd);
    if (code < 0) {
        out->len = before;
        out->failed = false;
        if (out->data)
            out->data[before] = '\0';
    } else if (out->len == before) {
        str_add(out, ""); /* data is never NULL after a read */
    }
    return code;
}

int file_write(const char *path, const void *bytes, size_t n, struct err *e) {
    struct file_writer w;
    int code = file_writer_begin(&w, path, e);
    if (code < 0)
        return code;
    if (n > 0)
        fwrite(bytes, 1, n, w.stream); /* commit sees what went wrong */
    return file_writer_commit(&w, e);
}

static void writer_free(struct file_writer *w) {
    free(w->path);
    free(w->part_path);
    *w = (struct file_writer){0};
}

int file_writer_begin(struct file_writer *w, const char *path, struct err *e) {
    *w = (struct file_writer){0};
    struct str part = {0};
    str_addf(&part, "%s.part", path);
    w->path = strdup(path);
    w->part_path = str_take(&part);
    int code = 0;
    if (!w->path || !w->part_path)
        code = err_set(e, ERR_NO_MEMORY, "file_writer_begin", "%s: out of memory", path);
    else if (!(w->stream = fopen(w->part_path, "we")))
        code = err_set_errno(e, ERR_IO, "file_writer_begin", "%s: cannot write", path);
    if (code < 0)
        writer_free(w);
    return code;
}

/* A hint: where it fails, commit does the same work later. */
void file_writer_behind(struct file_writer *w) {
    if (w->stream)
        (void)sync_file_range(fileno(w->stream), 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* A rename is durable once its folder is. Some file systems cannot sync a folder; that is not an error. */
static void sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

/* fsync on a pipe or a device says EINVAL: there is nothing to sync. */
static bool flush_stream(FILE *stream) {
    return !ferror(stream) && fflush(stream) == 0 && (fsync(fileno(stream)) == 0 || errno == EINVAL);
}

int file_writer_commit(struct file_writer *w, struct err *e) {
    if (!w->stream)
        return err_set(e, ERR_FAILED, "file_writer_commit", "no file is being written");
    errno = 0;
    bool good = flush_stream(w->stream);
    int number = errno ? errno : EIO;
    if (fclose(w->stream) != 0 && good) {
        good = false;
        number = errno;
    }
    w->stream = NULL;
    if (good && rename(w->part_path, w->path) != 0) {
        good = false;
        number = errno;
    }
    int code = 0;
    if (good) {
        sync_folder_of(w->path);
    } else {
        unlink(w->part_path);
        errno = number;
        code = err_set_errno(e, ERR_IO, "file_writer_commit", "%s: cannot write", w->path);
    }
    writer_free(w);
    return code;
}

void file_writer_abort(struct file_writer *w) {
    if (w->stream) {
        fclose(w->stream);
        unlink(w->part_path);
    }
    writer_free(w);
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool file_is_folder(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int64_t file_size(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 ? (int64_t)s.st_size : -1;
}

int file_make_folders(const char *path, struct err *e) {
    char *copy = strdup(path);
    if (!copy)
        return err_set(e, ERR_NO_MEMORY, "file_make_folders", "%s: out of memory", path);
    int code = 0;
    for (char *p = copy; code == 0 && *p; p++) {
        bool last = p[1] == '\0';
        if (*p != '/' && !last)
            continue;
        if (*p == '/')
            *p = '\0';
        if (*copy && mkdir(copy, 0777) != 0 && errno != EEXIST)
            code = err_set_errno(e, ERR_IO, "file_make_folders", "%s: cannot make the folder", copy);
        if (*p == '\0')
            *p = '/';
    }
    free(copy);
    if (code == 0 && *path && !file_is_folder(path))
        code = err_set(e, ERR_IO, "file_make_folders", "%s: there is a file where a folder must be", path);
    return code;
}

static int copy_bytes(int from, FILE *to, const char *path, struct err *e) {
    char chunk[64 * 1024];
    for (;;) {
        ssize_t n = read(from, chunk, sizeof chunk);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, ERR_IO, "file_copy", "%s: cannot read", path);
        if (fwrite(chunk, 1, (size_t)n, to) != (size_t)n)
            return err_set_errno(e, ERR_IO, "file_copy", "%s: cannot write the copy", path);
    }
}

int file_copy(const char *from, const char *to, struct err *e) {
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return open_error(e, "file_copy", from);
    struct stat s;
    struct file_writer w;
    int code = file_writer_begin(&w, to, e);
    if (code == 0) {
        code = copy_bytes(fd, w.stream, from, e);
        if (code == 0 && fstat(fd, &s) == 0 && fchmod(fileno(w.stream), s.st_mode & 07777) != 0)
            code = err_set_errno(e, ERR_IO, "file_copy", "%s: cannot set the mode", to);
        if (code == 0)
            code = file_writer_commit(&w, e);
        else
            file_writer_abort(&w);
    }
    close(fd);
    return code;
}

int64_t file_free_bytes(const char *path) {
    char *copy = strdup(path);
    int64_t bytes = -1;
    while (copy) {
        struct statvfs s;
        if (statvfs(*copy ? copy : ".", &s) == 0) {
            bytes = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
            break;
        }
        if (errno != ENOENT || !*copy)
            break;
        char *slash = strrchr(copy, '/');
        if (slash == copy && copy[1])
            copy[1] = '\0';
        else
            *(slash ? slash : copy) = '\0';
    }
    free(copy);
    return bytes;
}

char *file_join(const char *folder, const char *name) {
    struct str path = {0};
    size_t n = strlen(folder);
    str_addf(&path, n > 0 && folder[n - 1] != '/' ? "%s/%s" : "%s%s", folder, name);
    return str_take(&path);
}
