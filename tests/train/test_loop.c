/* The loop on a small made-up task: it learns, the same run gives the same bits, a run that is killed again and again ends with
 * the weights of one that was not, and what goes wrong is named. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "support/scratch.h"
#include "support/toy_model.h"
#include "train/loop.h"

/* Tokens 1, 2: head, long enough to be shared; 3 to 12: a record's; 13: tail; 14, 15: the labels' tokens; 16: end of turn. The
 * label is 1 when token 5 occurs in the record. */
static const int32_t head[] = {1, 2, 2, 1, 2, 1, 1, 2, 1}, no[] = {14, 16}, yes[] = {15, 14, 16};
static const struct token_span answers[] = {{no, 2}, {yes, 3}};
static const struct dataset_form form = {
    .head = {head, sizeof head / sizeof *head}, .answers = answers, .n_labels = 2};

static void make_rows(struct dataset *d, int64_t n, uint64_t seed) {
    struct err e = {0};
    struct rng rng;
    rng_seed(&rng, seed);
    *d = (struct dataset){.form = &form};
    for (int64_t i = 0; i < n; i++) {
        int32_t ids[8];
        struct dataset_row row = {.id = 100 + i, .n = (int32_t)rng_range(&rng, 3, 7), .weight = 1};
        for (int j = 0; j < row.n; j++) {
            ids[j] = (int32_t)rng_range(&rng, 6, 12);
            if (rng_chance(&rng, 0.15))
                ids[j] = 5;
            row.label = row.label || ids[j] == 5;
        }
        ids[row.n++] = 13;
        assert_int_equal(dataset_add(d, &row, ids, 32, &e), 0);
    }
}

struct setup {
    struct ops ops;
    struct nn_model m;
    struct dataset train, validation;
    struct train_settings s;
    struct train_files files;
};

static void begin(struct setup *s, const char *name) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_config();
    static char paths[3][64];
    rng_seed(&rng, 4);
    assert_int_equal(ops_open_cpu(&s->ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&s->m, &c, &s->ops, &e), 0);
    toy_fill(&s->m, 5, 0.3f);
    assert_int_equal(nn_model_add_lora(&s->m, &(struct nn_lora){.rank = 4, .alpha = 8}, &rng, &e), 0);
    make_rows(&s->train, 90, 1);
    make_rows(&s->validation, 40, 2);
    s->s = (struct train_settings){.epochs = 6,
                                   .batch_rows = 8,
                                   .schedule = SCHEDULE_COSINE,
                                   .learning_rate = 2e-2f,
                                   .warmup = 0.05f,
                                   .seed = 3};
    s->s.micro_tokens = 60; /* several micro-batches a step */
    snprintf(paths[0], sizeof paths[0], "%s.ckpt", name);
    snprintf(paths[1], sizeof paths[1], "%s.best", name);
    snprintf(paths[2], sizeof paths[2], "%s.log", name);
    s->files = (struct train_files){paths[0], paths[1], paths[2]};
}

static void end(struct setup *s) {
    dataset_release(&s->train);
    dataset_release(&s->validation);
    nn_model_release(&s->m);
    s->ops.close(&s->ops);
}

static int run(struct setup *s, struct train_result *r, struct err *e) {
    return train_run(&s->m, &s->train, &s->validation, &s->s, &s->files, NULL, r, e);
}

static uint64_t weights_hash(const struct setup *s) {
    uint64_t h = 1;
    for (int64_t i = 0; i < s->m.adapter.n_values; i++) {
        uint32_t word;
        memcpy(&word, &s->m.adapter.value[i], sizeof word);
        h = (h ^ word) * 0x100000001b3u;
    }
    return h;
}

static int64_t count_lines(const char *path, const char *word) {
    struct str text = {0};
    struct err e = {0};
    int64_t n = 0;
    assert_int_equal(file_read(path, 0, &text, &e), 0);
    for (const char *p = text.data; (p = strstr(p, word)); p++)
        n++;
    str_release(&text);
    return n;
}

