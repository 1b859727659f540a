/* Asking with a journal: nothing lost, nothing asked twice, nothing over the budget, no key anywhere. */
#include "../support/scripted.h"
#include "base/file.h"
#include "teacher/teacher.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct scripted fixture;

static int set_up(void **state) {
    (void)state;
    return scripted_begin(&fixture, (struct chat_script){.by_body = true});
}

static int tear_down(void **state) {
    (void)state;
    return scripted_end(&fixture);
}

static struct teacher *open_teacher(struct teacher_config c) {
    static char url[64];
    struct teacher *t = NULL;
    struct err e = {0};
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/", http_script_port(fixture.server));
    c.kind = "openai";
    c.url = url;
    c.model = c.model ? c.model : "scripted";
    c.net.backoff_ms = 1;
    c.net.direct = true;
    if (teacher_open(&t, &c, fixture.store, &e) < 0)
        fail_msg("%s", e.message);
    return t;
}

/* n LABEL questions; record i has delay i % 61 and share (i / 61) / 100. */
struct asking {
    int next, n, taken, journalled;
    int labels[4096], stop_after;
    struct protocol_request request;
    struct arena arena;
};

static const char *value_of(void *context, const struct task_field *f) {
    static char text[32];
    int i = *(int *)context;
    if (strcmp(f->name, "delay") == 0)
        snprintf(text, sizeof text, "%d", i % 61);
    else if (strcmp(f->name, "approved share") == 0)
        snprintf(text, sizeof text, "0.%02d", i / 61 % 100);
    else
        return "routine";
    return text;
}

static int next_label(void *context, struct teacher_question *q, struct err *e) {
    struct asking *a = context;
    if (a->next == a->n)
        return 0;
    struct record r;
    arena_reset(&a->arena);
    int rc = record_build(&fixture.task, &a->arena, true, value_of, &a->next, &r, e);
    if (rc == 0)
        rc = protocol_label(&a->request, PROTOCOL_PLAIN, &fixture.task, &r, e);
    *q = (struct teacher_question){.purpose = "label", .tag = a->next++, .request = &a->request};
    return rc < 0 ? rc : 1;
}

static int take_label(void *context, int64_t tag, const struct teacher_answer *answer, struct err *e) {
    struct asking *a = context;
    a->labels[tag] = protocol_label_read(&fixture.task, answer->content);
    a->taken++;
    a->journalled += answer->from_journal;
    return a->taken == a->stop_after ? err_set(e, ERR_FAILED, "test", "enough") : 0;
}

static int ask(struct teacher *t, struct asking *a, int n, struct err *e) {
    *a = (struct asking){.n = n, .stop_after = a->stop_after};
    arena_init(&a->arena);
    int rc = teacher_run(t, &(struct teacher_job){next_label, take_label, a}, e);
    arena_release(&a->arena);
    protocol_release(&a->request);
    return rc;
}

static void check_labels(const struct asking *a) {
    for (int i = 0; i < a->n; i++)
        assert_int_equal(a->labels[i], chat_script_rule(i % 61, (i / 61 % 100) / 100.0));
}

static void answers_come_and_are_asked_once(void **state) {
    (void)state;
    struct asking a = {0};
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 8});
    assert_int_equal(ask(t, &a, 300, NULL), 0);
    assert_int_equal(a.taken, 300);
    assert_int_equal(a.journalled, 0);
    check_labels(&a);
    assert_int_equal(fixture.script.n_label, 300);
    assert_true(http_script_connections(fixture.server) <= 8);
    assert_int_equal(ask(t, &a, 310, NULL), 0); /* only the new ones are asked */
    assert_int_equal(a.taken, 310);
    assert_int_equal(a.journalled, 300);
    assert_int_equal(fixture.script.n_label, 310);
    teacher_close(t);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, "label", &l, NULL), 0);
    assert_int_equal(l.n_answered, 310);
    assert_int_equal(l.used.tokens_in, 31000);
    assert_int_equal(l.used.tokens_out, 15500);
    assert_int_equal(l.n_doubt + l.n_sent + l.n_failed, 0);
    t = open_teacher((struct teacher_config){.model = "another"}); /* another teacher is asked anew */
    assert_int_equal(ask(t, &a, 5, NULL), 0);
    assert_int_equal(fixture.script.n_label, 315);
    teacher_close(t);
}

