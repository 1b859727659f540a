/* Drafting against a scripted teacher: right at once, repaired, refused, given up. */
#include "../support/chat_script.h"
#include "base/file.h"
#include "synth/draft.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[64], path[128];
static struct chat_script script;
static struct http_script *server;
static struct store *store;

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/edgestill-draft-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/records.sqlite", folder);
    script = (struct chat_script){.by_body = true};
    server = http_script_start(chat_script_serve, &script);
    return server && store_open(&store, path, STORE_WRITE, NULL) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    store_close(store);
    http_script_stop(server);
    return file_remove_tree(folder, NULL);
}

static int draft(const char *style, const char *sentence, struct task *t, struct draft_result *r,
                 struct err *e) {
    char url[64];
    struct teacher *teacher = NULL;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", http_script_port(server));
    struct teacher_config c = {
        .kind = "openai", .url = url, .model = "scripted", .style = style, .net = {.direct = true}};
    assert_int_equal(teacher_open(&teacher, &c, store, NULL), 0);
    int rc = draft_task(teacher, "claims", sentence, 1, t, r, e);
    teacher_close(teacher);
    return rc;
}

static void a_right_draft_becomes_the_task(void **state) {
    (void)state;
    struct task t;
    struct draft_result r;
    struct err e = {0};
    if (draft("plain", CHAT_SCRIPT_SENTENCE, &t, &r, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(r.attempts, 1);
    assert_int_equal(t.n_declared, 3);
    assert_string_equal(t.name, "claims");
    assert_string_equal(t.sentence, CHAT_SCRIPT_SENTENCE);
    assert_string_equal(t.labels[1].definition, "otherwise");
    task_release(&t);
    if (draft("plain", CHAT_SCRIPT_SENTENCE, &t, &r, &e) < 0) /* from the journal */
        fail_msg("%s", e.message);
    assert_int_equal(script.n_draft, 1);
    task_release(&t);
}

static void a_useless_draft_is_asked_for_again(void **state) {
    (void)state;
    static const char *const styles[] = {"plain", "full"};
    for (int i = 0; i < 2; i++) {
        struct task t;
        struct draft_result r;
        struct err e = {0};
        script.n_draft = 0;
        script.bad_drafts = 2;
        if (draft(styles[i], CHAT_SCRIPT_SENTENCE, &t, &r, &e) < 0)
            fail_msg("%s", e.message);
        assert_int_equal(r.attempts, 3);
        assert_true(r.complaint[0] != 0);
        task_release(&t);
    }
}

static void after_three_repairs_it_gives_up(void **state) {
    (void)state;
    struct task t;
    struct draft_result r;
    struct err e = {0};
    script.bad_drafts = 100;
    assert_int_equal(draft("full", CHAT_SCRIPT_SENTENCE, &t, &r, &e), ERR_TEACHER);
    assert_int_equal(script.n_draft, 4);
    assert_true(e.hint[0] != 0);
}

static void a_refusal_is_told(void **state) {
    (void)state;
    struct task t;
    struct draft_result r;
    struct err e = {0};
    script.draft = "{\"refusal\":\"outside the documented family\"}";
    assert_int_equal(draft("plain", "Write me a poem.", &t, &r, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "outside the documented family"));
    err_clear(&e);
    script.draft = "{\"refusal\":\"no labels\",\"fields\":[],\"labels\":[]}";
    assert_int_equal(draft("full", "Write me a poem.", &t, &r, &e), ERR_UNSUPPORTED);
    assert_int_equal(r.attempts, 1);
}

static void slips_of_a_small_teacher_are_found(void **state) {
    (void)state;
    static const char *const slips[] = {
        "{\"fields\":[{\"name\":\"dalay\",\"type\":\"integer\",\"min\":0,\"max\":60}],\"labels\":[{\"name\":"
        "\"suspicious\","
        "\"definition\":\"the delay is under 2 days\"},{\"name\":\"normal\",\"definition\":\"otherwise\"}]}",
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":60}],\"labels\":[{\"name\":"
        "\"suspicious\","
        "\"definition\":\"the delay is under 3 days\"},{\"name\":\"normal\",\"definition\":\"otherwise\"}]}",
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":60}],\"labels\":[{\"name\":"
        "\"suspicious\","
        "\"definition\":\"the delay is under 2 days\"},{\"name\":\"fine\",\"definition\":\"otherwise\"}]}",
    };
    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
        struct task t;
        struct draft_result r;
        struct err e = {0};
        char sentence[512];
        snprintf(sentence, sizeof sentence, "%s (%zu)", CHAT_SCRIPT_SENTENCE, i);
        script.draft = slips[i];
        assert_int_equal(draft("plain", sentence, &t, &r, &e), ERR_TEACHER);
        assert_non_null(strstr(e.message, "does not stand in the sentence"));
        script.draft = slips[i];
        assert_int_equal(draft("full", sentence, &t, &r, NULL), 0); /* a large one may use its own words */
        task_release(&t);
    }
}

static void what_was_left_out_is_found(void **state) {
    (void)state;
    struct task t;
    struct draft_result r;
    struct err e = {0};
    script.draft =
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":60,\"unit\":\"days\"},"
        "{\"name\":\"kind\",\"type\":\"category\",\"values\":[\"outdoor\",\"open\"]}],\"labels\":[{\"name\":"
        "\"late\","
        "\"definition\":\"the delay is over 9 days\"},{\"name\":\"fine\",\"definition\":\"otherwise\"}]}";
    assert_int_equal(
        draft("plain",
              "Sort crates. Each crate has a delay from 0 to 60 days and a kind (outdoor, indoor or open). "
              "Flag the crate as late when the delay is over 9 days; otherwise it is fine.",
              &t, &r, &e),
        ERR_TEACHER);
    assert_non_null(strstr(e.message, "'indoor' of the sentence is left out"));
}

/* One field of a sentence, drafted whole and with another's unit. */
static int draft_number(const char *sentence, const char *type, const char *range, struct task *t,
                        struct err *e) {
    static char text[512];
    struct draft_result r;
    snprintf(text, sizeof text,
             "{\"fields\":[{\"name\":\"temperature\",\"type\":\"%s\",%s},{\"name\":\"door "
             "time\",\"type\":\"integer\","
             "\"min\":0,\"max\":600,\"unit\":\"seconds\"}],\"labels\":[{\"name\":\"warm\",\"definition\":"
             "\"the temperature "
             "is over 2.5 C, or under -15 C and the door time is over 90 "
             "seconds\"},{\"name\":\"cold\",\"definition\":\"otherwise\"}]}",
             type, range);
    script.draft = text;
    return draft("plain", sentence, t, &r, e);
}
#define FREEZERS(range)                                                                                      \
    "Watch freezers. Each freezer has a temperature " range                                                  \
    " and a door time from 0 to 600 seconds. Flag it as warm when the temperature is over 2.5 C, or under "  \
    "-15 C and the door time is over 90 seconds; otherwise it is cold."

static void numbers_are_as_the_sentence_writes_them(void **state) {
    (void)state;
    static const struct {
        const char *sentence, *type, *range, *unit;
        int decimals;
    } cases[] = {
        /* the threshold has the decimal */
        {FREEZERS("from -20 to 8 C"), "integer", "\"min\":-20,\"max\":8,\"unit\":\"from\"", "C", 1},
        {FREEZERS("(-20.0 to 8.0 C)"), "number",
         "\"min\":-20.0,\"max\":8.0,\"decimals\":1,\"unit\":\"seconds\"", "C", 1},
        {FREEZERS("between -20.00 and 8.00 C"), "number", "\"min\":-20,\"max\":8,\"decimals\":1", "C", 2},
        {FREEZERS("from -20 to 8"), "number", "\"min\":-20,\"max\":8,\"decimals\":2,\"unit\":\"C\"", NULL, 1},
        {FREEZERS("from -20 to 8 degrees C"), "integer", "\"min\":-20,\"max\":8,\"unit\":\"C\"", "degrees C",
         1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct task t;
        struct err e = {0};
        if (draft_number(cases[i].sentence, cases[i].type, cases[i].range, &t, &e) < 0)
            fail_msg("case %zu: %s", i, e.message);
        const struct task_field *f = &t.fields[0];
        assert_int_equal(f->type, FIELD_NUMBER);
        assert_int_equal(f->decimals, cases[i].decimals);
        if (cases[i].unit)
            assert_string_equal(f->unit, cases[i].unit);
        else
            assert_null(f->unit);
        assert_int_equal(t.fields[1].type, FIELD_INTEGER);
        assert_string_equal(t.fields[1].unit, "seconds");
        task_release(&t);
    }
}

static void another_range_than_the_sentence_has_is_found(void **state) {
    (void)state;
    struct task t;
    struct err e = {0};
    assert_int_equal(
        draft_number(FREEZERS("from -20 to 8 C"), "number", "\"min\":-15,\"max\":8,\"decimals\":1", &t, &e),
        ERR_TEACHER);
    assert_non_null(strstr(e.message, "the range of 'temperature'"));
}

static void numbers_that_the_embedded_teacher_misreads_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *sentence, *range;
    } cases[] = {
        {FREEZERS("from -20.000 to 8.000 C"), "\"min\":-20,\"max\":8,\"decimals\":3"},
        {FREEZERS("from -2000 to 8 C"), "\"min\":-2000,\"max\":8,\"decimals\":1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct task t;
        struct err e = {0};
        assert_int_equal(draft_number(cases[i].sentence, "number", cases[i].range, &t, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.message, "'temperature'"));
        assert_non_null(strstr(e.hint, "unit"));
        assert_int_equal(script.n_draft, (int)i + 1); /* no second try would help */
    }
}

/* The full style's answer has every key, null where it does not apply. */
static void nulls_are_as_absent(void **state) {
    (void)state;
    struct task t;
    struct draft_result r;
    struct err e = {0};
    script.draft = "{\"refusal\":null,\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":"
                   "60,\"decimals\":null,"
                   "\"unit\":\"days\",\"values\":null},{\"name\":\"kind\",\"type\":\"category\",\"min\":null,"
                   "\"max\":null,"
                   "\"decimals\":null,\"unit\":null,\"values\":[\"a\",\"b\"]}],\"labels\":[{\"name\":\"x\","
                   "\"definition\":\"d\"},"
                   "{\"name\":\"y\",\"definition\":\"otherwise\"}]}";
    if (draft("full", "s", &t, &r, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(t.n_declared, 2);
    assert_null(t.fields[1].unit);
    task_release(&t);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_right_draft_becomes_the_task),
        CASE(a_useless_draft_is_asked_for_again),
        CASE(after_three_repairs_it_gives_up),
        CASE(a_refusal_is_told),
        CASE(slips_of_a_small_teacher_are_found),
        CASE(nulls_are_as_absent),
        CASE(what_was_left_out_is_found),
        CASE(numbers_are_as_the_sentence_writes_them),
        CASE(another_range_than_the_sentence_has_is_found),
        CASE(numbers_that_the_embedded_teacher_misreads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
