/* The device is asked as llama.cpp asks it: with a tensor that lies in a layout, may it compute the product? */
#include "llama/layout.h"

ggml_backend_buffer_type_t layout_of(ggml_backend_dev_t device, struct ggml_tensor *w,
                                     const struct ggml_tensor *product) {
    ggml_backend_dev_get_extra_bufts_t list =
        (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    for (ggml_backend_buffer_type_t *b = list ? list(device) : NULL; b && *b; b++) {
        w->buffer = ggml_backend_buft_alloc_buffer(*b, 0);
        bool can = w->buffer && ggml_backend_dev_supports_op(device, product);
        ggml_backend_buffer_free(w->buffer);
        w->buffer = NULL;
        if (can)
            return *b;
    }
    return ggml_backend_dev_buffer_type(device);
}

bool layout_copies(enum ggml_type type, int64_t rows, int64_t cols) {
    enum { BATCH = 512 }; /* llama.cpp asks with as many */
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    struct ggml_context *c =
        ggml_init((struct ggml_init_params){.mem_size = 4 * ggml_tensor_overhead(), .no_alloc = true});
    bool copies = false;
    if (device && c) {
        struct ggml_tensor *w = ggml_new_tensor_2d(c, type, cols, rows);
        struct ggml_tensor *product = ggml_mul_mat(c, w, ggml_new_tensor_2d(c, GGML_TYPE_F32, cols, BATCH));
        copies = layout_of(device, w, product) != ggml_backend_dev_buffer_type(device);
    }
    ggml_free(c);
    return copies;
}
