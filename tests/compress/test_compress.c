/* Calibration and the choice of a candidate, on a random model: what goes into the matrix, what is measured, what is kept. */
#include "../support/compress_case.h"
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "../support/tiny_rows.h"
#include "../support/tiny_task.h"
#include "base/file.h"
#include "compress/compress.h"
#include "llama/lm.h"
#include "task/encode.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct compress_case t;

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    compress_case_begin(&t, 12);
    must(tiny_gguf_write(
             "f16.gguf",
             &(struct tiny_gguf){.n_vocab = 300, .n_ff = 256, .tied = true, .seed = 4, .type = GGML_TYPE_F16},
             &e),
         &e);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    compress_case_end(&t);
    return 0;
}

/* The prefix decoded once and weighted gives the sums of whole prompts decoded one after another. */
static void test_calibration_equals_whole_prompts(void **state) {
    (void)state;
    struct err e = {0};
    struct imatrix *fast = NULL, *slow = NULL;
    struct lm *m = NULL;
    struct prompt p;
    int64_t n_used = 0;
    struct calibrate_options o = {.n_rows = 3, .n_threads = 1};
    must(calibrate(&fast, "f16.gguf", &t.task, &t.training, &o, NULL, &n_used, &e), &e);
    assert_int_equal(n_used, 3);
    must(imatrix_new(&slow, &e), &e);
    struct lm_options lo = {.n_threads = 1, .observe = imatrix_observe, .observe_context = slow};
    must(lm_open(&m, "f16.gguf", &lo, &e), &e);
    must(prompt_from_model(&p, &t.task, m, &e), &e);
    for (int i = 0; i < 3; i++) {
        struct tokens ids = {0};
        const float *logits;
        const struct record *r = &t.training.records[i * t.training.n / 3];
        must(encode_head(&ids, m, &p, &e), &e);
        must(encode_record(&ids, m, &t.task, &p, r, &e), &e);
        int64_t n_prompt = ids.n;
        must(encode_answer(&ids, m, &t.task, r->label, &e), &e);
        lm_clear(m, -1);
        must(lm_decode(m, 0, ids.ids, n_prompt, &logits, &e), &e);
        for (int64_t k = n_prompt; k < ids.n - 1; k++)
            must(lm_decode(m, 0, &ids.ids[k], 1, &logits, &e), &e);
        tokens_release(&ids);
    }
    assert_int_equal(imatrix_count(fast), imatrix_count(slow));
    for (int i = 0; i < imatrix_count(fast); i++) {
        struct imatrix_entry a = imatrix_at(fast, i), b = imatrix_at(slow, i);
        assert_string_equal(a.weight, b.weight);
        assert_true(a.count == b.count);
        for (int64_t k = 0; k < a.width; k++) /* rounding of 16-bit activations in batches of other sizes */
            assert_true(fabs(a.sum2[k] - b.sum2[k]) <= 1e-3 * b.sum2[k] + 1e-6);
    }
    struct imatrix_entry head = imatrix_entry_of(fast, "token_embd.weight");
    assert_true(head.count <
                imatrix_entry_of(fast, "blk.0.attn_q.weight").count / 4); /* answer positions alone */
    lm_free(m);
    prompt_release(&p);
    imatrix_free(fast);
    imatrix_free(slow);
}

static struct compress_request request(const char *const *types, int n_types) {
    return (struct compress_request){.source = "f16.gguf",
                                     .folder = "model",
                                     .task = &t.task,
                                     .training = &t.training,
                                     .validation = &t.validation,
                                     .types = types,
                                     .n_types = n_types,
                                     .calibration = {.n_rows = 4},
                                     .recovery = COMPRESS_RECOVER_NEVER,
                                     .n_threads = 1};
}

static void test_one_type_is_taken_and_measured(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *type = "Q8_0";
    struct compress_request q = request(&type, 1);
    q.no_search = q.whole_vocabulary = true;
    must(compress_run(&r, &q, &e), &e);
    assert_true(file_exists("model/student.gguf"));
    assert_true(file_exists("model/imatrix.gguf"));
    assert_false(file_exists("model/candidate-0.gguf"));
    assert_int_equal(r.candidates[0].file_bytes, file_size("model/student.gguf"));
    assert_true(r.candidates[0].file_bytes < r.source_bytes);
    assert_true(fabs(r.candidates[0].bits_per_weight - 8.5) < 0.2);
    assert_true(r.candidates[0].agreement >= 0.9); /* 8 bits hardly change an answer */
    assert_true(r.candidates[0].divergence < 1e-2);
    assert_int_equal(r.calibration_rows, 4);
    assert_false(r.imatrix_reused);
    compress_release(&r);

    must(compress_run(&r, &q, &e), &e); /* the matrix is kept */
    assert_true(r.imatrix_reused);
    assert_int_equal(r.calibration_rows, 4);
    compress_release(&r);
    q.calibration.n_rows = 5;
    must(compress_run(&r, &q, &e), &e);
    assert_false(r.imatrix_reused);
    compress_release(&r);
}

