/* Shared by the files of src/llama alone: what struct lm is made of, and listening to llama.cpp's log. */
#ifndef LLAMA_LM_INTERNAL_H
#define LLAMA_LM_INTERNAL_H

#include "llama/compat.h"
#include "llama/lm.h"

/* Invariants: ctx is NULL for a vocabulary alone; position[s] tokens of sequence s are in the cache, the same
 * that llama.cpp counts; sequences n_seq .. n_seq + n_branches - 1 belong to label scoring and are empty
 * between calls. */
enum { LM_MAX_BRANCHES = 32 };

struct lm {
    struct llama_model *model;
    struct vocab_reader *reader;     /* while a second thread reads the vocabulary; else NULL */
    struct llama_model *vocabulary;  /* that vocabulary, without weights; NULL: the model has its own */
    const struct llama_vocab *vocab; /* of either */
    struct llama_context *ctx;
    struct llama_adapter_lora *lora;
    struct llama_batch batch; /* room for n_batch tokens in n_seq + n_branches sequences */
    char *path;
    int32_t n_vocab, n_ctx, n_batch, n_outputs;
    int n_seq, n_branches;
    int32_t eot;
    int logits_seq; /* the sequence whose last row `logits` is; -1: none */
    const float *logits;
    lm_observe_fn observe;
    void *observe_context;
    float *observed; /* scratch for activations that are not contiguous F32 */
    int64_t observed_capacity;
};

/* llama.cpp tells what went wrong through its log alone. Between begin and end, error lines of this thread
 * are kept (the first ones, as many as fit) and every line goes to `line` when there is one. Nests: the inner
 * one listens. */
struct lm_log_listener {
    char errors[480];
    void (*line)(void *context, const char *text);
    void *context;
    struct str partial; /* a line that has not ended yet */
    struct lm_log_listener *outer;
};
void lm_log_begin(struct lm_log_listener *l);
void lm_log_end(struct lm_log_listener *l);
void lm_log_install(void); /* once a process */

/* ERR_FORMAT or ERR_NOT_FOUND with a clear reason when the file cannot be a whole GGUF: what llama.cpp would
 * only log. */
int lm_check_gguf(const char *path, struct err *e);
/* The same, and what llama.cpp's loader would answer with an assertion. */
int lm_check_model(const char *path, struct err *e);

/* Loads the model of an lm that has its path; its vocabulary may still be read by a second thread until lm_load_vocabulary(), which
 * fills vocab and n_vocab. lm_unload() frees what both have made, whichever failed. */
int lm_load(struct lm *m, const struct lm_options *o, struct err *e);
int lm_load_vocabulary(struct lm *m, struct err *e);
void lm_unload(struct lm *m);

/* The token that ends a turn; -1: none. */
int32_t lm_find_end_of_turn(const struct lm *m);

/* Compute a batch already filled in m->batch; maps llama.cpp's codes. Forgets m->logits. */
int lm_compute(struct lm *m, struct err *e);
/* Put one token at the end of m->batch. */
void lm_batch_add(struct lm *m, int32_t token, int32_t position, const int32_t *seqs, int n_seqs,
                  bool output);

#endif
