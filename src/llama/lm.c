/* Opening a model, its metadata, and computing: the KV cache's sequences.
 *
 * Attention runs over one cache that all sequences share (kv_unified), so a fork costs no memory and a token can belong
 * to several sequences; label scoring rests on that. Micro-batch and batch are the same size: one decode call is one graph. */
#include "llama/lm.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "llama/lm_internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

/* KV cache types by name: X-macro so that names and values cannot drift. */
#define KV_TYPES(X) X("f16", F16) X("f32", F32) X("bf16", BF16) X("q8_0", Q8_0) X("q4_0", Q4_0)

static int kv_type(const char *name, enum ggml_type *out, struct err *e) {
    *out = GGML_TYPE_F16;
    if (!name)
        return 0;
#define X(text, type)                                                                                        \
    if (str_equal(name, text)) {                                                                             \
        *out = GGML_TYPE_##type;                                                                             \
        return 0;                                                                                            \
    }
    KV_TYPES(X)
#undef X
    return err_set(e, ERR_USAGE, "lm_open", "\"%s\" is not a type of KV cache (f16, f32, bf16, q8_0, q4_0)",
                   name);
}

/* Weights are matrices named "….weight"; an adapter's own are "….weight.lora_a". */
static bool is_weight_product(const struct ggml_tensor *t) {
    return t->op == GGML_OP_MUL_MAT && t->src[0] && t->src[1] && str_ends(t->src[0]->name, ".weight") &&
           t->src[1]->type == GGML_TYPE_F32 && t->src[1]->nb[0] == sizeof(float);
}

static const float *observed_rows(struct lm *m, const struct ggml_tensor *x) {
    if (ggml_is_contiguous(x))
        return x->data;
    if (mem_grow((void **)&m->observed, &m->observed_capacity, ggml_nelements(x), sizeof(float)) < 0)
        return NULL;
    float *to = m->observed;
    for (int64_t i3 = 0; i3 < x->ne[3]; i3++)
        for (int64_t i2 = 0; i2 < x->ne[2]; i2++)
            for (int64_t i1 = 0; i1 < x->ne[1]; i1++, to += x->ne[0])
                memcpy(to,
                       (const char *)x->data + i1 * (int64_t)x->nb[1] + i2 * (int64_t)x->nb[2] +
                           i3 * (int64_t)x->nb[3],
                       (size_t)x->ne[0] * sizeof(float));
    return m->observed;
}

static bool on_node(struct ggml_tensor *t, bool ask, void *context) {
    struct lm *m = context;
    if (!is_weight_product(t))
        return !ask;
    if (ask)
        return true;
    const struct ggml_tensor *x = t->src[1];
    struct lm_product p = {.weight = t->src[0]->name,
                           .x = observed_rows(m, x),
                           .n_rows = ggml_nelements(x) / x->ne[0],
                           .width = x->ne[0]};
    return p.x && m->observe(m->observe_context, &p);
}

/* A small model's products are over before a second thread is awake, and on a busy machine threads that wait for each other
 * cost more than they bring: measured for 4 million parameters on two busy cores, 29 ms a decision by one thread and 60 to 180
 * by two. */
static int default_threads(const struct lm *m) {
    return lm_n_params(m) < 50 * 1000 * 1000 ? 1 : thread_core_count();
}

/* llama.cpp asks for a row of logits for each sequence, so rows limit the sequences that label scoring may have. */
static void size_rows(struct lm *m, const struct lm_options *o) {
    m->n_seq = o->n_seq_max > 0 ? o->n_seq_max : 1;
    m->n_batch = o->n_batch > 0 ? o->n_batch : 512;
    m->n_batch = m->n_batch > m->n_seq ? m->n_batch : m->n_seq + 1;
    m->n_outputs = o->logits_all_rows ? m->n_batch : o->n_outputs > 0 ? o->n_outputs : 64;
    m->n_outputs = m->n_outputs < m->n_batch ? m->n_outputs : m->n_batch;
    m->n_outputs = m->n_outputs > m->n_seq ? m->n_outputs : m->n_seq + 1;
    m->n_branches = m->n_outputs - m->n_seq < LM_MAX_BRANCHES ? m->n_outputs - m->n_seq : LM_MAX_BRANCHES;
}