static uint64_t reference_hash; /* of the uninterrupted run */

static void test_it_learns_and_repeats_itself(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct setup s;
        struct train_result r;
        struct err e = {0};
        begin(&s, i ? "again" : "whole");
        if (run(&s, &r, &e) < 0)
            fail_msg("%s", e.message);
        assert_true(r.best_accuracy >= 0.95 && r.best_loss < 0.2);
        assert_int_equal(r.steps, 6 * 12);
        assert_false(r.resumed);
        assert_int_equal(count_lines(s.files.log, "\"step\","), 6 * 12);
        assert_int_equal(count_lines(s.files.log, "\"evaluation\","), 7);
        if (i == 0)
            reference_hash = weights_hash(&s);
        assert_true(weights_hash(&s) == reference_hash);
        /* asked again, it knows that it is done */
        assert_int_equal(run(&s, &r, &e), 0);
        assert_true(r.resumed && r.steps == 6 * 12 && weights_hash(&s) == reference_hash);
        end(&s);
    }
}

/* One epoch each way, in folders of these names: the same loss and the same sizes of weights but for rounding. */
static void expect_same_course(const char *const names[2], void (*choose)(struct setup *s, int way)) {
    double loss[2], weights[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct setup s;
        struct train_result r;
        struct err e = {0};
        begin(&s, names[i]);
        choose(&s, i);
        s.s.epochs = 1;
        s.s.learning_rate = 1e-3f;
        assert_int_equal(run(&s, &r, &e), 0);
        loss[i] = r.best_loss;
        for (int64_t k = 0; k < s.m.adapter.n_values; k++)
            weights[i] += fabs((double)s.m.adapter.value[k]);
        end(&s);
    }
    print_message("loss %.9f and %.9f, weights %.9f and %.9f\n", loss[0], loss[1], weights[0], weights[1]);
    assert_true(fabs(loss[0] / loss[1] - 1) < 1e-4 && fabs(weights[0] / weights[1] - 1) < 1e-4);
}

static void choose_prefix(struct setup *s, int way) {
    assert_int_equal(dataset_shared(&s->train), 9);
    s->s.plain = way == 0 ? TRAIN_PLAIN_PREFIX : 0;
}

/* The head written out in every row, and computed once. Measured: 4e-8 of the loss, 2e-9 of the weights' sizes. */
static void test_shared_head_changes_nothing(void **state) {
    (void)state;
    expect_same_course((const char *const[]){"written-out", "shared"}, choose_prefix);
}

static void choose_packing(struct setup *s, int way) {
    s->s.plain = way == 0 ? TRAIN_PLAIN_PACKING : 0;
}

/* Each row through the model by itself, and as many at once as there is room for. Measured: as above. */
static void test_packing_changes_nothing(void **state) {
    (void)state;
    expect_same_course((const char *const[]){"row-by-row", "packed"}, choose_packing);
}

static void choose_micro_tokens(struct setup *s, int way) {
    s->s.micro_tokens = way ? 1000 : 20;
}

/* However few tokens go through at once, a step's gradients are the same sums in another order. Measured: as above. */
static void test_micro_batches_change_nothing(void **state) {
    (void)state;
    expect_same_course((const char *const[]){"bit-by-bit", "at-once"}, choose_micro_tokens);
}

/* Every other row is also asked why: token 4 stands before the tail, and 5 tokens answer. */
static const int32_t why[] = {7, 11, 8, 15, 16};

static void add_asides(struct dataset *to, struct dataset *alone, const struct dataset *from) {
    struct err e = {0};
    for (int64_t i = 0; i < from->n_rows; i++) {
        struct dataset_row row = from->rows[i];
        int32_t ids[10];
        memcpy(ids, from->tokens + row.at, (size_t)row.n * sizeof *ids);
        assert_int_equal(dataset_add(to, &row, ids, 32, &e), 0);
        ids[row.n - 1] = 4;
        ids[row.n++] = 13;
        row.label = 0;
        if (i % 2 == 0) {
            assert_int_equal(dataset_add(alone, &row, ids, 32, &e), 0);
            assert_int_equal(dataset_add_aside(to, (struct token_span){ids, row.n},
                                               (struct token_span){why, 5}, 0.5f, 32, &e),
                             0);
        }
    }
    assert_int_equal(
        dataset_add_aside(to, (struct token_span){why, 5}, (struct token_span){why, 5}, 1, 18, &e),
        ERR_INPUT); /* too long */
}

