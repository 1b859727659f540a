/* A teacher's most probable tokens as targets: how they are kept and packed, that training goes towards them, and that they are what
 * llama.cpp computes for the very tokens of the student. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/scratch.h"
#include "support/tiny_gguf.h"
#include "support/toy_model.h"
#include "train/host/likely.h"
#include "train/loop.h"

static const int32_t head[] = {1, 2, 2, 1, 2, 1, 1, 2, 1}, no[] = {14, 16}, yes[] = {15, 14, 16};
static const struct token_span answers[] = {{no, 2}, {yes, 3}};
static const struct dataset_form form = {.head = {head, 9}, .answers = answers, .n_labels = 2};

static void make_rows(struct dataset *d, int n) {
    struct err e = {0};
    *d = (struct dataset){.form = &form};
    for (int i = 0; i < n; i++) {
        int32_t ids[4] = {3 + i % 7, 5 + i % 5, 4, 13};
        struct dataset_row row = {.id = i, .n = 4, .weight = 2, .label = i % 2};
        assert_int_equal(dataset_add(d, &row, ids, 32, &e), 0);
    }
}

static void test_the_weight_is_shared(void **state) {
    (void)state;
    struct dataset d;
    struct packer p;
    struct err e = {0};
    make_rows(&d, 2);
    const struct likely_token top[] = {{15, 0.6f}, {14, 0.2f}, {14, 0.9f}, {3, 0}, {16, 0.5f}, {2, 0.5f}};
    const struct likely_token wrong[] = {{15, 0}, {14, 0}, {14, 0}, {3, 0}, {1, 0}, {1, 0}};
    assert_int_equal(dataset_add_likely(&d, 1, wrong, 2, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "record 1"));
    err_clear(&e);
    assert_int_equal(dataset_add_likely(&d, 1, top, 2, &e), 0);
    assert_int_equal(dataset_add_likely(&d, 0, top, 3, &e), ERR_INPUT); /* as many for all */
    assert_int_equal(packer_init(&p, 64, &e), 0);
    assert_int_equal(packer_init_others(&p, 2, &e), 0);
    p.others_share = 0.25f;
    assert_true(packer_add(&p, &d, 0, 0, 2)); /* this row has none */
    assert_true(packer_add(&p, &d, 1, 1, 2));
    struct nn_batch b = packer_batch(&p);
    int64_t first =
        b.start[1] + 12; /* the token before the answer: behind nine of the head and three of its own */
    assert_int_equal(b.n_others, 2);
    assert_true(b.weight[12] == 2 && b.other_weight[24] == 0);
    assert_int_equal(b.target[first], 15);
    assert_true(fabs((double)b.weight[first] - 1.5) < 1e-6);
    assert_int_equal(b.other[2 * first], 15);
    assert_true(fabs((double)b.other_weight[2 * first] - 0.375) < 1e-6); /* 2 * 0.25 * 0.6 / 0.8 */
    assert_true(fabs((double)b.other_weight[2 * first + 1] - 0.125) < 1e-6);
    assert_int_equal(b.other[2 * (first + 2)], 16);
    packer_clear(&p); /* another label's answer in the same place: nothing of what was there before */
    assert_true(packer_add(&p, &d, 0, 0, 2));
    assert_true(packer_add(&p, &d, 1, 0, 2));
    assert_true(b.other_weight[2 * first] == 0 && b.other_weight[2 * first + 1] == 0);
    assert_true(b.other_weight[2 * first + 2] == 0 && b.weight[first] == 2);
    p.others_share = 0;
    packer_clear(&p);
    assert_true(packer_add(&p, &d, 1, 1, 2));
    b = packer_batch(&p);
    assert_true(b.n_others == 0 && b.weight[12] == 2);
    packer_release(&p);
    dataset_release(&d);
}

