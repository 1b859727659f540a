/* Validation of written answers: what the trainer takes for decoded, from one pass over the right answer, is what decoding step by step
 * writes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/scratch.h"
#include "support/toy_model.h"
#include "train/loop.h"

/* A row's own tokens are 3 to 12. A third of the answers is what the model writes, token by token; in a third one of these is another,
 * and a third ends sooner. */
enum { N_ROWS = 60, N_OWN = 5, N_ANSWER = 5, END = 22, N_VOCAB = 23, N_CTX = 32 };
static const int32_t head[] = {1, 2, 2, 1, 2, 1, 1, 2, 1};
enum { N_HEAD = sizeof head / sizeof *head };

struct setup {
    struct ops ops;
    struct nn_model m;
    struct dataset_form form;
    struct token_span answers[N_ROWS];
    int32_t ids[N_ROWS][N_ANSWER];
    struct dataset rows;
    bool greedy[N_ROWS]; /* by decoding step by step */
};

/* The most probable token after `n` tokens, by all logits. */
static int32_t next(struct nn_model *m, struct nn_run *run, const int32_t *ids, int n) {
    struct err e = {0};
    int32_t position[N_CTX], target[N_CTX], start[2] = {0, n}, best = 0;
    float logits[N_VOCAB];
    for (int i = 0; i < n; i++) {
        position[i] = i;
        target[i] = i == n - 1 ? 0 : -1;
    }
    struct nn_batch b = {
        .n_tokens = n, .token = ids, .position = position, .target = target, .n_seq = 1, .start = start};
    assert_int_equal(nn_forward_logits(m, run, &b, logits, &e), 0);
    for (int32_t v = 1; v < N_VOCAB; v++)
        best = logits[v] > logits[best] ? v : best;
    return best;
}

static void decode(struct nn_model *m, struct nn_run *run, const int32_t *own, int32_t out[N_ANSWER]) {
    int32_t ids[N_CTX];
    int n = N_HEAD + N_OWN;
    memcpy(ids, head, sizeof head);
    memcpy(ids + N_HEAD, own, N_OWN * sizeof *own);
    for (int i = 0; i < N_ANSWER; i++, n++)
        out[i] = ids[n] = next(m, run, ids, n);
}

static void add_row(struct setup *s, int i, struct nn_run *run, struct rng *rng) {
    struct err e = {0};
    int32_t own[N_OWN], written[N_ANSWER], *answer = s->ids[i];
    int64_t n = rng_range(rng, 2, N_ANSWER), other = rng_range(rng, 0, n - 1);
    for (int j = 0; j < N_OWN; j++)
        own[j] = (int32_t)rng_range(rng, 3, 12);
    decode(&s->m, run, own, written);
    memcpy(answer, written, sizeof written);
    if (i % 3 == 1)
        answer[other] = (answer[other] + 1 + (int32_t)rng_range(rng, 0, N_VOCAB - 2)) % N_VOCAB;
    if (i % 3 == 2)
        answer[n - 1] = END;
    s->answers[i] = (struct token_span){answer, n};
    s->greedy[i] = memcmp(answer, written, (size_t)n * sizeof *answer) == 0;
    assert_int_equal(s->greedy[i] || i % 3 != 0, true);
    struct dataset_row row = {.id = i, .n = N_OWN, .label = i, .weight = 1};
    assert_int_equal(dataset_add(&s->rows, &row, own, N_CTX, &e), 0);
}

