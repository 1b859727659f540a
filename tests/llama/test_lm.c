/* The model runner: opening and refusing files, tokens, the KV cache's sequences, states, scoring labels. */
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "base/file.h"
#include "base/rng.h"
#include "config.h"
#include "llama/quantize.h"
#include "llama/writer.h"
#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Two ways to the same logits may differ in the order of float sums where batches of other sizes take other kernels.
 * Measured on an AVX2 machine: no difference at all for all five models, and 1.3e-8 in the scores (exp and expf). The
 * tolerances leave room for kernels that sum in another order: logits here are around 1, so 2e-5 is some 100 roundings of
 * F32, and 1e-2 the same for activations rounded to 16 or 8 bits. */
static const double tolerance = 2e-5;

static struct lm *open_model(const char *path, const struct lm_options *o) {
    struct err e = {0};
    struct lm *m = NULL;
    struct lm_options one = o ? *o : (struct lm_options){0};
    one.n_threads = one.n_threads ? one.n_threads : 1; /* tests share the machine */
    if (lm_open(&m, path, &one, &e) < 0)
        fail_msg("%s", e.message);
    return m;
}

static int64_t tokens(const struct lm *m, const char *text, int32_t *ids) {
    struct err e = {0};
    int64_t n = lm_tokenize(m, text, strlen(text), LM_SPECIALS, ids, 512, &e);
    if (n < 0)
        fail_msg("%s", e.message);
    return n;
}

static const char head[] = "<|im_start|>user\nLabel the record.\n";
static const char rest[] = "- delay: 12\n- visit type: emergency\n<|im_end|>\n<|im_start|>assistant\n";

#define SMALL .n_embd = 64, .n_head = 2, .n_kv = 1, .n_ff = 128, .n_vocab = 640

static int make_models(void **state) {
    (void)state;
    struct err e = {0};
    int rc = tiny_gguf_write("llama.gguf", &(struct tiny_gguf){SMALL, .seed = 1}, &e);
    rc += tiny_gguf_write("qwen2.gguf", &(struct tiny_gguf){SMALL, .arch = "qwen2", .seed = 2, .tied = true},
                          &e);
    rc += tiny_gguf_write("qwen3.gguf", &(struct tiny_gguf){SMALL, .arch = "qwen3", .seed = 3, .tied = true},
                          &e);
    rc += tiny_gguf_write("f16.gguf", &(struct tiny_gguf){SMALL, .seed = 1, .type = GGML_TYPE_F16}, &e);
    rc += tiny_gguf_write("q8.gguf", &(struct tiny_gguf){SMALL, .seed = 1, .type = GGML_TYPE_Q8_0}, &e);
    rc += tiny_lora_write("lora.gguf", &(struct tiny_gguf){SMALL, .seed = 1}, &(struct tiny_lora){.seed = 5},
                          &e);
    rc += tiny_lora_write("zero.gguf", &(struct tiny_gguf){SMALL, .seed = 1},
                          &(struct tiny_lora){.zero = true}, &e);
    rc += tiny_lora_write("other.gguf", &(struct tiny_gguf){.n_embd = 512}, NULL, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    return rc;
}

static const struct {
    const char *path;
    double tolerance;
} models[] = {
    {"llama.gguf", 2e-5}, {"qwen2.gguf", 2e-5}, {"qwen3.gguf", 2e-5}, {"f16.gguf", 1e-2}, {"q8.gguf", 2e-2}};

/* ---- loading ---- */

static void expect_same_vocabulary(struct lm *a, struct lm *b) {
    static const char *const keys[] = {"general.architecture", "tokenizer.ggml.model",
                                       "tokenizer.chat_template"};
    struct str x = {0}, y = {0};
    assert_int_equal(lm_n_vocab(a), lm_n_vocab(b));
    assert_int_equal(lm_token_eot(a), lm_token_eot(b));
    assert_int_equal(lm_token_bos(a), lm_token_bos(b));
    for (int32_t t = 0; t < lm_n_vocab(a); t++) {
        assert_int_equal(lm_token_is_end(a, t), lm_token_is_end(b, t));
        assert_int_equal(lm_detokenize(a, &t, 1, true, &x, NULL), lm_detokenize(b, &t, 1, true, &y, NULL));
        str_add_char(&x, '\n'), str_add_char(&y, '\n');
    }
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        assert_int_equal(lm_metadata(a, keys[k], &x, NULL), lm_metadata(b, keys[k], &y, NULL));
    assert_string_equal(str_text(&x), str_text(&y));
    str_release(&x), str_release(&y);
}

/* As devices load: pages given back, a vocabulary read by another thread and no check of the file change nothing that is computed. */
static void test_loading_as_a_device_is_the_same(void **state) {
    (void)state;
    struct err e = {0};
    int32_t ids[64], again[64];
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct lm *plain = open_model(models[i].path, NULL);
        struct lm *lean =
            open_model(models[i].path,
                       &(struct lm_options){
                           .drop_copied = true, .huge_pages = true, .vocab_beside = true, .checked = true});
        expect_same_vocabulary(plain, lean);
        int64_t n = lm_tokenize(plain, head, strlen(head), LM_SPECIALS, ids, 64, &e);
        assert_int_equal(lm_tokenize(lean, head, strlen(head), LM_SPECIALS, again, 64, &e), n);
        assert_memory_equal(ids, again, (size_t)n * sizeof *ids);
        size_t size = (size_t)n * (size_t)lm_n_vocab(plain) * sizeof(float);
        float *a = malloc(size), *b = malloc(size);
        assert_int_equal(lm_logits(plain, ids, n, a, &e), 0);
        assert_int_equal(lm_logits(lean, ids, n, b, &e), 0);
        assert_memory_equal(a, b, size);
        free(a);
        free(b);
        lm_free(plain);
        lm_free(lean);
    }
}

