/* A model's shape as the planner counts it: dimensions in, list of weight tensors out. The same list gives file size, bytes
 * read per token and multiply-accumulates, so that the three cannot disagree.
 *
 *     struct shape s; shape_from_catalog(&s, model);         // or shape_from_file(&s, "base.gguf", &e)
 *     struct shape_tensor t;
 *     for (int64_t i = 0; shape_tensor(&s, i, &t); i++) ...  */
#ifndef PLAN_SHAPE_H
#define PLAN_SHAPE_H

#include "base/err.h"
#include "catalog/catalog.h"
#include <stdbool.h>
#include <stdint.h>

struct shape {
    char arch[32]; /* GGUF's general.architecture */
    int n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim;
    int64_t n_vocab, n_ctx_train;
    bool tied, qk_norm, qkv_bias, post_norms;
    int64_t extra_bytes; /* of a file beyond its tensors (tokenizer, metadata); 0: not known, estimated */
};

/* What a tensor is, as far as choosing its type and counting its use goes. */
#define SHAPE_KINDS(X)                                                                                       \
    X(EMBED) X(HEAD) X(ATTN_Q) X(ATTN_K) X(ATTN_V) X(ATTN_OUT) X(FFN_GATE) X(FFN_UP) X(FFN_DOWN) X(VECTOR)
enum shape_kind {
#define X(name) SHAPE_##name,
    SHAPE_KINDS(X)
#undef X
};

struct shape_tensor {
    enum shape_kind kind;
    int layer;          /* -1 outside the blocks */
    int64_t rows, cols; /* [out, in]; VECTOR: rows 1 and the sum of the layer's norms and biases */
};

/* The i-th tensor in file order; false after the last. A tied model has no HEAD: its EMBED is read as the head. */
bool shape_tensor(const struct shape *s, int64_t i, struct shape_tensor *out);
int64_t shape_params(const struct shape *s);

void shape_from_catalog(struct shape *s, const struct catalog_model *m);

/* From a GGUF's metadata (the weights are mapped, not read). ERR_UNSUPPORTED when the architecture's keys are missing,
 * ERR_MISMATCH when the counted parameters differ from the file's by more than a hundredth. */
int shape_from_file(struct shape *s, const char *path, struct err *e);

#endif
