/* Writes random-weight models and adapters in GGUF through ggml's own writer. */
#include "tiny_gguf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_BYTES = 256, N_SPECIALS = 3, MAX_MERGES = 4096 };

/* Spelled by merges from left to right, as far as the vocabulary has room. Words follow a space in running
 * text. */
static const char *const words[] = {
    "in",     "er",      " the",    " of",         " to",       " and",    " is",        " or",
    " a",     "label",   " label",  "record",      " record",   "normal",  "suspicious", "delay",
    " delay", "days",    " days",   "approved",    " approved", " share",  "share",      "visit",
    " visit", " type",   "type",    "emergency",   "routine",   "unknown", "user",       "assistant",
    "system", " under",  " over",   "claim",       " claim",    "amount",  " amount",    "urgent",
    "later",  "billing", "support", "temperature", "pressure",  "state",   "yes",        "no",
    "high",   "low",     "medium",  "field",       "answer",    "Answer",  "- ",         ": ",
    "; ",     ", ",      NULL};

struct vocab {
    struct arena arena;
    const char **tokens;
    int32_t *types;
    const char *merges[MAX_MERGES];
    int n_tokens, n_merges, n_normal;
};

static struct tiny_gguf with_defaults(const struct tiny_gguf *o) {
    struct tiny_gguf m = o ? *o : (struct tiny_gguf){0};
    m.arch = m.arch ? m.arch : "llama";
    m.n_layer = m.n_layer ? m.n_layer : 2;
    m.n_embd = m.n_embd ? m.n_embd : 256;
    m.n_head = m.n_head ? m.n_head : 4;
    m.n_kv = m.n_kv ? m.n_kv : 2;
    m.head_dim = m.head_dim ? m.head_dim : m.n_embd / m.n_head;
    m.n_ff = m.n_ff ? m.n_ff : 512;
    m.n_vocab = m.n_vocab ? m.n_vocab : 1024;
    m.n_ctx = m.n_ctx ? m.n_ctx : 2048;
    m.rope_base = m.rope_base > 0 ? m.rope_base : 10000.0F;
    m.rms_epsilon = m.rms_epsilon > 0 ? m.rms_epsilon : 1e-5F;
    m.window = m.window ? m.window : 16;
    m.chat_template = m.chat_template ? m.chat_template : TINY_GGUF_CHATML;
    return m;
}