static int make_context(struct lm *m, const struct lm_options *o, struct err *e) {
    int trained = llama_model_n_ctx_train(m->model);
    int threads = o->n_threads > 0 ? o->n_threads : default_threads(m);
    struct llama_context_params p = llama_context_default_params();
    int n_ctx = o->n_ctx > 0 ? o->n_ctx : (trained > 0 && trained < 4096 ? trained : 4096);
    if (threads > GGML_MAX_N_THREADS) /* an assertion of ggml's */
        return err_set(e, ERR_USAGE, "lm_open", "%d threads are more than llama.cpp's %d", threads,
                       GGML_MAX_N_THREADS);
    size_rows(m, o);
    p.n_ctx = (uint32_t)(o->n_ctx_is_each ? n_ctx * m->n_seq : n_ctx);
    p.n_batch = p.n_ubatch = (uint32_t)m->n_batch;
    p.n_outputs_max = (uint32_t)m->n_outputs;
    p.n_seq_max = (uint32_t)(m->n_seq + m->n_branches);
    p.kv_unified = true;
    p.n_threads = p.n_threads_batch = threads;
    p.no_perf = true;
    if (p.n_seq_max > llama_max_parallel_sequences())
        return err_set(e, ERR_USAGE, "lm_open",
                       "%d sequences are more than llama.cpp can share a cache between", m->n_seq);
    if (kv_type(o->kv_type, &p.type_k, e) < 0)
        return ERR_USAGE;
    p.type_v = p.type_k;
    /* llama.cpp's flash attention on a CPU sums in 16 bits by one kernel and in 32 by another, chosen by the batch: the
     * same prompt gave log-probabilities 2e-3 apart (6e-7 without). A quantised cache works with it alone. */
    bool flash = o->flash_attention || ggml_is_quantized(p.type_v);
    p.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    if (o->observe) {
        m->observe = o->observe;
        m->observe_context = o->observe_context;
        p.cb_eval = on_node;
        p.cb_eval_user_data = m;
    }
    struct lm_log_listener log = {0};
    lm_log_begin(&log);
    m->ctx = llama_init_from_model(m->model, p);
    lm_log_end(&log);
    if (!m->ctx) {
        err_set(e, ERR_NO_MEMORY, "lm_open", "cannot make a context of %u tokens for %s: %s", p.n_ctx,
                m->path, log.errors[0] ? log.errors : "probably out of memory");
        err_hint(e, "a smaller context or batch needs less memory");
        return ERR_NO_MEMORY;
    }
    m->n_ctx = (int32_t)llama_n_ctx(m->ctx);
    m->batch = llama_batch_init(m->n_batch, 0, m->n_seq + m->n_branches);
    return 0;
}

static int apply_lora(struct lm *m, const struct lm_options *o, struct err *e) {
    if (!o->lora)
        return 0;
    int rc = lm_check_gguf(o->lora, e);
    if (rc < 0)
        return rc;
    struct lm_log_listener log = {0};
    lm_log_begin(&log);
    m->lora = llama_adapter_lora_init(m->model, o->lora);
    rc = m->lora ? compat_set_lora(m->ctx, m->lora, o->lora_scale > 0 ? o->lora_scale : 1.0F) : -1;
    lm_log_end(&log);
    if (rc != 0)
        return err_set(e, ERR_MISMATCH, "lm_open", "the adapter %s does not go with the model %s: %s",
                       o->lora, m->path, log.errors[0] ? log.errors : "no reason given");
    return 0;
}

