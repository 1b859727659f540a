/* What a program or library for Linux asks of its loader: enough of the ELF format to find the libraries a bundle needs.
 * Files of a foreign architecture are read as well as own ones; 64-bit little-endian only. Nothing in the file is trusted:
 * every offset is checked against its size. */
#ifndef DELIVER_ELF_H
#define DELIVER_ELF_H

#include "base/err.h"
#include "base/mem.h"

struct elf_info {
    int machine;         /* EM_AARCH64, EM_X86_64 */
    const char **needed; /* sonames, in the arena */
    int n_needed;
};

/* ERR_FORMAT when it is no such file. */
int elf_read(const char *path, struct arena *a, struct elf_info *out, struct err *e);

#endif
