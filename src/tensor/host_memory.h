/* Memory operations of the tables that live in ordinary memory. */
#ifndef TENSOR_HOST_MEMORY_H
#define TENSOR_HOST_MEMORY_H

#include "tensor/ops.h"

/* Fills alloc, free, upload, download, zero and copy. */
void host_memory_fill(struct ops *o);
/* That alloc: aligned, cleared by the calling thread. */
void *host_memory_alloc(const struct ops *o, size_t size_bytes);

#endif