int lm_open(struct lm **out, const char *path, const struct lm_options *o, struct err *e) {
    static const struct lm_options defaults = {0};
    o = o ? o : &defaults;
    int rc = lm_backend_init(NULL, e);
    if (rc < 0)
        return rc;
    struct lm *m = calloc(1, sizeof *m);
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return err_set(e, ERR_NO_MEMORY, "lm_open", "no memory for the model %s", path);
    }
    m->logits_seq = -1;
    rc = lm_load(m, o, e);
    if (rc == 0 && !o->vocab_only)
        rc = make_context(m, o, e);
    if (rc == 0)
        rc = lm_load_vocabulary(m, e);
    if (rc == 0 && !o->vocab_only)
        rc = apply_lora(m, o, e);
    if (rc < 0) {
        lm_free(m);
        return rc;
    }
    m->eot = lm_find_end_of_turn(m);
    *out = m;
    return 0;
}

void lm_free(struct lm *m) {
    if (!m)
        return;
    if (m->ctx) {
        llama_batch_free(m->batch);
        llama_free(m->ctx);
    }
    lm_unload(m);
    free(m->observed);
    free(m->path);
    free(m);
}

/* ---- facts ---- */

int32_t lm_n_vocab(const struct lm *m) {
    return m->n_vocab;
}

int32_t lm_n_ctx(const struct lm *m) {
    return m->n_ctx;
}

int64_t lm_n_params(const struct lm *m) {
    return (int64_t)llama_model_n_params(m->model);
}

int64_t lm_size_bytes(const struct lm *m) {
    return (int64_t)llama_model_size(m->model);
}

int lm_metadata(const struct lm *m, const char *key, struct str *out, struct err *e) {
    char small[256];
    int32_t n = llama_model_meta_val_str(m->model, key, small, sizeof small);
    if (n < 0)
        return err_set(e, ERR_NOT_FOUND, "lm_metadata", "%s has no metadata \"%s\"", m->path, key);
    if ((size_t)n < sizeof small) {
        str_add_bytes(out, small, (size_t)n);
        return str_check(out, e);
    }
    char *text = malloc((size_t)n + 1);
    if (!text)
        return err_set(e, ERR_NO_MEMORY, "lm_metadata", "no memory for %d bytes of \"%s\"", n, key);
    llama_model_meta_val_str(m->model, key, text, (size_t)n + 1);
    str_add_bytes(out, text, (size_t)n);
    free(text);
    return str_check(out, e);
}

/* ---- sequences ---- */

static int check_seq(const struct lm *m, int seq, const char *origin, struct err *e) {
    if (!m->ctx)
        return err_set(e, ERR_USAGE, origin, "%s was opened for its vocabulary alone", m->path);
    if (seq < 0 || seq >= m->n_seq)
        return err_set(e, ERR_USAGE, origin, "there is no sequence %d: the model was opened for %d", seq,
                       m->n_seq);
    return 0;
}

void lm_clear(struct lm *m, int seq) {
    m->logits = NULL;
    if (!m->ctx)
        return;
    if (seq < 0)
        llama_memory_clear(llama_get_memory(m->ctx), false);
    else
        compat_truncate(m->ctx, seq, 0);
}

int32_t lm_position(const struct lm *m, int seq) {
    return m->ctx ? compat_position(m->ctx, seq) : 0;
}

int lm_truncate(struct lm *m, int seq, int32_t from, struct err *e) {
    int rc = check_seq(m, seq, "lm_truncate", e);
    if (rc < 0)
        return rc;
    m->logits = NULL;
    if (from >= lm_position(m, seq) || compat_truncate(m->ctx, seq, from))
        return 0;
    return err_set(e, ERR_UNSUPPORTED, "lm_truncate",
                   "%s cannot forget the end of a text (a recurrent model?)", m->path);
}

int lm_fork(struct lm *m, int seq_from, int seq_to, struct err *e) {
    int rc = check_seq(m, seq_from, "lm_fork", e);
    if (rc == 0)
        rc = check_seq(m, seq_to, "lm_fork", e);
    if (rc < 0 || seq_from == seq_to)
        return rc;
    m->logits = NULL;
    compat_truncate(m->ctx, seq_to, 0);
    compat_fork(m->ctx, seq_from, seq_to);
    return 0;
}