/* When an answer is given away, the next question is in the journal already, by the same commit; never more than one at a time. */
static int take_and_look(void *context, int64_t tag, const struct teacher_answer *answer, struct err *e) {
    struct asking *a = context;
    struct store_ledger l;
    (void)tag, (void)answer;
    int rc = store_ledger(fixture.store, NULL, &l, e);
    a->labels[a->taken++] = rc == 0 ? (int)l.n_sent : -1;
    return rc;
}

static void the_next_question_leaves_with_the_answers_commit(void **state) {
    (void)state;
    struct asking a = {.n = 12};
    arena_init(&a.arena);
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 1});
    assert_int_equal(teacher_run(t, &(struct teacher_job){next_label, take_and_look, &a}, NULL), 0);
    assert_int_equal(a.taken, 12);
    for (int i = 0; i < 12; i++)
        assert_int_equal(a.labels[i], i < 11);
    assert_int_equal(fixture.script.n_label, 12);
    teacher_close(t);
    arena_release(&a.arena);
    protocol_release(&a.request);
}

static int same_label(void *context, struct teacher_question *q, struct err *e) {
    struct asking *a = context;
    int next = a->next, zero = 0;
    if (next == a->n)
        return 0;
    struct record r;
    arena_reset(&a->arena);
    int rc = record_build(&fixture.task, &a->arena, true, value_of, &zero, &r, e);
    if (rc == 0)
        rc = protocol_label(&a->request, PROTOCOL_PLAIN, &fixture.task, &r, e);
    *q = (struct teacher_question){.purpose = "label", .tag = a->next++, .request = &a->request};
    return rc < 0 ? rc : 1;
}

static void equal_questions_share_an_answer(void **state) {
    (void)state;
    struct asking a = {.n = 20};
    arena_init(&a.arena);
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 4});
    assert_int_equal(teacher_run(t, &(struct teacher_job){same_label, take_label, &a}, NULL), 0);
    assert_int_equal(a.taken, 20);
    assert_int_equal(fixture.script.n_label, 1);
    teacher_close(t);
    arena_release(&a.arena);
    protocol_release(&a.request);
}

static void every_fault_is_survived_and_accounted_for(void **state) {
    (void)state;
    fixture.script.fault_share = 0.3;
    fixture.script.faults = 1u << CHAT_500 | 1u << CHAT_429 | 1u << CHAT_RESET | 1u << CHAT_HALF |
                            1u << CHAT_NOT_JSON | 1u << CHAT_NOT_CHAT | 1u << CHAT_EMPTY |
                            1u << CHAT_NOT_UTF8;
    struct asking a = {0};
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 8, .price_in = 1, .price_out = 1});
    struct err e = {0};
    int rc = ask(t, &a, 200, &e);
    for (int i = 0; i < 5 && rc == ERR_TEACHER;
         i++) { /* three useless answers in a row end a run; the next goes on */
        err_clear(&e);
        rc = ask(t, &a, 200, &e);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(a.taken, 200);
    check_labels(&a);
    assert_true(fixture.script.n_fault > 20);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_answered, 200);
    assert_int_equal(l.n_sent, 0);
    assert_true(l.n_doubt > 0 && l.n_failed > 0);
    teacher_close(t);
}

static void the_budget_is_never_passed(void **state) {
    (void)state;
    struct asking a = {0};
    struct err e = {0};
    /* 150 tokens an answer at $1,000 a million: $0.15. The reservation is larger, so it stops short of the cap. */
    struct teacher_config c = {
        .parallel = 4, .price_in = 1000, .price_out = 1000, .has_budget = true, .budget = 10};
    struct teacher *t = open_teacher(c);
    assert_int_equal(ask(t, &a, 200, &e), ERR_BUDGET);
    assert_non_null(strstr(e.message, "$10.00"));
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_sent + l.n_doubt, 0);
    assert_true(l.used.money <= 10);
    assert_true(l.used.money > 8);
    assert_int_equal(a.taken, l.n_answered);
    teacher_close(t);
    c.budget = 1; /* less than was spent: nothing is asked, but the journal still answers */
    t = open_teacher(c);
    int served = fixture.script.n_label;
    err_clear(&e);
    assert_int_equal(ask(t, &a, 200, &e), ERR_BUDGET);
    assert_int_equal(fixture.script.n_label, served);
    assert_int_equal(a.taken, l.n_answered);
    teacher_close(t);
}