/* All of the target is the teacher's: seven parts of token 15, three of token 14, whatever the record and its label. */
static void test_training_goes_towards_the_teacher(void **state) {
    (void)state;
    struct ops ops;
    struct nn_model m;
    struct dataset train, validation = {.form = &form};
    struct train_result r;
    struct err e = {0};
    struct model_config c = toy_config();
    assert_int_equal(ops_open_cpu(&ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&m, &c, &ops, &e), 0);
    toy_fill(&m, 5, 0.3f);
    assert_int_equal(nn_model_train_all(&m, &e), 0);
    make_rows(&train, 40);
    for (int i = 0; i < 40; i++) {
        const struct likely_token top[] = {{15, 0.7f}, {14, 0.3f}, {16, 1}, {1, 0}, {16, 1}, {1, 0}};
        assert_int_equal(dataset_add_likely(&train, i, top, 2, &e), 0);
    }
    struct train_settings s = {.epochs = 30,
                               .batch_rows = 8,
                               .learning_rate = 1e-2f,
                               .schedule = SCHEDULE_COSINE,
                               .seed = 3,
                               .likely_share = 1};
    assert_int_equal(train_run(&m, &train, &validation, &s,
                               &(struct train_files){"l.ckpt", "l.best", "l.log"}, NULL, &r, &e),
                     0);
    struct nn_run run;
    int32_t token[13] = {1, 2, 2, 1, 2, 1, 1, 2, 1, 4, 6, 4, 13}, position[13], target[13],
            start[2] = {0, 13};
    float logits[64];
    double sum = 0;
    for (int i = 0; i < 13; i++) {
        position[i] = i;
        target[i] = i == 12 ? 15 : -1;
    }
    assert_int_equal(nn_run_init(&run, &m, &(struct nn_limits){.n_tokens = 13, .forward_only = true}, &e), 0);
    const struct nn_batch b = {
        .n_tokens = 13, .token = token, .position = position, .target = target, .n_seq = 1, .start = start};
    assert_int_equal(nn_forward_logits(&m, &run, &b, logits, &e), 0);
    for (int i = 0; i < c.n_vocab; i++)
        sum += exp((double)logits[i]);
    print_message("token 15: %.3f, token 14: %.3f\n", exp((double)logits[15]) / sum,
                  exp((double)logits[14]) / sum);
    assert_true(fabs(exp((double)logits[15]) / sum - 0.7) < 0.1);
    assert_true(fabs(exp((double)logits[14]) / sum - 0.3) < 0.1);
    nn_run_release(&run);
    dataset_release(&train);
    nn_model_release(&m);
    ops.close(&ops);
}

static struct lm *open_lm(const char *path, bool vocab_only) {
    struct lm *m = NULL;
    struct err e = {0};
    if (lm_open(&m, path,
                &(struct lm_options){.n_ctx = 64, .vocab_only = vocab_only, .logits_all_rows = true}, &e) < 0)
        fail_msg("%s", e.message);
    return m;
}

static void test_they_are_what_the_teacher_computes(void **state) {
    (void)state;
    struct dataset d;
    struct err e = {0};
    struct tiny_gguf shape = {.n_embd = 64, .n_ff = 64, .n_vocab = 300, .seed = 3}, other = shape;
    other.n_vocab = 301;
    assert_int_equal(tiny_gguf_write("student.gguf", &shape, &e), 0);
    shape.seed = 9;
    assert_int_equal(tiny_gguf_write("teacher.gguf", &shape, &e), 0);
    assert_int_equal(tiny_gguf_write("stranger.gguf", &other, &e), 0);
    struct lm *student = open_lm("student.gguf", true), *teacher = open_lm("teacher.gguf", false);
    struct likely_from from = {.teacher = "teacher.gguf", .student = student, .n_top = 3, .n_threads = 1};
    make_rows(&d, 2);
    if (likely_read(&d, &from, &e) < 0)
        fail_msg("%s", e.message);
    int32_t ids[15] = {1, 2, 2, 1, 2, 1, 1, 2, 1, 4, 6, 4, 13, 15, 14}; /* row 1 and what is fed of "yes" */
    float *logits = malloc(sizeof *logits * 15 * 300);
    assert_int_equal(lm_logits(teacher, ids, 15, logits, &e), 0);
    for (int place = 0; place < 3; place++) {
        const float *row = logits + (12 + place) * 300;
        const struct likely_token *top = d.likely + d.rows[1].likely_at + place * 3;
        double sum = 0;
        int better = 0;
        for (int j = 0; j < 3; j++)
            sum += exp((double)row[top[j].token]);
        for (int i = 0; i < 300; i++)
            better += row[i] > row[top[2].token];
        assert_int_equal(better, 2); /* the third most probable; then the two before it are the others */
        assert_true(row[top[0].token] >= row[top[1].token] && row[top[1].token] >= row[top[2].token]);
        for (int j = 0; j < 3; j++) /* measured: 2e-4, the batch's size changes llama.cpp's rounding */
            assert_true(fabs((double)top[j].p - exp((double)row[top[j].token]) / sum) < 5e-3);
    }
    free(logits);
    dataset_release(&d);
    make_rows(&d, 2);
    from.teacher = "stranger.gguf";
    assert_int_equal(likely_read(&d, &from, &e), ERR_MISMATCH);
    assert_non_null(strstr(e.message, "301"));
    err_clear(&e);
    from.n_top = 0;
    assert_int_equal(likely_read(&d, &from, &e), ERR_USAGE);
    dataset_release(&d);
    lm_free(student);
    lm_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_weight_is_shared),
        cmocka_unit_test(test_training_goes_towards_the_teacher),
        cmocka_unit_test(test_they_are_what_the_teacher_computes),
    };
    struct err e = {0};
    scratch_enter();
    if (lm_backend_init(NULL, &e) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
