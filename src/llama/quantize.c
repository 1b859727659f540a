/* Quantisation: checks before llama.cpp starts (it would only log what is wrong), then its quantiser.
 *
 * A dry run tells each tensor's type in its log and nowhere else:
 *     [   2/  26] token_embd.weight  - [   256,   1024,      1,      1], type =    f32, size = 1.00 MiB -> 0.21 MiB (q6_K)
 * Lines without an arrow keep their type. The parser below insists on that form; if a later llama.cpp changes it, the
 * number of tensors no longer adds up and the plan fails instead of being wrong (tests/llama compares it with the file). */
#include "llama/quantize.h"
#include "base/file.h"
#include "base/thread.h"
#include "llama/lm_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mix {
    const char *name;
    enum llama_ftype ftype;
    bool needs_imatrix;
};

static const struct mix mixes[] = {
#define X(name, ftype, needs) {name, LLAMA_FTYPE_##ftype, needs},
    QUANTIZE_MIXES(X)
#undef X
};

static const struct mix *find_mix(const char *name) {
    for (size_t i = 0; name && i < sizeof mixes / sizeof *mixes; i++) {
        if (str_equal(mixes[i].name, name))
            return &mixes[i];
    }
    return NULL;
}

bool quantize_mix_known(const char *type) {
    return find_mix(type) != NULL;
}

bool quantize_mix_needs_imatrix(const char *type) {
    const struct mix *m = find_mix(type);
    return m && m->needs_imatrix;
}

/* GGML_TYPE_COUNT when there is none of that name. */
static enum ggml_type type_of(const char *name) {
    for (int t = 0; name && t < GGML_TYPE_COUNT; t++) {
        if (str_equal(ggml_type_name((enum ggml_type)t), name))
            return (enum ggml_type)t;
    }
    return GGML_TYPE_COUNT;
}

char *quantize_pattern(const char *tensor, struct arena *a) {
    char *pattern = arena_alloc(a, 2 * strlen(tensor) + 3), *to = pattern;
    if (!pattern)
        return NULL;
    *to++ = '^';
    for (const char *c = tensor; *c; c++) {
        if (*c == '.')
            *to++ = '\\';
        *to++ = *c;
    }
    *to++ = '$';
    *to = 0;
    return pattern;
}

/* ---- what llama.cpp wants, in its own structs ---- */

struct request {
    struct arena arena;
    const struct mix *mix;
    struct llama_model_quantize_params params;
};

static int unknown_type(const char *name, struct err *e) {
    err_set(e, ERR_USAGE, "quantize", "\"%s\" is not a type of tensor", name);
    err_hint(e, "types are named as ggml does: f16, q8_0, q6_K, q5_K, q4_K, q3_K, q2_K, iq4_xs, ...");
    return ERR_USAGE;
}

static int set_overrides(struct request *r, const struct quantize_options *o, struct err *e) {
    if (o->n_overrides == 0)
        return 0;
    struct llama_model_tensor_override *list =
        arena_calloc(&r->arena, (size_t)o->n_overrides + 1, sizeof *list);
    if (!list)
        return err_set(e, ERR_NO_MEMORY, "quantize", "no memory for %d overrides", o->n_overrides);
    for (int i = 0; i < o->n_overrides; i++) {
        list[i] =
            (struct llama_model_tensor_override){o->overrides[i].pattern, type_of(o->overrides[i].type)};
        if (list[i].type == GGML_TYPE_COUNT)
            return unknown_type(o->overrides[i].type, e);
    }
    list[o->n_overrides] = (struct llama_model_tensor_override){NULL, GGML_TYPE_COUNT};
    r->params.tt_overrides = list;
    return 0;
}