/* ---- computing ---- */

void lm_batch_add(struct lm *m, int32_t token, int32_t position, const int32_t *seqs, int n_seqs,
                  bool output) {
    struct llama_batch *b = &m->batch;
    int i = b->n_tokens++;
    b->token[i] = token;
    b->pos[i] = position;
    b->n_seq_id[i] = n_seqs;
    for (int s = 0; s < n_seqs; s++)
        b->seq_id[i][s] = seqs[s];
    b->logits[i] = output;
}

int lm_compute(struct lm *m, struct err *e) {
    m->logits = NULL;
    struct lm_log_listener log = {0};
    lm_log_begin(&log);
    int rc = llama_decode(m->ctx, m->batch);
    lm_log_end(&log);
    switch (rc) {
    case 0:
        return 0;
    case 1:
        err_set(e, ERR_INPUT, "lm_decode", "the context of %d tokens is full", m->n_ctx);
        err_hint(e, "a shorter record, or a plan with a larger context");
        return ERR_INPUT;
    case 2:
        return err_set(e, ERR_INTERRUPTED, "lm_decode", "decoding was stopped");
    default:
        return err_set(e, ERR_LLAMA, "lm_decode", "llama.cpp could not compute %d tokens (code %d): %s",
                       m->batch.n_tokens, rc, log.errors[0] ? log.errors : "no reason given");
    }
}

static int check_ids(const struct lm *m, int seq, const int32_t *ids, int64_t n, struct err *e) {
    int rc = check_seq(m, seq, "lm_decode", e);
    if (rc < 0)
        return rc;
    if (n < 1)
        return err_set(e, ERR_USAGE, "lm_decode", "no tokens to decode");
    if (n > m->n_ctx - lm_position(m, seq)) {
        err_set(e, ERR_INPUT, "lm_decode", "%lld tokens after %d do not fit the context of %d", (long long)n,
                lm_position(m, seq), m->n_ctx);
        err_hint(e, "a shorter record, or a plan with a larger context");
        return ERR_INPUT;
    }
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= m->n_vocab)
            return err_set(e, ERR_USAGE, "lm_decode", "token %d is not in the vocabulary of %d", ids[i],
                           m->n_vocab);
    }
    return 0;
}

int lm_decode(struct lm *m, int seq, const int32_t *ids, int64_t n, const float **logits, struct err *e) {
    int rc = check_ids(m, seq, ids, n, e);
    if (rc < 0)
        return rc;
    int32_t start = lm_position(m, seq);
    for (int64_t done = 0; done < n && rc == 0;) {
        int64_t end = n - done < m->n_batch ? n : done + m->n_batch;
        m->batch.n_tokens = 0;
        for (int64_t i = done; i < end; i++)
            lm_batch_add(m, ids[i], start + (int32_t)i, &(int32_t){seq}, 1, logits && i == n - 1);
        rc = lm_compute(m, e);
        done = end;
    }
    if (rc < 0) {
        compat_truncate(m->ctx, seq, start);
        return rc;
    }
    if (logits) {
        *logits = m->logits = llama_get_logits_ith(m->ctx, -1);
        m->logits_seq = seq;
    }
    return 0;
}

int lm_logits(struct lm *m, const int32_t *ids, int64_t n, float *out, struct err *e) {
    lm_clear(m, -1);
    int rc = check_ids(m, 0, ids, n, e);
    for (int64_t done = 0; done < n && rc == 0;) {
        int64_t end = n - done < m->n_outputs ? n : done + m->n_outputs;
        m->batch.n_tokens = 0;
        for (int64_t i = done; i < end; i++)
            lm_batch_add(m, ids[i], (int32_t)i, &(int32_t){0}, 1, true);
        rc = lm_compute(m, e);
        for (int64_t i = done; i < end && rc == 0; i++)
            memcpy(out + i * m->n_vocab, llama_get_logits_ith(m->ctx, (int32_t)(i - done)),
                   (size_t)m->n_vocab * sizeof *out);
        done = end;
    }
    return rc;
}
