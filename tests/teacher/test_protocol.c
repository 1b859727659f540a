/* The three requests byte for byte (the embedded teacher was trained on these), and how answers are read. */
#include "../support/chat_script.h"
#include "format/json.h"
#include "teacher/protocol.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct task task;

static int set_up(void **state) {
    (void)state;
    return chat_script_task(&task, NULL);
}

static int tear_down(void **state) {
    (void)state;
    task_release(&task);
    return 0;
}

#define LABELS                                                                                               \
    "suspicious: the delay is under 2 days, or under 7 days and the approved share is below 0.80; normal: "  \
    "otherwise"

static void draft_text(void **state) {
    (void)state;
    struct protocol_request r = {0};
    assert_int_equal(protocol_draft(&r, PROTOCOL_PLAIN, "Sort it.", NULL), 0);
    assert_string_equal(r.system.data, "Draft a task specification for the sentence. Answer in JSON.");
    assert_string_equal(r.user.data, "Sort it.");
    assert_int_equal(protocol_draft(&r, PROTOCOL_FULL, "Sort it.", NULL), 0);
    assert_true(str_starts(r.system.data, "Draft a task specification for the sentence. Answer in JSON. "));
    protocol_release(&r);
}

static void write_text(void **state) {
    (void)state;
    struct protocol_request r = {0};
    assert_int_equal(protocol_write(&r, PROTOCOL_PLAIN, &task, 0, 4, NULL, NULL), 0);
    assert_string_equal(
        r.system.data,
        "Write records for the task. Fields: delay: integer 0 to 60 days; approved share: number 0.00 to"
        " 1.00; visit type: one of routine, emergency. Labels: " LABELS ". Answer in JSON.");
    assert_string_equal(r.user.data, "Write 4 records labelled suspicious.");
    struct protocol_hint h = {.field = 2, .value = 1};
    assert_int_equal(protocol_write(&r, PROTOCOL_PLAIN, &task, 0, 4, &h, NULL), 0);
    assert_string_equal(r.user.data, "Write 4 records labelled suspicious with visit type emergency.");
    assert_non_null(strstr(r.schema.data, "\"visit type\":{\"type\":\"string\",\"enum\":[\"emergency\"]}"));
    h = (struct protocol_hint){.field = 0, .low = 2, .high = 6};
    assert_int_equal(protocol_write(&r, PROTOCOL_PLAIN, &task, 1, 4, &h, NULL), 0);
    assert_string_equal(r.user.data, "Write 4 records labelled normal with delay from 2 to 6.");
    assert_non_null(strstr(r.schema.data, "\"delay\":{\"type\":\"integer\",\"minimum\":2,\"maximum\":6}"));
    h = (struct protocol_hint){.field = 1, .low = 0, .high = 1.0 / 3};
    assert_int_equal(protocol_write(&r, PROTOCOL_PLAIN, &task, 1, 1, &h, NULL), 0);
    assert_string_equal(r.user.data,
                        "Write 1 records labelled normal with approved share from 0.00 to 0.33.");
    protocol_release(&r);
}

/* Pairs name the label of each place, the field that may differ and where; what is shown stands last, and nothing else changes. */
static void pairs_and_exemplars_text(void **state) {
    (void)state;
    struct protocol_request r = {0}, alone = {0};
    struct protocol_pairs p = {.n = 2, .first = 0, .second = 1, .at = {.field = 0, .low = 4, .high = 9}};
    assert_int_equal(protocol_write(&alone, PROTOCOL_FULL, &task, 0, 4, NULL, NULL), 0);
    assert_int_equal(protocol_write_pairs(&r, &task, &p, NULL), 0);
    assert_string_equal(r.system.data, alone.system.data);
    assert_string_equal(
        r.user.data,
        "Write 2 pairs of records, 4 in all, from the boundary between suspicious and normal with delay from "
        "4 "
        "to 9. The two of a pair stand one after the other: the first must deserve the label suspicious, the "
        "second the label normal. They are alike in every field but delay, which lies just on either side of "
        "the boundary: only that makes the difference. One pair differs from the next in every field.");
    assert_non_null(strstr(r.schema.data, "\"minItems\":4,\"maxItems\":4"));
    assert_non_null(strstr(r.schema.data, "\"delay\":{\"type\":\"integer\",\"minimum\":4,\"maximum\":9}"));
    p.at = (struct protocol_hint){.field = 2};
    assert_int_equal(protocol_write_pairs(&r, &task, &p, NULL), 0);
    assert_non_null(strstr(r.user.data, "normal by visit type. "));
    assert_non_null(strstr(r.schema.data, "\"enum\":[\"routine\",\"emergency\"]"));
    p.at.field = -1;
    assert_int_equal(protocol_write_pairs(&r, &task, &p, NULL), 0);
    assert_non_null(strstr(r.user.data, "alike in every field but one"));
    static const char *const shown[] = {"{\"delay\":1}", "{\"delay\":2}"};
    assert_int_equal(protocol_show(&alone, NULL, 0, NULL), 0);
    assert_string_equal(alone.user.data, "Write 4 records labelled suspicious.");
    assert_int_equal(protocol_show(&alone, shown, 2, NULL), 0);
    assert_string_equal(
        alone.user.data,
        "Write 4 records labelled suspicious.\n\nSome that are there already; write others, no "
        "copies or variations of these:\n{\"delay\":1}\n{\"delay\":2}");
    protocol_release(&r);
    protocol_release(&alone);
}