/* Means, computed from 32-bit sums and counts as llama-quantize does from the file: the same bytes come out. */
static int set_imatrix(struct request *r, const struct imatrix *im, struct err *e) {
    if (!im)
        return 0;
    int n = imatrix_count(im), used = 0;
    struct llama_model_imatrix_data *list = arena_calloc(&r->arena, (size_t)n + 1, sizeof *list);
    for (int i = 0; i < n && list; i++) {
        struct imatrix_entry x = imatrix_at(im, i);
        float *mean = arena_calloc(&r->arena, (size_t)x.width, sizeof *mean);
        if (!mean)
            return err_set(e, ERR_NO_MEMORY, "quantize", "no memory for the importance matrix");
        for (int64_t k = 0; k < x.width; k++)
            mean[k] = x.count > 0 ? (float)x.sum2[k] / (float)x.count : 1.0F;
        list[used++] = (struct llama_model_imatrix_data){x.weight, mean, (size_t)x.width};
    }
    if (!list)
        return err_set(e, ERR_NO_MEMORY, "quantize", "no memory for the importance matrix");
    r->params.imatrix = list; /* ends with a NULL name */
    return 0;
}

static int set_layers(struct request *r, const struct quantize_options *o, struct err *e) {
    if (o->n_drop_layers == 0)
        return 0;
    int32_t *list = arena_calloc(&r->arena, (size_t)o->n_drop_layers + 1, sizeof *list);
    if (!list)
        return err_set(e, ERR_NO_MEMORY, "quantize", "no memory for %d layers", o->n_drop_layers);
    memcpy(list, o->drop_layers, (size_t)o->n_drop_layers * sizeof *list);
    list[o->n_drop_layers] = -1;
    r->params.prune_layers = list;
    return 0;
}

static int set_types(struct request *r, const struct quantize_options *o, struct err *e) {
    r->params.output_tensor_type = o->head_type ? type_of(o->head_type) : GGML_TYPE_COUNT;
    r->params.token_embedding_type = o->embedding_type ? type_of(o->embedding_type) : GGML_TYPE_COUNT;
    if (o->head_type && r->params.output_tensor_type == GGML_TYPE_COUNT)
        return unknown_type(o->head_type, e);
    if (o->embedding_type && r->params.token_embedding_type == GGML_TYPE_COUNT)
        return unknown_type(o->embedding_type, e);
    return 0;
}

static int request_init(struct request *r, const struct quantize_options *o, struct err *e) {
    *r = (struct request){.mix = find_mix(o->type), .params = llama_model_quantize_default_params()};
    arena_init(&r->arena);
    if (!r->mix) {
        err_set(e, ERR_USAGE, "quantize", "\"%s\" is not a quantisation", o->type ? o->type : "");
        err_hint(e, "for example Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q3_K_M, Q2_K, IQ4_XS");
        return ERR_USAGE;
    }
    if (r->mix->needs_imatrix && !o->imatrix)
        return err_set(e, ERR_USAGE, "quantize", "%s needs an importance matrix", o->type);
    r->params.ftype = r->mix->ftype;
    r->params.nthread = o->n_threads > 0 ? o->n_threads : thread_core_count();
    r->params.pure = o->pure;
    r->params.allow_requantize = o->allow_requantized;
    int rc = set_types(r, o, e);
    if (rc == 0)
        rc = set_overrides(r, o, e);
    if (rc == 0)
        rc = set_imatrix(r, o->imatrix, e);
    return rc < 0 ? rc : set_layers(r, o, e);
}

/* ---- checks against the source ---- */

static int64_t layer_count(const struct gguf_context *g) {
    char key[128];
    int64_t arch = gguf_find_key(g, "general.architecture");
    if (arch < 0 || gguf_get_kv_type(g, arch) != GGUF_TYPE_STRING)
        return 0;
    snprintf(key, sizeof key, "%s.block_count", gguf_get_val_str(g, arch));
    int64_t count = gguf_find_key(g, key);
    return count >= 0 && gguf_get_kv_type(g, count) == GGUF_TYPE_UINT32 ? gguf_get_val_u32(g, count) : 0;
}