static double sum_of_losses(struct setup *s, const struct dataset *d) {
    struct err e = {0};
    struct packer p;
    struct nn_run run = {0};
    int n = train_scores_of(d);
    double *log_prob = calloc((size_t)(n * d->n_rows), sizeof *log_prob), sum = 0;
    assert_int_equal(packer_init(&p, 60, &e), 0);
    assert_int_equal(nn_run_init(&run, &s->m,
                                 &(struct nn_limits){.n_tokens = 60, .n_prefix = 16, .forward_only = true},
                                 &e),
                     0);
    assert_int_equal(train_score(&s->m, &run, &p, d, &(struct train_scores){.log_prob = log_prob}, &e), 0);
    for (int64_t i = 0; i < d->n_rows; i++)
        sum -= log_prob[i * n + d->rows[i].label];
    nn_run_release(&run);
    packer_release(&p);
    free(log_prob);
    return sum;
}

/* A step's loss with asides is the answers' and, for each aside, its share of the mean over its tokens (measured: 1e-8), and the labels
 * are learned as well as without. */
static void test_asides(void **state) {
    (void)state;
    const struct token_span whys[] = {{why, 5}};
    const struct dataset_form why_form = {.head = form.head, .answers = whys, .n_labels = 1};
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "asides");
    struct dataset both = {.form = &form}, alone = {.form = &why_form};
    add_asides(&both, &alone, &s.train);
    assert_int_equal(both.n_asides, 45);
    assert_int_equal(dataset_shared(&both), dataset_shared(&s.train));
    double expected = sum_of_losses(&s, &s.train) + 0.5 / 5 * sum_of_losses(&s, &alone);
    struct train_settings settings = s.s;
    s.s.epochs = 1;
    s.s.batch_rows = both.n_rows;
    assert_int_equal(train_run(&s.m, &both, &s.validation, &s.s, &s.files, NULL, &r, &e), 0);
    assert_true(fabs(r.last_loss / (expected / (double)both.n_rows) - 1) < 1e-5);
    s.s = settings;
    double asked = sum_of_losses(&s, &alone);
    if (train_run(&s.m, &both, &s.validation, &s.s, &s.files, NULL, &r, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(r.best_accuracy >= 0.95);
    assert_true(sum_of_losses(&s, &alone) < 0.5 * asked);
    dataset_release(&both);
    dataset_release(&alone);
    end(&s);
}

/* A step's loss with soft targets is the labels' losses weighted by them. Measured: 1e-8. */
static void test_soft_targets(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    struct packer p;
    struct nn_run score = {0};
    begin(&s, "soft");
    struct dataset soft = {.form = &form};
    double *log_prob = calloc(2 * (size_t)s.train.n_rows, sizeof *log_prob), expected = 0;
    for (int64_t i = 0; i < s.train.n_rows; i++) {
        const struct dataset_row *row = &s.train.rows[i];
        float q = 0.5f + 0.005f * (float)i, pair[2] = {row->label ? 1 - q : q, row->label ? q : 1 - q};
        assert_int_equal(dataset_add(&soft, row, s.train.tokens + row->at, 32, &e), 0);
        assert_int_equal(dataset_soften(&soft, pair, &e), 0);
    }
    assert_int_equal(dataset_soften(&soft, (float[]){0.5f, 0.7f}, &e), ERR_INPUT);
    err_clear(&e);
    assert_int_equal(packer_init(&p, 60, &e), 0);
    struct nn_limits limits = {.n_tokens = 60, .n_prefix = 16, .forward_only = true};
    assert_int_equal(nn_run_init(&score, &s.m, &limits, &e), 0);
    assert_int_equal(
        train_score(&s.m, &score, &p, &s.train, &(struct train_scores){.log_prob = log_prob}, &e), 0);
    for (int64_t i = 0; i < soft.n_rows; i++)
        for (int label = 0; label < 2; label++)
            expected -= (double)dataset_label_weight(&soft, i, label, 0.4f) * log_prob[2 * i + label];
    s.s.epochs = 1;
    s.s.batch_rows = soft.n_rows;
    s.s.soft_share = 0.4f;
    assert_int_equal(train_run(&s.m, &soft, &s.validation, &s.s, &s.files, NULL, &r, &e), 0);
    assert_true(fabs(r.last_loss / (expected / (double)soft.n_rows) - 1) < 1e-5);
    assert_true(fabs((double)dataset_label_weight(&soft, 0, soft.rows[0].label, 0.4f) - (0.6 + 0.4 * 0.5)) <
                1e-6);
    nn_run_release(&score);
    packer_release(&p);
    dataset_release(&soft);
    free(log_prob);
    end(&s);
}

/* Twelve labels: each row's prompt once for all of them, in batches of any size, gives what each label by itself gives (measured: 2e-6),
 * for a fraction of the work. */
static void test_many_labels_share_a_prompt(void **state) {
    (void)state;
    enum { LABELS = 12, ROWS = 7 };
    static int32_t ids[LABELS][3];
    static struct ops_count count;
    struct token_span many[LABELS];
    struct dataset_form wide = {.head = form.head, .answers = many, .n_labels = LABELS};
    struct dataset d = {.form = &wide};
    struct setup s;
    struct err e = {0};
    double log_prob[3][LABELS * ROWS], macs[3], worst = 0;
    begin(&s, "many-labels");
    ops_count_wrap(&s.ops, &count);
    for (int i = 0; i < LABELS; i++) {
        memcpy(ids[i], (int32_t[]){3 + i, 16, 16}, sizeof ids[i]);
        many[i] = (struct token_span){ids[i], 2 + i % 2};
    }
    for (int i = 0; i < ROWS; i++) {
        struct dataset_row row = s.train.rows[i];
        assert_int_equal(dataset_add(&d, &row, s.train.tokens + row.at, 32, &e), 0);
    }
    assert_true(dataset_scored_by_row(&d) && !dataset_scored_by_row(&s.train));
    for (int way = 0; way < 3; way++) {
        struct packer p;
        struct nn_run run;
        struct nn_limits limits = {.n_tokens = 60, .n_prefix = way ? dataset_scored_prefix(&d) : 0};
        limits.n_targets = way == 2 ? 5 : 0;
        limits.forward_only = true;
        assert_int_equal(packer_init(&p, 60, &e), 0);
        assert_int_equal(nn_run_init(&run, &s.m, &limits, &e), 0);
        macs[way] = count.macs;
        struct train_scores out = {.log_prob = log_prob[way]};
        assert_int_equal(train_score(&s.m, &run, &p, &d, &out, &e), 0);
        macs[way] = count.macs - macs[way];
        nn_run_release(&run);
        packer_release(&p);
    }
    for (int i = 0; i < LABELS * ROWS; i++)
        for (int way = 1; way < 3; way++)
            worst = fmax(worst, fabs(log_prob[way][i] - log_prob[0][i]));
    print_message("apart by %.2g, %.2f of the work\n", worst, macs[1] / macs[0]);
    assert_true(worst < 1e-5 && macs[1] < 0.5 * macs[0]);
    dataset_release(&d);
    end(&s);
}

/* In a child: trains until it is done or gets the signal. */
static int child_main(const char *name) {
    struct setup s;
    struct train_result r;
    struct err e = {0};
    interrupt_install();
    begin(&s, name);
    s.s.save_every_s = 1e-6; /* a checkpoint after each step */
    int rc = run(&s, &r, &e);
    return rc == 0 ? 0 : rc == ERR_INTERRUPTED ? 3 : 1;
}

/* Runs children and signals each a little later than the one before, until one gets to its end. */
static int stop_until_done(const char *name, int signal_number) {
    for (int attempt = 1; attempt < 200; attempt++) {
        int status;
        pid_t pid = fork();
        if (pid == 0)
            _exit(child_main(name));
        clock_sleep_ms(attempt < 60 ? 4 + 2 * attempt
                                    : 20 * attempt); /* a sanitized child is slow to start */
        kill(pid, signal_number);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return attempt;
        if (WIFEXITED(status))
            assert_int_equal(WEXITSTATUS(status), 3);
    }
    fail_msg("it never got done");
    return 0;
}

static void assert_like_uninterrupted(const char *name) {
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, name);
    assert_int_equal(run(&s, &r, &e), 0); /* loads the best weights of the finished run */
    assert_true(r.resumed && weights_hash(&s) == reference_hash);
    assert_int_equal(count_lines(s.files.log, "\"step\","), 6 * 12); /* none missing, none twice */
    assert_int_equal(count_lines(s.files.log, "\"evaluation\","), 7);
    end(&s);
}

