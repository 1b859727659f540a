/* Collecting importance matrices, and their file. */
#include "llama/imatrix.h"
#include "base/file.h"
#include "base/mem.h"
#include "llama/lm_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_KEY "edgestill.model"

struct entry {
    char *weight;
    double *sum2; /* [width] */
    int64_t width;
    double count;
};

struct imatrix { /* entries are kept sorted by name: a few hundred at most */
    struct entry *entries;
    int64_t n, capacity, n_rows;
    double weight;
    char *dataset;
    char model[SHA256_HEX];
};

int imatrix_new(struct imatrix **out, struct err *e) {
    struct imatrix *im = calloc(1, sizeof *im);
    if (!im)
        return err_set(e, ERR_NO_MEMORY, "imatrix_new", "no memory for an importance matrix");
    im->weight = 1;
    *out = im;
    return 0;
}

void imatrix_free(struct imatrix *im) {
    if (!im)
        return;
    for (int64_t i = 0; i < im->n; i++) {
        free(im->entries[i].weight);
        free(im->entries[i].sum2);
    }
    free(im->entries);
    free(im->dataset);
    free(im);
}

void imatrix_set_weight(struct imatrix *im, double weight) {
    im->weight = weight;
}

/* ---- collecting ---- */

/* Where `weight` stands or would stand. */
static int64_t position_of(const struct imatrix *im, const char *weight) {
    int64_t low = 0, high = im->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (strcmp(im->entries[middle].weight, weight) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The weight's entry, made when it is new; NULL when out of memory or when the width differs. */
static struct entry *entry_of(struct imatrix *im, const char *weight, int64_t width) {
    int64_t at = position_of(im, weight);
    if (at < im->n && strcmp(im->entries[at].weight, weight) == 0)
        return im->entries[at].width == width ? &im->entries[at] : NULL;
    struct entry new = {
        .weight = strdup(weight), .sum2 = calloc((size_t)width, sizeof(double)), .width = width};
    if (!new.weight || !new.sum2 ||
        mem_grow((void **)&im->entries, &im->capacity, im->n + 1, sizeof new) < 0) {
        free(new.weight);
        free(new.sum2);
        return NULL;
    }
    memmove(&im->entries[at + 1], &im->entries[at], (size_t)(im->n - at) * sizeof new);
    im->entries[at] = new;
    im->n++;
    return &im->entries[at];
}

bool imatrix_observe(void *context, const struct lm_product *p) {
    struct imatrix *im = context;
    if (im->weight <= 0)
        return true;
    struct entry *entry = entry_of(im, p->weight, p->width);
    if (!entry)
        return false;
    for (int64_t r = 0; r < p->n_rows; r++) {
        const float *x = p->x + r * p->width;
        for (int64_t i = 0; i < p->width; i++)
            entry->sum2[i] += im->weight * (double)x[i] * (double)x[i];
    }
    entry->count += im->weight * (double)p->n_rows;
    return true;
}

bool imatrix_add(struct imatrix *im, const char *weight, const double *sum2, int64_t width, double count) {
    struct entry *entry = entry_of(im, weight, width);
    for (int64_t i = 0; entry && i < width; i++)
        entry->sum2[i] += sum2[i];
    if (entry)
        entry->count += count;
    return entry != NULL;
}

int imatrix_count(const struct imatrix *im) {
    return (int)im->n;
}

struct imatrix_entry imatrix_at(const struct imatrix *im, int index) {
    const struct entry *x = &im->entries[index];
    return (struct imatrix_entry){.weight = x->weight, .sum2 = x->sum2, .width = x->width, .count = x->count};
}

const char *imatrix_dataset(const struct imatrix *im) {
    return im->dataset ? im->dataset : "";
}

void imatrix_set_model(struct imatrix *im, const char hash[SHA256_HEX]) {
    snprintf(im->model, sizeof im->model, "%s", hash);
}

const char *imatrix_model(const struct imatrix *im) {
    return im->model;
}

int64_t imatrix_rows(const struct imatrix *im) {
    return im->n_rows;
}

/* ---- file ---- */

static void put_tensor(struct gguf_context *g, struct ggml_context *c, const char *weight, const char *suffix,
                       const double *values, int64_t n) {
    struct ggml_tensor *t = ggml_new_tensor_2d(c, GGML_TYPE_F32, n, 1);
    for (int64_t i = 0; i < n; i++)
        ((float *)t->data)[i] = (float)values[i];
    ggml_format_name(t, "%s%s", weight, suffix);
    gguf_add_tensor(g, t);
}

static size_t room_needed(const struct imatrix *im) {
    size_t bytes = 1024;
    for (int64_t i = 0; i < im->n; i++)
        bytes += (size_t)(im->entries[i].width + 1) * sizeof(float) + 2 * (ggml_tensor_overhead() + 64);
    return bytes;
}

int imatrix_save(const struct imatrix *im, const char *path, const char *dataset, int64_t n_rows,
                 struct err *e) {
    struct file_writer w = {0};
    int rc = file_writer_begin(&w, path, e);
    if (rc < 0)
        return rc;
    struct gguf_context *g = gguf_init_empty();
    struct ggml_context *c = ggml_init((struct ggml_init_params){.mem_size = room_needed(im)});
    if (!g || !c)
        rc = err_set(e, ERR_NO_MEMORY, "imatrix_save", "no memory to write %s", path);
    if (rc == 0) {
        gguf_set_val_str(g, "general.type", "imatrix");
        gguf_set_arr_str(g, "imatrix.datasets", &dataset, 1);
        if (im->model[0])
            gguf_set_val_str(g, MODEL_KEY, im->model);
        gguf_set_val_u32(g, "imatrix.chunk_count", (uint32_t)(n_rows > 0 ? n_rows : 1));
        gguf_set_val_u32(g, "imatrix.chunk_size", 1);
        for (int64_t i = 0; i < im->n; i++) {
            put_tensor(g, c, im->entries[i].weight, ".in_sum2", im->entries[i].sum2, im->entries[i].width);
            put_tensor(g, c, im->entries[i].weight, ".counts", &im->entries[i].count, 1);
        }
        if (!gguf_write_to_file_ptr(g, w.stream, false))
            rc = err_set_errno(e, ERR_IO, "imatrix_save", "cannot write %s", path);
    }
    if (rc == 0)
        rc = file_writer_commit(&w, e);
    file_writer_abort(&w);
    ggml_free(c);
    gguf_free(g);
    return rc;
}

static bool is_imatrix(const struct gguf_context *g) {
    int64_t key = gguf_find_key(g, "general.type");
    return key >= 0 && gguf_get_kv_type(g, key) == GGUF_TYPE_STRING &&
           str_equal(gguf_get_val_str(g, key), "imatrix");
}

static void take_origin(struct imatrix *im, const struct gguf_context *g) {
    int64_t names = gguf_find_key(g, "imatrix.datasets"), rows = gguf_find_key(g, "imatrix.chunk_count"),
            model = gguf_find_key(g, MODEL_KEY);
    if (model >= 0 && gguf_get_kv_type(g, model) == GGUF_TYPE_STRING)
        snprintf(im->model, sizeof im->model, "%s", gguf_get_val_str(g, model));
    if (names >= 0 && gguf_get_kv_type(g, names) == GGUF_TYPE_ARRAY &&
        gguf_get_arr_type(g, names) == GGUF_TYPE_STRING && gguf_get_arr_n(g, names) > 0)
        im->dataset = strdup(gguf_get_arr_str(g, names, 0));
    if (rows >= 0 && gguf_get_kv_type(g, rows) == GGUF_TYPE_UINT32)
        im->n_rows = gguf_get_val_u32(g, rows);
}

/* One weight from its two tensors; t is "<weight>.in_sum2". */
static int take_entry(struct imatrix *im, struct ggml_context *c, const struct ggml_tensor *t,
                      struct err *e) {
    char weight[GGML_MAX_NAME], counts_name[GGML_MAX_NAME + 16];
    snprintf(weight, sizeof weight, "%.*s", (int)(strlen(t->name) - strlen(".in_sum2")), t->name);
    snprintf(counts_name, sizeof counts_name, "%s.counts", weight);
    const struct ggml_tensor *counts = ggml_get_tensor(c, counts_name);
    if (t->type != GGML_TYPE_F32 || !counts || counts->type != GGML_TYPE_F32 || ggml_nelements(counts) != 1 ||
        ggml_nelements(t) != t->ne[0] || t->ne[0] < 1)
        return err_set(e, ERR_FORMAT, "imatrix_load", "the entry of %s has an unknown shape", weight);
    const float *sums = t->data;
    float count = ((const float *)counts->data)[0];
    bool sane = isfinite(count) && count >= 0;
    for (int64_t i = 0; i < t->ne[0]; i++)
        sane = sane && isfinite(sums[i]) && sums[i] >= 0;
    if (!sane)
        return err_set(e, ERR_FORMAT, "imatrix_load",
                       "the entry of %s holds values that are no sums of squares", weight);
    struct entry *entry = entry_of(im, weight, t->ne[0]);
    if (!entry)
        return err_set(e, ERR_NO_MEMORY, "imatrix_load", "no memory for the entry of %s", weight);
    entry->count = (double)count;
    for (int64_t i = 0; i < t->ne[0]; i++)
        entry->sum2[i] = (double)sums[i];
    return 0;
}

int imatrix_load(struct imatrix **out, const char *path, struct err *e) {
    struct imatrix *im = NULL;
    struct ggml_context *c = NULL;
    int rc = lm_check_gguf(path, e);
    if (rc == 0)
        rc = imatrix_new(&im, e);
    if (rc < 0)
        return rc;
    struct gguf_context *g = gguf_init_from_file(path, (struct gguf_init_params){.ctx = &c});
    if (!g || !is_imatrix(g))
        rc = err_set(e, ERR_FORMAT, "imatrix_load", "%s is not an importance matrix", path);
    for (struct ggml_tensor *t = rc == 0 ? ggml_get_first_tensor(c) : NULL; t && rc == 0;
         t = ggml_get_next_tensor(c, t)) {
        if (str_ends(t->name, ".in_sum2"))
            rc = take_entry(im, c, t, e);
    }
    if (rc == 0)
        take_origin(im, g);
    if (rc == 0 && im->n == 0)
        rc = err_set(e, ERR_FORMAT, "imatrix_load", "%s has no entries", path);
    if (c)
        ggml_free(c);
    if (g)
        gguf_free(g);
    if (rc < 0) {
        imatrix_free(im);
        return rc;
    }
    *out = im;
    return 0;
}
