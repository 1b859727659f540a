/* The working folder of a test program. */
#include "scratch.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[512];

static void leave(void) {
    if (chdir("/") == 0)
        file_remove_tree(folder, NULL);
}

void scratch_enter(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/edgestill-test.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder) || chdir(folder) != 0) {
        perror(folder);
        abort();
    }
    atexit(leave);
}
