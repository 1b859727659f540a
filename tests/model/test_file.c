/* Model files: shapes read and refused, weights widened, metadata carried over byte for byte, nothing half-written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "base/file.h"
#include "model/arch.h"
#include "model/file.h"
#include "model/writer.h"
#include <gguf.h>

static void check(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

static void make(const char *path, const struct tiny_gguf *o) {
    struct err e = {0};
    check(tiny_gguf_write(path, o, &e), &e);
}

static struct model_file *open_file(const char *path) {
    struct err e = {0};
    struct model_file *f = NULL;
    check(model_file_open(&f, path, &e), &e);
    return f;
}

static void test_shape_is_read(void **state) {
    (void)state;
    struct err e = {0};
    struct model_config c;
    make("a.gguf", &(struct tiny_gguf){.n_layer = 3,
                                       .n_head = 3,
                                       .n_kv = 1,
                                       .head_dim = 64,
                                       .n_vocab = 700,
                                       .n_ctx = 99,
                                       .rope_base = 5000,
                                       .rms_epsilon = 1e-6f,
                                       .tied = true});
    struct model_file *f = open_file("a.gguf");
    check(model_file_config(f, &c, &e), &e);
    assert_string_equal(model_file_arch(f), "llama");
    assert_int_equal(c.n_layer, 3);
    assert_int_equal(c.d_model, 256);
    assert_int_equal(c.n_heads, 3);
    assert_int_equal(c.n_kv_heads, 1);
    assert_int_equal(c.head_dim, 64);
    assert_int_equal(c.d_ff, 512);
    assert_int_equal(c.n_vocab, 700);
    assert_int_equal(c.n_ctx, 99);
    assert_true(c.rope_theta == 5000 && c.norm_eps == 1e-6f && c.tied_head && !c.rope_halves && !c.qk_norm);
    model_file_close(f);
    make("b.gguf", &(struct tiny_gguf){.arch = "qwen3"});
    f = open_file("b.gguf");
    check(model_file_config(f, &c, &e), &e);
    assert_true(!c.tied_head && c.rope_halves && c.qk_norm);
    model_file_close(f);
}

static void test_variants_are_read(void **state) {
    (void)state;
    struct err e = {0};
    struct model_config c;
    make("q2.gguf", &(struct tiny_gguf){.arch = "qwen2"});
    struct model_file *f = open_file("q2.gguf");
    check(model_file_config(f, &c, &e), &e);
    assert_true(c.qkv_bias && c.rope_halves && !c.qk_norm && c.window == 0 && c.embed_scale == 0);
    model_file_close(f);
    make("g3.gguf", &(struct tiny_gguf){.arch = "gemma3", .tied = true, .window = 32, .rope_base = 1e6f});
    f = open_file("g3.gguf");
    check(model_file_config(f, &c, &e), &e);
    assert_true(c.qk_norm && c.post_norms && c.gelu && c.tied_head && c.embed_scale == 16);
    assert_true(c.window == 32 && c.window_every == 6 && c.local_theta == 10000 && c.rope_theta == 1e6f);
    assert_true(model_config_windowed(&c, 0) && !model_config_windowed(&c, 5));
    model_file_close(f);
    make("g3.gguf", &(struct tiny_gguf){.arch = "gemma3", .tied = true, .window = 512, .n_ctx = 128});
    f = open_file("g3.gguf"); /* no prompt exceeds the window */
    check(model_file_config(f, &c, &e), &e);
    assert_true(c.window == 128 && c.window_every == 6 && c.local_theta == 10000);
    model_file_close(f);
    make("l3.gguf", &(struct tiny_gguf){.rope_factors = true});
    f = open_file("l3.gguf");
    check(model_file_config(f, &c, &e), &e);
    assert_true(c.has_rope_factors && c.rope_factors[0] > 0 && c.rope_factors[0] != c.rope_factors[1]);
    model_file_close(f);
}

static void test_what_cannot_be_trained_is_named(void **state) {
    (void)state;
    struct err e = {0};
    struct model_config c;
    make("c.gguf", &(struct tiny_gguf){.arch = "granite"});
    struct model_file *f = open_file("c.gguf");
    assert_int_equal(model_file_config(f, &c, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "granite"));
    assert_non_null(strstr(e.hint, model_arch_names()));
    model_file_close(f);
}

