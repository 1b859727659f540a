/* From rows to a task: types and ranges, what would spoil the set is found, and what is not clear is asked. */
#include "../support/scratch.h"
#include "base/file.h"
#include "synth/infer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct inference f;

static int clean(void **state) {
    (void)state;
    infer_release(&f);
    return 0;
}

static int infer(const char *path, const char *text, struct infer_options o, struct err *e) {
    o.path = path;
    o.name = "t";
    o.sentence = "Do it.";
    infer_release(&f);
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
    return infer_task(&f, &o, e);
}

static const struct infer_finding *found(enum infer_what what, const char *column) {
    for (int i = 0; i < f.n_findings; i++)
        if (f.findings[i].what == what && (!column || str_equal(f.findings[i].column, column)))
            return &f.findings[i];
    return NULL;
}

static const struct task_field *field(const char *name) {
    int i = task_field_index(&f.task, name);
    return i < 0 ? NULL : &f.task.fields[i];
}

/* 100 rows with one of each thing there is to notice. */
static void write_claims(struct str *s) {
    str_add(s, "claim id,delay,share,visit,note,filed,seen,site,status,code,class\n");
    for (int i = 0; i < 100; i++) {
        bool bad = i % 4 == 0;
        str_addf(s, "C%04d,%d,%s,%s,a few words number %d here,2026-01-%02d,%02d/%02d/2026,north,%s,%d,%s\n",
                 i * 7, i * 5 % 61,
                 i % 10 == 3 ? ""
                 : i % 2     ? "0.25"
                             : "0.5",
                 i % 3 ? "in" : "out", i % 50, i % 28 + 1, i % 12 + 1, i % 11 + 1, bad ? "open" : "paid",
                 i % 3 * 100 + 99, bad ? "suspicious" : "normal");
    }
}

