/* A language model run by llama.cpp: the only door to llama.h.
 *
 *     lm_backend_init(NULL, &e); // once a process: loads the CPU kernels for this machine
 *     struct lm *m;
 *     lm_open(&m, "base.gguf", &(struct lm_options){.n_ctx = 1024}, &e);
 *     int32_t ids[512];
 *     int64_t n = lm_tokenize(m, text, strlen(text), LM_SPECIALS, ids, 512, &e);
 *     lm_free(m);
 *
 * Token ids are int32_t. Logits are float[n_vocab] rows. One struct lm serves one thread at a time. All
 * functions return 0 (or a count) or a negative err_code. */
#ifndef LLAMA_LM_H
#define LLAMA_LM_H

#include "base/err.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

struct lm; /* opaque: model, vocabulary, context */

/* First thing in main(): lets ggml's threads sleep soon instead of spinning for milliseconds whenever they wait for one
 * another. On a machine that does other work as well, spinning made a bundle take 115 s instead of 8. The OpenMP library reads
 * its settings before main, so the program is started anew once, with GOMP_SPINCOUNT set; does nothing where that or
 * OMP_WAIT_POLICY is set already, and goes on where it cannot. */
void lm_calm_threads(char *const argv[]);

/* Loads the ggml CPU kernels that suit this machine best from `folder` (NULL: EDGESTILL_BACKENDS, the
 * built-in place, the program's own ../lib/backends). Safe to repeat. Only the CPU's: a BLAS module would
 * compute with other precision than the device does. llama.cpp's messages go nowhere unless
 * EDGESTILL_LOG=debug. */
int lm_backend_init(const char *folder, struct err *e);
/* The kernels in use: "haswell", "armv8.2_1"; "built-in" where they are part of the library. */
const char *lm_backend_name(void);

/* One matrix product of the model as it is computed: `x` is [n_rows, width] F32, the rows that meet the
 * weight. */
struct lm_product {
    const char *weight; /* "blk.0.attn_q.weight" */
    const float *x;
    int64_t n_rows, width;
};
/* Watches every matrix product (slow: for importance matrices). false stops the decoding with
 * ERR_INTERRUPTED. */
typedef bool (*lm_observe_fn)(void *context, const struct lm_product *p);

struct lm_options {
    int n_ctx;          /* 0: the model's, at most 4096 */
    int n_batch;        /* 0: 512 tokens a decode call; also the micro-batch */
    int n_threads;      /* 0: one a core; one in all for models under 50 million parameters */
    int n_seq_max;      /* sequences that share one KV cache; 0: 1 */
    bool n_ctx_is_each; /* n_ctx counts for each of them, not for all */
    int n_outputs; /* most rows of logits one decode call may give (memory: n_outputs x n_vocab x 4); 0: 64 */
    bool vocab_only;      /* tokenizer and metadata alone */
    bool logits_all_rows; /* n_outputs = n_batch */
    bool lock_memory;     /* keep the weights from being swapped out */
    bool no_repack;       /* keep weights as they are in the file: less memory, slower */
    bool drop_copied;     /* give back the pages of the file that are not read again: llama/unread.h */
    /* large allocations that this process has when the weights are read, in huge pages where the kernel has them: the
     * copies that repacking makes; for a process that holds one model */
    bool huge_pages;
    /* a second thread reads the vocabulary while this one loads the weights, where there is a second core */
    bool vocab_beside;
    bool checked;        /* the file is known to be a whole model: llama.cpp is given it as it is */
    const char *kv_type; /* "f16" (NULL), "q8_0" (with flash attention), "f32" */
    /* as devices decide: a fifth sooner; rounds to 16 bits, logits vary by 2e-3 with the batch */
    bool flash_attention;
    const char *lora;      /* adapter GGUF to apply, NULL: none */
    float lora_scale;      /* 0: 1 */
    lm_observe_fn observe; /* NULL: none */
    void *observe_context;
};

int lm_open(struct lm **out, const char *path, const struct lm_options *o, struct err *e);
void lm_free(struct lm *m); /* NULL is fine */

int32_t lm_n_vocab(const struct lm *m);
int32_t lm_n_ctx(const struct lm *m);
int64_t lm_n_params(const struct lm *m);
int64_t lm_size_bytes(const struct lm *m); /* of the tensors */
int32_t lm_token_bos(const struct lm *m);  /* -1: none */
int32_t lm_token_eot(const struct lm *m);  /* end of turn, else end of sequence */
bool lm_token_is_end(const struct lm *m, int32_t token);
bool lm_adds_bos(const struct lm *m);
/* Metadata value as text, appended; ERR_NOT_FOUND when there is no such key. */
int lm_metadata(const struct lm *m, const char *key, struct str *out, struct err *e);

enum lm_tokenize_mode {
    LM_PLAIN,
    LM_SPECIALS
}; /* are special tokens in the text recognised? never adds BOS or EOS */
/* Returns the number of tokens; ERR_INPUT when more than `capacity` would be needed. */
int64_t lm_tokenize(const struct lm *m, const char *text, size_t n_bytes, enum lm_tokenize_mode mode,
                    int32_t *ids, int64_t capacity, struct err *e);