static const char *value_of(void *context, const struct task_field *f) {
    (void)context;
    return strcmp(f->name, "delay") == 0            ? "5"
           : strcmp(f->name, "approved share") == 0 ? "0.62"
                                                    : "emergency";
}

static void label_text(void **state) {
    (void)state;
    struct protocol_request r = {0};
    struct arena a;
    struct record record;
    arena_init(&a);
    assert_int_equal(record_build(&task, &a, true, value_of, NULL, &record, NULL), 0);
    assert_int_equal(protocol_label(&r, PROTOCOL_PLAIN, &task, &record, NULL), 0);
    assert_string_equal(r.system.data,
                        "Label a record of the task. Labels: " LABELS ". Check each condition, then answer.");
    assert_string_equal(r.user.data, "Record: delay: 5; approved share: 0.62; visit type: emergency");
    assert_int_equal(r.schema.len, 0);
    arena_release(&a);
    protocol_release(&r);
}

static void schemas_are_json(void **state) {
    (void)state;
    struct protocol_request r = {0};
    for (int style = PROTOCOL_PLAIN; style <= PROTOCOL_FULL; style++) {
        json_error_t fault;
        assert_int_equal(protocol_draft(&r, (enum protocol_style)style, "x", NULL), 0);
        json_t *j = json_loads(r.schema.data, JSON_REJECT_DUPLICATES, &fault);
        assert_non_null(j);
        json_decref(j);
        assert_int_equal(protocol_write(&r, (enum protocol_style)style, &task, 0, 4, NULL, NULL), 0);
        j = json_loads(r.schema.data, JSON_REJECT_DUPLICATES, &fault);
        assert_non_null(j);
        json_decref(j);
    }
    protocol_release(&r);
}

static void a_repair_tells_a_large_teacher_what_was_wrong(void **state) {
    (void)state;
    struct protocol_request r = {0};
    assert_int_equal(protocol_draft_repair(&r, PROTOCOL_FULL, "Sort it.", "{}", "'fields' is missing", NULL),
                     0);
    assert_non_null(strstr(r.user.data, "'fields' is missing"));
    assert_int_equal(protocol_draft_repair(&r, PROTOCOL_PLAIN, "Sort it.", "{}", "'fields' is missing", NULL),
                     0);
    assert_string_equal(r.user.data, "Sort it.");
    protocol_release(&r);
}