static void test_killed_again_and_again(void **state) {
    (void)state;
    print_message("done at attempt %d\n", stop_until_done("killed", SIGKILL));
    assert_like_uninterrupted("killed");
}

static void test_interrupted_again_and_again(void **state) {
    (void)state;
    print_message("done at attempt %d\n", stop_until_done("interrupted", SIGTERM));
    assert_like_uninterrupted("interrupted");
}

static void test_other_settings_start_anew(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "whole");
    s.s.epochs = 1;
    assert_int_equal(run(&s, &r, &e), 0);
    assert_false(r.resumed);
    s.s.identity = 99; /* another base or prompt */
    assert_int_equal(run(&s, &r, &e), 0);
    assert_false(r.resumed);
    end(&s);
}

static void test_a_broken_checkpoint_says_what_to_do(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "broken");
    s.s.epochs = 1;
    assert_int_equal(run(&s, &r, &e), 0);
    assert_int_equal(truncate("broken.ckpt", 1000), 0);
    assert_int_equal(run(&s, &r, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "broken.ckpt"));
    assert_non_null(strstr(e.hint, "delete it"));
    end(&s);
}

static void test_early_stopping(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "early");
    s.s.epochs = 60;
    s.s.patience = 2;
    assert_int_equal(run(&s, &r, &e), 0);
    assert_true(r.stopped_early && r.steps < 60 * 12 && r.best_step < r.steps);
    end(&s);
}

