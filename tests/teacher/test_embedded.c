/* The embedded teacher's process is a real llama-server: it starts, answers the chat protocol, and never outlives us. */
#include "../support/tiny_gguf.h"
#include "base/clock.h"
#include "base/file.h"
#include "teacher/embedded.h"
#include "teacher/teacher.h"
#include <errno.h>
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

static char folder[64], model[128], database[128];

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/edgestill-embedded-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(model, sizeof model, "%s/teacher.gguf", folder);
    snprintf(database, sizeof database, "%s/records.sqlite", folder);
    return tiny_gguf_write(model, &(struct tiny_gguf){.seed = 1}, NULL);
}

static int tear_down(void **state) {
    (void)state;
    return file_remove_tree(folder, NULL);
}

static bool gone(pid_t pid) {
    for (int i = 0; i < 500; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        clock_sleep_ms(10);
    }
    return false;
}

struct asking {
    int next, n, taken, whole;
    struct protocol_request request;
};

static int next(void *context, struct teacher_question *q, struct err *e) {
    (void)e;
    struct asking *a = context;
    if (a->next == a->n)
        return 0;
    *q = (struct teacher_question){.purpose = "draft",
                                   .tag = a->next,
                                   .seed = (uint64_t)a->next,
                                   .temperature = 1,
                                   .request = &a->request};
    a->next++;
    return 1;
}

/* Random weights say nothing sensible, but the grammar of the schema holds them to its form, bounds and decimals. */
static int take(void *context, int64_t tag, const struct teacher_answer *answer, struct err *e) {
    (void)tag;
    (void)e;
    struct asking *a = context;
    const char *number = strchr(answer->content, ':');
    a->taken++;
    if (answer->truncated)
        return 0;
    assert_true(str_starts(answer->content, "{"));
    assert_non_null(number);
    number += 1 + strspn(number + 1, " \t\n");
    assert_int_equal(strspn(number, "-0123456789."), 5); /* "-1.50" */
    assert_true(strtod(number, NULL) >= -1.5 && strtod(number, NULL) <= -0.25);
    a->whole++;
    return 0;
}

static void a_real_server_answers_through_the_same_client(void **state) {
    (void)state;
    struct store *s = NULL;
    struct teacher *t = NULL;
    struct err e = {0};
    assert_int_equal(store_open(&s, database, STORE_WRITE, NULL), 0);
    assert_int_equal(
        teacher_open(&t, &(struct teacher_config){.kind = "embedded", .gguf = model, .parallel = 2}, s, &e),
        0);
    assert_true(str_starts(teacher_name(t), "embedded:"));
    assert_true(teacher_price(t).known);
    struct asking a = {.n = 6};
    assert_int_equal(protocol_draft(&a.request, PROTOCOL_PLAIN, "Flag it.", NULL), 0);
    a.request.max_tokens = 120;
    str_clear(&a.request.schema);
    str_add(&a.request.schema, "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\",\"minimum\":-"
                               "1.50,\"maximum\":-0.25}},"
                               "\"required\":[\"a\"],"
                               "\"additionalProperties\":false}");
    int rc = teacher_run(t, &(struct teacher_job){next, take, &a}, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    assert_int_equal(a.taken, a.n);
    assert_true(a.whole > 0);
    struct store_ledger l;
    assert_int_equal(store_ledger(s, "draft", &l, NULL), 0);
    assert_int_equal(l.n_answered, a.n);
    assert_true(l.used.tokens_out > 0);
    assert_float_equal(l.used.money, 0, 0);
    teacher_close(t);
    store_close(s);
    protocol_release(&a.request);
}

static void stopping_ends_it(void **state) {
    (void)state;
    struct embedded *s = NULL;
    struct err e = {0};
    if (embedded_start(&s, &(struct embedded_options){.gguf = model, .slots = 1, .slot_tokens = 256}, &e) < 0)
        fail_msg("%s", e.message);
    pid_t pid = (pid_t)embedded_pid(s);
    assert_int_equal(embedded_check(s, &e), 0);
    assert_int_not_equal(getpgid(pid), getpgrp()); /* Ctrl-C in our terminal does not reach it */
    embedded_stop(s);
    assert_true(gone(pid));
}

static void it_dies_with_a_parent_that_is_killed(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct embedded *s = NULL;
        pid_t pid = 0;
        if (embedded_start(&s, &(struct embedded_options){.gguf = model, .slots = 1, .slot_tokens = 256},
                           NULL) == 0)
            pid = (pid_t)embedded_pid(s);
        if (write(ends[1], &pid, sizeof pid) != sizeof pid)
            _exit(1);
        pause();
    }
    pid_t pid = 0;
    assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
    assert_true(pid > 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(gone(pid));
    close(ends[0]);
    close(ends[1]);
}

static void its_death_is_told(void **state) {
    (void)state;
    struct embedded *s = NULL;
    struct err e = {0};
    assert_int_equal(
        embedded_start(&s, &(struct embedded_options){.gguf = model, .slots = 1, .slot_tokens = 256}, NULL),
        0);
    kill((pid_t)embedded_pid(s), SIGKILL);
    int rc = 0;
    for (int i = 0; i < 500 && rc == 0; i++) {
        clock_sleep_ms(10);
        rc = embedded_check(s, &e);
    }
    assert_int_equal(rc, ERR_TEACHER);
    assert_non_null(strstr(e.message, "signal 9"));
    embedded_stop(s);
}

static void what_cannot_start_says_why(void **state) {
    (void)state;
    struct embedded *s = NULL;
    struct err e = {0};
    assert_int_equal(embedded_start(&s, &(struct embedded_options){.gguf = "/nonexistent.gguf"}, &e),
                     ERR_NOT_FOUND);
    err_clear(&e);
    assert_int_equal(file_write(model, "no model", 8, NULL), 0);
    assert_int_equal(embedded_start(&s, &(struct embedded_options){.gguf = model}, &e), ERR_TEACHER);
    assert_non_null(strstr(e.message, "llama-server ended with status"));
    err_clear(&e);
    assert_int_equal(
        embedded_start(&s, &(struct embedded_options){.gguf = model, .program = "/nonexistent/server"}, &e),
        ERR_TEACHER);
    assert_non_null(strstr(e.message, "/nonexistent/server"));
    assert_null(s);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_real_server_answers_through_the_same_client),
        CASE(stopping_ends_it),
        CASE(it_dies_with_a_parent_that_is_killed),
        CASE(its_death_is_told),
        CASE(what_cannot_start_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
