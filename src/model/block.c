/* Block formats through ggml. */
#include "model/block.h"
#include <ggml.h>
#include <stdlib.h>
#include <string.h>

bool block_type_find(const char *name, struct block_type *out) {
    for (int i = 0; name && i < GGML_TYPE_COUNT; i++) {
        enum ggml_type type = (enum ggml_type)i;
        const struct ggml_type_traits *traits = ggml_get_type_traits(type);
        if (!traits->type_name || strcmp(traits->type_name, name) != 0 ||
            (type != GGML_TYPE_F32 && !traits->to_float))
            continue;
        *out = (struct block_type){.name = traits->type_name,
                                   .id = i,
                                   .n_values = traits->blck_size,
                                   .n_bytes = (int64_t)traits->type_size,
                                   .needs_importance = ggml_quantize_requires_imatrix(type)};
        return true;
    }
    return false;
}

int64_t block_type_bytes(const struct block_type *t, int64_t rows, int64_t cols) {
    return rows * (cols / t->n_values) * t->n_bytes;
}

int block_round(const struct block_type *t, const float *in, float *out, int64_t rows, int64_t cols,
                const float *importance, struct err *e) {
    enum ggml_type type = (enum ggml_type)t->id;
    if (cols % t->n_values != 0)
        return err_set(e, ERR_UNSUPPORTED, "block_round", "a width of %lld is no multiple of %s's %lld",
                       (long long)cols, t->name, (long long)t->n_values);
    if (t->needs_importance && !importance)
        return err_set(e, ERR_USAGE, "block_round", "%s needs an importance matrix", t->name);
    if (type == GGML_TYPE_F32) {
        memmove(out, in, (size_t)(rows * cols) * sizeof *in);
        return 0;
    }
    void *packed = malloc((size_t)block_type_bytes(t, rows, cols) + 1);
    if (!packed)
        return err_set(e, ERR_NO_MEMORY, "block_round", "no memory to round %lld x %lld values",
                       (long long)rows, (long long)cols);
    ggml_quantize_chunk(type, in, packed, 0, rows, cols, importance);
    ggml_get_type_traits(type)->to_float(packed, out, rows * cols);
    free(packed);
    return 0;
}