/* One row alone, nothing to judge by, and a rate that moves nothing: all epochs are gone through, and the last weights count. */
static void test_nothing_stops_early_without_validation(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "alone");
    s.train.n_rows = 1;
    s.validation.n_rows = 0;
    s.s.epochs = 9;
    s.s.patience = 2;
    s.s.learning_rate = 1e-9f;
    assert_int_equal(run(&s, &r, &e), 0);
    assert_false(r.stopped_early);
    assert_int_equal(r.steps, 9);
    assert_int_equal(r.best_step, 9);
    end(&s);
}

/* Half-way and at the end, in shares of the peak: a line, half a cosine, nothing. */
static void test_schedules(void **state) {
    (void)state;
    static const struct {
        enum schedule_shape shape;
        const char *name, *last;
    } cases[] = {{SCHEDULE_LINEAR, "linear", "\"learning_rate\":0.001,"},
                 {SCHEDULE_COSINE, "cosine", "\"learning_rate\":0.001,"},
                 {SCHEDULE_CONSTANT, "constant", "\"learning_rate\":0.02,"}};
    double loss[3];
    for (int i = 0; i < 3; i++) {
        struct setup s;
        struct train_result r;
        struct err e = {0};
        assert_int_equal(schedule_find(cases[i].name), cases[i].shape);
        assert_string_equal(schedule_name(cases[i].shape), cases[i].name);
        begin(&s, cases[i].name);
        s.s.schedule = cases[i].shape;
        s.s.epochs = 2;
        assert_int_equal(run(&s, &r, &e), 0);
        assert_int_equal(count_lines(s.files.log, cases[i].last) > 0, 1);
        loss[i] = r.last_loss;
        end(&s);
    }
    assert_true(loss[0] != loss[1] && loss[1] != loss[2]); /* each goes a way of its own */
    assert_int_equal(schedule_find("steps"), -1);
}