/* ---- refusals ---- */

static void expect_refusal(const char *path, const struct lm_options *o, int code, const char *words) {
    struct err e = {0};
    struct lm *m = NULL;
    assert_int_equal(lm_open(&m, path, o, &e), code);
    assert_null(m);
    if (!strstr(e.message, words))
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
}

static void test_broken_files_are_refused(void **state) {
    (void)state;
    struct str file = {0};
    assert_int_equal(file_read("llama.gguf", 0, &file, NULL), 0);
    expect_refusal("absent.gguf", NULL, ERR_NOT_FOUND, "absent.gguf");
    file_write("html.gguf", "<html>not found</html>", 22, NULL);
    expect_refusal("html.gguf", NULL, ERR_FORMAT, "not a GGUF file");
    file_write("empty.gguf", "", 0, NULL);
    expect_refusal("empty.gguf", NULL, ERR_FORMAT, "not a GGUF file");
    file_write("short.gguf", file.data, file.len / 2, NULL);
    expect_refusal("short.gguf", NULL, ERR_FORMAT, "cut short");
    file_write("header.gguf", file.data, 1000, NULL);
    expect_refusal("header.gguf", NULL, ERR_FORMAT, "broken GGUF");
    expect_refusal("lora.gguf", NULL, ERR_FORMAT, "cannot load");
    char *arch = memmem(file.data, file.len, "llama", 5);
    memcpy(arch, "lambda", 5);
    file_write("arch.gguf", file.data, file.len, NULL);
    expect_refusal("arch.gguf", NULL, ERR_FORMAT, "architecture");
    memcpy(arch, "llama", 5);
    char *layers =
        (char *)memmem(file.data, file.len, "llama.block_count", 17) + 17 + 4; /* behind the value's type */
    memcpy(layers, "\xff\xff\x00\x00", 4);
    file_write("layers.gguf", file.data, file.len, NULL);
    expect_refusal("layers.gguf", NULL, ERR_FORMAT, "65535 layers");
    memcpy(layers, "\x02\x00\x00\x00", 4);
    char *epsilon = (char *)memmem(file.data, file.len, "rms_epsilon", 11) + 11 + 4;
    epsilon[3] ^= (char)0x80;
    file_write("epsilon.gguf", file.data, file.len, NULL);
    expect_refusal("epsilon.gguf", NULL, ERR_FORMAT, "epsilon");
    epsilon[3] ^= (char)0x80;
    char *token = memmem(file.data, file.len, "\x01\0\0\0\0\0\0\0#", 9); /* "#" becomes another "b" */
    token[8] = 'b';
    file_write("twice.gguf", file.data, file.len, NULL);
    expect_refusal("twice.gguf", NULL, ERR_FORMAT, "twice");
    token[8] = '#';
    char *kind = (char *)memmem(file.data, file.len, "tokenizer.ggml.model", 20) + 20 + 4 + 8;
    *kind = 'G'; /* "Gpt2" */
    file_write("kind.gguf", file.data, file.len, NULL);
    expect_refusal("kind.gguf", NULL, ERR_FORMAT, "Gpt2");
    expect_refusal("kind.gguf", &(struct lm_options){.vocab_beside = true}, ERR_FORMAT, "Gpt2");
    expect_refusal("llama.gguf", &(struct lm_options){.lora = "other.gguf"}, ERR_MISMATCH, "other.gguf");
    expect_refusal("llama.gguf", &(struct lm_options){.kv_type = "q9"}, ERR_USAGE, "q9");
    expect_refusal("llama.gguf", &(struct lm_options){.kv_type = "q9", .vocab_beside = true}, ERR_USAGE,
                   "q9");
    expect_refusal("llama.gguf", &(struct lm_options){.n_seq_max = 100000}, ERR_USAGE, "100000");
    str_release(&file);
}