/* GPT-2's printable stand-in of a byte, as UTF-8. */
static char *byte_text(struct arena *a, int byte) {
    int code = byte;
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    if (!printable) { /* the n-th byte that is not printable becomes U+0100 + n */
        code = 256;
        for (int b = 0; b < byte; b++)
            code += !((b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE);
    }
    if (code < 0x80)
        return arena_printf(a, "%c", code);
    return arena_printf(a, "%c%c", 0xC0 | (code >> 6), 0x80 | (code & 0x3F));
}

static bool vocab_has(const struct vocab *v, const char *text) {
    for (int i = 0; i < v->n_tokens; i++) {
        if (str_equal(v->tokens[i], text))
            return true;
    }
    return false;
}

static void vocab_add(struct vocab *v, const char *text, int32_t type) {
    v->tokens[v->n_tokens] = text;
    v->types[v->n_tokens++] = type;
}

static void vocab_spell(struct vocab *v, const char *word) {
    const char *so_far = byte_text(&v->arena, (unsigned char)word[0]);
    for (const char *c = word + 1; *c; c++) {
        const char *next = byte_text(&v->arena, (unsigned char)*c);
        const char *joined = arena_printf(&v->arena, "%s%s", so_far, next);
        if (!vocab_has(v, joined)) {
            if (v->n_tokens >= v->n_normal || v->n_merges >= MAX_MERGES)
                return;
            vocab_add(v, joined, 1);
            v->merges[v->n_merges++] = arena_printf(&v->arena, "%s %s", so_far, next);
        }
        so_far = joined;
    }
}

/* Token types are llama.cpp's: 1 normal, 3 control, 5 unused. The specials come last, as in the seed models.
 */
static int vocab_build(struct vocab *v, int n_vocab, struct err *e) {
    *v = (struct vocab){0};
    arena_init(&v->arena);
    if (n_vocab < N_BYTES + N_SPECIALS + 1)
        return err_set(e, ERR_USAGE, "tiny_gguf", "a vocabulary of %d tokens has no room for all bytes",
                       n_vocab);
    v->tokens = arena_calloc(&v->arena, (size_t)n_vocab, sizeof *v->tokens);
    v->types = arena_calloc(&v->arena, (size_t)n_vocab, sizeof *v->types);
    if (!v->tokens || !v->types)
        return err_set(e, ERR_NO_MEMORY, "tiny_gguf", "no memory for the vocabulary");
    v->n_normal = n_vocab - N_SPECIALS;
    for (int b = 0; b < N_BYTES; b++)
        vocab_add(v, byte_text(&v->arena, b), 1);
    for (int w = 0; words[w]; w++)
        vocab_spell(v, words[w]);
    while (v->n_tokens < v->n_normal)
        vocab_add(v, arena_printf(&v->arena, "<|unused_%d|>", v->n_tokens), 5);
    vocab_add(v, "<|endoftext|>", 3);
    vocab_add(v, "<|im_start|>", 3);
    vocab_add(v, "<|im_end|>", 3);
    return 0;
}

static void put_vocab(struct gguf_context *g, struct vocab *v, const char *chat_template) {
    int last = v->n_tokens - 1;
    gguf_set_val_str(g, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(g, "tokenizer.ggml.pre", "qwen2");
    gguf_set_arr_str(g, "tokenizer.ggml.tokens", v->tokens, (size_t)v->n_tokens);
    gguf_set_arr_data(g, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, v->types, (size_t)v->n_tokens);
    gguf_set_arr_str(g, "tokenizer.ggml.merges", v->merges, (size_t)v->n_merges);
    gguf_set_val_u32(g, "tokenizer.ggml.eos_token_id", (uint32_t)last);
    gguf_set_val_u32(g, "tokenizer.ggml.padding_token_id", (uint32_t)(last - 2));
    gguf_set_val_bool(g, "tokenizer.ggml.add_bos_token", false);
    if (chat_template[0])
        gguf_set_val_str(g, "tokenizer.chat_template", chat_template);
}

static void put_shape(struct gguf_context *g, const struct tiny_gguf *m) {
    const struct {
        const char *key;
        int value;
    } numbers[] = {{"context_length", m->n_ctx},          {"embedding_length", m->n_embd},
                   {"block_count", m->n_layer},           {"feed_forward_length", m->n_ff},
                   {"attention.head_count", m->n_head},   {"attention.head_count_kv", m->n_kv},
                   {"attention.key_length", m->head_dim}, {"attention.value_length", m->head_dim},
                   {"rope.dimension_count", m->head_dim}, {"vocab_size", m->n_vocab}};
    char key[96];
    gguf_set_val_str(g, "general.architecture", m->arch);
    gguf_set_val_str(g, "general.name", "tiny");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "%s.%s", m->arch, numbers[i].key);
        gguf_set_val_u32(g, key, (uint32_t)numbers[i].value);
    }
    snprintf(key, sizeof key, "%s.rope.freq_base", m->arch);
    gguf_set_val_f32(g, key, m->rope_base);
    if (str_equal(m->arch, "gemma3")) {
        snprintf(key, sizeof key, "%s.attention.sliding_window", m->arch);
        gguf_set_val_u32(g, key, (uint32_t)m->window);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", m->arch);
    gguf_set_val_f32(g, key, m->rms_epsilon);
}

/* ---- tensors ---- */

struct maker {
    struct gguf_context *gguf;
    struct ggml_context *ggml;
    struct rng rng;
};

/* Values of deviation 1. Matrices of full models take theirs in runs from a pool, each from a place by chance: drawing a
 * thousand million one by one took longer than the test that wanted them. */
static void draw_values(struct rng *rng, float *values, int64_t n) {
    enum { LARGE = 1 << 22, POOL = 1 << 16, RUN = 1000 };
    int64_t drawn = n < LARGE ? n : POOL;
    for (int64_t i = 0; i < drawn; i++)
        values[i] = (float)rng_normal(rng);
    for (int64_t i = drawn; i < n; i += RUN) {
        int64_t length = n - i < RUN ? n - i : RUN;
        memcpy(values + i, values + rng_range(rng, 0, POOL - RUN), (size_t)length * sizeof *values);
    }
}

/* rows x cols values of the given deviation around `mean`, stored as `type`. ggml's first dimension is the
 * row's width. */
static void make_tensor(struct maker *k, const char *name, enum ggml_type type, int64_t cols, int64_t rows,
                        float mean, float deviation) {
    struct ggml_tensor *t =
        rows ? ggml_new_tensor_2d(k->ggml, type, cols, rows) : ggml_new_tensor_1d(k->ggml, type, cols);
    int64_t n = cols * (rows ? rows : 1);
    float *values = malloc((size_t)n * sizeof *values);
    if (!values)
        abort();
    memset(values, 0, (size_t)n * sizeof *values);
    if (deviation > 0)
        draw_values(&k->rng, values, n);
    for (int64_t i = 0; i < n; i++)
        values[i] = mean + deviation * values[i];
    if (type == GGML_TYPE_F32)
        memcpy(t->data, values, (size_t)n * sizeof *values);
    else
        ggml_quantize_chunk(type, values, t->data, 0, rows ? rows : 1, cols, NULL);
    free(values);
    ggml_set_name(t, name);
    gguf_add_tensor(k->gguf, t);
}

/* The linear layers of one block: GGUF name, inputs, outputs. */
struct linear {
    const char *name;
    int64_t in, out;
};

enum { N_LINEAR = 7 };

static void linear_layers(const struct tiny_gguf *m, struct linear out[N_LINEAR]) {
    int64_t q = (int64_t)m->n_head * m->head_dim, kv = (int64_t)m->n_kv * m->head_dim;
    const struct linear all[N_LINEAR] = {{"attn_q", m->n_embd, q},         {"attn_k", m->n_embd, kv},
                                         {"attn_v", m->n_embd, kv},        {"attn_output", q, m->n_embd},
                                         {"ffn_gate", m->n_embd, m->n_ff}, {"ffn_up", m->n_embd, m->n_ff},
                                         {"ffn_down", m->n_ff, m->n_embd}};
    memcpy(out, all, sizeof all);
}

static void make_block(struct maker *k, const struct tiny_gguf *m, int layer) {
    struct linear linears[N_LINEAR];
    char name[64];
    linear_layers(m, linears);
    for (int i = 0; i < N_LINEAR; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, linears[i].name);
        make_tensor(k, name, m->type, linears[i].in, linears[i].out, 0, 1.0F / sqrtf((float)linears[i].in));
        if (i < 3 && str_equal(m->arch, "qwen2")) {
            snprintf(name, sizeof name, "blk.%d.%s.bias", layer, linears[i].name);
            make_tensor(k, name, GGML_TYPE_F32, linears[i].out, 0, 0, 0.1F);
        }
        if (i < 2 && (str_equal(m->arch, "qwen3") || str_equal(m->arch, "gemma3"))) {
            snprintf(name, sizeof name, "blk.%d.%s_norm.weight", layer, linears[i].name);
            make_tensor(k, name, GGML_TYPE_F32, m->head_dim, 0, 1.0F, 0.1F);
        }
    }
    static const char *const norms[] = {"attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"};
    for (int i = 0; i < (str_equal(m->arch, "gemma3") ? 4 : 2); i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, norms[i]);
        make_tensor(k, name, GGML_TYPE_F32, m->n_embd, 0, 1.0F, 0.1F);
    }
}

