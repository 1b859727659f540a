/* The seed models' training text: it speaks the teacher protocol byte for byte, its tokens are llama.cpp's, its answers are
 * right, and the demonstration's sentences are not in it. */
#include "../../seed/corpus_write.h"
#include "base/file.h"
#include "format/json.h"
#include "llama/lm.h"
#include "synth/wording.h"
#include "task/task.h"
#include "teacher/protocol.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCABULARY = 2048, DRAWS = 200 };

static struct bpe *vocabulary;

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    return corpus_vocabulary(&vocabulary, VOCABULARY, &e);
}

static int tear_down(void **state) {
    (void)state;
    bpe_free(vocabulary);
    return 0;
}

static struct family_task drawn(struct rng *r) {
    struct family_task t;
    family_draw(r, &(struct family_options){.difficulty = 1, .words.invented = 0.3}, &t);
    return t;
}

/* The family's task as the product reads it: its own specification in a task file. */
static void load(struct task *out, const struct family_task *t) {
    struct arena a;
    struct str text = {0}, specification = {0};
    struct node *root = NULL;
    struct err e = {0};
    arena_init(&a);
    family_specification(t, &specification);
    str_addf(
        &text,
        "{\"format\":\"%s\",\"kind\":\"classify\",\"name\":\"t\",\"sentence\":\"s\",\"instruction\":\"i\",%s",
        TASK_FORMAT, str_text(&specification) + 1);
    assert_int_equal(json_node_parse(&a, "task", 1, str_text(&text), text.len, &root, &e), 0);
    if (task_from_node(out, root, &e) < 0)
        fail_msg("%s: %s", str_text(&text), e.message);
    str_release(&text);
    str_release(&specification);
    arena_release(&a);
}

static void load_record(struct arena *a, const struct task *task, const struct family_task *t,
                        const struct family_record *rec, struct record *out) {
    struct str text = {0};
    struct node *root = NULL;
    struct err e = {0};
    family_record_json(t, rec, &text);
    assert_int_equal(json_node_parse(a, "record", 1, str_text(&text), text.len, &root, &e), 0);
    if (record_from_node(task, a, true, root, out, &e) < 0)
        fail_msg("%s", e.message);
    str_release(&text);
}

static void test_requests_are_the_protocols(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 11);
    for (int i = 0; i < DRAWS; i++) {
        struct family_task t = drawn(&r);
        struct family_record rec;
        struct protocol_request q = {0};
        struct str ours = {0};
        struct task task = {0};
        struct record record;
        struct err e = {0};
        struct arena a;
        arena_init(&a);
        load(&task, &t);
        assert_true(family_record(&r, &t, -1, &rec));
        load_record(&a, &task, &t, &rec, &record);

        assert_int_equal(protocol_draft(&q, PROTOCOL_PLAIN, "s", &e), 0);
        assert_string_equal(str_text(&q.system), corpus_draft_system);
        assert_int_equal(protocol_label(&q, PROTOCOL_PLAIN, &task, &record, &e), 0);
        corpus_label_system(&t, &ours);
        assert_string_equal(str_text(&q.system), str_text(&ours));
        str_clear(&ours);
        str_add(&ours, "Record: ");
        family_record_line(&t, &rec, &ours);
        assert_string_equal(str_text(&q.user), str_text(&ours));
        str_clear(&ours);
        assert_int_equal(protocol_write(&q, PROTOCOL_PLAIN, &task, 0, 4, NULL, &e), 0);
        corpus_write_system(&t, &ours);
        assert_string_equal(str_text(&q.system), str_text(&ours));

        protocol_release(&q);
        str_release(&ours);
        task_release(&task);
        arena_release(&a);
    }
}

static void test_reasoning_ends_in_the_right_label(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 12);
    for (int i = 0; i < DRAWS; i++) {
        struct family_task t = drawn(&r);
        struct task task = {0};
        load(&task, &t);
        for (int label = 0; label < 2; label++) {
            struct family_record rec;
            struct str reasoning = {0};
            assert_true(family_record(&r, &t, label, &rec));
            family_reasoning(&t, &rec, &reasoning);
            int read = protocol_label_read(&task, str_text(&reasoning));
            assert_true(read >= 0);
            assert_string_equal(task.labels[read].name, t.labels[label]);
            str_release(&reasoning);
        }
        task_release(&task);
    }
}

