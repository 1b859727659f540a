/* Memory operations of the tables that live in ordinary memory. */
#ifndef TENSOR_HOST_MEMORY_H
#define TENSOR_HOST_MEMORY_H

#include "tensor/ops.h"

/* Fills alloc, free, upload, download, zero and copy. */
void host_memory_fill(struct ops *o);

#endif