static size_t weight_bytes(const struct tiny_gguf *m) {
    struct linear linears[N_LINEAR];
    size_t per_block = 0;
    linear_layers(m, linears);
    for (int i = 0; i < N_LINEAR; i++)
        per_block += ggml_row_size(m->type, linears[i].in) * (size_t)linears[i].out + 4096;
    size_t head = ggml_row_size(m->type, m->n_embd) * (size_t)m->n_vocab;
    return (per_block + 8 * ((size_t)m->n_embd * 4 + 4096)) * (size_t)m->n_layer + 2 * head + 1024 * 1024;
}

static int maker_begin(struct maker *k, size_t size_bytes, uint64_t seed, struct err *e) {
    *k = (struct maker){.gguf = gguf_init_empty()};
    k->ggml = ggml_init((struct ggml_init_params){.mem_size = size_bytes});
    rng_seed(&k->rng, seed);
    return k->gguf && k->ggml ? 0
                              : err_set(e, ERR_NO_MEMORY, "tiny_gguf", "no memory for %zu bytes", size_bytes);
}

static int maker_end(struct maker *k, const char *path, int rc, struct err *e) {
    if (rc == 0 && !gguf_write_to_file(k->gguf, path, false))
        rc = err_set(e, ERR_IO, "tiny_gguf", "cannot write %s", path);
    ggml_free(k->ggml);
    gguf_free(k->gguf);
    return rc;
}