static void test_divergence_is_named(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "diverging");
    s.s.learning_rate = 1e4f;
    s.s.warmup = 0;
    assert_int_equal(run(&s, &r, &e), ERR_DIVERGED);
    assert_non_null(strstr(e.message, "step "));
    assert_non_null(strstr(e.hint, "learning rate"));
    end(&s);
    err_clear(&e);
    begin(&s, "nan");
    s.m.base.value[nn_set_find(&s.m.base, "token_embd.weight")->offset + 5 * 16] = NAN; /* token 5 alone */
    s.m.config.tied_head = true;
    s.validation.n_rows = 0;
    assert_int_equal(run(&s, &r, &e), ERR_DIVERGED);
    assert_non_null(strstr(e.message, "step 1: "));
    assert_non_null(strstr(e.message, "record 1"));
    end(&s);
}

/* RMSNorm keeps the loss finite whatever the weights; the only step, or the last one, is noticed as well. */
static void test_weights_that_explode_are_noticed_at_once(void **state) {
    (void)state;
    static const struct {
        float rate;
        int64_t batch_rows;
    } ways[] = {{1e12f, 90}, {1e12f, 8}, {1e6f, 8}, {1e38f, 45}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct setup s;
        struct train_result r;
        struct err e = {0};
        begin(&s, "exploding");
        s.s.learning_rate = ways[i].rate;
        s.s.batch_rows = ways[i].batch_rows;
        s.s.warmup = 0;
        s.s.epochs = 1;
        assert_int_equal(run(&s, &r, &e), ERR_DIVERGED);
        assert_non_null(strstr(e.message, "step 1: "));
        assert_non_null(strstr(e.hint, "learning rate"));
        assert_int_equal(count_lines("exploding.log", "\"step\":1,"), 0); /* no step counts */
        end(&s);
    }
}

/* The evaluation before the first step meets it, and says whose fault it is. */
static void test_a_base_of_no_numbers(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "no-numbers");
    s.m.base.value[nn_set_find(&s.m.base, "blk.0.ffn_up.weight")->offset] = NAN;
    assert_int_equal(run(&s, &r, &e), ERR_DIVERGED);
    assert_non_null(strstr(e.message, "step 0: "));
    assert_non_null(strstr(e.message, "validation record 100"));
    assert_non_null(strstr(e.hint, "base"));
    end(&s);
}

static void test_rows_without_anything_to_learn_are_refused(void **state) {
    (void)state;
    struct err e = {0};
    struct dataset d = {.form = &form};
    int32_t ids[40] = {6, 7};
    assert_int_equal(dataset_add(&d, &(struct dataset_row){.id = 7, .n = 2, .weight = 0}, ids, 32, &e),
                     ERR_INPUT);
    assert_non_null(strstr(e.message, "record 7"));
    err_clear(&e);
    assert_int_equal(dataset_add(&d, &(struct dataset_row){.id = 8, .n = 30, .weight = 1}, ids, 32, &e),
                     ERR_INPUT);
    assert_non_null(strstr(e.message, "record 8"));
    assert_non_null(strstr(e.message, "32"));
    assert_int_equal(d.n_rows, 0);
    dataset_release(&d);
}