static int check_imatrix(const struct gguf_context *g, const char *in, const struct imatrix *im,
                         struct err *e) {
    for (int i = 0; im && i < imatrix_count(im); i++) {
        struct imatrix_entry x = imatrix_at(im, i);
        int64_t at = gguf_find_tensor(g, x.weight);
        if (at < 0 || gguf_get_tensor_ne(g, at)[0] != x.width) {
            err_set(e, ERR_MISMATCH, "quantize",
                    "the importance matrix is of another model: %s of %lld channels %s", x.weight,
                    (long long)x.width, at < 0 ? "is not in the model" : "has another width there");
            err_hint(e, "collect it again from %s", in);
            return ERR_MISMATCH;
        }
    }
    return 0;
}

static int check_source(const struct gguf_context *g, const char *in, const struct quantize_options *o,
                        struct err *e) {
    for (int64_t i = 0; i < gguf_get_n_tensors(g) && !o->allow_requantized; i++) {
        if (ggml_is_quantized(gguf_get_tensor_type(g, i))) {
            err_set(e, ERR_INPUT, "quantize", "%s is quantised already (%s is %s)", in,
                    gguf_get_tensor_name(g, i), ggml_type_name(gguf_get_tensor_type(g, i)));
            err_hint(e, "start from the 16-bit or 32-bit file: quantising twice loses more than either");
            return ERR_INPUT;
        }
    }
    for (int i = 0; i < o->n_drop_layers; i++) {
        if (o->drop_layers[i] < 0 || o->drop_layers[i] >= layer_count(g))
            return err_set(e, ERR_USAGE, "quantize", "there is no layer %d in %s, which has %lld",
                           o->drop_layers[i], in, (long long)layer_count(g));
    }
    return check_imatrix(g, in, o->imatrix, e);
}

static int open_source(struct gguf_context **g, const char *in, const struct quantize_options *o,
                       struct err *e) {
    int rc = lm_backend_init(NULL, e);
    if (rc == 0)
        rc = lm_check_model(in, e);
    if (rc < 0)
        return rc;
    *g = gguf_init_from_file(in, (struct gguf_init_params){.no_alloc = true});
    return *g ? check_source(*g, in, o, e) : err_set(e, ERR_FORMAT, "quantize", "%s cannot be read", in);
}

static int run(const char *in, const char *out, const struct request *r, struct lm_log_listener *log,
               struct err *e) {
    lm_log_begin(log);
    uint32_t failed = llama_model_quantize(in, out, &r->params);
    lm_log_end(log);
    if (!failed)
        return 0;
    return err_set(e, ERR_LLAMA, "quantize", "llama.cpp could not quantise %s to %s: %s", in, r->mix->name,
                   log->errors[0] ? log->errors : "no reason given");
}

/* ---- quantising ---- */

struct at_work {
    struct file_writer out;
    struct progress *progress;
};

/* One line a tensor: the ones before it are on their way to the disk while it is quantised. */
static void on_progress_line(void *context, const char *line) {
    int done, total;
    struct at_work *at = context;
    if (sscanf(line, " [ %d / %d ]", &done, &total) != 2)
        return;
    file_writer_behind(&at->out);
    if (at->progress) {
        at->progress->total = total;
        progress_update(at->progress, done);
    }
}

int quantize_file(const char *in, const char *out, const struct quantize_options *o, struct err *e) {
    struct request r;
    struct gguf_context *g = NULL;
    struct at_work at = {.progress = o->progress};
    int rc = request_init(&r, o, e);
    if (rc == 0)
        rc = open_source(&g, in, o, e);
    if (rc == 0)
        rc = file_writer_begin(&at.out, out, e);
    if (rc == 0)
        rc = run(in, at.out.part_path, &r,
                 &(struct lm_log_listener){.line = on_progress_line, .context = &at}, e);
    if (rc == 0)
        rc = file_writer_commit(&at.out, e);
    file_writer_abort(&at.out);
    if (g)
        gguf_free(g);
    arena_release(&r.arena);
    return rc;
}

/* ---- planning ---- */

struct plan_reader {
    struct quantize_preview *plan;
    struct gguf_context *gguf; /* gets the new types, so that it tells the size of the file's head */
    int capacity;
    double values;
};