/* Text of tokens, appended; special tokens are spelled out when `specials`. */
int lm_detokenize(const struct lm *m, const int32_t *ids, int64_t n, bool specials, struct str *out,
                  struct err *e);

/* What the model's chat template puts before and after one user message, up to where the assistant's answer
 * begins (thinking switched off where the template has that mode); the BOS text is part of `open` where the
 * model adds one. */
int lm_chat_frame(const struct lm *m, struct str *open, struct str *close, struct str *end_of_turn,
                  struct err *e);
/* A system and a user message by the model's chat template, up to where the assistant's answer begins, as tokens with the BOS where
 * the model adds one. ids[capacity]; returns their number, ERR_INPUT when more would be needed. */
int64_t lm_chat_tokens(const struct lm *m, const char *system, const char *user, int32_t *ids,
                       int64_t capacity, struct err *e);

/* ---- decoding ---- */

/* Forget all cached tokens (of sequence seq; -1: of all). */
void lm_clear(struct lm *m, int seq);

/* Append tokens to a sequence at its current end and compute. When `logits` is not NULL it receives the last
 * token's row (borrowed until the next call). */
int lm_decode(struct lm *m, int seq, const int32_t *ids, int64_t n, const float **logits, struct err *e);
int32_t lm_position(const struct lm *m, int seq); /* tokens in the sequence */
/* Drop everything of `seq` from position `from` on. */
int lm_truncate(struct lm *m, int seq, int32_t from, struct err *e);
/* seq_to becomes a copy of seq_from (shares memory). */
int lm_fork(struct lm *m, int seq_from, int seq_to, struct err *e);

/* Logits of every position: out is [n, n_vocab], row-major, the caller's. Uses sequence 0 from empty. For
 * parity tests. */
int lm_logits(struct lm *m, const int32_t *ids, int64_t n, float *out, struct err *e);

/* The prefix's KV state on disk, verified by the caller's tag (at most 255 bytes: the prompt's and the
 * model's hash). */
int lm_state_save(struct lm *m, int seq, const char *path, const char *tag, struct err *e);
int lm_state_load(struct lm *m, int seq, const char *path, const char *tag,
                  struct err *e); /* ERR_MISMATCH: rebuild */

/* Greedy generation after `ids`; stops at an end token or after n_max. Text appended (without the end token).
 * *n_out tokens generated, *ended whether an end token came. */
struct lm_generation {
    int64_t n_tokens;
    bool ended;
};
int lm_generate(struct lm *m, int seq, int64_t n_max, struct str *text, struct lm_generation *out,
                struct err *e);

/* A grammar in GBNF (rule `root`), parsed once for a model's vocabulary; the model outlives it. ERR_INPUT when llama.cpp cannot
 * read it. */
struct lm_grammar;
int lm_grammar_new(struct lm_grammar **out, const struct lm *m, const char *gbnf, struct err *e);
void lm_grammar_free(struct lm_grammar *g); /* NULL is fine */

/* The same held to a grammar, from its start each time: at each step the most probable token that it allows. NULL: free. A text
 * cut off at n_max has `ended` false. */
int lm_generate_grammar(struct lm *m, int seq, struct lm_grammar *grammar, int64_t n_max, struct str *text,
                        struct lm_generation *out, struct err *e);

/* ---- label scoring: the whole answer's probability, for all labels at once over their token trie ----
 * After the prompt's tokens are in the sequence `seq`, log_prob[i] = sum of log P(token) over label i's
 * tokens and the end-of-turn token; the sequence is left as it was. labels[i] has n_ids[i] tokens (without
 * end of turn). */
struct lm_labels; /* trie; at most n_outputs tokens a label */
int lm_labels_new(struct lm_labels **out, const struct lm *m, const char *const labels[], int n_labels,
                  struct err *e);
/* The labels as the tokens that continue the text `before`: those of before + label less those of `before`. */
int lm_labels_new_after(struct lm_labels **out, const struct lm *m, const char *before,
                        const char *const labels[], int n_labels, struct err *e);
void lm_labels_free(struct lm_labels *l);
int lm_score_labels(struct lm *m, int seq, const struct lm_labels *l, const float *logits_after_prompt,
                    double *log_prob, struct err *e);

/* The same with the rest of the prompt (`ids`, n >= 1 tokens after what is in the sequence) read in the same
 * pass as the labels' tokens: the fastest way to a decision. The sequence is left as it was, without `ids`.
 */
int lm_decode_labels(struct lm *m, int seq, const int32_t *ids, int64_t n, const struct lm_labels *l,
                     double *log_prob, struct err *e);
int lm_labels_count(const struct lm_labels *l);
/* Rows of logits that one pass over the whole trie asks for: what lm_options.n_outputs needs at least to do
 * it in one. */
int lm_labels_n_outputs(const struct lm_labels *l);

/* ---- several texts at once, drawn or greedy: see llama/writer.h; quantisation: see llama/quantize.h ---- */

/* Versions of llama.cpp and ggml in use, for manifests: "llama 0.7, ggml 0.27". */
const char *lm_version(void);

#endif