int tiny_gguf_write(const char *path, const struct tiny_gguf *options, struct err *e) {
    struct tiny_gguf m = with_defaults(options);
    struct vocab vocab;
    struct maker k = {0};
    int rc = vocab_build(&vocab, m.n_vocab, e);
    if (rc == 0)
        rc = maker_begin(&k, weight_bytes(&m), m.seed, e);
    if (rc == 0) {
        put_shape(k.gguf, &m);
        put_vocab(k.gguf, &vocab, m.chat_template);
        if (m.prompt_tag)
            gguf_set_val_str(k.gguf, "edgestill.prompt", m.prompt_tag);
        /* A deviation of 0.1 in the head gives logits that differ by a few units: neither flat nor one-hot.
         */
        make_tensor(&k, "token_embd.weight", m.type, m.n_embd, m.n_vocab, 0, 0.1F);
        for (int i = 0; i < m.n_layer; i++)
            make_block(&k, &m, i);
        if (m.rope_factors)
            make_tensor(&k, "rope_freqs.weight", GGML_TYPE_F32, m.head_dim / 2, 0, 4.0F, 1.0F);
        make_tensor(&k, "output_norm.weight", GGML_TYPE_F32, m.n_embd, 0, 1.0F, 0.1F);
        if (!m.tied)
            make_tensor(&k, "output.weight", m.type, m.n_embd, m.n_vocab, 0, 0.1F);
    }
    if (k.gguf)
        rc = maker_end(&k, path, rc, e);
    arena_release(&vocab.arena);
    return rc;
}

int tiny_lora_write(const char *path, const struct tiny_gguf *model, const struct tiny_lora *options,
                    struct err *e) {
    struct tiny_gguf m = with_defaults(model);
    struct tiny_lora o = options ? *options : (struct tiny_lora){0};
    struct linear linears[N_LINEAR];
    struct maker k;
    char name[64];
    int rank = o.rank ? o.rank : 4;
    size_t widest = (size_t)(m.n_embd + m.n_ff + m.n_head * m.head_dim) * (size_t)rank * 4 + 4096;
    int rc = maker_begin(&k, widest * 2 * N_LINEAR * (size_t)m.n_layer, o.seed, e);
    if (rc < 0)
        return rc;
    gguf_set_val_str(k.gguf, "general.type", "adapter");
    gguf_set_val_str(k.gguf, "general.architecture", m.arch);
    gguf_set_val_str(k.gguf, "adapter.type", "lora");
    gguf_set_val_f32(k.gguf, "adapter.lora.alpha", o.alpha > 0 ? o.alpha : 8.0F);
    linear_layers(&m, linears);
    for (int layer = 0; layer < m.n_layer; layer++) {
        for (int i = 0; i < N_LINEAR; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight.lora_a", layer, linears[i].name);
            make_tensor(&k, name, GGML_TYPE_F32, linears[i].in, rank, 0, 1.0F / sqrtf((float)linears[i].in));
            snprintf(name, sizeof name, "blk.%d.%s.weight.lora_b", layer, linears[i].name);
            make_tensor(&k, name, GGML_TYPE_F32, rank, linears[i].out, 0, o.zero ? 0 : 0.1F);
        }
    }
    return maker_end(&k, path, 0, e);
}