static void doubts_count_against_the_budget(void **state) {
    (void)state;
    fixture.script.fault_share = 1;
    fixture.script.faults = 1u << CHAT_RESET;
    struct asking a = {0};
    struct err e = {0};
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 2,
                                                             .price_in = 1000,
                                                             .price_out = 1000,
                                                             .has_budget = true,
                                                             .budget = 5,
                                                             .net = {.max_attempts = 100}});
    assert_int_equal(ask(t, &a, 10, &e), ERR_BUDGET);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_sent, 0);
    assert_true(l.n_doubt > 1);
    assert_true(l.reserved.money <= 5);
    teacher_close(t);
}

static void the_key_is_sent_and_never_kept(void **state) {
    (void)state;
    static const char secret[] = "sk-very-secret-0123456789";
    char key_file[128];
    snprintf(key_file, sizeof key_file, "%s/key", fixture.folder);
    assert_int_equal(file_write(key_file, secret, sizeof secret - 1, NULL), 0);
    struct teacher_config c = {
        .kind = "openai", .url = "http://127.0.0.1:1/v1", .model = "m", .key_file = key_file};
    struct teacher *t = NULL;
    struct err e = {0};
    chmod(key_file, 0644);
    assert_int_equal(teacher_open(&t, &c, fixture.store, &e), ERR_AUTH); /* readable by others */
    chmod(key_file, 0600);
    fixture.script.key = secret;
    struct asking a = {0};
    t = open_teacher((struct teacher_config){.key_file = key_file});
    assert_int_equal(ask(t, &a, 5, NULL), 0);
    teacher_close(t);
    fixture.script.key = "another"; /* the server then echoes what it was sent */
    t = open_teacher((struct teacher_config){.key_file = key_file});
    err_clear(&e);
    assert_int_equal(ask(t, &a, 6, &e), ERR_AUTH);
    assert_non_null(strstr(e.message, "wrong key"));
    assert_null(strstr(e.message, secret));
    teacher_close(t);
    store_close(fixture.store);
    fixture.store = NULL;
    struct str bytes = {0};
    assert_int_equal(file_read(fixture.path, 0, &bytes, NULL), 0);
    assert_null(memmem(bytes.data, bytes.len, secret, sizeof secret - 1));
    str_release(&bytes);
}

static void a_missing_key_is_said_before_anything_is_sent(void **state) {
    (void)state;
    struct teacher *t = NULL;
    struct err e = {0};
    unsetenv("EDGESTILL_TEST_KEY");
    struct teacher_config c = {
        .kind = "openai", .url = "http://127.0.0.1:1/v1", .model = "m", .key_env = "EDGESTILL_TEST_KEY"};
    assert_int_equal(teacher_open(&t, &c, fixture.store, &e), ERR_AUTH);
    assert_non_null(strstr(e.message, "EDGESTILL_TEST_KEY"));
    static const struct teacher_config bad[] = {
        {.kind = "openai", .url = "ftp://x", .model = "m"},
        {.kind = "openai", .url = "http://user:pass@x/v1", .model = "m"},
        {.kind = "openai", .url = "http://x/v1"},
        {.kind = "oracle"},
        {.kind = "openai", .url = "http://x/v1", .model = "m", .style = "baroque"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err_clear(&e);
        assert_int_equal(teacher_open(&t, &bad[i], fixture.store, &e), ERR_INPUT);
    }
    err_clear(&e);
    c = (struct teacher_config){.kind = "embedded", .gguf = "/nonexistent/teacher.gguf"};
    assert_int_equal(teacher_open(&t, &c, fixture.store, &e), ERR_NOT_FOUND);
    assert_null(t);
}

static int n_said;

static void say(void *context, const char *line) {
    (void)context;
    (void)line;
    n_said++;
}

struct writing {
    int next, n, taken;
    struct protocol_request request;
};

static int next_write(void *context, struct teacher_question *q, struct err *e) {
    struct writing *w = context;
    if (w->next == w->n)
        return 0;
    int rc = protocol_write(&w->request, PROTOCOL_PLAIN, &fixture.task, 0, 4, NULL, e);
    *q = (struct teacher_question){.purpose = "write",
                                   .tag = w->next,
                                   .seed = (uint64_t)w->next,
                                   .temperature = 1,
                                   .request = &w->request};
    w->next++;
    return rc < 0 ? rc : 1;
}

static int take_write(void *context, int64_t tag, const struct teacher_answer *a, struct err *e) {
    (void)tag;
    (void)e;
    assert_true(str_starts(a->content, "{\"records\":["));
    ((struct writing *)context)->taken++;
    return 0;
}

static void what_an_endpoint_refuses_is_given_up_and_remembered(void **state) {
    (void)state;
    fixture.script.refuse_schema = fixture.script.refuse_sampling = true;
    struct writing w = {.n = 12};
    n_said = 0;
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 4, .sampling = true, .say = say});
    assert_int_equal(teacher_run(t, &(struct teacher_job){next_write, take_write, &w}, NULL), 0);
    assert_int_equal(w.taken, 12);
    assert_int_equal(n_said, 3); /* schema, then JSON mode; temperature */
    teacher_close(t);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_answered, 12);
    w.n = 15;
    w.next = 12;
    int failed = (int)l.n_failed;
    t = open_teacher((struct teacher_config){.parallel = 4, .sampling = true, .say = say});
    assert_int_equal(teacher_run(t, &(struct teacher_job){next_write, take_write, &w}, NULL), 0);
    assert_int_equal(n_said, 3);
    teacher_close(t);
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_failed, failed);
    protocol_release(&w.request);
}

