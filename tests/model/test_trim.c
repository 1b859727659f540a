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
#include "base/mem.h"
#include "base/rng.h"
#include "llama/lm.h"
#include "model/trim.h"
#include "model/writer.h"

enum { N_TOKENS = 1400, N_STRINGS = 10000, MAX_BYTES = 96 };

static void check(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

/* ---- random tokenizers ---- */

enum kind { KIND_QWEN2, KIND_LLAMA_BPE, KIND_SPM };
static const char *const pre_names[] = {"qwen2", "llama-bpe", "default"};

struct words {
    struct arena arena;
    const char *tokens[N_TOKENS], *merges[N_TOKENS];
    int32_t types[N_TOKENS];
    float scores[N_TOKENS];
    int n, n_merges;
};

static bool known(const struct words *w, const char *text) {
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->tokens[i], text) == 0)
            return true;
    return false;
}

static void add(struct words *w, const char *text, int32_t type, float score) {
    w->tokens[w->n] = text;
    w->types[w->n] = type;
    w->scores[w->n++] = score;
}

static const char *stand_in(struct arena *a, int byte) {
    int code = byte, others = 0;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        code = b == byte && !printable ? 256 + others : code;
        others += !printable;
    }
    return code < 0x80 ? arena_printf(a, "%c", code)
                       : arena_printf(a, "%c%c", 0xC0 | (code >> 6), 0x80 | (code & 0x3F));
}

/* Joins of any two earlier tokens, short ones more often: halves of letters, letters, pieces of words. */
static void join_words(struct words *w, struct rng *r, int first, int room, enum kind kind) {
    for (int tries = 0; w->n < room && tries < 100 * N_TOKENS; tries++) {
        int a = first + (int)rng_range(r, 0, w->n - first - 1),
            b = first + (int)rng_range(r, 0, w->n - first - 1);
        const char *joined = arena_printf(&w->arena, "%s%s", w->tokens[a], w->tokens[b]);
        if (strlen(joined) > 14 || known(w, joined))
            continue;
        w->merges[w->n_merges++] = arena_printf(&w->arena, "%s %s", w->tokens[a], w->tokens[b]);
        add(w, joined, 1, kind == KIND_SPM ? (float)-w->n : 0);
    }
}

static const char *const letters[] = {"a",
                                      "b",
                                      "c",
                                      "d",
                                      "e",
                                      "h",
                                      "i",
                                      "l",
                                      "n",
                                      "o",
                                      "r",
                                      "s",
                                      "t",
                                      "u",
                                      "0",
                                      "1",
                                      "2",
                                      "9",
                                      ".",
                                      ":",
                                      "-",
                                      "\xC3\xA9",
                                      "\xC3\xBC",
                                      "\xD0\xB6",
                                      "\xE4\xB8\xAD",
                                      "\xE2\x82\xAC",
                                      "\xF0\x9F\x98\x80",
                                      "\xE2\x96\x81"};

static void make_words(struct words *w, enum kind kind, struct rng *r) {
    *w = (struct words){0};
    arena_init(&w->arena);
    if (kind == KIND_SPM) {
        add(w, "<unk>", 2, 0);
        add(w, "<s>", 3, 0);
        add(w, "</s>", 3, 0);
        for (int b = 0; b < 256; b++)
            add(w, arena_printf(&w->arena, "<0x%02X>", b), 6, 0);
    }
    int first = w->n;
    for (int b = 0; kind != KIND_SPM && b < 256; b++)
        add(w, stand_in(&w->arena, b), 1, 0);
    for (size_t i = 0; kind == KIND_SPM && i < sizeof letters / sizeof *letters; i++)
        add(w, letters[i], 1, (float)-w->n);
    /* A random pair hardly ever occurs in a text: pairs of common characters first. */
    const char *common[] = {"a", "e", "t", "n", "o", kind == KIND_SPM ? "\xE2\x96\x81" : "\xC4\xA0",
                            "s", "r", "i", "1", "0"};
    for (size_t i = 0; i < 11 * 11; i++) {
        const char *joined = arena_printf(&w->arena, "%s%s", common[i % 11], common[i / 11]);
        w->merges[w->n_merges++] = arena_printf(&w->arena, "%s %s", common[i % 11], common[i / 11]);
        add(w, joined, 1, (float)-w->n);
    }
    join_words(w, r, first, N_TOKENS - 40, kind);
    while (w->n < N_TOKENS - 8)
        add(w, arena_printf(&w->arena, "<|gap_%d|>", w->n), 5, 0);
    for (int i = 0; i < 8; i++)
        add(w, arena_printf(&w->arena, "<|special_%d|>", i), i < 6 ? 3 : 4, 0);
}

static int fill(void *context, const char *name, float *values, int64_t n, struct err *e) {
    return model_file_read(context, name, values, n, e);
}