/* Whatever bytes change in the header, opening ends with an error or a model, never with a crash. */
static void test_damaged_headers_do_not_crash(void **state) {
    (void)state;
    struct str file = {0};
    struct rng r;
    rng_seed(&r, 11);
    assert_int_equal(file_read("llama.gguf", 0, &file, NULL), 0);
    for (int i = 0; i < 60; i++) {
        struct err e = {0};
        struct lm *m = NULL;
        size_t at = (size_t)rng_range(&r, 4, 1200);
        char old = file.data[at];
        file.data[at] = (char)rng_range(&r, 0, 255);
        file_write("damaged.gguf", file.data, file.len, NULL);
        if (lm_open(&m, "damaged.gguf", &(struct lm_options){.vocab_only = true}, &e) < 0)
            assert_true(e.message[0] != 0);
        lm_free(m);
        file.data[at] = old;
    }
    str_release(&file);
}

static void test_bad_calls_are_refused(void **state) {
    (void)state;
    struct lm *m = open_model("llama.gguf", &(struct lm_options){.n_ctx = 256});
    struct err e = {0};
    int32_t ids[600] = {0};
    assert_int_equal(lm_decode(m, 0, ids, 600, NULL, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "do not fit the context of 256"));
    assert_int_equal(lm_decode(m, 3, ids, 1, NULL, NULL), ERR_USAGE);
    assert_int_equal(lm_decode(m, 0, &(int32_t){5000}, 1, NULL, NULL), ERR_USAGE);
    assert_int_equal(lm_position(m, 0), 0);
    assert_int_equal(lm_tokenize(m, "1234", 4, LM_PLAIN, ids, 3, NULL), ERR_INPUT);
    struct str text = {0};
    assert_int_equal(lm_generate(m, 0, 4, &text, NULL, NULL), ERR_USAGE);
    assert_int_equal(lm_metadata(m, "no.such.key", &text, NULL), ERR_NOT_FOUND);
    lm_free(m);
}

/* ---- vocabulary ---- */

static void test_tokens_round_trip(void **state) {
    (void)state;
    static const char *const texts[] = {"suspicious", "- delay: 12\n", "Z\u00fcrich \u20ac 5",
                                        "<|im_end|>", " a  b\t\r\n",   "\U0001F600"};
    struct lm *m = open_model("llama.gguf", &(struct lm_options){.vocab_only = true});
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t ids[128];
        struct str back = {0};
        int64_t n = lm_tokenize(m, texts[i], strlen(texts[i]), LM_PLAIN, ids, 128, NULL);
        assert_true(n > 0);
        assert_int_equal(lm_detokenize(m, ids, n, false, &back, NULL), 0);
        assert_string_equal(str_text(&back), texts[i]);
        str_release(&back);
    }
    int32_t ids[16];
    assert_int_equal(tokens(m, "<|im_end|>", ids), 1);
    assert_int_equal(ids[0], lm_token_eot(m));
    assert_true(lm_token_is_end(m, ids[0]));
    assert_true(lm_tokenize(m, "<|im_end|>", 10, LM_PLAIN, ids, 16, NULL) > 1); /* data cannot end the turn */
    assert_int_equal(lm_tokenize(m, "2026", 4, LM_PLAIN, ids, 16, NULL), 4);    /* digits one by one */
    assert_int_equal(lm_token_bos(m), -1);
    lm_free(m);
}