/* "[ i/ n] NAME - [ a, b, c, d], type = T, ..." with "(NEW)" at the end where the type changes. */
static bool parse_line(const char *line, char name[GGML_MAX_NAME], int64_t ne[4], char type[32]) {
    long long a, b, c, d;
    int at, total;
    _Static_assert(GGML_MAX_NAME >= 64, "the format below reads names of up to 63 bytes");
    if (sscanf(line, " [ %d / %d ] %63s - [ %lld , %lld , %lld , %lld ], type = %31[^, ]", &at, &total, name,
               &a, &b, &c, &d, type) != 8)
        return false;
    ne[0] = a, ne[1] = b, ne[2] = c, ne[3] = d;
    const char *arrow = strstr(line, "->"), *open = arrow ? strrchr(arrow, '(') : NULL;
    return !open || sscanf(open, "(%31[^)])", type) == 1;
}

static void on_plan_line(void *context, const char *line) {
    struct plan_reader *r = context;
    struct quantize_preview *p = r->plan;
    char name[GGML_MAX_NAME], type_name[32];
    int64_t ne[4];
    if (!parse_line(line, name, ne, type_name) || p->n_tensors >= r->capacity)
        return;
    enum ggml_type type = type_of(type_name);
    if (type == GGML_TYPE_COUNT)
        return;
    int64_t rows = ne[1] * ne[2] * ne[3], bytes = (int64_t)ggml_row_size(type, ne[0]) * rows;
    p->tensors[p->n_tensors++] = (struct quantize_tensor){.name = arena_strdup(&p->arena, name),
                                                          .type = ggml_type_name(type),
                                                          .n_values = ne[0] * rows,
                                                          .size_bytes = bytes};
    p->tensor_bytes += (int64_t)GGML_PAD((size_t)bytes, gguf_get_alignment(r->gguf));
    r->values += (double)(ne[0] * rows);
    if (gguf_find_tensor(r->gguf, name) >= 0)
        gguf_set_tensor_type(r->gguf, name, type);
}

static int read_plan(struct quantize_preview *p, const char *in, const struct quantize_options *o,
                     struct request *q, struct gguf_context *g, struct err *e) {
    struct plan_reader r = {.plan = p, .gguf = g, .capacity = (int)gguf_get_n_tensors(g)};
    struct lm_log_listener log = {.line = on_plan_line, .context = &r};
    p->tensors = arena_calloc(&p->arena, (size_t)r.capacity, sizeof *p->tensors);
    if (!p->tensors)
        return err_set(e, ERR_NO_MEMORY, "quantize_preview", "no memory for %d tensors", r.capacity);
    q->params.dry_run = true;
    int rc = run(in, "/dev/null", q, &log, e);
    if (rc < 0)
        return rc;
    if (p->n_tensors == 0 || (o->n_drop_layers == 0 && p->n_tensors != r.capacity))
        return err_set(e, ERR_LLAMA, "quantize_preview",
                       "%s tells the types of %d tensors where there are %d", lm_version(), p->n_tensors,
                       r.capacity);
    gguf_set_val_u32(g, "general.quantization_version", GGML_QNT_VERSION);
    gguf_set_val_u32(g, "general.file_type", q->mix->ftype);
    p->file_bytes = (int64_t)gguf_get_meta_size(g) + p->tensor_bytes;
    p->bits_per_weight = (double)p->tensor_bytes * 8 / r.values;
    return 0;
}

int quantize_preview(struct quantize_preview *out, const char *in, const struct quantize_options *o,
                     struct err *e) {
    struct quantize_preview p = {0};
    struct request q;
    struct gguf_context *g = NULL;
    arena_init(&p.arena);
    int rc = request_init(&q, o, e);
    if (rc == 0)
        rc = open_source(&g, in, o, e);
    if (rc == 0)
        rc = read_plan(&p, in, o, &q, g, e);
    if (g)
        gguf_free(g);
    arena_release(&q.arena);
    if (rc < 0) {
        quantize_preview_release(&p);
        return rc;
    }
    *out = p;
    return 0;
}

void quantize_preview_release(struct quantize_preview *p) {
    arena_release(&p->arena);
    *p = (struct quantize_preview){0};
}
