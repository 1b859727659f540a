/* The runtime that a bundle carries: edgestill-run for its architecture, ggml's CPU kernels, every library that they need down
 * to the C library and its loader, and the licences of all of them.
 *
 * Libraries come from the private prefix of that architecture (tools/llama-prefix.sh) and from nowhere else; one that is not
 * there, or that no known package of the prefix explains, is an error and not a surprise on the device. */
#ifndef DELIVER_RUNTIME_H
#define DELIVER_RUNTIME_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

/* name, ELF machine, loader, edgestill-run below the program's data folder and below the source tree */
#define RUNTIME_ARCHS(X)                                                                                     \
    X("arm64", EM_AARCH64, "ld-linux-aarch64.so.1", "arm64/edgestill-run", "build/arm64/edgestill-run")      \
    X("amd64", EM_X86_64, "ld-linux-x86-64.so.2", "amd64/edgestill-run", "build/edgestill-run")

struct runtime_file {
    const char *from; /* where it lies here */
    const char *name; /* in the bundle: "lib/libllama.so.0" */
    bool executable;
};

struct runtime {
    struct arena arena;
    const char *arch, *loader;
    struct runtime_file *files; /* sorted by name */
    int64_t n_files, capacity;
};

bool runtime_arch_known(const char *arch);
const char *
runtime_loader(const char *arch); /* "ld-linux-aarch64.so.1"; "" when the architecture is unknown */

/* Where edgestill-run for that architecture lies here, into an empty `out`; ERR_NOT_FOUND when it was not built. */
int runtime_program(const char *arch, struct str *out, struct err *e);

/* ERR_UNSUPPORTED when this machine has no prefix for the architecture; ERR_NOT_FOUND naming what is missing. */
int runtime_collect(struct runtime *out, const char *arch, struct err *e);
void runtime_release(struct runtime *r);

#endif
