/* Cutting a vocabulary down: random tokenizers of both kinds, random parts of them kept. No text may lose anything, and a text whose
 * tokens are all kept must have the tokens that it had. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "../support/tiny_vocab.h"
#include "base/rng.h"
#include "llama/lm.h"
#include "model/trim.h"

enum { N_TOKENS = TINY_VOCAB_TOKENS, N_STRINGS = 10000, MAX_BYTES = TINY_TEXT_BYTES };

static void check(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

/* ---- the property ---- */

struct pair_of {
    struct lm *whole, *small;
    int32_t new_id[N_TOKENS];
    int64_t same, rest;
    bool tidies; /* llama.cpp takes blanks before punctuation out of what this kind writes */
};

static void compare(struct pair_of *p, const char *text, size_t n) {
    int32_t a[2 * MAX_BYTES], b[2 * MAX_BYTES];
    struct err e = {0};
    struct str back = {0}, whole = {0};
    int64_t na = lm_tokenize(p->whole, text, n, LM_PLAIN, a, 2 * MAX_BYTES, &e),
            nb = lm_tokenize(p->small, text, n, LM_PLAIN, b, 2 * MAX_BYTES, &e);
    check((int)na, &e);
    check((int)nb, &e);
    bool kept = true;
    for (int64_t i = 0; i < na; i++)
        kept = kept && p->new_id[a[i]] >= 0;
    assert_true(nb >= na || !kept);
    for (int64_t i = 0; kept && i < na; i++)
        assert_int_equal(b[i], p->new_id[a[i]]);
    assert_true(!kept || na == nb);
    p->same += kept;
    p->rest += !kept;
    check(lm_detokenize(p->small, b, nb, false, &back, &e), &e);
    check(lm_detokenize(p->whole, a, na, false, &whole, &e), &e);
    if (!p->tidies && strcmp(str_text(&whole), text) != 0)
        fail_msg("'%s' came back as '%s' from the whole model", text, str_text(&whole));
    if (strcmp(str_text(&back), str_text(&whole)) != 0)
        fail_msg("'%s' came back as '%s'", text, str_text(&back));
    str_release(&back);
    str_release(&whole);
}

static void keep_some(const struct vocab *v, bool *keep, struct rng *r) {
    struct err e = {0};
    for (int32_t id = 0; id < N_TOKENS; id++)
        keep[id] = rng_chance(r, 0.3);
    vocab_keep_essential(v, keep);
    check(vocab_keep_closure(v, keep, &e), &e);
}

static void test_kind(enum tiny_vocab_kind kind) {
    struct err e = {0};
    struct rng r;
    static bool keep[N_TOKENS];
    struct pair_of p = {.tidies = kind == TINY_VOCAB_LLAMA_BPE};
    struct model_file *f;
    struct vocab *v;
    rng_seed(&r, 11 + kind);
    check(tiny_vocab_write("whole.gguf", kind, &r, &e), &e);
    check(model_file_open(&f, "whole.gguf", &e), &e);
    check(vocab_open(&v, f, &e), &e);
    keep_some(v, keep, &r);
    check(model_trim(f, "small.gguf", v, keep, &e), &e);
    for (int32_t id = 0, next = 0; id < N_TOKENS; id++)
        p.new_id[id] = keep[id] ? next++ : -1;
    struct lm_options o = {.vocab_only = true};
    check(lm_open(&p.whole, "whole.gguf", &o, &e), &e);
    check(lm_open(&p.small, "small.gguf", &o, &e), &e);
    assert_int_equal(lm_token_eot(p.small), p.new_id[lm_token_eot(p.whole)]);
    for (int i = 0; i < N_STRINGS; i++) {
        char text[MAX_BYTES];
        size_t n = tiny_text(&r, text);
        compare(&p, text, n);
    }
    assert_true(p.same > N_STRINGS / 100); /* both cases are tried */
    assert_true(p.rest > N_STRINGS / 100);
    lm_free(p.whole);
    lm_free(p.small);
    vocab_close(v);
    model_file_close(f);
}

static void test_qwen2(void **state) {
    (void)state;
    test_kind(TINY_VOCAB_QWEN2);
}

static void test_llama_bpe(void **state) {
    (void)state;
    test_kind(TINY_VOCAB_LLAMA_BPE);
}

static void test_sentencepiece(void **state) {
    (void)state;
    test_kind(TINY_VOCAB_SPM);
}

static void test_smollm(void **state) {
    (void)state;
    test_kind(TINY_VOCAB_SMOLLM);
}

static void test_gemma(void **state) {
    (void)state;
    test_kind(TINY_VOCAB_GEMMA);
}

/* ---- the weights ---- */

static void test_logits_stay(void **state) {
    (void)state;
    struct err e = {0};
    struct rng r;
    static bool keep[1024];
    struct model_file *f;
    struct vocab *v;
    struct lm *whole, *small;
    enum { N = 6 };
    for (int tied = 0; tied < 2; tied++) {
        rng_seed(&r, 3);
        struct tiny_gguf shape = {.tied = tied, .seed = 5, .type = GGML_TYPE_F16};
        check(tiny_gguf_write("whole.gguf", &shape, &e), &e);
        check(model_file_open(&f, "whole.gguf", &e), &e);
        check(vocab_open(&v, f, &e), &e);
        memset(keep, 0, sizeof keep);
        vocab_keep_essential(v, keep);
        check(vocab_keep_reserve(v, keep, 300, &e), &e);
        check(model_trim(f, "small.gguf", v, keep, &e), &e);
        check(lm_open(&whole, "whole.gguf", &(struct lm_options){.n_threads = 1}, &e), &e);
        check(lm_open(&small, "small.gguf", &(struct lm_options){.n_threads = 1}, &e), &e);
        assert_int_equal(lm_n_vocab(small), 320);   /* 300, to a multiple of 64 */
        int32_t ids[N] = {40, 71, 100, 9, 200, 33}; /* bytes: the same ids in both */
        float *a = calloc((size_t)N * 1024, sizeof *a), *b = calloc((size_t)N * 320, sizeof *b);
        check(lm_logits(whole, ids, N, a, &e), &e);
        check(lm_logits(small, ids, N, b, &e), &e);
        for (int t = 0; t < N; t++)
            for (int id = 0, next = 0; id < 1024; id++)
                if (keep[id])
                    assert_true(a[t * 1024 + id] == b[t * 320 + next++]); /* the same sums of the same rows */
        free(a);
        free(b);
        lm_free(whole);
        lm_free(small);
        vocab_close(v);
        model_file_close(f);
    }
}

static void test_what_cannot_be_trimmed(void **state) {
    (void)state;
    struct err e = {0};
    struct model_file *f;
    struct vocab *v;
    static bool keep[1024];
    check(tiny_gguf_write("q8.gguf", &(struct tiny_gguf){.type = GGML_TYPE_Q8_0}, &e), &e);
    check(model_file_open(&f, "q8.gguf", &e), &e);
    check(vocab_open(&v, f, &e), &e);
    vocab_keep_essential(v, keep);
    assert_int_equal(model_trim(f, "out.gguf", v, keep, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "quantised already"));
    vocab_close(v);
    model_file_close(f);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_llama_bpe),
        cmocka_unit_test(test_smollm),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_logits_stay),
        cmocka_unit_test(test_what_cannot_be_trimmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
