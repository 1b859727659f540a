/* Checkpoints: going on is bit for bit what never stopping would have been; a file that is broken anywhere, or another's,
 * is refused and changes nothing. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "support/scratch.h"
#include "support/toy_model.h"
#include "train/checkpoint.h"

struct cursor {
    uint64_t rng[4];
    int64_t epoch, next;
};

struct setup {
    struct ops ops;
    struct nn_model m;
    struct nn_run r;
    struct optimizer o;
    struct cursor cursor;
};

static void begin(struct setup *s, int rank) {
    struct err e = {0};
    struct rng rng;
    struct model_config c = toy_config();
    *s = (struct setup){.cursor.epoch = 1};
    rng_seed(&rng, 1);
    assert_int_equal(ops_open_cpu(&s->ops, 2, &e), 0);
    assert_int_equal(nn_model_init(&s->m, &c, &s->ops, &e), 0);
    assert_int_equal(nn_model_randomise(&s->m, &rng, &e), 0);
    if (rank > 0)
        assert_int_equal(nn_model_add_lora(&s->m, &(struct nn_lora){.rank = rank, .alpha = 8}, &rng, &e), 0);
    else
        assert_int_equal(nn_model_train_all(&s->m, &e), 0);
    assert_int_equal(nn_run_init(&s->r, &s->m, &(struct nn_limits){.n_tokens = TOY_TOKENS}, &e), 0);
    struct optimizer_options options = {
        .learning_rate = 1e-2f, .schedule = SCHEDULE_COSINE, .total_steps = 9};
    assert_int_equal(optimizer_init(&s->o, &s->m, &options, &e), 0);
}

static void end(struct setup *s) {
    optimizer_release(&s->o);
    nn_run_release(&s->r);
    nn_model_release(&s->m);
    s->ops.close(&s->ops);
}

static void steps(struct setup *s, int n) {
    struct err e = {0};
    for (int i = 0; i < n; i++) {
        struct toy_batch b;
        toy_batch(&b, &s->m, (uint64_t)s->cursor.next++);
        nn_zero_gradients(&s->m);
        assert_int_equal(nn_forward_backward(&s->m, &s->r, &b.batch, b.weight_sum, NULL, &e), 0);
        assert_int_equal(optimizer_step(&s->o, NULL, &e), 0);
    }
}

static void assert_same_bits(const struct setup *a, const struct setup *b) {
    size_t bytes = (size_t)a->m.trained->n_values * sizeof(float);
    assert_memory_equal(a->m.trained->value, b->m.trained->value, bytes);
    assert_memory_equal(a->o.m, b->o.m, bytes);
    assert_memory_equal(a->o.v, b->o.v, bytes);
    assert_int_equal(a->o.step, b->o.step);
    assert_memory_equal(&a->cursor, &b->cursor, sizeof a->cursor);
}

static void resume_with_rank(int rank) {
    struct setup whole, first, second, weights;
    struct err e = {0};
    begin(&whole, rank);
    steps(&whole, 6);
    begin(&first, rank);
    steps(&first, 3);
    assert_int_equal(checkpoint_save("run.ckpt", &first.o, &first.cursor, sizeof first.cursor, &e), 0);
    begin(&second, rank);
    assert_int_equal(checkpoint_load("run.ckpt", &second.o, &second.cursor, sizeof second.cursor, &e), 0);
    assert_same_bits(&first, &second);
    steps(&second, 3);
    assert_same_bits(&whole, &second);
    begin(&weights, rank);
    assert_int_equal(checkpoint_load_weights("run.ckpt", &weights.m, &e), 0);
    assert_memory_equal(weights.m.trained->value, first.m.trained->value,
                        (size_t)first.m.trained->n_values * sizeof(float));
    assert_int_equal(weights.o.step, 0);
    end(&whole);
    end(&first);
    end(&second);
    end(&weights);
}

static void test_going_on_is_bit_exact(void **state) {
    (void)state;
    resume_with_rank(0);
    resume_with_rank(3);
}

/* `bytes` as run.ckpt must be refused with `code` and leave the optimiser as it is. */
static void assert_refused(struct setup *s, const void *bytes, size_t n, int code) {
    struct setup untouched;
    struct err e = {0};
    begin(&untouched, 0);
    assert_int_equal(file_write("run.ckpt", bytes, n, &e), 0);
    assert_int_equal(checkpoint_load("run.ckpt", &s->o, &s->cursor, sizeof s->cursor, &e), code);
    assert_same_bits(s, &untouched);
    end(&untouched);
}