static void a_taker_may_stop_and_nothing_is_lost(void **state) {
    (void)state;
    struct asking a = {.stop_after = 7};
    struct err e = {0};
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 4});
    assert_int_equal(ask(t, &a, 50, &e), ERR_FAILED);
    assert_string_equal(e.message, "enough");
    int served = fixture.script.n_label;
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_answered, served);
    a.stop_after = 0;
    assert_int_equal(ask(t, &a, 50, NULL), 0);
    assert_int_equal(a.journalled, served);
    assert_int_equal(fixture.script.n_label, 50);
    teacher_close(t);
}

static void a_dead_teacher_is_an_error_that_loses_nothing(void **state) {
    (void)state;
    struct asking a = {0};
    struct err e = {0};
    struct teacher *t = open_teacher((struct teacher_config){.net = {.max_attempts = 2}});
    assert_int_equal(ask(t, &a, 5, NULL), 0);
    http_script_stop(fixture.server);
    fixture.server = NULL;
    assert_int_equal(ask(t, &a, 8, &e), ERR_NET);
    assert_int_equal(a.taken, 5);
    assert_true(e.hint[0] != 0);
    teacher_close(t);
}

/* A child asks and is killed at some moment; what the server answered before is in the journal or in doubt, and the next run
 * asks only what has no answer. */
static void killed_at_any_moment(void **state) {
    (void)state;
    fixture.script.delay_ms = 2;
    store_close(fixture.store);
    fixture.store = NULL;
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        if (child == 0) {
            struct asking a = {0};
            if (store_open(&fixture.store, fixture.path, STORE_WRITE, NULL) < 0)
                _exit(1);
            _exit(ask(open_teacher((struct teacher_config){.parallel = 4}), &a, 150, NULL) == 0 ? 0 : 1);
        }
        usleep((useconds_t)(15000 + 17000 * round));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    usleep(50000); /* the server's last answers */
    int served = fixture.script.n_label;
    assert_int_equal(store_open(&fixture.store, fixture.path, STORE_WRITE, NULL), 0);
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, NULL, &l, NULL), 0);
    assert_int_equal(l.n_sent, 0);
    assert_true(served <= l.n_answered + l.n_doubt); /* every one that may be billed is accounted for */
    int64_t answered = l.n_answered;
    struct asking a = {0};
    struct teacher *t = open_teacher((struct teacher_config){.parallel = 4});
    assert_int_equal(ask(t, &a, 150, NULL), 0);
    check_labels(&a);
    assert_int_equal(a.journalled, answered);
    assert_int_equal(fixture.script.n_label, served + 150 - answered);
    teacher_close(t);
}

struct said {
    char text[1024];
};

static void collect(void *context, const char *line) {
    struct said *s = context;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s\n", line);
}

