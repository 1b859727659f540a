/* Removing a folder with all that is in it. Works on open folders (openat, unlinkat), so that a link that
 * somebody puts in the way is removed itself and never followed. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { DEEPEST = 256 };

static int remove_children(int folder, int depth, const char *path, struct err *e);

static int remove_entry(int folder, const char *name, int depth, const char *path, struct err *e) {
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_set_errno(e, ERR_IO, "file_remove_tree", "%s: cannot remove %s", path, name);
    int child = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0)
        return err_set_errno(e, ERR_IO, "file_remove_tree", "%s: cannot open %s", path, name);
    int code = remove_children(child, depth + 1, path, e);
    if (code == 0 && unlinkat(folder, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        code = err_set_errno(e, ERR_IO, "file_remove_tree", "%s: cannot remove %s", path, name);
    return code;
}

/* Takes `folder` and closes it. */
static int remove_children(int folder, int depth, const char *path, struct err *e) {
    DIR *dir = depth < DEEPEST ? fdopendir(folder) : NULL;
    if (!dir) {
        close(folder);
        return err_set(e, ERR_IO, "file_remove_tree", "%s: cannot list a folder %d levels down", path, depth);
    }
    int code = 0;
    struct dirent *entry;
    while (code == 0 && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            code = remove_entry(folder, entry->d_name, depth, path, e);
    closedir(dir);
    return code;
}

int file_remove_tree(const char *path, struct err *e) {
    return remove_entry(AT_FDCWD, path, 0, path, e);
}