static void write_model(const char *path, const struct words *w, enum kind kind) {
    struct err e = {0};
    struct model_file *f;
    struct model_writer *m;
    check(tiny_gguf_write("tiny.gguf",
                          &(struct tiny_gguf){.n_layer = 1, .n_embd = 64, .n_ff = 64, .n_vocab = N_TOKENS},
                          &e),
          &e);
    check(model_file_open(&f, "tiny.gguf", &e), &e);
    check(model_writer_new(&m, &e), &e);
    model_writer_copy_metadata(m, f);
    model_writer_text(m, "tokenizer.ggml.model", kind == KIND_SPM ? "llama" : "gpt2");
    model_writer_text(m, "tokenizer.ggml.pre", pre_names[kind]);
    model_writer_texts(m, "tokenizer.ggml.tokens", w->tokens, N_TOKENS);
    model_writer_i32s(m, "tokenizer.ggml.token_type", w->types, N_TOKENS);
    model_writer_f32s(m, "tokenizer.ggml.scores", w->scores, N_TOKENS);
    model_writer_texts(m, "tokenizer.ggml.merges", w->merges, (size_t)w->n_merges);
    model_writer_u32(m, "tokenizer.ggml.bos_token_id", kind == KIND_SPM ? 1 : N_TOKENS - 7);
    model_writer_u32(m, "tokenizer.ggml.eos_token_id", N_TOKENS - 8);
    model_writer_u32(m, "tokenizer.ggml.padding_token_id", N_TOKENS - 6);
    model_writer_bool(m, "tokenizer.ggml.add_space_prefix", false);
    for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
        struct model_tensor t = model_file_tensor(f, i);
        model_writer_tensor(m, t.name, t.rows, t.cols, t.rows == 1 ? MODEL_F32 : MODEL_F16);
    }
    check(model_writer_write(m, path, fill, f, &e), &e);
    model_writer_free(m);
    model_file_close(f);
}

/* ---- random texts ---- */

static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x80)
        return (size_t)(to[0] = (char)c, 1);
    if (c < 0x800)
        return (size_t)(to[0] = (char)(0xC0 | c >> 6), to[1] = (char)(0x80 | (c & 0x3F)), 2);
    if (c < 0x10000)
        return (size_t)(to[0] = (char)(0xE0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 0x3F)),
                        to[2] = (char)(0x80 | (c & 0x3F)), 3);
    return (size_t)(to[0] = (char)(0xF0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 0x3F)),
                    to[2] = (char)(0x80 | (c >> 6 & 0x3F)), to[3] = (char)(0x80 | (c & 0x3F)), 4);
}

/* Any character but NUL, surrogates, and U+2581, which SentencePiece itself cannot tell from a blank. */
static uint32_t any_character(struct rng *r) {
    static const uint32_t tops[] = {0x7F, 0x7F, 0x7F, 0xFF, 0x7FF, 0xFFFF, 0x10FFFF};
    for (;;) {
        uint32_t c = (uint32_t)rng_range(r, 1, tops[rng_range(r, 0, 6)]);
        if ((c < 0xD800 || c > 0xDFFF) && c != 0x2581)
            return c;
    }
}

static size_t random_text(struct rng *r, char text[MAX_BYTES]) {
    static const char common[] = "aetnosri10 .:-\n";
    size_t n = 0, length = (size_t)rng_range(r, 1, MAX_BYTES - 5);
    bool plain = rng_chance(r, 0.5);
    while (n < length)
        if (plain || rng_chance(r, 0.4))
            text[n++] = common[rng_range(r, 0, (int64_t)sizeof common - 2)];
        else
            n += put_utf8(text + n, any_character(r));
    text[n] = 0;
    return n;
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

static void test_kind(enum kind kind) {
    struct err e = {0};
    struct rng r;
    static struct words w;
    static bool keep[N_TOKENS];
    struct pair_of p = {.tidies = kind == KIND_LLAMA_BPE};
    struct model_file *f;
    struct vocab *v;
    rng_seed(&r, 11 + kind);
    make_words(&w, kind, &r);
    write_model("whole.gguf", &w, kind);
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
        size_t n = random_text(&r, text);
        compare(&p, text, n);
    }
    assert_true(p.same > N_STRINGS / 100); /* both cases are tried */
    assert_true(p.rest > N_STRINGS / 100);
    lm_free(p.whole);
    lm_free(p.small);
    vocab_close(v);
    model_file_close(f);
    arena_release(&w.arena);
}

static void test_qwen2(void **state) {
    (void)state;
    test_kind(KIND_QWEN2);
}

static void test_llama_bpe(void **state) {
    (void)state;
    test_kind(KIND_LLAMA_BPE);
}

static void test_sentencepiece(void **state) {
    (void)state;
    test_kind(KIND_SPM);
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
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_logits_stay),
        cmocka_unit_test(test_what_cannot_be_trimmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