/* A copy of a.gguf with one key or tensor changed by `change`. */
static int config_after(void (*change)(struct gguf_context *g), struct err *e) {
    struct ggml_context *data = NULL;
    struct model_config c;
    struct gguf_context *from =
        gguf_init_from_file("a.gguf", (struct gguf_init_params){.no_alloc = false, .ctx = &data});
    struct gguf_context *g = gguf_init_empty();
    gguf_set_kv(g, from);
    for (int64_t i = 0; i < gguf_get_n_tensors(from); i++)
        gguf_add_tensor(g, ggml_get_tensor(data, gguf_get_tensor_name(from, i)));
    change(g);
    assert_true(gguf_write_to_file(g, "changed.gguf", false));
    gguf_free(g);
    gguf_free(from);
    ggml_free(data);
    struct model_file *f = open_file("changed.gguf");
    int rc = model_file_config(f, &c, e);
    model_file_close(f);
    return rc;
}

static void no_change(struct gguf_context *g) {
    (void)g;
}
static void no_heads(struct gguf_context *g) {
    gguf_remove_key(g, "llama.attention.head_count");
}
static void wrong_width(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.feed_forward_length", 300);
}
static void fewer_blocks(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.block_count", 2);
}
static void more_blocks(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.block_count", 4);
}
static void no_blocks(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.block_count", 0);
}
static void experts(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.expert_count", 8);
}
static void scaled(struct gguf_context *g) {
    gguf_set_val_str(g, "llama.rope.scaling.type", "yarn");
}
static void scaled_by_factor(struct gguf_context *g) {
    gguf_set_val_f32(g, "llama.rope.scaling.factor", 4);
}
static void scaled_as_once(struct gguf_context *g) {
    gguf_set_val_f32(g, "llama.rope.scale_linear", 2);
}
static void scaled_by_one(struct gguf_context *g) {
    gguf_set_val_f32(g, "llama.rope.scaling.factor", 1);
}
static void widths_by_layer(struct gguf_context *g) {
    gguf_set_arr_data(g, "llama.feed_forward_length", GGUF_TYPE_INT32, (int32_t[]){512, 512, 512}, 3);
}

static void test_contradictions_are_refused(void **state) {
    (void)state;
    static const struct {
        void (*change)(struct gguf_context *g);
        int code;
        const char *says;
    } cases[] = {
        {no_change, 0, ""},
        {no_heads, ERR_FORMAT, "llama.attention.head_count"},
        {wrong_width, ERR_FORMAT, "ffn_gate.weight"},
        {fewer_blocks, ERR_UNSUPPORTED, "block_count"},
        {more_blocks, ERR_FORMAT, "blk.3."},
        {no_blocks, ERR_FORMAT, "block_count"},
        {experts, ERR_UNSUPPORTED, "expert"},
        {scaled, ERR_UNSUPPORTED, "rope.scaling"},
        {scaled_by_factor, ERR_UNSUPPORTED, "rope.scaling.factor"},
        {scaled_as_once, ERR_UNSUPPORTED, "rope.scaling.factor"},
        {scaled_by_one, 0, ""},
        {widths_by_layer, ERR_UNSUPPORTED, "feed_forward_length"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        assert_int_equal(config_after(cases[i].change, &e), cases[i].code);
        if (!strstr(e.message, cases[i].says))
            fail_msg("'%s' does not name %s", e.message, cases[i].says);
    }
}

static void test_broken_files_are_refused(void **state) {
    (void)state;
    struct str whole = {0};
    struct err e = {0};
    struct model_file *f = NULL;
    assert_int_equal(model_file_open(&f, "none.gguf", &e), ERR_NOT_FOUND);
    err_clear(&e);
    check(file_read("a.gguf", 0, &whole, &e), &e);
    for (size_t n = 0; n < whole.len; n = n < 64 ? n + 9 : n + 1 + whole.len / 11) {
        check(file_write("cut.gguf", whole.data, n, &e), &e);
        if (model_file_open(&f, "cut.gguf", &e) != ERR_FORMAT)
            fail_msg("a file cut at %zu of %zu bytes was accepted", n, whole.len);
        assert_non_null(strstr(e.message, "cut.gguf"));
        err_clear(&e);
    }
    str_release(&whole);
}

static void test_weights_are_widened(void **state) {
    (void)state;
    struct err e = {0};
    enum { N = 256 * 256 };
    float *exact = malloc(N * sizeof *exact), *wide = malloc(N * sizeof *wide);
    static const struct {
        enum ggml_type type;
        double tolerance; /* of the largest weight: half a step of the format */
    } types[] = {
        {GGML_TYPE_F16, 5e-4}, {GGML_TYPE_BF16, 4e-3}, {GGML_TYPE_Q8_0, 5e-3}, {GGML_TYPE_Q4_K, 0.09}};
    make("f32.gguf", &(struct tiny_gguf){.seed = 3});
    struct model_file *f = open_file("f32.gguf");
    check(model_file_read(f, "blk.1.attn_q.weight", exact, N, &e), &e);
    assert_int_equal(model_file_read(f, "blk.1.attn_q.weight", exact, N - 1, &e), ERR_MISMATCH);
    err_clear(&e);
    assert_int_equal(model_file_read(f, "blk.9.attn_q.weight", exact, N, &e), ERR_NOT_FOUND);
    model_file_close(f);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        double worst = 0, top = 0;
        make("other.gguf", &(struct tiny_gguf){.seed = 3, .type = types[i].type});
        f = open_file("other.gguf");
        check(model_file_read(f, "blk.1.attn_q.weight", wide, N, &e), &e);
        for (int j = 0; j < N; j++) {
            worst = fmax(worst, fabs((double)wide[j] - (double)exact[j]));
            top = fmax(top, fabs((double)exact[j]));
        }
        if (!(worst <= types[i].tolerance * top) || worst == 0)
            fail_msg("%s: off by %g of %g", ggml_type_name(types[i].type), worst, top);
        model_file_close(f);
    }
    free(exact);
    free(wide);
}

