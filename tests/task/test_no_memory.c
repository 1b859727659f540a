/* Every allocation of the task folder fails in turn: an error, nothing half-made, nothing lost. */
#include "format/json.h"
#include "support/oom.h"
#include "task/prompt.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char task_json[] =
    "{\"name\":\"t\",\"fields\":[{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":60,\"unit\":"
    "\"days\"},"
    "{\"name\":\"paid\",\"type\":\"number\"},{\"name\":\"kind\",\"type\":\"category\",\"values\":[\"a\","
    "\"b\"]},"
    "{\"name\":\"note\",\"type\":\"text\"},{\"name\":\"day\",\"type\":\"date\"}],"
    "\"derived\":[{\"name\":\"share\",\"op\":\"ratio\",\"of\":[\"paid\",\"delay\"]}],"
    "\"labels\":[{\"name\":\"x\",\"definition\":\"one\"},{\"name\":\"y\",\"definition\":\"otherwise\"}]}";
static const char record_json[] =
    "{\"delay\":3,\"paid\":1.5,\"kind\":\"b\",\"note\":\"some text\",\"day\":\"2024-01-02\"}";

static struct arena arena;
static struct node *task_node, *record_node;

static int set_up(void **state) {
    (void)state;
    char hex[SHA256_HEX];
    sha256_bytes("", 0, hex); /* libcrypto sets itself up once, and never again when that fails */
    arena_init(&arena);
    int rc = json_node_parse(&arena, "task", 1, task_json, strlen(task_json), &task_node, NULL);
    return rc < 0
               ? rc
               : json_node_parse(&arena, "record", 1, record_json, strlen(record_json), &record_node, NULL);
}

static int tear_down(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

/* Everything the folder does with a task, once. */
static int work(struct err *e) {
    struct task t = {0};
    struct prompt p = {0};
    struct record r;
    struct arena a;
    struct str text = {0};
    arena_init(&a);
    int rc = task_from_node(&t, task_node, e);
    if (rc == 0)
        rc = prompt_init(&p, &t, "<user>", "</user>", "</s>", e);
    if (rc == 0)
        rc = record_from_node(&t, &a, true, record_node, &r, e);
    if (rc == 0)
        rc = record_to_json(&t, &r, &text);
    if (rc == 0)
        rc = record_to_line(&t, &r, &text);
    if (rc == 0)
        rc = prompt_record(&t, &r, &text);
    if (rc == 0)
        rc = task_to_json(&t, &text, e);
    if (rc == 0)
        rc = task_to_yaml(&t, &text, e);
    if (rc == 0)
        rc = prompt_to_json(&p, &text, e);
    str_release(&text);
    arena_release(&a);
    prompt_release(&p);
    task_release(&t);
    return rc;
}

static void test_each_allocation_fails(void **state) {
    (void)state;
    if (!oom_available())
        skip();
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        struct err e = {0};
        oom_arm(n);
        int rc = work(&e);
        bool hit = oom_disarm();
        if (!hit) {
            assert_int_equal(rc, 0);
            break;
        }
        if (rc != ERR_NO_MEMORY)
            fail_msg("allocation %lld: %d '%s'", (long long)n, rc, e.message);
        failures++;
    }
    assert_true(failures > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
