/* docs/formats.md is true: its examples are read by the program's own readers. Run from the source tree's root. */
#include "base/file.h"
#include "base/mem.h"
#include "cmd/project.h"
#include "format/json.h"
#include "format/yaml.h"
#include "plan/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct str page;

static int read_page(void **state) {
    (void)state;
    return file_read("docs/formats.md", 0, &page, NULL);
}

static int release_page(void **state) {
    (void)state;
    str_release(&page);
    return 0;
}

/* The next block of ```kind from *at; NULL when there is none. */
static char *next_block(const char **at, const char *kind) {
    char fence[32];
    snprintf(fence, sizeof fence, "\n```%s\n", kind);
    const char *begin = strstr(*at, fence);
    if (!begin)
        return NULL;
    begin += strlen(fence);
    const char *end = strstr(begin, "\n```");
    assert_non_null(end);
    *at = end + 4;
    return strndup(begin, (size_t)(end - begin) + 1);
}

static void check_project(const char *text) {
    char folder[] = "/tmp/edgestill-formats-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = file_join(folder, "edgestill.yaml");
    struct err e = {0};
    struct project p;
    assert_int_equal(file_write(path, text, strlen(text), &e), 0);
    if (project_open(&p, folder, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(p.teacher.model, "kimi-k2.6");
    project_release(&p);
    free(path);
    file_remove_tree(folder, NULL);
}

static void yaml_examples(void **state) {
    (void)state;
    int n_projects = 0, n_tasks = 0, n_plans = 0;
    const char *at = page.data, *format;
    for (char *text; (text = next_block(&at, "yaml")); free(text)) {
        struct arena a = {0};
        struct node *root = NULL;
        struct err e = {0};
        struct task task;
        struct plan plan;
        if (yaml_node_parse(&a, "docs/formats.md", text, strlen(text), &root, &e) < 0)
            fail_msg("%s", e.message);
        assert_int_equal(node_string(root, "format", true, &format, &e), 0);
        if (strcmp(format, PROJECT_FORMAT) == 0) {
            check_project(text);
            n_projects++;
        } else if (strcmp(format, TASK_FORMAT) == 0) {
            if (task_from_node(&task, root, &e) < 0)
                fail_msg("%s", e.message);
            task_release(&task);
            n_tasks++;
        } else if (strcmp(format, PLAN_FORMAT) == 0) {
            if (plan_from_node(&plan, root, &e) < 0)
                fail_msg("%s", e.message);
            plan_release(&plan);
            n_plans++;
        }
        arena_release(&a);
    }
    assert_true(n_projects == 1 && n_tasks == 2 && n_plans == 1);
}

static void json_examples(void **state) {
    (void)state;
    int n = 0;
    const char *at = page.data;
    for (char *text; (text = next_block(&at, "json")); free(text), n++) {
        struct arena a = {0};
        struct node *root = NULL;
        struct err e = {0};
        if (json_node_parse(&a, "docs/formats.md", 1, text, strlen(text), &root, &e) < 0)
            fail_msg("%s in\n%s", e.message, text);
        assert_non_null(node_get(root, "format"));
        arena_release(&a);
    }
    assert_true(n >= 5);
    at = page.data;
    for (char *text; (text = next_block(&at, "jsonl")); free(text)) {
        for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest));) {
            json_t *value = json_loads(line, 0, NULL);
            assert_non_null(value);
            json_decref(value);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(yaml_examples), cmocka_unit_test(json_examples)};
    return cmocka_run_group_tests_name("formats", tests, read_page, release_page);
}