static void test_broken_files_are_refused(void **state) {
    (void)state;
    struct setup s, t;
    struct str whole = {0};
    struct err e = {0};
    begin(&s, 0);
    begin(&t, 0);
    steps(&t, 1);
    assert_int_equal(checkpoint_save("run.ckpt", &t.o, &t.cursor, sizeof t.cursor, &e), 0);
    assert_int_equal(file_read("run.ckpt", 0, &whole, &e), 0);
    for (size_t n = 0; n < whole.len; n += 1 + whole.len / 23)
        assert_refused(&s, whole.data, n, ERR_FORMAT);
    size_t payload = whole.len / 2;
    whole.data[payload] ^= 1;
    assert_refused(&s, whole.data, whole.len, ERR_FORMAT);
    whole.data[payload] ^= 1;
    str_add(&whole, "more");
    assert_refused(&s, whole.data, whole.len, ERR_FORMAT);
    str_release(&whole);
    end(&s);
    end(&t);
}

static void test_anothers_file_is_refused(void **state) {
    (void)state;
    struct setup full, three, four;
    struct err e = {0};
    int64_t wrong;
    begin(&full, 0);
    begin(&three, 3);
    begin(&four, 4);
    unlink("none.ckpt");
    assert_int_equal(checkpoint_load("none.ckpt", &full.o, NULL, 0, &e), ERR_NOT_FOUND);
    err_clear(&e);
    assert_int_equal(checkpoint_save("three.ckpt", &three.o, &three.cursor, sizeof three.cursor, &e), 0);
    assert_int_equal(checkpoint_load("three.ckpt", &four.o, &four.cursor, sizeof four.cursor, &e),
                     ERR_MISMATCH);
    err_clear(&e);
    assert_int_equal(checkpoint_load("three.ckpt", &full.o, &full.cursor, sizeof full.cursor, &e),
                     ERR_MISMATCH);
    err_clear(&e);
    assert_int_equal(checkpoint_load("three.ckpt", &three.o, &wrong, sizeof wrong, &e), ERR_MISMATCH);
    assert_true(e.hint[0] == 0 || strlen(e.message) > 0);
    end(&full);
    end(&three);
    end(&four);
}

static void test_a_folder_that_is_not_there(void **state) {
    (void)state;
    struct setup s;
    struct err e = {0};
    begin(&s, 3);
    assert_int_not_equal(checkpoint_save("no/such/folder/x.ckpt", &s.o, NULL, 0, &e), 0);
    assert_non_null(strstr(e.message, "no/such/folder"));
    end(&s);
}

/* No room left: a limit on file size stands for a full disk. What was there stays whole. */
static void test_a_full_disk_leaves_the_last_one(void **state) {
    (void)state;
    struct setup s, t;
    struct err e = {0};
    struct rlimit limit;
    begin(&s, 0);
    steps(&s, 1);
    assert_int_equal(checkpoint_save("run.ckpt", &s.o, &s.cursor, sizeof s.cursor, &e), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    struct rlimit tight = {.rlim_cur = 10000, .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    steps(&s, 1);
    int rc = checkpoint_save("run.ckpt", &s.o, &s.cursor, sizeof s.cursor, &e);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_true(rc < 0 && strstr(e.message, "run.ckpt"));
    err_clear(&e);
    begin(&t, 0);
    assert_int_equal(checkpoint_load("run.ckpt", &t.o, &t.cursor, sizeof t.cursor, &e), 0);
    assert_int_equal(t.o.step, 1);
    assert_false(file_exists("run.ckpt.part"));
    end(&s);
    end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_going_on_is_bit_exact),
        cmocka_unit_test(test_broken_files_are_refused),
        cmocka_unit_test(test_anothers_file_is_refused),
        cmocka_unit_test(test_a_folder_that_is_not_there),
        cmocka_unit_test(test_a_full_disk_leaves_the_last_one),
    };
    scratch_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
