/* edgestill-seed-export: a trained seed model as a GGUF file that llama.cpp loads.
 *
 *     edgestill-seed-export base|teacher FOLDER OUT.gguf
 *
 * A program of its own, since it needs ggml and the trainer must build without. */
#include "../trainer.h"
#include "base/log.h"
#include "model/writer.h"
#include "nn/transformer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ChatML; the assistant's turn is opened on request. */
static const char chat_template[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3 }; /* llama.cpp's token types */

/* Token and merge texts as GPT-2 prints them, in the metadata. */
static int set_vocabulary(struct model_writer *w, const struct bpe *b) {
    int n = bpe_n_vocab(b), n_merges = bpe_n_merges(b);
    char(*token)[BPE_PRINTABLE_MAX] = calloc((size_t)n, sizeof *token);
    char(*merge)[2 * BPE_PRINTABLE_MAX] = calloc((size_t)n_merges, sizeof *merge);
    const char **text = calloc((size_t)(n + n_merges), sizeof *text);
    int32_t *type = calloc((size_t)n, sizeof *type);
    bool ok = token && merge && text && type;
    for (int i = 0; ok && i < n; i++) {
        text[i] = bpe_token_printable(b, i, token[i]);
        type[i] = i < BPE_N_SPECIAL ? TOKEN_CONTROL : TOKEN_NORMAL;
    }
    for (int i = 0; ok && i < n_merges; i++)
        text[n + i] = bpe_merge_printable(b, i, merge[i]);
    if (ok) {
        model_writer_text(w, "tokenizer.ggml.model", "gpt2");
        model_writer_text(w, "tokenizer.ggml.pre", "qwen2");
        model_writer_texts(w, "tokenizer.ggml.tokens", text, (size_t)n);
        model_writer_i32s(w, "tokenizer.ggml.token_type", type, (size_t)n);
        model_writer_texts(w, "tokenizer.ggml.merges", text + n, (size_t)n_merges);
        model_writer_u32(w, "tokenizer.ggml.eos_token_id", BPE_IM_END);
        model_writer_u32(w, "tokenizer.ggml.padding_token_id", BPE_END_OF_TEXT);
        model_writer_bool(w, "tokenizer.ggml.add_bos_token", false);
        model_writer_text(w, "tokenizer.chat_template", chat_template);
    }
    free(token);
    free(merge);
    free(text);
    free(type);
    return ok ? 0 : ERR_NO_MEMORY;
}

static int fill(void *context, const char *name, float *values, int64_t n, struct err *e) {
    struct nn_model *m = context;
    const struct nn_tensor *t = nn_set_find(&m->base, name);
    if (t == NULL || t->rows * t->cols != n)
        return err_set(e, ERR_MISMATCH, "edgestill-seed-export", "%s is not in the trained model", name);
    nn_set_read(m, &m->base, t, values);
    return 0;
}

static int write_model(const struct recipe *r, struct nn_model *m, const struct bpe *b, const char *path,
                       struct err *e) {
    struct model_writer *w = NULL;
    char name[64];
    snprintf(name, sizeof name, "edgestill %s", r->name);
    int code = model_writer_new(&w, e);
    if (code < 0)
        return code;
    model_writer_config(w, "llama", &r->config);
    model_writer_text(w, "general.name", name);
    model_writer_text(w, "general.license", "mit");
    model_writer_text(w, "general.description",
                      "trained from random weights by edgestill's own trainer; see seed/README.md");
    code = set_vocabulary(w, b);
    for (int i = 0; i < m->base.n_tensors; i++) {
        const struct nn_tensor *t = &m->base.tensors[i];
        model_writer_tensor(w, t->name, t->rows, t->cols, t->rows == 1 ? MODEL_F32 : MODEL_F16);
    }
    code = code < 0 ? err_set(e, code, "edgestill-seed-export", "no memory for the vocabulary")
                    : model_writer_write(w, path, fill, m, e);
    model_writer_free(w);
    return code;
}

int main(int argc, char **argv) {
    struct err e = {0};
    struct ops ops = {0};
    struct nn_model m = {0};
    struct bpe *b = NULL;
    const struct recipe *r = argc == 4 ? recipe_find(argv[1]) : NULL;
    int code = r == NULL ? err_set(&e, ERR_USAGE, "edgestill-seed-export",
                                   "usage: edgestill-seed-export base|teacher FOLDER OUT.gguf")
                         : corpus_vocabulary(&b, SEED_VOCABULARY, &e);
    if (code == 0)
        code = ops_open_cpu(&ops, 1, &e);
    if (code == 0)
        code = trainer_load(r, argv[2], &ops, &m, &e);
    if (code == 0)
        code = write_model(r, &m, b, argv[3], &e);
    nn_model_release(&m);
    if (ops.close != NULL)
        ops.close(&ops);
    bpe_free(b);
    if (code < 0)
        log_err(&e);
    return err_exit_code(code);
}