static void types_ranges_and_labels(void **state) {
    (void)state;
    struct str s = {0};
    write_claims(&s);
    assert_int_equal(infer("c.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    assert_int_equal(f.task.kind, TASK_CLASSIFY);
    assert_int_equal(f.task.n_labels, 2);
    assert_string_equal(f.task.positive, "suspicious"); /* the rarer */
    assert_int_equal(field("delay")->type, FIELD_INTEGER);
    assert_true(field("delay")->min == 0 && field("delay")->max == 60);
    assert_int_equal(field("share")->type, FIELD_NUMBER);
    assert_int_equal(field("share")->decimals, 2);
    assert_true(field("share")->optional);
    assert_non_null(found(INFER_MISSING, "share"));
    assert_int_equal(field("visit")->type, FIELD_CATEGORY);
    assert_int_equal(field("visit")->n_values, 2);
    assert_int_equal(field("note")->type, FIELD_TEXT);
    assert_int_equal(field("filed")->type, FIELD_DATE);
    str_release(&s);
}

static void what_spoils_a_set_is_pointed_out(void **state) {
    (void)state;
    struct str s = {0};
    write_claims(&s);
    assert_int_equal(infer("c.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    assert_non_null(found(INFER_IDENTIFIER, "claim id"));
    assert_null(field("claim id"));
    assert_non_null(found(INFER_CONSTANT, "site"));
    assert_null(field("site"));
    assert_non_null(found(INFER_LEAK, "status")); /* gives the label away */
    assert_null(field("status"));
    assert_null(found(INFER_LEAK, "visit"));
    assert_int_equal(infer("c.csv", s.data, (struct infer_options){.label = "class", .group = "visit"}, NULL),
                     0);
    assert_null(field("visit"));
    str_release(&s);
}

static void what_is_not_clear_is_asked(void **state) {
    (void)state;
    struct str s = {0};
    write_claims(&s);
    int answers[8] = {1, 1, 1, 1};
    assert_int_equal(infer("c.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    int n = 0;
    for (int i = 0; i < f.n_findings; i++)
        n += f.findings[i].n_choices > 0;
    assert_int_equal(n, 4); /* identifier, leak, date order, code */
    assert_int_equal(field("seen")->order, DATE_DAY_FIRST);
    assert_int_equal(field("code")->type, FIELD_CATEGORY);
    assert_int_equal(infer("c.csv", s.data,
                           (struct infer_options){.label = "class", .answers = answers, .n_answers = 4},
                           NULL),
                     0);
    assert_non_null(field("claim id"));
    assert_non_null(field("status"));
    assert_int_equal(field("seen")->order, DATE_MONTH_FIRST);
    assert_int_equal(field("code")->type, FIELD_INTEGER);
    str_release(&s);
}

static void a_threshold_that_decides_alone_is_a_question(void **state) {
    (void)state;
    struct str s = {0};
    str_add(&s, "score,other,class\n");
    for (int i = 0; i < 90; i++)
        str_addf(&s, "%d.%d,%d,%s\n", i, i % 7, i * 13 % 17, i < 40 ? "a" : "b");
    assert_int_equal(infer("t.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    assert_non_null(found(INFER_LEAK, "score"));
    assert_null(found(INFER_LEAK, "other"));
    assert_non_null(
        field("score")); /* kept unless the answer says otherwise: a rule may be as simple as that */
    str_release(&s);
}

static void rows_that_contradict_each_other_are_counted(void **state) {
    (void)state;
    struct str s = {0};
    str_add(&s, "x,class\n");
    for (int i = 0; i < 40; i++)
        str_addf(&s, "%d,%s\n", i % 20, i % 20 < 4 && i >= 20 ? "b" : i % 2 ? "a" : "b");
    assert_int_equal(infer("x.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    assert_non_null(strstr(found(INFER_CONTRADICTION, NULL)->text, "2 rows"));
    str_release(&s);
}

static void the_answer_shows_the_kind(void **state) {
    (void)state;
    struct str s = {0}, csv = {0}, talk = {0};
    static const char *const rooms[] = {"hall", "attic", "garage"};
    str_add(&csv, "wish,room,level\n");
    str_add(&talk, "wish,reply\n");
    for (int i = 0; i < 60; i++) {
        str_addf(&s, "{\"wish\":\"heat the %s to %d\",\"answer\":{\"room\":\"%s\",\"level\":%s%d}}\n",
                 rooms[i % 3], i, rooms[i % 3], i % 5 ? "" : "null,\"x\":", i);
        str_addf(&csv, "heat the %s to %d,%s,%d\n", rooms[i % 3], i, rooms[i % 3], i);
        str_addf(&talk, "how warm is it at %d,it is %d degrees now\n", i, i + 2);
    }
    assert_int_equal(infer("w.jsonl", s.data, (struct infer_options){.label = "answer"}, NULL), 0);
    assert_int_equal(f.task.kind, TASK_EXTRACT);
    assert_int_equal(f.task.n_fields, 1);
    assert_int_equal(f.task.n_answer, 3);
    assert_int_equal(f.task.answer[0].type, FIELD_CATEGORY);
    assert_int_equal(f.task.answer[1].type, FIELD_INTEGER);
    assert_true(f.task.answer[1].min == 0 && f.task.answer[1].max == 60); /* the rows end at 59 */
    assert_true(f.task.answer[1].optional && f.task.answer[2].optional && !f.task.answer[0].optional);
    assert_int_equal(infer("w.csv", csv.data, (struct infer_options){.label = "room, level"}, NULL), 0);
    assert_int_equal(f.task.kind, TASK_EXTRACT);
    assert_int_equal(f.task.n_answer, 2);
    assert_int_equal(infer("r.csv", talk.data, (struct infer_options){.label = "reply"}, NULL), 0);
    assert_int_equal(f.task.kind, TASK_RESPOND);
    assert_int_equal(f.task.answer[0].max_chars, 20);
    str_release(&s);
    str_release(&csv);
    str_release(&talk);
}

static void what_makes_no_task_is_said(void **state) {
    (void)state;
    static const struct {
        const char *text, *label, *says;
    } bad[] = {
        {"a,b\n1,2\n", "c", "no column 'c'"},
        {"a,b\n", "b", "no rows"},
        {"a,b\n1,x\n2,x\n3,x\n", "b", "1 different label"},
        {"a,b\n1,x\n1,y\n1,x\n1,y\n", "b", "no column of b.csv is left"}, /* the only field is constant */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_int_equal(infer("b.csv", bad[i].text, (struct infer_options){.label = bad[i].label}, &e),
                         ERR_INPUT);
        if (!strstr(e.message, bad[i].says))
            fail_msg("'%s' does not say '%s'", e.message, bad[i].says);
    }
}

/* 600 rows of two amounts and a delay; `rule` says which are bad. */
static void relate(bool (*rule)(int paid, int asked, int delay), struct infer_options o) {
    struct str s = {0};
    uint32_t state = 1;
    str_add(&s, "paid,asked,delay,class\n");
    for (int i = 0; i < 600; i++) {
        int draw[3];
        for (int k = 0; k < 3; k++) {
            state = state * 1664525 + 1013904223;
            draw[k] = (int)(state >> 8) % 1000;
        }
        int asked = 100 + 4 * draw[0], paid = asked * (400 + draw[1] * 6 / 10) / 1000, delay = draw[2] % 60;
        str_addf(&s, "%d,%d,%d,%s\n", paid, asked, delay, rule(paid, asked, delay) ? "bad" : "good");
    }
    o.label = "class";
    assert_int_equal(infer("r.csv", s.data, o, NULL), 0);
    str_release(&s);
}

static bool by_share(int paid, int asked, int delay) {
    (void)delay;
    return paid < asked * 7 / 10;
}

static bool by_rest(int paid, int asked, int delay) {
    return asked - paid > 500 && delay < 50;
}

static bool by_both(int paid, int asked, int delay) {
    (void)asked;
    return paid > 1500 && delay < 30;
}

static void what_two_numbers_say_together_is_declared(void **state) {
    (void)state;
    relate(by_share, (struct infer_options){0});
    assert_non_null(found(INFER_RELATION, "paid"));
    const struct task_field *share = field("paid per asked");
    assert_non_null(share);
    assert_int_equal(share->op, DERIVED_RATIO);
    assert_true(str_equal(f.task.fields[share->a].name, "paid") &&
                str_equal(f.task.fields[share->b].name, "asked"));
    assert_int_equal(share->decimals, 2);
    relate(by_share, (struct infer_options){.answers = (int[]){1}, .n_answers = 1});
    assert_null(field("paid per asked")); /* asked, and told to leave it */
    relate(by_rest, (struct infer_options){0});
    assert_non_null(field("paid less asked"));
    assert_int_equal(field("paid less asked")->op, DERIVED_DIFFERENCE);
    relate(by_both, (struct infer_options){0}); /* each says its part by itself */
    assert_null(found(INFER_RELATION, NULL));
}

/* What is doubtful is left out, but not when nothing else is there to decide by. */
static void the_only_column_is_kept(void **state) {
    (void)state;
    struct str s = {0};
    struct err e = {0};
    str_add(&s, "mark,class\n");
    for (int i = 0; i < 100; i++)
        str_addf(&s, "%d,%s\n", i % 10, i % 10 > 5 ? "yes" : "no");
    assert_int_equal(infer("only.csv", s.data, (struct infer_options){.label = "class"}, &e), 0);
    assert_string_equal(found(INFER_LEAK, "mark")->choices[0], "yes, keep it");
    assert_non_null(field("mark"));
    str_clear(&s);
    str_add(&s, "degrees,reply\n");
    for (int i = 0; i < 40; i++)
        str_addf(&s, "%d,It is %d degrees now.\n", i, i);
    assert_int_equal(infer("only.csv", s.data, (struct infer_options){.label = "reply"}, &e), 0);
    assert_int_equal(f.task.kind, TASK_RESPOND);
    assert_non_null(found(INFER_IDENTIFIER, "degrees"));
    assert_non_null(field("degrees"));
    const int answers[] = {0, 1}; /* a text to be written; leave it out */
    struct infer_options none = {.label = "reply", .answers = answers, .n_answers = 2};
    assert_int_equal(infer("only.csv", s.data, none, &e), ERR_INPUT);
    assert_non_null(strstr(e.message, "no column of only.csv is left"));
    assert_string_not_equal(e.hint, "");
    str_release(&s);
}

static void columns_that_differ_by_case_are_two_fields(void **state) {
    (void)state;
    struct str s = {0};
    str_add(&s, "size,Size,class\n");
    for (int i = 0; i < 60; i++)
        str_addf(&s, "%d,%d,%s\n", i * 7 % 20, i * 3 % 20, i % 3 ? "yes" : "no");
    assert_int_equal(infer("case.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    assert_string_equal(field("Size 2")->column, "Size");
    str_release(&s);
}

/* As spreadsheets of many countries write them. "1,234" alone may be either. */
static void decimal_commas_are_numbers(void **state) {
    (void)state;
    struct str s = {0};
    str_add(&s, "weight;price;sum;class\n");
    for (int i = 0; i < 60; i++)
        str_addf(&s, "%d,%d;%d,%03d;%d.%03d,5;%s\n", i % 9 - 4, i % 10, i % 7 + 1, i * 37 % 1000, i % 5 + 1,
                 i, i % 3 ? "yes" : "no");
    assert_int_equal(infer("comma.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    const struct task_field *weight = field("weight");
    assert_int_equal(weight->type, FIELD_NUMBER);
    assert_true(weight->comma);
    assert_int_equal(weight->decimals, 1);
    assert_true(weight->min < -4 && weight->max > 4 && weight->max < 5);
    assert_null(found(INFER_UNREADABLE, "weight"));
    assert_int_equal(field("price")->type, FIELD_TEXT);
    assert_non_null(found(INFER_UNREADABLE, "price"));
    assert_non_null(found(INFER_UNREADABLE, "sum"));
    str_release(&s);
}

static void values_that_miss_a_type_by_little_are_pointed_out(void **state) {
    (void)state;
    struct str s = {0};
    str_add(&s, "when,share,class\n");
    for (int i = 0; i < 60; i++)
        str_addf(&s, i % 2 ? "%02d/%02d/2026,%d%%,%s\n" : "%2$02d/%1$02d/2026,%3$d%%,%4$s\n", 13 + i % 15,
                 1 + i % 12, i, i % 3 ? "yes" : "no");
    assert_int_equal(infer("near.csv", s.data, (struct infer_options){.label = "class"}, NULL), 0);
    assert_non_null(strstr(found(INFER_UNREADABLE, "when")->text, "more than one order"));
    assert_non_null(strstr(found(INFER_UNREADABLE, "share")->text, "write the numbers alone"));
    str_release(&s);
}

int main(void) {
    scratch_enter();
#define CASE(t) cmocka_unit_test_teardown(t, clean)
    const struct CMUnitTest tests[] = {
        CASE(types_ranges_and_labels),
        CASE(decimal_commas_are_numbers),
        CASE(values_that_miss_a_type_by_little_are_pointed_out),
        CASE(columns_that_differ_by_case_are_two_fields),
        CASE(the_only_column_is_kept),
        CASE(what_spoils_a_set_is_pointed_out),
        CASE(what_is_not_clear_is_asked),
        CASE(a_threshold_that_decides_alone_is_a_question),
        CASE(rows_that_contradict_each_other_are_counted),
        CASE(what_two_numbers_say_together_is_declared),
        CASE(the_answer_shows_the_kind),
        CASE(what_makes_no_task_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