static void an_endpoint_is_probed_once_and_remembered(void **state) {
    (void)state;
    struct asking a = {0};
    struct said said = {0};
    struct teacher_config c = {.probe = true, .say = collect, .say_context = &said};
    struct teacher *t = open_teacher(c);
    assert_int_equal(teacher_thinks(t), -1);
    assert_int_equal(ask(t, &a, 10, NULL), 0);
    assert_int_equal(fixture.script.n_probe, 1);
    assert_int_equal(teacher_thinks(t), 0);
    assert_string_equal(said.text, ""); /* it does everything: nothing to say */
    struct store_ledger l;
    assert_int_equal(store_ledger(fixture.store, "probe", &l, NULL), 0);
    assert_int_equal(l.n_answered, 1);
    assert_int_equal(l.used.tokens_out, 50);
    assert_int_equal(ask(t, &a, 20, NULL), 0);
    teacher_close(t);
    t = open_teacher(c);
    assert_int_equal(ask(t, &a, 30, NULL), 0);
    assert_int_equal(fixture.script.n_probe, 1);
    assert_int_equal(teacher_thinks(t), 0);
    teacher_close(t);
    c.model = "another";
    t = open_teacher(c);
    assert_int_equal(ask(t, &a, 1, NULL), 0);
    assert_int_equal(fixture.script.n_probe, 2);
    teacher_close(t);
}

static void what_an_endpoint_lacks_is_said_and_done_without(void **state) {
    (void)state;
    struct asking a = {0};
    struct said said = {0};
    fixture.script.refuse_logprobs = fixture.script.ignore_schema = fixture.script.no_usage =
        fixture.script.thinks = true;
    struct teacher_config c = {.probe = true, .say = collect, .say_context = &said};
    struct teacher *t = open_teacher(c);
    assert_int_equal(ask(t, &a, 10, NULL), 0);
    check_labels(&a);
    assert_int_equal(teacher_thinks(t), 1);
    static const char *const clauses[] = {"logprobs are not asked for", "JSON mode is used", "estimated",
                                          "thinks"};
    for (size_t i = 0; i < sizeof clauses / sizeof *clauses; i++)
        if (!strstr(said.text, clauses[i]))
            fail_msg("'%s' is not in:\n%s", clauses[i], said.text);
    teacher_close(t);
    said.text[0] = 0;
    t = open_teacher(c);
    assert_int_equal(ask(t, &a, 40, NULL), 0);
    assert_int_equal(fixture.script.n_probe, 1);
    assert_string_equal(said.text, "");
    teacher_close(t);
}

static void a_teacher_can_be_asked_not_to_think(void **state) {
    (void)state;
    struct asking a = {0};
    struct teacher *t = open_teacher((struct teacher_config){.no_thinking = true});
    assert_int_equal(ask(t, &a, 5, NULL), 0);
    assert_int_equal(fixture.script.n_not_to_think, 5);
    fixture.script.refuse_thinking = true;
    assert_int_equal(ask(t, &a, 10, NULL), 0);
    check_labels(&a);
    assert_int_equal(fixture.script.n_not_to_think, 5);
    teacher_close(t);
}

static void a_probe_keeps_to_the_budget(void **state) {
    (void)state;
    struct asking a = {0};
    struct err e = {0};
    struct teacher *t = open_teacher((struct teacher_config){
        .probe = true, .price_in = 1, .price_out = 1, .has_budget = true, .budget = 1e-6});
    assert_int_equal(ask(t, &a, 10, &e), ERR_BUDGET);
    assert_int_equal(fixture.script.n_probe, 0);
    teacher_close(t);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(answers_come_and_are_asked_once),
        CASE(the_next_question_leaves_with_the_answers_commit),
        CASE(equal_questions_share_an_answer),
        CASE(every_fault_is_survived_and_accounted_for),
        CASE(the_budget_is_never_passed),
        CASE(doubts_count_against_the_budget),
        CASE(the_key_is_sent_and_never_kept),
        CASE(a_missing_key_is_said_before_anything_is_sent),
        CASE(what_an_endpoint_refuses_is_given_up_and_remembered),
        CASE(a_taker_may_stop_and_nothing_is_lost),
        CASE(a_dead_teacher_is_an_error_that_loses_nothing),
        CASE(killed_at_any_moment),
        CASE(an_endpoint_is_probed_once_and_remembered),
        CASE(what_an_endpoint_lacks_is_said_and_done_without),
        CASE(a_teacher_can_be_asked_not_to_think),
        CASE(a_probe_keeps_to_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