static void test_the_smallest_good_one_is_chosen(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *types[] = {"Q8_0", "Q6_K"};
    struct compress_request q = request(types, 2);
    q.tolerance = 1; /* any accuracy will do */
    q.no_search = true;
    must(compress_run(&r, &q, &e), &e);
    assert_string_equal(r.candidates[r.chosen].type, "Q6_K");
    assert_int_equal(file_size("model/student.gguf"), r.candidates[1].file_bytes);
    assert_false(file_exists("model/candidate-0.gguf"));
    compress_release(&r);
    q.validation = NULL;
    q.no_imatrix = true;
    must(compress_run(&r, &q, &e), &e);
    assert_true(isnan(r.candidates[0].accuracy));
    assert_int_equal(r.calibration_rows, 0);
    compress_release(&r);
}

/* All of the file's answers, asked outside the run. */
static double accuracy_of(const char *gguf, const struct rows *rows) {
    struct err e = {0};
    struct scores s;
    int64_t right = 0;
    must(scores_init(&s, &t.task, rows, &e), &e);
    must(score_model(&s, gguf, &t.task, rows, &(struct score_options){.n_threads = 1}, NULL, &e), &e);
    for (int64_t i = 0; i < s.n; i++)
        right += s.answer[i] == s.truth[i];
    scores_release(&s);
    return (double)right / (double)rows->n;
}

/* Many rows: every candidate answers the first, and the one that is chosen the others as well. */
static void test_the_chosen_one_is_confirmed(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    struct rows many;
    const char *types[] = {"Q8_0", "Q6_K"};
    struct compress_request q = request(types, 2);
    tiny_rows(&many, &t.task, 300, 5);
    q.validation = &many;
    q.no_search = q.whole_vocabulary = true;
    q.tolerance = 0.5;
    must(compress_run(&r, &q, &e), &e);
    const struct compress_candidate *c = &r.candidates[r.chosen];
    assert_int_equal(r.first_rows, 128);
    assert_int_equal(r.all_rows, 300);
    assert_string_equal(c->type, "Q6_K");
    assert_true(c->confirmed && !r.candidates[0].confirmed);
    assert_int_equal(c->n_rows, 300);
    assert_int_equal(r.candidates[0].n_rows, 128);
    assert_true(fabs(c->accuracy - accuracy_of("model/student.gguf", &many)) < 1e-9);
    assert_true(fabs(r.confirming_accuracy - accuracy_of("f16.gguf", &many)) < 1e-9);
    compress_release(&r);
    tiny_rows_release(&many);
}

/* A planned mix that weighs more than needs be has a lighter rival, which is taken where it answers as well. */
static void test_a_lean_one_is_offered(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *type = "Q8_0";
    struct compress_request q = request(&type, 1);
    q.whole_vocabulary = q.lean = true;
    q.tolerance = 1;
    must(compress_run(&r, &q, &e), &e);
    const struct compress_candidate *c = &r.candidates[r.chosen];
    assert_string_equal(c->name, "4.5 bits searched");
    assert_true(c->bits_per_weight <= COMPRESS_BITS);
    assert_true(c->file_bytes < r.candidates[0].file_bytes);
    assert_int_equal(r.n_caches, 2);
    assert_int_equal(r.cache, 0);
    assert_true(r.caches[1].token_bytes < r.caches[0].token_bytes);
    compress_release(&r);
    q.kv_type = "q8_0";
    must(compress_run(&r, &q, &e), &e);
    assert_int_equal(r.cache, 1);
    assert_string_equal(r.steps[r.n_steps - 1].name, "cache at q8_0");
    compress_release(&r);
    q.tolerance = 1e-9; /* planned or not, a cache that loses answers is not used */
    q.whole_vocabulary = false;
    must(compress_run(&r, &q, &e), &e);
    assert_true(r.cache == 0 || r.caches[1].accuracy >= r.caches[0].accuracy - 1e-8);
    compress_release(&r);
}