static void test_chat_frame(void **state) {
    (void)state;
    struct str open = {0}, close = {0}, eot = {0};
    struct lm *m = open_model("llama.gguf", &(struct lm_options){.vocab_only = true});
    assert_int_equal(lm_chat_frame(m, &open, &close, &eot, NULL), 0);
    assert_string_equal(str_text(&open), "<|im_start|>user\n");
    assert_string_equal(str_text(&close), "<|im_end|>\n<|im_start|>assistant\n");
    assert_string_equal(str_text(&eot), "<|im_end|>");
    lm_free(m);
    str_clear(&open), str_clear(&close), str_clear(&eot);

    struct tiny_gguf thinking = {.chat_template =
                                     TINY_GGUF_CHATML "{% if enable_thinking %}</think>{% endif %}"};
    assert_int_equal(tiny_gguf_write("thinking.gguf", &thinking, NULL), 0);
    m = open_model("thinking.gguf", &(struct lm_options){.vocab_only = true});
    assert_int_equal(lm_chat_frame(m, &open, &close, &eot, NULL), 0);
    assert_string_equal(str_text(&close), "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
    lm_free(m);
    str_clear(&open), str_clear(&close), str_clear(&eot);

    assert_int_equal(tiny_gguf_write("plain.gguf", &(struct tiny_gguf){.chat_template = ""}, NULL), 0);
    m = open_model("plain.gguf", &(struct lm_options){.vocab_only = true});
    assert_int_equal(lm_chat_frame(m, &open, &close, &eot, NULL), 0);
    assert_string_equal(str_text(&close), "\n### Answer:\n");
    lm_free(m);
    str_release(&open), str_release(&close), str_release(&eot);
}

/* ---- sequences ---- */

static double largest_difference(const float *a, const float *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* The prompt in one call, in small batches, after a saved and loaded prefix, and after a fork: the same logits. */
static void test_every_way_to_a_prompt_is_equal(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
        struct lm *m = open_model(models[k].path, &(struct lm_options){.n_ctx = 512, .n_seq_max = 2});
        struct lm *small = open_model(models[k].path, &(struct lm_options){.n_ctx = 512, .n_batch = 7});
        int32_t ids[512];
        int64_t n_head = tokens(m, head, ids), n = n_head + tokens(m, rest, ids + n_head);
        size_t bytes = (size_t)lm_n_vocab(m) * sizeof(float);
        float *want = malloc(bytes * (size_t)n), *last = want + (n - 1) * lm_n_vocab(m);
        const float *got;
        assert_int_equal(lm_logits(m, ids, n, want, NULL), 0);
        lm_clear(m, -1);
        assert_int_equal(lm_decode(m, 0, ids, n, &got, NULL), 0);
        assert_true(largest_difference(got, last, lm_n_vocab(m)) <= models[k].tolerance);
        assert_int_equal(lm_decode(small, 0, ids, n, &got, NULL), 0);
        assert_true(largest_difference(got, last, lm_n_vocab(m)) <= models[k].tolerance);

        lm_clear(m, -1);
        assert_int_equal(lm_decode(m, 0, ids, n_head, NULL, NULL), 0);
        assert_int_equal(lm_state_save(m, 0, "prefix.state", "tag", NULL), 0);
        assert_int_equal(lm_fork(m, 0, 1, NULL), 0);
        assert_int_equal(lm_decode(m, 1, ids + n_head, n - n_head, &got, NULL), 0);
        assert_true(largest_difference(got, last, lm_n_vocab(m)) <= models[k].tolerance);
        assert_int_equal(lm_position(m, 0), n_head);
        assert_int_equal(lm_truncate(m, 1, (int32_t)n_head, NULL), 0);
        assert_int_equal(lm_decode(m, 1, ids + n_head, n - n_head, &got, NULL), 0);
        assert_true(largest_difference(got, last, lm_n_vocab(m)) <= models[k].tolerance);

        assert_int_equal(lm_state_load(small, 0, "prefix.state", "tag", NULL), 0);
        assert_int_equal(lm_position(small, 0), n_head);
        assert_int_equal(lm_decode(small, 0, ids + n_head, n - n_head, &got, NULL), 0);
        assert_true(largest_difference(got, last, lm_n_vocab(m)) <= models[k].tolerance);
        free(want);
        lm_free(m);
        lm_free(small);
    }
}

static void expect_state_refused(struct lm *m, const char *path, const char *tag, int code) {
    assert_int_equal(lm_state_load(m, 0, path, tag, NULL), code);
}

static void test_states_that_do_not_fit_are_refused(void **state) {
    (void)state;
    struct lm *m = open_model("llama.gguf", &(struct lm_options){.n_ctx = 256});
    int32_t ids[512];
    int64_t n = tokens(m, head, ids);
    struct str file = {0};
    assert_int_equal(lm_decode(m, 0, ids, n, NULL, NULL), 0);
    assert_int_equal(lm_state_save(m, 0, "a.state", "one", NULL), 0);
    expect_state_refused(m, "a.state", "two", ERR_MISMATCH);
    expect_state_refused(m, "absent.state", "one", ERR_NOT_FOUND);
    assert_int_equal(file_read("a.state", 0, &file, NULL), 0);
    file_write("b.state", file.data, file.len - 1, NULL);
    expect_state_refused(m, "b.state", "one", ERR_MISMATCH);
    file_write("c.state", file.data, 100, NULL);
    expect_state_refused(m, "c.state", "one", ERR_MISMATCH);
    file.data[file.len - 9] ^= 1;
    file_write("d.state", file.data, file.len, NULL);
    expect_state_refused(m, "d.state", "one", ERR_MISMATCH);
    struct lm *other = open_model("llama.gguf", &(struct lm_options){.n_ctx = 256, .kv_type = "q8_0"});
    expect_state_refused(other, "a.state", "one", ERR_MISMATCH);
    assert_int_equal(lm_position(other, 0), 0);
    lm_free(other);
    lm_free(m);
    str_release(&file);
}

static void test_adapter_changes_the_logits(void **state) {
    (void)state;
    struct lm *plain = open_model("llama.gguf", NULL);
    struct lm *zero = open_model("llama.gguf", &(struct lm_options){.lora = "zero.gguf"});
    struct lm *lora = open_model("llama.gguf", &(struct lm_options){.lora = "lora.gguf"});
    int32_t ids[512];
    int64_t n = tokens(plain, head, ids);
    const float *a, *b, *c;
    assert_int_equal(lm_decode(plain, 0, ids, n, &a, NULL), 0);
    assert_int_equal(lm_decode(zero, 0, ids, n, &b, NULL), 0);
    assert_int_equal(lm_decode(lora, 0, ids, n, &c, NULL), 0);
    assert_true(largest_difference(a, b, lm_n_vocab(plain)) <= tolerance);
    assert_true(largest_difference(a, c, lm_n_vocab(plain)) > 0.1);
    lm_free(plain), lm_free(zero), lm_free(lora);
}

static void test_generation_is_greedy(void **state) {
    (void)state;
    struct lm *m = open_model("llama.gguf", NULL);
    int32_t ids[512];
    int64_t n = tokens(m, head, ids);
    const float *logits;
    struct str text = {0}, again = {0};
    struct lm_generation g, h;
    assert_int_equal(lm_decode(m, 0, ids, n, &logits, NULL), 0);
    int32_t best = 0;
    for (int32_t i = 1; i < lm_n_vocab(m); i++)
        best = logits[i] > logits[best] ? i : best;
    assert_int_equal(lm_generate(m, 0, 12, &text, &g, NULL), 0);
    assert_true(g.ended || g.n_tokens == 12);
    struct str first = {0};
    assert_int_equal(lm_detokenize(m, &best, 1, false, &first, NULL), 0);
    assert_true(str_starts(str_text(&text), str_text(&first)));
    lm_clear(m, -1);
    assert_int_equal(lm_decode(m, 0, ids, n, &logits, NULL), 0);
    assert_int_equal(lm_generate(m, 0, 12, &again, &h, NULL), 0);
    assert_string_equal(str_text(&text), str_text(&again));
    str_release(&text), str_release(&again), str_release(&first);
    lm_free(m);
}

/* ---- labels ---- */

/* One label at a time, token by token, each from a fresh prompt: the definition. */
static double naive_score(struct lm *m, const int32_t *prompt, int64_t n, const char *label) {
    int32_t ids[64];
    const float *row;
    int64_t n_label = lm_tokenize(m, label, strlen(label), LM_PLAIN, ids, 63, NULL);
    ids[n_label++] = lm_token_eot(m);
    lm_clear(m, 0);
    assert_int_equal(lm_decode(m, 0, prompt, n, &row, NULL), 0);
    double sum = 0;
    for (int64_t i = 0; i < n_label; i++) {
        double total = 0;
        for (int32_t v = 0; v < lm_n_vocab(m); v++)
            total += exp((double)row[v]);
        sum += (double)row[ids[i]] - log(total);
        if (i < n_label - 1)
            assert_int_equal(lm_decode(m, 0, &ids[i], 1, &row, NULL), 0);
    }
    return sum;
}

static void compare_scores(const char *path, const struct lm_options *o, const char *const labels[],
                           int n_labels, double allowed) {
    struct lm *m = open_model(path, o);
    struct lm_labels *trie = NULL;
    struct err e = {0};
    int32_t ids[512];
    int64_t n_head = tokens(m, head, ids), n = n_head + tokens(m, rest, ids + n_head);
    double *want = calloc((size_t)n_labels, sizeof *want), *got = calloc((size_t)n_labels, sizeof *got);
    for (int i = 0; i < n_labels; i++)
        want[i] = naive_score(m, ids, n, labels[i]);
    if (lm_labels_new(&trie, m, labels, n_labels, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(lm_labels_count(trie), n_labels);
    const float *row;
    lm_clear(m, 0);
    assert_int_equal(lm_decode(m, 0, ids, n, &row, NULL), 0);
    assert_int_equal(lm_score_labels(m, 0, trie, row, got, &e), 0);
    for (int i = 0; i < n_labels; i++)
        assert_true(fabs(want[i] - got[i]) <= allowed);
    assert_int_equal(lm_truncate(m, 0, (int32_t)n_head, NULL), 0);
    for (int again = 0; again < 2; again++) { /* the sequence is left as it was, so that it can go on */
        memset(got, 0, (size_t)n_labels * sizeof *got);
        if (lm_decode_labels(m, 0, ids + n_head, n - n_head, trie, got, &e) < 0)
            fail_msg("%s", e.message);
        assert_int_equal(lm_position(m, 0), n_head);
        for (int i = 0; i < n_labels; i++)
            assert_true(fabs(want[i] - got[i]) <= allowed);
    }
    lm_labels_free(trie);
    lm_free(m);
    free(want), free(got);
}

static void test_labels_score_as_one_by_one(void **state) {
    (void)state;
    static const char *const two[] = {"suspicious", "normal"};
    static const char *const nested[] = {"high", "highest", "high risk", "low", "a", "lower than low"};
    for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
        struct lm_options o = {.n_ctx = 512};
        compare_scores(models[k].path, &o, two, 2, models[k].tolerance * 4);
        compare_scores(models[k].path, &o, nested, 6, models[k].tolerance * 8);
    }
    compare_scores("llama.gguf", &(struct lm_options){.n_batch = 24}, nested, 6,
                   tolerance * 8); /* the prompt in pieces */
    compare_scores("llama.gguf", &(struct lm_options){.n_outputs = 12}, nested, 6,
                   tolerance * 8); /* labels in groups */
    compare_scores("llama.gguf", &(struct lm_options){.kv_type = "f32"}, nested, 6, tolerance * 8);
}

static void test_many_labels(void **state) {
    (void)state;
    static char names[77][16];
    const char *labels[77];
    for (int i = 0; i < 77; i++) {
        snprintf(names[i], sizeof names[i], "intent %c%d", 'a' + i % 5, i);
        labels[i] = names[i];
    }
    compare_scores("llama.gguf", &(struct lm_options){.n_ctx = 1024}, labels, 77, tolerance * 8);
}

static void test_bad_labels_are_refused(void **state) {
    (void)state;
    static const char *const same[] = {"yes", "no", "yes"}, *const empty[] = {"yes", ""};
    struct lm *m = open_model("llama.gguf", &(struct lm_options){.n_outputs = 4});
    struct lm_labels *trie = NULL;
    struct err e = {0};
    assert_int_equal(lm_labels_new(&trie, m, same, 3, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "same tokens"));
    assert_int_equal(lm_labels_new(&trie, m, empty, 2, NULL), ERR_INPUT);
    assert_int_equal(lm_labels_new(&trie, m, same, 0, NULL), ERR_USAGE);
    assert_null(trie);
    static const char *const long_label[] = {"123456", "x"};
    double scores[2];
    int32_t id = 5;
    assert_int_equal(lm_labels_new(&trie, m, long_label, 2, NULL), 0);
    assert_int_equal(lm_decode_labels(m, 0, &id, 1, trie, scores, NULL), ERR_UNSUPPORTED);
    assert_int_equal(lm_position(m, 0), 0);
    lm_labels_free(trie);
    lm_free(m);
}

/* Three prompts, written together: each as it is alone. */
static void test_writers_do_not_disturb_each_other(void **state) {
    (void)state;
    static const char *const prompts[] = {"delay: 12", "visit type", "Label the record."};
    struct lm *m =
        open_model("llama.gguf", &(struct lm_options){.n_seq_max = 3, .n_ctx = 256, .n_ctx_is_each = true});
    struct str alone[3] = {{0}}, together = {0};
    struct lm_writer *w[3];
    const float *logits;
    int32_t ids[512];
    assert_int_equal(lm_n_ctx(m), 768);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3; i++) {
            struct lm_writing how = {.n_max = 9 + 3 * i, .temperature = i == 1 ? 0.8 : 0, .seed = 5};
            int64_t n = tokens(m, prompts[i], ids);
            lm_clear(m, i);
            assert_int_equal(lm_decode(m, i, ids, n, &logits, NULL), 0);
            assert_int_equal(lm_writer_new(&w[i], m, i, &how, NULL), 0);
            while (round == 0 && !lm_writer_done(w[i], NULL))
                assert_int_equal(lm_writers_step(m, &w[i], 1, NULL), 0);
            if (round == 0) {
                assert_int_equal(lm_writer_text(w[i], INT64_MAX, &alone[i], NULL), 0);
                lm_writer_free(w[i]);
            }
        }
    for (int i = 0; i < 15; i++)
        assert_int_equal(lm_writers_step(m, w, 3, NULL), 0);
    for (int i = 0; i < 3; i++) {
        struct lm_generation g;
        assert_true(lm_writer_done(w[i], &g));
        assert_true(g.ended || g.n_tokens == 9 + 3 * i);
        str_clear(&together);
        assert_int_equal(lm_writer_text(w[i], INT64_MAX, &together, NULL), 0);
        assert_string_equal(str_text(&together), str_text(&alone[i]));
        lm_writer_free(w[i]);
        str_release(&alone[i]);
    }
    str_release(&together);
    lm_free(m);
}

/* What is drawn comes as often as its probability says, with and without a grammar: within 5 standard deviations of 4,000 draws. */
static void test_drawn_tokens_come_as_often_as_they_should(void **state) {
    (void)state;
    enum { N = 4000 };
    static const char *const grammars[] = {NULL, "root ::= [a-c]"};
    struct lm *m = open_model("llama.gguf", NULL);
    int32_t ids[512], first[3];
    const float *logits;
    int64_t n = tokens(m, "delay: ", ids);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lm_tokenize(m, (const char *[]){"a", "b", "c"}[i], 1, LM_PLAIN, &first[i], 1, NULL),
                         1);
    for (int g = 0; g < 2; g++) {
        double sum = 0, p[3];
        int count[3] = {0};
        struct lm_grammar *grammar = NULL;
        if (grammars[g])
            assert_int_equal(lm_grammar_new(&grammar, m, grammars[g], NULL), 0);
        lm_clear(m, 0);
        assert_int_equal(lm_decode(m, 0, ids, n, &logits, NULL), 0);
        for (int32_t i = 0; i < lm_n_vocab(m); i++)
            sum += g && i != first[0] && i != first[1] && i != first[2] ? 0 : exp((double)logits[i] / 1.5);
        for (int i = 0; i < 3; i++)
            p[i] = exp((double)logits[first[i]] / 1.5) / sum;
        for (uint64_t k = 0; k < N; k++) {
            struct lm_writer *w = NULL;
            struct lm_writing how = {.grammar = grammar, .n_max = 1, .temperature = 1.5, .seed = k};
            assert_int_equal(lm_writer_new(&w, m, 0, &how, NULL), 0);
            struct lm_generation made;
            lm_writer_done(w, &made);
            for (int i = 0; i < 3 && made.n_tokens == 1; i++)
                count[i] += lm_writer_ids(w)[0] == first[i];
            lm_writer_free(w);
        }
        for (int i = 0; i < 3; i++)
            if (fabs(count[i] - N * p[i]) > 5 * sqrt(N * p[i] * (1 - p[i])) + 1)
                fail_msg("grammar %d, token %d: %d times, %.1f expected", g, i, count[i], N * p[i]);
        lm_grammar_free(grammar);
    }
    lm_free(m);
}