/* ---- writing ---- */

static int copy_values(void *context, const char *name, float *values, int64_t n, struct err *e) {
    return model_file_read(context, name, values, n, e);
}

static int give_up(void *context, const char *name, float *values, int64_t n, struct err *e) {
    (void)context, (void)name, (void)values, (void)n;
    return err_set(e, ERR_FAILED, "test", "no values today");
}

static int too_large(void *context, const char *name, float *values, int64_t n, struct err *e) {
    (void)context, (void)name, (void)e;
    for (int64_t i = 0; i < n; i++)
        values[i] = 70000;
    return 0;
}

/* The same keys in the same order with the same bytes, but for general.file_type. */
static void assert_same_metadata(const struct gguf_context *a, const struct gguf_context *b) {
    assert_int_equal(gguf_get_n_kv(a), gguf_get_n_kv(b));
    for (int64_t i = 0; i < gguf_get_n_kv(a); i++) {
        const char *key = gguf_get_key(a, i);
        int64_t j = gguf_find_key(b, key);
        assert_true(j >= 0 && gguf_get_kv_type(a, i) == gguf_get_kv_type(b, j));
        if (strcmp(key, "general.file_type") == 0)
            continue;
        if (gguf_get_kv_type(a, i) == GGUF_TYPE_STRING) {
            assert_string_equal(gguf_get_val_str(a, i), gguf_get_val_str(b, j));
        } else if (gguf_get_kv_type(a, i) != GGUF_TYPE_ARRAY) {
            size_t width = gguf_get_kv_type(a, i) == GGUF_TYPE_BOOL ? 1 : 4;
            assert_memory_equal(gguf_get_val_data(a, i), gguf_get_val_data(b, j), width);
        } else {
            assert_int_equal(gguf_get_arr_type(a, i), gguf_get_arr_type(b, j));
            assert_int_equal(gguf_get_arr_n(a, i), gguf_get_arr_n(b, j));
            for (size_t k = 0; k < gguf_get_arr_n(a, i); k++)
                if (gguf_get_arr_type(a, i) == GGUF_TYPE_STRING)
                    assert_string_equal(gguf_get_arr_str(a, i, k), gguf_get_arr_str(b, j, k));
                else
                    assert_memory_equal((const int32_t *)gguf_get_arr_data(a, i) + k,
                                        (const int32_t *)gguf_get_arr_data(b, j) + k, 4);
        }
    }
}