static void labels_are_read_from_the_last_answer(void **state) {
    (void)state;
    static const struct {
        const char *content;
        int label;
    } cases[] = {
        {"- delay: 5 under 2: no\nAnswer: suspicious", 0},
        {"Answer: normal", 1},
        {"Answer: suspicious\nno, wait\nAnswer: normal\n", 1},
        {"**Answer:** Normal.", 1},
        {"answer: \"suspicious\"", 0},
        {"Answer: unclear", -1},
        {"the Answer: normal", -1},
        {"normal", -1},
        {"Answer:", -1},
        {"Answer: normal or suspicious", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (protocol_label_read(&task, cases[i].content) != cases[i].label)
            fail_msg("'%s'", cases[i].content);
}

static void reasons_are_what_stands_before_the_answer(void **state) {
    (void)state;
    static const struct {
        const char *content, *thoughts, *reasons;
    } cases[] = {
        {"- delay: 5 under 2: no\n  - share: yes \n\nAnswer: normal", "hm",
         "- delay: 5 under 2: no\n- share: yes"},
        {"Answer: suspicious\nno, wait\n**Answer:** normal", NULL, "Answer: suspicious\nno, wait"},
        {"Answer: normal", "it is long ago\n", "it is long ago"},
        {"Answer: normal", NULL, ""},
        {"normal", NULL, ""},
    };
    struct str out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str_clear(&out);
        protocol_rationale_read(&task, cases[i].content, cases[i].thoughts, &out);
        assert_string_equal(str_text(&out), cases[i].reasons);
    }
    str_release(&out);
}

static const char wishes[] = "{\"kind\":\"extract\",\"name\":\"wishes\",\"sentence\":\"Read the "
                             "room.\",\"fields\":[{\"name\":\"said\",\"type\":"
                             "\"text\"}],\"answer\":[{\"name\":\"%s\",\"type\":\"category\",\"values\":["
                             "\"hall\",\"kitchen\"]}],\"rationale\":%s}";

static int load_wishes(const char *field, const char *rationale, struct task *t, struct err *e) {
    char json[400];
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    snprintf(json, sizeof json, wishes, field, rationale);
    assert_int_equal(json_node_parse(&a, "task", 0, json, strlen(json), &root, NULL), 0);
    int rc = task_from_node(t, root, e);
    arena_release(&a);
    return rc;
}

static const char *said(void *context, const struct task_field *f) {
    (void)context, (void)f;
    return "light in the hall";
}

/* Of a JSON answer they are asked for in front of it, read apart, and never part of it. */
static void reasons_of_a_written_answer_are_asked_for_and_taken_out(void **state) {
    (void)state;
    struct task t, plain;
    struct err e = {0};
    struct arena a;
    struct record record;
    struct protocol_request r = {0}, without = {0};
    struct str out = {0};
    arena_init(&a);
    assert_int_equal(load_wishes("room", "true", &t, NULL), 0);
    assert_int_equal(load_wishes("room", "false", &plain, NULL), 0);
    assert_int_equal(load_wishes("rationale", "true", &(struct task){0}, &e), ERR_INPUT);
    assert_int_equal(record_build(&t, &a, true, said, NULL, &record, NULL), 0);
    assert_int_equal(protocol_judge(&r, PROTOCOL_FULL, &t, &record, NULL), 0);
    assert_int_equal(protocol_judge(&without, PROTOCOL_FULL, &plain, &record, NULL), 0);
    assert_non_null(strstr(r.schema.data, "{\"rationale\":{\"type\":\"string\"},\"room\":"));
    assert_non_null(strstr(r.schema.data, "\"required\":[\"rationale\",\"room\"]"));
    assert_null(strstr(without.schema.data, "rationale"));
    assert_null(strstr(without.system.data, "rationale"));
    static const char content[] = "{\"rationale\":\"It says: in the hall.\",\"room\":\"hall\"}";
    assert_int_equal(protocol_answer_read(&t, content, &out), 0);
    assert_string_equal(str_text(&out), "{\"room\":\"hall\"}");
    assert_int_equal(protocol_answer_read(&plain, content, &out), ERR_TEACHER); /* it was not asked for */
    str_clear(&out);
    protocol_rationale_read(&t, content, NULL, &out);
    assert_string_equal(str_text(&out), "It says: in the hall.");
    str_clear(&out);
    assert_int_equal(task_to_json(&t, &out, NULL), 0);
    assert_non_null(strstr(out.data, ",\"rationale\":true}"));
    str_release(&out);
    protocol_release(&r);
    protocol_release(&without);
    task_release(&t);
    task_release(&plain);
    arena_release(&a);
}

static void json_is_found_in_prose(void **state) {
    (void)state;
    struct arena a;
    struct node *n = NULL;
    struct err e = {0};
    arena_init(&a);
    assert_int_equal(protocol_json_read(&a, "answer",
                                        "Sure:\n```json\n{\"a\":1,\"b\":null,\"c\":[{\"d\":null}]}\n```", &n,
                                        &e),
                     0);
    assert_int_equal(n->n_children, 2);
    assert_null(node_get(n, "b"));
    assert_int_equal(node_at(node_get(n, "c"), 0)->n_children, 0);
    static const char *const bad[] = {"", "no", "{", "}{", "{\"a\":}", "{\"a\":1} and {\"a\":2}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err_clear(&e);
        assert_int_equal(protocol_json_read(&a, "answer", bad[i], &n, &e), ERR_TEACHER);
    }
    arena_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draft_text),
        cmocka_unit_test(write_text),
        cmocka_unit_test(pairs_and_exemplars_text),
        cmocka_unit_test(label_text),
        cmocka_unit_test(schemas_are_json),
        cmocka_unit_test(a_repair_tells_a_large_teacher_what_was_wrong),
        cmocka_unit_test(labels_are_read_from_the_last_answer),
        cmocka_unit_test(reasons_are_what_stands_before_the_answer),
        cmocka_unit_test(reasons_of_a_written_answer_are_asked_for_and_taken_out),
        cmocka_unit_test(json_is_found_in_prose),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