static void test_versions_are_known(void **state) {
    (void)state;
    assert_true(str_starts(lm_version(), "llama "));
    assert_true(strlen(lm_backend_name()) > 0);
}

/* By the order of their names, without asking all: the one that finds itself the best. */
static void test_the_best_kernel_is_found(void **state) {
    (void)state;
    const char *folder = getenv("EDGESTILL_LLAMA_BACKENDS");
    char best[64] = "";
    int most = 0;
    DIR *d = opendir(folder ? folder : EDGESTILL_LLAMA_BACKENDS);
    if (!d)
        skip(); /* kernels are part of the library */
    for (const struct dirent *entry; (entry = readdir(d));) {
        char *path = file_join(folder ? folder : EDGESTILL_LLAMA_BACKENDS, entry->d_name);
        void *module =
            str_starts(entry->d_name, "libggml-cpu-") ? dlopen(path, RTLD_LAZY | RTLD_LOCAL) : NULL;
        int (*score)(void) = NULL;
        if (module)
            *(void **)&score = dlsym(module, "ggml_backend_score");
        int points = score ? score() : 0;
        if (points > most) {
            most = points;
            snprintf(best, sizeof best, "%s", entry->d_name + strlen("libggml-cpu-"));
            best[strcspn(best, ".") + (strncmp(best, "armv", 4) == 0 ? 2 : 0)] = 0;
        }
        if (module)
            dlclose(module);
        free(path);
    }
    closedir(d);
    if (most > 0)
        assert_int_equal(strncmp(lm_backend_name(), best, strlen(best)), 0);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loading_as_a_device_is_the_same),
        cmocka_unit_test(test_broken_files_are_refused),
        cmocka_unit_test(test_damaged_headers_do_not_crash),
        cmocka_unit_test(test_bad_calls_are_refused),
        cmocka_unit_test(test_tokens_round_trip),
        cmocka_unit_test(test_chat_frame),
        cmocka_unit_test(test_every_way_to_a_prompt_is_equal),
        cmocka_unit_test(test_states_that_do_not_fit_are_refused),
        cmocka_unit_test(test_adapter_changes_the_logits),
        cmocka_unit_test(test_generation_is_greedy),
        cmocka_unit_test(test_writers_do_not_disturb_each_other),
        cmocka_unit_test(test_drawn_tokens_come_as_often_as_they_should),
        cmocka_unit_test(test_labels_score_as_one_by_one),
        cmocka_unit_test(test_many_labels),
        cmocka_unit_test(test_bad_labels_are_refused),
        cmocka_unit_test(test_versions_are_known),
        cmocka_unit_test(test_the_best_kernel_is_found),
    };
    return cmocka_run_group_tests(tests, make_models, NULL);
}