static void test_a_copy_carries_everything_over(void **state) {
    (void)state;
    struct err e = {0};
    struct model_writer *w = NULL;
    struct model_file *from = open_file("f32.gguf");
    check(model_writer_new(&w, &e), &e);
    model_writer_copy_metadata(w, from);
    for (int64_t i = 0; i < model_file_n_tensors(from); i++) {
        struct model_tensor t = model_file_tensor(from, i);
        model_writer_tensor(w, t.name, t.rows, t.cols, MODEL_F32);
    }
    check(model_writer_write(w, "copy.gguf", copy_values, from, &e), &e);
    model_writer_free(w);
    struct model_file *to = open_file("copy.gguf");
    assert_same_metadata(model_file_gguf(from), model_file_gguf(to));
    struct str a = {0}, b = {0};
    check(file_read("f32.gguf", 0, &a, &e), &e);
    check(file_read("copy.gguf", 0, &b, &e), &e);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len); /* the same file, in fact */
    str_release(&a);
    str_release(&b);
    model_file_close(from);
    model_file_close(to);
}

static void test_a_model_from_nothing(void **state) {
    (void)state;
    struct err e = {0};
    struct model_writer *w = NULL;
    struct model_file *values = open_file("f32.gguf");
    struct model_config c, back;
    check(model_file_config(values, &c, &e), &e);
    check(model_writer_new(&w, &e), &e);
    model_writer_config(w, "llama", &c);
    model_writer_texts(w, "tokenizer.ggml.tokens", (const char *const[]){"a", "b"}, 2);
    model_writer_i32s(w, "tokenizer.ggml.token_type", (int32_t[]){1, 3}, 2);
    for (int64_t i = 0; i < model_file_n_tensors(values); i++) {
        struct model_tensor t = model_file_tensor(values, i);
        model_writer_tensor(w, t.name, t.rows, t.cols, t.rows > 1 ? MODEL_F16 : MODEL_F32);
    }
    check(model_writer_write(w, "new.gguf", copy_values, values, &e), &e);
    model_writer_free(w);
    struct model_file *f = open_file("new.gguf");
    check(model_file_config(f, &back, &e), &e);
    assert_memory_equal(&c, &back, sizeof c);
    assert_string_equal(model_file_tensor(f, model_file_find(f, "blk.0.ffn_up.weight")).type, "f16");
    model_file_close(f);
    model_file_close(values);
}

static void fail_to_write(model_fill *fill, int code) {
    struct err e = {0};
    struct model_writer *w = NULL;
    check(model_writer_new(&w, &e), &e);
    model_writer_tensor(w, "x.weight", 4, 32, MODEL_F16);
    assert_int_equal(model_writer_write(w, "never.gguf", fill, NULL, &e), code);
    assert_false(file_exists("never.gguf"));
    assert_false(file_exists("never.gguf.part"));
    model_writer_free(w);
}

static void test_failures_leave_no_file(void **state) {
    (void)state;
    struct err e = {0};
    struct model_writer *w = NULL;
    fail_to_write(give_up, ERR_FAILED);
    fail_to_write(too_large, ERR_UNSUPPORTED);
    check(model_writer_new(&w, &e), &e);
    model_writer_tensor(w, "x.weight", 0, 32, MODEL_F16);
    assert_int_equal(model_writer_write(w, "never.gguf", give_up, NULL, &e), ERR_INPUT);
    model_writer_free(w);
}

static void be_quiet(enum ggml_log_level level, const char *text, void *context) {
    (void)level, (void)text, (void)context;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_is_read),
        cmocka_unit_test(test_variants_are_read),
        cmocka_unit_test(test_what_cannot_be_trained_is_named),
        cmocka_unit_test(test_contradictions_are_refused),
        cmocka_unit_test(test_broken_files_are_refused),
        cmocka_unit_test(test_weights_are_widened),
        cmocka_unit_test(test_a_copy_carries_everything_over),
        cmocka_unit_test(test_a_model_from_nothing),
        cmocka_unit_test(test_failures_leave_no_file),
    };
    scratch_enter();
    ggml_log_set(be_quiet, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
