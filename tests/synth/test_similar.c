/* Copies are known as copies, near ones too, and what is different stays. */
#include "../support/chat_script.h"
#include "base/rng.h"
#include "format/json.h"
#include "synth/similar.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct task task;
    struct arena arena;
    struct similar *similar;
};

static void open_task(struct fixture *f, const char *fields) {
    struct str json = {0};
    struct node *root = NULL;
    struct err e = {0};
    *f = (struct fixture){0};
    arena_init(&f->arena);
    str_addf(&json,
             "{\"fields\":[%s],\"labels\":[{\"name\":\"a\",\"definition\":\"x\"},{\"name\":\"b\","
             "\"definition\":\"otherwise\"}]}",
             fields);
    assert_int_equal(json_node_parse(&f->arena, "task", 0, json.data, json.len, &root, NULL), 0);
    if (task_from_draft(&f->task, "t", "s", root, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(similar_new(&f->similar, &f->task, NULL), 0);
    str_release(&json);
}

static void close_task(struct fixture *f) {
    similar_free(f->similar);
    task_release(&f->task);
    arena_release(&f->arena);
}

static struct record record_of(struct fixture *f, const char *json) {
    struct node *root = NULL;
    struct record r;
    struct err e = {0};
    assert_int_equal(json_node_parse(&f->arena, "record", 0, json, strlen(json), &root, NULL), 0);
    if (record_from_node(&f->task, &f->arena, false, root, &r, &e) < 0)
        fail_msg("%s", e.message);
    return r;
}

static enum similar_verdict verdict(struct fixture *f, const char *json) {
    struct record r = record_of(f, json);
    return similar_find(f->similar, &r);
}

static void add(struct fixture *f, const char *json, bool held_out) {
    struct record r = record_of(f, json);
    assert_int_equal(similar_add(f->similar, &r, held_out, NULL), 0);
}

static void numbers_and_categories(void **state) {
    (void)state;
    struct fixture f;
    open_task(&f, "{\"name\":\"days\",\"type\":\"integer\",\"min\":0,\"max\":60},"
                  "{\"name\":\"amount\",\"type\":\"integer\",\"min\":0,\"max\":5000},"
                  "{\"name\":\"kind\",\"type\":\"category\",\"values\":[\"x\",\"y\"]}");
    assert_int_equal(verdict(&f, "{\"days\":1,\"amount\":1000,\"kind\":\"x\"}"), SIMILAR_NEW);
    add(&f, "{\"days\":1,\"amount\":1000,\"kind\":\"x\"}", false);
    assert_int_equal(verdict(&f, "{\"days\":1,\"amount\":1000,\"kind\":\"x\"}"), SIMILAR_EXACT);
    assert_int_equal(verdict(&f, "{\"days\":1,\"amount\":1049,\"kind\":\"x\"}"),
                     SIMILAR_NEAR); /* the same hundredth */
    assert_int_equal(verdict(&f, "{\"days\":1,\"amount\":1050,\"kind\":\"x\"}"), SIMILAR_NEW);
    assert_int_equal(verdict(&f, "{\"days\":2,\"amount\":1000,\"kind\":\"x\"}"),
                     SIMILAR_NEW); /* a hundredth is below a day */
    assert_int_equal(verdict(&f, "{\"days\":1,\"amount\":1000,\"kind\":\"y\"}"), SIMILAR_NEW);
    assert_int_equal(verdict(&f, "{\"days\":1,\"amount\":null,\"kind\":\"x\"}"), SIMILAR_NEW);
    add(&f, "{\"days\":30,\"amount\":200,\"kind\":\"y\"}", true);
    assert_int_equal(verdict(&f, "{\"days\":30,\"amount\":200,\"kind\":\"y\"}"), SIMILAR_HELD_OUT);
    assert_int_equal(verdict(&f, "{\"days\":30,\"amount\":201,\"kind\":\"y\"}"), SIMILAR_NEW);
    close_task(&f);
}

static void add_words(struct rng *r, int n, struct str *out) {
    for (int i = 0; i < n; i++) {
        str_add(out, i ? " " : "");
        for (int64_t k = rng_range(r, 3, 8); k > 0; k--)
            str_add_char(out, (char)('a' + rng_range(r, 0, 25)));
    }
}

/* Planted pairs: a text of 60 words and a copy with some of them replaced. One word of 60 touches about 10 of some 390 pieces. */
static void texts(void **state) {
    (void)state;
    enum { PAIRS = 200, WORDS = 60 };
    struct fixture f;
    struct rng rng;
    rng_seed(&rng, 11);
    open_task(&f, "{\"name\":\"note\",\"type\":\"text\"},{\"name\":\"kind\",\"type\":\"category\",\"values\":"
                  "[\"x\",\"y\"]}");
    int found = 0, false_alarms = 0;
    for (int i = 0; i < PAIRS; i++) {
        struct str head = {0}, tail = {0}, a = {0}, b = {0};
        add_words(&rng, WORDS - 3, &head);
        add_words(&rng, 3, &tail);
        str_addf(&a, "{\"note\":\"%s %s\",\"kind\":\"x\"}", head.data, tail.data);
        str_clear(&tail);
        add_words(&rng, 3, &tail);
        str_addf(&b, "{\"note\":\"%s %s\",\"kind\":\"x\"}", head.data, tail.data);
        false_alarms += verdict(&f, a.data) != SIMILAR_NEW; /* nothing like it was added before */
        add(&f, a.data, false);
        assert_int_equal(verdict(&f, a.data), SIMILAR_EXACT);
        found += verdict(&f, b.data) == SIMILAR_NEAR;
        str_clear(&b);
        str_addf(&b, "{\"note\":\"%s %s\",\"kind\":\"y\"}", head.data, tail.data);
        assert_int_equal(verdict(&f, b.data), SIMILAR_NEW); /* another category: another record */
        str_release(&head);
        str_release(&tail);
        str_release(&a);
        str_release(&b);
    }
    assert_true(found >=
                PAIRS * 99 / 100); /* their similarity is 0.9: missed with probability below 1e-7 each */
    assert_int_equal(false_alarms, 0);
    close_task(&f);
}

static void short_texts_and_many_records(void **state) {
    (void)state;
    struct fixture f;
    open_task(&f, "{\"name\":\"note\",\"type\":\"text\"},{\"name\":\"n\",\"type\":\"integer\",\"min\":0,"
                  "\"max\":100000}");
    add(&f, "{\"note\":\"ab\",\"n\":5}", false);
    assert_int_equal(verdict(&f, "{\"note\":\"ab\",\"n\":6}"), SIMILAR_NEAR);
    assert_int_equal(verdict(&f, "{\"note\":\"ac\",\"n\":5}"), SIMILAR_NEW);
    for (int i = 0; i < 2000; i++) { /* the tables grow */
        char json[64];
        snprintf(json, sizeof json, "{\"note\":\"item %d of %d\",\"n\":%d}", i * 7919, i, (i % 100) * 1000);
        add(&f, json, false);
        assert_int_equal(verdict(&f, json), SIMILAR_EXACT);
    }
    close_task(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_categories),
        cmocka_unit_test(texts),
        cmocka_unit_test(short_texts_and_many_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
