/* Bodies out and in: what is sent, what is understood, what is given up when an endpoint refuses it. */
#include "teacher/chat.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct chat_question question = {.model = "m",
                                              .system = "be \"good\"",
                                              .user = "hello",
                                              .schema_name = "s",
                                              .schema = "{\"type\":\"object\"}",
                                              .temperature = 0.5,
                                              .seed = 7,
                                              .max_tokens = 99};

static void requests_say_what_the_endpoint_understands(void **state) {
    (void)state;
    struct chat_caps c;
    struct str body = {0};
    chat_caps_init(&c, true);
    assert_int_equal(chat_request(&c, &question, &body, NULL), 0);
    assert_string_equal(
        body.data,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"good\\\"\"},"
        "{\"role\":\"user\",\"content\":\"hello\"}],\"max_tokens\":99,\"temperature\":0.5,\"seed\":7,"
        "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\",\"strict\":true,"
        "\"schema\":{\"type\":\"object\"}}}}");
    str_clear(&body);
    c = (struct chat_caps){.json_object = true};
    assert_int_equal(chat_request(&c, &question, &body, NULL), 0);
    assert_string_equal(
        body.data, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"good\\\"\"},"
                   "{\"role\":\"user\",\"content\":\"hello\"}],\"max_completion_tokens\":99,"
                   "\"response_format\":{\"type\":\"json_object\"}}");
    str_release(&body);
}

static void sampling_is_not_sent_unless_asked_for(void **state) {
    (void)state;
    struct chat_caps c;
    struct str body = {0};
    chat_caps_init(&c, false);
    assert_int_equal(chat_request(&c, &question, &body, NULL), 0);
    assert_null(strstr(body.data, "temperature"));
    assert_null(strstr(body.data, "seed"));
    str_release(&body);
}

static void capabilities_are_given_up_one_by_one(void **state) {
    (void)state;
    struct chat_caps c, read;
    struct str line = {0};
    chat_caps_init(&c, true);
    assert_true(chat_caps_degrade(&c, "invalid temperature: only 1 is allowed", true, &line));
    assert_false(c.temperature);
    assert_true(chat_caps_degrade(&c, "unknown parameter seed", true, &line));
    assert_true(chat_caps_degrade(&c, "use max_completion_tokens instead of max_tokens", true, &line));
    assert_true(chat_caps_degrade(&c, "response_format json_schema is not available", true, &line));
    assert_true(c.json_object && !c.json_schema);
    assert_true(chat_caps_degrade(&c, "response_format is not available", true, &line));
    assert_false(chat_caps_degrade(&c, "response_format is not available", true, &line));
    assert_false(chat_caps_degrade(&c, "the model is not there", true, &line));
    assert_false(chat_caps_degrade(&c, "invalid temperature", false, &line));
    str_clear(&line);
    chat_caps_text(&c, &line);
    chat_caps_init(&read, true);
    chat_caps_read(&read, line.data);
    assert_memory_equal(&read, &c, sizeof c);
    chat_caps_read(&read, "seed=1 unknown=1");
    assert_true(read.seed && !read.json_schema);
    str_release(&line);
}

static int read_reply(const char *body, struct arena *a, struct chat_reply *r) {
    return chat_reply_read(body, strlen(body), a, r, NULL);
}

static void replies_are_read(void **state) {
    (void)state;
    struct arena a;
    struct chat_reply r;
    arena_init(&a);
    assert_int_equal(
        read_reply("{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":\"yes\","
                   "\"reasoning_content\":\"hm\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}",
                   &a, &r),
        0);
    assert_string_equal(r.content, "yes");
    assert_string_equal(r.thoughts, "hm");
    assert_true(r.has_usage && !r.truncated && !r.refused);
    assert_int_equal(r.tokens_in, 3);
    assert_int_equal(r.tokens_out, 4);
    assert_int_equal(
        read_reply("{\"choices\":[{\"finish_reason\":\"length\",\"message\":{\"content\":null}}]}", &a, &r),
        0);
    assert_string_equal(r.content, "");
    assert_null(r.thoughts);
    assert_true(r.truncated && !r.has_usage);
    assert_int_equal(
        read_reply(
            "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"b\"}],"
            "\"refusal\":\"no\"}}]}",
            &a, &r),
        0);
    assert_string_equal(r.content, "ab");
    assert_true(r.refused);
    arena_release(&a);
}

static void thoughts_are_taken_out_of_the_content(void **state) {
    (void)state;
    static const struct {
        const char *content, *answer, *thoughts;
    } cases[] = {
        {"<think>a</think>\\n\\nb", "b", "a"},
        {"a</think>b", "b", "a"},
        {"<think>a", "", "a"},
        {"b <think> c", "b <think> c", NULL},
        {"<think>a</think>b</think>c", "c", "a</think>b"},
    };
    struct arena a;
    arena_init(&a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str body = {0};
        struct chat_reply r;
        str_addf(&body, "{\"choices\":[{\"message\":{\"content\":\"%s\"}}]}", cases[i].content);
        assert_int_equal(read_reply(body.data, &a, &r), 0);
        assert_string_equal(r.content, cases[i].answer);
        assert_true(str_equal(r.thoughts, cases[i].thoughts));
        str_release(&body);
    }
    arena_release(&a);
}

static void what_is_no_reply_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "null",
                                      "{\"choices\":[]}",
                                      "{\"choices\":[{}]}",
                                      "{\"choices\":[{\"message\":{\"content\":5}}]}",
                                      "{\"error\":{\"message\":\"no\"}}",
                                      "<html></html>",
                                      "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}"};
    struct arena a;
    arena_init(&a);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct chat_reply r;
        assert_int_equal(read_reply(bad[i], &a, &r), ERR_TEACHER);
    }
    arena_release(&a);
}

static void error_bodies_are_told_in_one_line(void **state) {
    (void)state;
    static const struct {
        const char *body, *text;
    } cases[] = {{"{\"error\":{\"message\":\"a\\nb\"}}", "a b"},
                 {"{\"error\":\"c\"}", "c"},
                 {"{\"message\":\"d\"}", "d"},
                 {"{\"detail\":\"e\"}", "e"},
                 {"<html>\nf", "<html> f"},
                 {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = {0};
        chat_error_text(cases[i].body, strlen(cases[i].body), &s);
        assert_string_equal(str_text(&s), cases[i].text);
        str_release(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_say_what_the_endpoint_understands),
        cmocka_unit_test(sampling_is_not_sent_unless_asked_for),
        cmocka_unit_test(capabilities_are_given_up_one_by_one),
        cmocka_unit_test(replies_are_read),
        cmocka_unit_test(thoughts_are_taken_out_of_the_content),
        cmocka_unit_test(what_is_no_reply_is_refused),
        cmocka_unit_test(error_bodies_are_told_in_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