static ino_t inode(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

/* A folder in the chosen file's place makes the last step fail, with everything before it done. */
static void stop_at_the_end(const struct compress_request *q) {
    struct err e = {0};
    struct compress_result r;
    unlink("stopped/student.gguf");
    assert_int_equal(mkdir("stopped/student.gguf", 0755), 0);
    assert_int_equal(compress_run(&r, q, &e), ERR_IO);
    assert_int_equal(rmdir("stopped/student.gguf"), 0);
    assert_true(file_exists("stopped/candidate-0.gguf"));
}

/* Kept answers are told from new ones by a mark: certainty of the first label everywhere. */
static void mark_answers(const char *path) {
    struct err e = {0};
    struct scores s;
    must(scores_read(&s, &t.task, path, &e), &e);
    for (int64_t i = 0; i < s.n; i++) {
        s.prob[i * s.n_labels] = 1;
        for (int k = 1; k < s.n_labels; k++)
            s.prob[i * s.n_labels + k] = 0;
    }
    must(scores_write(&s, &t.task, &t.validation, path, &e), &e);
    scores_release(&s);
}

static void test_an_interrupted_choice_goes_on(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *types[] = {"Q6_K", "Q8_0"};
    struct compress_request q = request(types, 2);
    q.folder = "stopped";
    q.whole_vocabulary = true;
    q.tolerance = 1;
    must(file_make_folders("stopped", &e), &e);
    stop_at_the_end(&q);
    assert_true(file_exists("stopped/losses.json"));
    mark_answers("stopped/scores-1.csv"); /* 0 is the 16-bit file's */
    must(compress_run(&r, &q, &e), &e);
    assert_true(r.candidates[0].divergence > 0.05); /* as marked; else below 0.01 */
    assert_true(r.candidates[2].divergence < 0.05);
    assert_false(file_exists("stopped/candidate-0.gguf"));
    assert_false(file_exists("stopped/scores-1.csv"));
    assert_false(file_exists("stopped/choice.json"));
    compress_release(&r);

    stop_at_the_end(&q);
    ino_t first = inode("stopped/candidate-0.gguf");
    mark_answers("stopped/scores-1.csv");
    q.calibration.n_rows = 5; /* another request: nothing of the old one counts */
    must(compress_run(&r, &q, &e), &e);
    assert_true(r.candidates[0].divergence < 0.05);
    assert_true(inode("stopped/student.gguf") != first);
    compress_release(&r);

    stop_at_the_end(&q);
    mark_answers("stopped/scores-1.csv");
    q.base = q.source; /* that was not there before: it is asked between the others */
    must(compress_run(&r, &q, &e), &e);
    assert_string_equal(r.steps[0].name, "base");
    assert_true(r.steps[0].divergence < 0.05);
    compress_release(&r);
}

static void test_wrong_requests_are_refused(void **state) {
    (void)state;
    const char *unknown = "Q4", *small = "IQ2_XS", *good = "Q4_K_M";
    struct compress_request q = request(&unknown, 1);
    expect_refused(&q, ERR_USAGE, "\"Q4\"");
    q = request(&small, 1);
    q.no_imatrix = true;
    expect_refused(&q, ERR_USAGE, "needs an importance matrix");
    q = request(&good, 1);
    q.source = "absent.gguf";
    expect_refused(&q, ERR_NOT_FOUND, "absent.gguf");
    struct rows none = {0};
    q = request(&good, 1);
    q.folder = "other";
    q.training = &none;
    expect_refused(&q, ERR_INPUT, "no training rows");
    q = request(&good, 0);
    expect_refused(&q, ERR_USAGE, "no quantisation");
}

static void test_divergence(void **state) {
    (void)state;
    const double p[] = {0.5, 0.5, 1, 0}, q[] = {0.25, 0.75, 1, 0};
    assert_true(fabs(compress_divergence(p, q, 2, 2) - 0.5 * (0.5 * log(2) + 0.5 * log(2.0 / 3))) < 1e-12);
    assert_true(compress_divergence(p, p, 2, 2) < 1e-15);
    assert_true(isnan(compress_divergence(p, q, 0, 2)));
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibration_equals_whole_prompts),
        cmocka_unit_test(test_one_type_is_taken_and_measured),
        cmocka_unit_test(test_the_smallest_good_one_is_chosen),
        cmocka_unit_test(test_the_chosen_one_is_confirmed),
        cmocka_unit_test(test_a_lean_one_is_offered),
        cmocka_unit_test(test_an_interrupted_choice_goes_on),
        cmocka_unit_test(test_wrong_requests_are_refused),
        cmocka_unit_test(test_divergence),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