static void begin(struct setup *s, bool train_all) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_config();
    struct nn_run run = {0};
    *s = (struct setup){0};
    rng_seed(&rng, 11);
    assert_int_equal(c.n_vocab, N_VOCAB);
    assert_int_equal(ops_open_cpu(&s->ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&s->m, &c, &s->ops, &e), 0);
    toy_fill(&s->m, 6, 0.3f);
    assert_int_equal(train_all ? nn_model_train_all(&s->m, &e)
                               : nn_model_add_lora(&s->m, &(struct nn_lora){.rank = 4, .alpha = 8}, &rng, &e),
                     0);
    struct nn_limits limits = {.n_tokens = N_CTX, .forward_only = true};
    assert_int_equal(nn_run_init(&run, &s->m, &limits, &e), 0);
    s->form = (struct dataset_form){
        .head = {head, N_HEAD}, .answers = s->answers, .n_labels = N_ROWS, .written = true};
    s->rows.form = &s->form;
    for (int i = 0; i < N_ROWS; i++)
        add_row(s, i, &run, &rng);
    nn_run_release(&run);
}

static void end(struct setup *s) {
    dataset_release(&s->rows);
    nn_model_release(&s->m);
    s->ops.close(&s->ops);
}

/* With the head shared and not, the vocabulary whole and in blocks of 8, and logits at every token. */
static void test_agrees_with_decoding_step_by_step(void **state) {
    (void)state;
    static const struct nn_limits ways[] = {{.n_prefix = 16},
                                            {.n_prefix = 0},
                                            {.n_prefix = 16, .head_rows = 3, .head_cols = 8},
                                            {.n_prefix = 16, .plain = NN_PLAIN_LOGITS | NN_PLAIN_LAST}};
    struct setup s;
    begin(&s, false);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct err e = {0};
        struct nn_limits limits = ways[w];
        struct packer p;
        struct nn_run run = {0};
        double log_prob[N_ROWS], plain[N_ROWS];
        bool decoded[N_ROWS];
        int n_greedy = 0, n_improbable = 0;
        limits.n_tokens = 60;
        limits.forward_only = true;
        assert_int_equal(packer_init(&p, 60, &e), 0);
        assert_int_equal(nn_run_init(&run, &s.m, &limits, &e), 0);
        assert_int_equal(train_score(&s.m, &run, &p, &s.rows, &(struct train_scores){.log_prob = plain}, &e),
                         0);
        assert_int_equal(train_score(&s.m, &run, &p, &s.rows, &(struct train_scores){log_prob, decoded}, &e),
                         0);
        for (int i = 0; i < N_ROWS; i++) {
            if (decoded[i] != s.greedy[i])
                fail_msg("way %zu, row %d: decoding %s the answer", w, i,
                         s.greedy[i] ? "writes" : "does not write");
            n_greedy += decoded[i];
            n_improbable += decoded[i] && log_prob[i] < log(0.5);
            assert_true(fabs(log_prob[i] - plain[i]) < 1e-5); /* in blocks or not: measured 4e-7 */
        }
        /* most answers that decoding writes have less than half of the probability: that is no measure of it */
        assert_true(n_greedy >= N_ROWS / 3 && n_greedy < N_ROWS && n_improbable > n_greedy / 2);
        nn_run_release(&run);
        packer_release(&p);
    }
    end(&s);
}

/* The loop's validation accuracy is that share: after a step too small to change anything. */
static void test_validation_counts_decoded_answers(void **state) {
    (void)state;
    for (int all = 0; all < 2; all++) {
        struct setup s;
        struct train_result r;
        struct err e = {0};
        int n_greedy = 0;
        begin(&s, all);
        struct train_settings settings = {
            .epochs = 1, .batch_rows = N_ROWS, .learning_rate = 1e-12f, .seed = 3};
        struct train_files files = {all ? "all.ckpt" : "l.ckpt", all ? "all.best" : "l.best",
                                    all ? "all.log" : "l.log"};
        assert_int_equal(train_run(&s.m, &s.rows, &s.rows, &settings, &files, NULL, &r, &e), 0);
        for (int i = 0; i < N_ROWS; i++)
            n_greedy += s.greedy[i];
        assert_true(fabs(r.best_accuracy - (double)n_greedy / N_ROWS) < 1e-12);
        end(&s);
    }
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_decoding_step_by_step),
        cmocka_unit_test(test_validation_counts_decoded_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
