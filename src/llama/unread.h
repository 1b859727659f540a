/* The parts of a model's file that decisions do not read once llama.cpp has loaded it: matrices that it has copied into a layout of
 * the processor's own, and tables of which single rows are looked up. */
#ifndef LLAMA_UNREAD_H
#define LLAMA_UNREAD_H

#include <stdbool.h>
#include <stdint.h>

struct unread_part {
    uint64_t begin, end; /* bytes of the file */
    bool copied;         /* else looked up by rows */
    int layer;           /* INT32_MAX: of none */
};

/* Looked up parts first, then the copied ones in the order in which llama.cpp copies them, layer by layer. */
struct unread {
    struct unread_part *parts;
    int64_t n, capacity;
    uint64_t copied_bytes, model_bytes; /* of the copied parts; of all tensors */
};

/* For the kernels that are loaded. Reads the list of tensors alone (a vocabulary is passed over, not kept). A file that cannot be
 * read so has no such parts: what is wrong with it llama.cpp says. */
void unread_find(struct unread *out, const char *path);
void unread_release(struct unread *u);

/* Unmaps the pages of parts [first, end) of the file at `path`, wherever this process has it mapped; what is read after all comes
 * back from the page cache. Refused for locked pages: they stay. */
void unread_unmap(const struct unread *u, const char *path, int64_t first, int64_t end);

#endif