/* The rule by hand, on the demonstration's shape: a, or b and c. */
static void test_rule_by_hand(void **state) {
    (void)state;
    struct family_task t = {.n_fields = 2, .form = FORM_A_OR_BC, .n_conditions = 3};
    t.fields[0] = (struct family_field){.name = "gap", .type = FAMILY_INTEGER, .max = 60};
    t.fields[1] = (struct family_field){.name = "part", .type = FAMILY_NUMBER, .max = 100, .decimals = 2};
    t.conditions[0] = (struct family_condition){0, FAMILY_BELOW, "under", 2, 0, false};
    t.conditions[1] = (struct family_condition){0, FAMILY_BELOW, "under", 7, 0, false};
    t.conditions[2] = (struct family_condition){1, FAMILY_BELOW, "below", 80, 1, false};
    static const struct {
        int64_t gap, part;
        bool holds;
    } cases[] = {{0, 100, true}, {1, 80, true}, {2, 80, false}, {2, 79, true}, {6, 0, true}, {7, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct family_record rec = {{cases[i].gap, cases[i].part}};
        assert_int_equal(family_rule_holds(&t, &rec, NULL), cases[i].holds);
    }
    struct str text = {0};
    family_rule(&t, &text);
    assert_string_equal(str_text(&text),
                        "the gap is under 2 or the gap is under 7 and the part is below 0.8");
    str_release(&text);
}

/* The digits side by side, by hand: value, threshold, decimals of field and threshold, what must follow. */
static void test_digit_pairs_by_hand(void **state) {
    (void)state;
    static const struct {
        int64_t value, threshold;
        int decimals, printed;
        enum family_operator op;
        const char *words, *line;
    } cases[] = {
        {5, 2, 0, 0, FAMILY_BELOW, "under", "- part: 5 under 2: 11 52 more: no"},
        {5, 12, 0, 0, FAMILY_BELOW, "under", "- part: 5 under 12: 12 less: yes"},
        {4815, 4600, 0, 0, FAMILY_AT_MOST, "at most", "- part: 4815 at most 4600: 44 44 86 more: no"},
        {7, 7, 0, 0, FAMILY_AT_LEAST, "at least", "- part: 7 at least 7: 11 77 equal: yes"},
        {62, 80, 2, 1, FAMILY_BELOW, "below", "- part: 0.62 below 0.8: 11 00 68 less: yes"},
        {1225, 1220, 2, 1, FAMILY_ABOVE, "over", "- part: 12.25 over 12.2: 22 11 22 22 50 more: yes"},
        {-3, 4, 0, 0, FAMILY_ABOVE, "over", "- part: -3 over 4: -+ less: no"},
        {-3, -12, 0, 0, FAMILY_ABOVE, "over", "- part: -3 over -12: -- 12 more: yes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct family_task t = {.n_fields = 1, .form = FORM_A, .n_conditions = 1};
        t.fields[0] = (struct family_field){
            .name = "part", .type = FAMILY_INTEGER, .min = -9999, .max = 9999, .decimals = cases[i].decimals};
        t.conditions[0] = (struct family_condition){
            0, cases[i].op, cases[i].words, cases[i].threshold, cases[i].printed, false};
        struct family_record rec = {{cases[i].value}};
        struct str line = {0};
        family_condition_line(&t, 0, &rec, &line);
        family_condition_outcome(&t, 0, &rec, &line);
        assert_string_equal(str_text(&line), cases[i].line);
        str_release(&line);
    }
}

static char *document_text(const struct corpus_document *d) {
    struct str text = {0};
    for (int64_t i = 0; i < d->n; i++)
        str_add(&text, bpe_token(vocabulary, d->ids[i]));
    return str_take(&text);
}

static void test_stream_repeats(void **state) {
    (void)state;
    static struct corpus_document a, b;
    for (int64_t i = 0; i < 20; i++) {
        corpus_document(vocabulary, CORPUS_BOTH, 1, i, 1, &a);
        corpus_document(vocabulary, CORPUS_BOTH, 1, 1000 + i, 1, &b);
        corpus_document(vocabulary, CORPUS_BOTH, 1, i, 1, &b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.ids, b.ids, (size_t)a.n * sizeof *a.ids);
        assert_true(a.n <= CORPUS_DOCUMENT_MAX);
    }
}

/* Phrases that only the demonstrations' sentences have. */
static void test_demonstrations_are_not_in_the_text(void **state) {
    (void)state;
    static const char *const phrases[] = {
        "approved share",  "visit type", "claim amount", "holder age",
        "suspicious",      "healthcare", "emergency",    "outpatient",
        "warmest reading", "excursion",  "refrigerated", "bearing temperature",
        "vibration",       "lubricant",  "compressor",   "vaccine"};
    static struct corpus_document d;
    for (int64_t i = 0; i < 3000; i++) {
        corpus_document(vocabulary, CORPUS_BOTH, 1, i, 1, &d);
        char *text = document_text(&d);
        for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++)
            assert_null(strstr(text, phrases[k]));
        free(text);
    }
}

static void test_tokens_are_llamas(void **state) {
    (void)state;
    if (!file_exists("seed/base.gguf")) {
        print_message("skip test_tokens_are_llamas: seed/base.gguf is not there\n");
        skip();
    }
    struct lm *m = NULL;
    struct err e = {0};
    struct rng r;
    rng_seed(&r, 13);
    assert_int_equal(lm_backend_init(NULL, &e), 0);
    assert_int_equal(lm_open(&m, "seed/base.gguf", &(struct lm_options){.vocab_only = true}, &e), 0);
    assert_int_equal(lm_n_vocab(m), VOCABULARY);
    for (int i = 0; i < 4 * DRAWS; i++) {
        struct family_task t = drawn(&r);
        struct family_record rec;
        struct str text = {0};
        int32_t ours[4096], theirs[4096];
        family_sentence(&r, &t, &text);
        str_add(&text, "\n");
        family_specification(&t, &text);
        corpus_write_system(&t, &text);
        assert_true(family_record(&r, &t, -1, &rec));
        family_record_list(&t, &rec, &text);
        family_reasoning(&t, &rec, &text);
        int64_t n = bpe_encode(vocabulary, str_text(&text), ours, 4096);
        assert_int_equal(lm_tokenize(m, str_text(&text), text.len, LM_PLAIN, theirs, 4096, &e), n);
        assert_memory_equal(ours, theirs, (size_t)n * sizeof *ours);
        str_release(&text);
    }
    lm_free(m);
}

/* Rewording is for other words than these (src/synth/wording.h); it may only say otherwise in one way. */
static void test_the_familys_sentences_are_not_reworded(void **state) {
    (void)state;
    struct rng r;
    struct err e = {0};
    rng_seed(&r, 29);
    for (int i = 0; i < 10 * DRAWS; i++) {
        struct family_task t = drawn(&r);
        struct str text = {0}, reworded = {0};
        family_sentence(&r, &t, &text);
        assert_int_equal(wording_plain(str_text(&text), &reworded, &e), 0);
        assert_string_equal(str_text(&reworded), str_text(&text));
        str_release(&text);
        str_release(&reworded);
    }
}

/* Any ASCII at all, since records can hold anything. */
static void test_random_text_tokens_are_llamas(void **state) {
    (void)state;
    if (!file_exists("seed/base.gguf")) {
        print_message("skip test_random_text_tokens_are_llamas: seed/base.gguf is not there\n");
        skip();
    }
    struct lm *m = NULL;
    struct err e = {0};
    struct rng r;
    rng_seed(&r, 14);
    assert_int_equal(lm_backend_init(NULL, &e), 0);
    assert_int_equal(lm_open(&m, "seed/base.gguf", &(struct lm_options){.vocab_only = true}, &e), 0);
    for (int i = 0; i < 2000; i++) {
        char text[65];
        int32_t ours[128], theirs[128];
        static const char letters[] = "aab e'Tsdl 19.,\"{}:-\n\r\t  ";
        int64_t n = rng_range(&r, 1, 64);
        for (int64_t k = 0; k < n; k++)
            text[k] = rng_chance(&r, 0.8) ? letters[rng_range(&r, 0, (int64_t)sizeof letters - 2)]
                                          : (char)rng_range(&r, 32, 126);
        text[n] = '\0';
        int64_t n_ours = bpe_encode(vocabulary, text, ours, 128);
        assert_int_equal(lm_tokenize(m, text, (size_t)n, LM_PLAIN, theirs, 128, &e), n_ours);
        assert_memory_equal(ours, theirs, (size_t)n_ours * sizeof *ours);
    }
    lm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_the_protocols),
        cmocka_unit_test(test_reasoning_ends_in_the_right_label),
        cmocka_unit_test(test_rule_by_hand),
        cmocka_unit_test(test_digit_pairs_by_hand),
        cmocka_unit_test(test_stream_repeats),
        cmocka_unit_test(test_demonstrations_are_not_in_the_text),
        cmocka_unit_test(test_tokens_are_llamas),
        cmocka_unit_test(test_the_familys_sentences_are_not_reworded),
        cmocka_unit_test(test_random_text_tokens_are_llamas),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
