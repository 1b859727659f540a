/* This process's mappings, line by line of /proc/self/maps. */
#ifndef LLAMA_MAPS_H
#define LLAMA_MAPS_H

#include <stdbool.h>
#include <stdio.h>

struct mapping {
    unsigned long start, end, offset, inode; /* offset in the file; inode 0: no file */
    char access[5];                          /* "rw-p" */
};

static inline FILE *maps_open(void) {
    return fopen("/proc/self/maps", "r");
}

/* "start-end rw-p offset device inode path"; false at the end. */
static inline bool maps_next(FILE *maps, struct mapping *m) {
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %4s %lx %*s %lu", &m->start, &m->end, m->access, &m->offset, &m->inode) ==
            5)
            return true;
    }
    return false;
}

#endif
