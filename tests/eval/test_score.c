/* Scoring a GGUF over rows: the same as the classifier one by one, kept and read back, refused when the prompt is another's;
 * and the document that comes of it. */
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "../support/tiny_task.h"
#include "base/file.h"
#include "eval/result.h"
#include "task/classify.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 40 };

static struct task task;
static struct rows rows;
static struct scores scores;

static void write_rows(const char *path, int n) {
    struct arena a;
    struct rng r;
    struct str csv = {0};
    arena_init(&a);
    rng_seed(&r, 4);
    str_add(&csv, "delay,approved share,visit type,label\n");
    for (int i = 0; i < n; i++) {
        struct record x = tiny_record(&task, &a, &r);
        str_addf(&csv, "%s,%s,%s,%s\n", x.values[0].text, x.values[1].text, x.values[2].text,
                 task.labels[x.label].name);
    }
    assert_int_equal(file_write(path, csv.data, csv.len, NULL), 0);
    str_release(&csv);
    arena_release(&a);
}

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    struct tiny_gguf model = {.n_embd = 64, .n_head = 2, .n_kv = 1, .n_ff = 128, .n_vocab = 640, .seed = 3};
    int rc = tiny_task(&task, &e);
    write_rows("rows.csv", ROWS);
    if (rc == 0)
        rc = tiny_gguf_write("m.gguf", &model, &e);
    if (rc == 0)
        rc = rows_read(&rows, &task, "rows.csv", NULL, &e);
    if (rc == 0)
        rc = scores_init(&scores, &task, &rows, &e);
    struct score_options o = {.n_threads = 1, .n_free = 10};
    if (rc == 0)
        rc = score_model(&scores, "m.gguf", &task, &rows, &o, NULL, &e);
    if (rc < 0)
        print_error("%s\n", e.message);
    return rc;
}

static int tear_down(void **state) {
    (void)state;
    scores_release(&scores);
    rows_release(&rows);
    task_release(&task);
    return 0;
}

static void test_answers_are_the_classifiers(void **state) {
    (void)state;
    struct lm *m = NULL;
    struct prompt p;
    struct classifier *c = NULL;
    assert_int_equal(
        lm_open(&m, "m.gguf", &(struct lm_options){.n_threads = 1, .flash_attention = true}, NULL), 0);
    assert_int_equal(prompt_from_model(&p, &task, m, NULL), 0);
    assert_int_equal(classifier_new(&c, m, &task, &p, NULL), 0);
    assert_string_equal(scores.prompt_hash, p.hash);
    for (int i = 0; i < ROWS; i++) {
        double prob[2];
        assert_int_equal(classifier_score(c, &rows.records[i], prob, NULL), 0);
        assert_true(fabs(prob[0] - scores.prob[2 * i]) < 1e-9); /* the same code on the same tokens */
        assert_int_equal(scores.answer[i], prob[0] >= prob[1] ? 0 : 1);
        assert_int_equal(scores.truth[i], rows.records[i].label);
    }
    assert_int_equal(scores.n_free, 10);
    assert_true(scores.n_free_invalid >= 8); /* random weights hardly ever spell a label */
    classifier_free(c);
    prompt_release(&p);
    lm_free(m);
}

