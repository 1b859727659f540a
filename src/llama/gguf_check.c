/* Is a file a whole GGUF, and a model that llama.cpp can be given? Its own loader answers some broken files with a line in its log
 * and some with an assertion that ends the process; what is known to do so is refused here first, with the reason. */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "llama/lm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 512 }; /* llama.cpp's own limit: more ends in an assertion */

/* ---- the container ---- */

static int check_magic(const char *path, struct err *e) {
    char magic[4] = {0};
    FILE *f = fopen(path, "rb");
    if (!f) {
        int code = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        return err_set_errno(e, code, "lm_open", "cannot open the model %s", path);
    }
    size_t n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    if (n < sizeof magic || memcmp(magic, GGUF_MAGIC, sizeof magic) != 0) {
        err_set(e, ERR_FORMAT, "lm_open", "%s is not a GGUF file (it begins with other bytes)", path);
        err_hint(e, "give a model in GGUF format; a web page saved by a failed download is a common mistake");
        return ERR_FORMAT;
    }
    return 0;
}

static int open_header(struct gguf_context **out, const char *path, struct err *e) {
    int rc = check_magic(path, e);
    if (rc < 0)
        return rc;
    struct lm_log_listener log = {0};
    lm_log_begin(&log);
    *out = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true});
    lm_log_end(&log);
    return *out ? 0
                : err_set(e, ERR_FORMAT, "lm_open", "%s is a broken GGUF file: %s", path,
                          log.errors[0] ? log.errors : "its header cannot be read");
}

static int check_length(const struct gguf_context *g, const char *path, struct err *e) {
    size_t end = gguf_get_data_offset(g);
    for (int64_t i = 0; i < gguf_get_n_tensors(g); i++) {
        size_t tensor_end = 0;
        if (!mem_add(gguf_get_data_offset(g), gguf_get_tensor_offset(g, i), &tensor_end) ||
            !mem_add(tensor_end, gguf_get_tensor_size(g, i), &tensor_end))
            tensor_end = SIZE_MAX;
        end = tensor_end > end ? tensor_end : end;
    }
    int64_t have = file_size(path);
    if (have >= 0 && (size_t)have >= end)
        return 0;
    err_set(e, ERR_FORMAT, "lm_open", "%s is cut short: it has %lld of %zu bytes", path, (long long)have,
            end);
    err_hint(e, "copy or download the file again");
    return ERR_FORMAT;
}

int lm_check_gguf(const char *path, struct err *e) {
    struct gguf_context *g = NULL;
    int rc = open_header(&g, path, e);
    if (rc == 0)
        rc = check_length(g, path, e);
    if (g)
        gguf_free(g);
    return rc;
}

/* ---- the model ---- */

/* A token that stands in the list twice, or -1. Open addressing over indices + 1. */
static int64_t find_duplicate(const struct gguf_context *g, int64_t key, int64_t n, uint32_t *table,
                              size_t size) {
    for (int64_t i = 0; i < n; i++) {
        const char *token = gguf_get_arr_str(g, key, (size_t)i);
        size_t at = hash64(token, strlen(token), 1) & (size - 1);
        for (; table[at]; at = (at + 1) & (size - 1)) {
            if (strcmp(gguf_get_arr_str(g, key, table[at] - 1), token) == 0)
                return i;
        }
        table[at] = (uint32_t)i + 1;
    }
    return -1;
}

static int check_tokens(const struct gguf_context *g, const char *path, struct err *e) {
    int64_t key = gguf_find_key(g, "tokenizer.ggml.tokens");
    if (key < 0)
        return 0;
    if (gguf_get_kv_type(g, key) != GGUF_TYPE_ARRAY || gguf_get_arr_type(g, key) != GGUF_TYPE_STRING)
        return err_set(e, ERR_FORMAT, "lm_open", "%s is a broken GGUF file: its tokens are no texts", path);
    int64_t n = (int64_t)gguf_get_arr_n(g, key);
    size_t size = 1024;
    while ((int64_t)size < 2 * n)
        size *= 2;
    uint32_t *table = n < INT32_MAX ? calloc(size, sizeof *table) : NULL;
    if (!table)
        return err_set(e, ERR_NO_MEMORY, "lm_open", "no memory to check the %lld tokens of %s", (long long)n,
                       path);
    int64_t twice = find_duplicate(g, key, n, table, size);
    free(table);
    return twice < 0 ? 0
                     : err_set(e, ERR_FORMAT, "lm_open",
                               "%s is broken: its token %lld stands in the vocabulary twice", path,
                               (long long)twice);
}

/* The key "<architecture>.<name>"; -1 when there is none of that type. */
static int64_t find_value(const struct gguf_context *g, const char *arch, const char *name,
                          enum gguf_type type) {
    char key[160];
    snprintf(key, sizeof key, "%.100s.%s", arch, name);
    int64_t at = gguf_find_key(g, key);
    return at >= 0 && gguf_get_kv_type(g, at) == type ? at : -1;
}

static int check_shape(const struct gguf_context *g, const char *path, struct err *e) {
    int64_t at = gguf_find_key(g, "general.architecture");
    if (at < 0 || gguf_get_kv_type(g, at) != GGUF_TYPE_STRING)
        return err_set(e, ERR_FORMAT, "lm_open", "%s names no architecture: it is not a language model",
                       path);
    const char *arch = gguf_get_val_str(g, at);
    int64_t layers = find_value(g, arch, "block_count", GGUF_TYPE_UINT32);
    int64_t epsilon = find_value(g, arch, "attention.layer_norm_rms_epsilon", GGUF_TYPE_FLOAT32);
    if (layers >= 0 && gguf_get_val_u32(g, layers) > MAX_LAYERS)
        return err_set(e, ERR_FORMAT, "lm_open", "%s is broken: it claims %u layers", path,
                       gguf_get_val_u32(g, layers));
    if (epsilon >= 0 && !(gguf_get_val_f32(g, epsilon) >= 0))
        return err_set(e, ERR_FORMAT, "lm_open", "%s is broken: its norms have the epsilon %g", path,
                       (double)gguf_get_val_f32(g, epsilon));
    return 0;
}

int lm_check_model(const char *path, struct err *e) {
    struct gguf_context *g = NULL;
    int rc = open_header(&g, path, e);
    if (rc == 0)
        rc = check_length(g, path, e);
    if (rc == 0)
        rc = check_shape(g, path, e);
    if (rc == 0)
        rc = check_tokens(g, path, e);
    if (g)
        gguf_free(g);
    return rc;
}