static void test_packing_supervises_the_answer_and_nothing_else(void **state) {
    (void)state;
    struct err e = {0};
    struct dataset d;
    struct packer p;
    make_rows(&d, 3, 8);
    assert_int_equal(packer_init(&p, 40, &e), 0);
    int64_t n = dataset_row_tokens(&d, 0, 1);
    assert_true(packer_add(&p, &d, 0, 1, 0.5f));
    assert_true(packer_add(&p, &d, 1, 0, 2));
    struct nn_batch b = packer_batch(&p);
    assert_int_equal(b.n_seq, 2);
    assert_int_equal(b.start[1], n);
    assert_int_equal(b.n_tokens, n + dataset_row_tokens(&d, 1, 0));
    assert_int_equal(b.token[0], 1);
    assert_int_equal(b.token[n], 1);
    assert_int_equal(b.position[n], 0);
    assert_int_equal(b.token[n - 3], 13); /* the tail's last token, then 15, 14; 16 is not fed */
    assert_int_equal(b.target[n - 3], 15);
    assert_int_equal(b.target[n - 2], 14);
    assert_int_equal(b.target[n - 1], 16);
    for (int64_t i = 0; i < n - 3; i++)
        assert_int_equal(b.target[i], -1);
    assert_true(b.weight[n - 1] == 0.5f && b.weight[b.n_tokens - 1] == 2);
    while (packer_add(&p, &d, 2, 1, 1))
        ;
    assert_true(p.n_tokens <= 40);
    packer_release(&p);
    dataset_release(&d);
}

static void test_each_default_has_its_reason(void **state) {
    (void)state;
    struct train_settings s;
    char reasons[TRAIN_N_REASONS][160];
    for (int lora = 0; lora < 2; lora++) {
        memset(reasons, 0, sizeof reasons);
        s = (struct train_settings){0};
        train_settings_default(
            &s, &(struct train_shape){.n_params = 1100000000, .n_rows = 1000, .lora = lora}, reasons);
        for (int i = 0; i < TRAIN_N_REASONS; i++) {
            assert_true(strlen(reasons[i]) > 20);
            assert_null(strchr(reasons[i], '\n'));
        }
        assert_true((s.weight_decay > 0) == !lora);
    }
}

/* What the terminal shows is in the log as well: memory, share of the product, time left. */
static void test_the_log_tells_the_progress(void **state) {
    (void)state;
    struct setup s;
    struct train_result r;
    struct err e = {0};
    begin(&s, "telling");
    s.s.epochs = 1;
    assert_int_equal(run(&s, &r, &e), 0);
    static const char *const keys[] = {"\"loss\":",          "\"samples_per_s\":", "\"tokens_per_s\":",
                                       "\"product_share\":", "\"memory_bytes\":",  "\"seconds_left\":"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(count_lines(s.files.log, keys[i]), keys[i][1] == 'm' ? 12 + 1 : 12);
    assert_true(count_lines(s.files.log, "\"seconds_left\":0.0}") >= 1); /* the last one's */
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_default_has_its_reason),
        cmocka_unit_test(test_the_log_tells_the_progress),
        cmocka_unit_test(test_packing_supervises_the_answer_and_nothing_else),
        cmocka_unit_test(test_rows_without_anything_to_learn_are_refused),
        cmocka_unit_test(test_it_learns_and_repeats_itself),
        cmocka_unit_test(test_shared_head_changes_nothing),
        cmocka_unit_test(test_packing_changes_nothing),
        cmocka_unit_test(test_micro_batches_change_nothing),
        cmocka_unit_test(test_asides),
        cmocka_unit_test(test_soft_targets),
        cmocka_unit_test(test_many_labels_share_a_prompt),
        cmocka_unit_test(test_killed_again_and_again),
        cmocka_unit_test(test_interrupted_again_and_again),
        cmocka_unit_test(test_other_settings_start_anew),
        cmocka_unit_test(test_a_broken_checkpoint_says_what_to_do),
        cmocka_unit_test(test_early_stopping),
        cmocka_unit_test(test_nothing_stops_early_without_validation),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_divergence_is_named),
        cmocka_unit_test(test_weights_that_explode_are_noticed_at_once),
        cmocka_unit_test(test_a_base_of_no_numbers),
    };
    scratch_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