static void test_written_and_read_back(void **state) {
    (void)state;
    struct scores back;
    struct err e = {0};
    int kept = scores.answer[0];
    scores.answer[0] = -1;
    assert_int_equal(scores_write(&scores, &task, &rows, "s.csv", NULL), 0);
    int rc = scores_read(&back, &task, "s.csv", &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_int_equal(back.n, ROWS);
    assert_memory_equal(back.truth, scores.truth, sizeof *back.truth * ROWS);
    assert_memory_equal(back.answer, scores.answer, sizeof *back.answer * ROWS);
    for (int i = 0; i < 2 * ROWS; i++)
        assert_true(fabs(back.prob[i] - scores.prob[i]) < 1e-8);
    scores_release(&back);
    static const char other[] = "row,truth,answer,p:a,p:b\n1,a,b,0.5,0.5\n",
                      half[] = "row,truth,answer,p:a\n1,x,,1\n";
    assert_int_equal(file_write("o.csv", other, strlen(other), NULL), 0);
    assert_int_equal(scores_read(&back, &task, "o.csv", NULL), ERR_MISMATCH);
    assert_int_equal(file_write("h.csv", half, strlen(half), NULL), 0);
    assert_int_equal(scores_read(&back, &task, "h.csv", NULL), ERR_MISMATCH);
    scores.answer[0] = kept;
}

static void test_another_prompt_is_refused(void **state) {
    (void)state;
    struct scores s;
    struct err e = {0};
    assert_int_equal(scores_init(&s, &task, &rows, NULL), 0);
    struct score_options o = {.n_threads = 1, .prompt_hash = "0123456789abcdef"};
    assert_int_equal(score_model(&s, "m.gguf", &task, &rows, &o, NULL, &e), ERR_MISMATCH);
    assert_true(e.hint[0] != 0);
    o.prompt_hash = scores.prompt_hash;
    assert_int_equal(score_model(&s, "m.gguf", &task, &rows, &o, NULL, NULL), 0);
    assert_memory_equal(s.answer, scores.answer, sizeof *s.answer * ROWS);
    scores_release(&s);
}

static void test_workers_agree(void **state) {
    (void)state;
    struct scores s;
    assert_int_equal(scores_init(&s, &task, &rows, NULL), 0);
    struct score_options o = {.n_threads = 3, .n_free = 10};
    assert_int_equal(score_model(&s, "m.gguf", &task, &rows, &o, NULL, NULL), 0);
    assert_memory_equal(s.prob, scores.prob, sizeof *s.prob * 2 * ROWS); /* each row is computed by itself */
    assert_int_equal(s.n_free_invalid, scores.n_free_invalid);
    assert_true(s.n_tokens == scores.n_tokens);
    scores_release(&s);
}

static void test_document(void **state) {
    (void)state;
    struct result r = {.who = "base",
                       .key = "k",
                       .model = "m.gguf",
                       .decoding = "label scoring",
                       .task = &task,
                       .rows = &rows,
                       .scores = &scores,
                       .validation = &rows,
                       .validation_scores = &scores};
    struct scored view = scores_view(&scores);
    struct metrics m;
    json_t *j = NULL, *brief = NULL, *again = NULL;
    struct err e = {0};
    assert_int_equal(metrics_compute(&view, &m, NULL), 0);
    int rc = result_to_json(&r, &j, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_true(fabs(result_value(j, "accuracy") - m.value[METRIC_ACCURACY]) < 1e-6);
    assert_true(fabs(result_value(j, "pr_auc") - m.value[METRIC_PR_AUC]) < 1e-6);
    assert_true(isnan(result_value(j, "beauty")));
    assert_true(result_value(j, "invalid_rate") == (double)scores.n_free_invalid / 10);
    const json_t *t = json_object_get(j, "thresholds");
    const json_t *best = json_object_get(json_object_get(t, "accuracy"), "value");
    assert_true(json_number_value(best) >= m.value[METRIC_ACCURACY] - 1e-6); /* chosen on the same rows */
    assert_int_equal(result_short(j, &brief, NULL), 0);
    assert_int_equal(json_integer_value(json_object_get(brief, "n")), ROWS);
    assert_true(json_number_value(json_object_get(brief, "low")) <
                json_number_value(json_object_get(brief, "high")));
    assert_int_equal(result_to_json(&r, &again, NULL), 0);
    assert_true(json_equal(j, again)); /* the bootstrap's seed is fixed */
    json_decref(j);
    json_decref(brief);
    json_decref(again);
}

static void test_comparison(void **state) {
    (void)state;
    json_t *j = NULL;
    assert_int_equal(result_compare("a", &scores, "b", &scores, &j, NULL), 0);
    assert_true(json_number_value(json_object_get(j, "p_value")) == 1);
    assert_true(json_number_value(json_object_get(j, "difference")) == 0);
    json_decref(j);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_the_classifiers),
        cmocka_unit_test(test_written_and_read_back),
        cmocka_unit_test(test_another_prompt_is_refused),
        cmocka_unit_test(test_workers_agree),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_comparison),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
