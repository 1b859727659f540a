/* YAML: types of the core schema, places, everything that is refused, and every allocation failing in turn. */
#include "../support/oom.h"
#include "../support/scratch.h"
#include "base/file.h"
#include "format/json.h"
#include "format/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static struct node *parse(const char *text) {
    struct node *root = NULL;
    struct err e = {0};
    if (yaml_node_parse(&arena, "t.yaml", text, strlen(text), &root, &e) < 0)
        fail_msg("%s", e.message);
    return root;
}

static void types(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum node_type type;
    } cases[] = {
        {"12", NODE_NUMBER},
        {"-1.5e3", NODE_NUMBER},
        {".5", NODE_NUMBER},
        {"true", NODE_BOOL},
        {"False", NODE_BOOL},
        {"~", NODE_NULL},
        {"null", NODE_NULL},
        {"\"\"", NODE_STRING},
        {"yes", NODE_STRING},
        {"no", NODE_STRING},
        {"\"12\"", NODE_STRING},
        {"'true'", NODE_STRING},
        {"0x10", NODE_STRING},
        {"1_000", NODE_STRING},
        {"2026-01-31", NODE_STRING},
        {".inf", NODE_STRING},
        {"[]", NODE_LIST},
        {"{}", NODE_MAP},
        {"|\n  a\n  b\n", NODE_STRING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct str text = {0};
        str_addf(&text, "k: %s\n", cases[i].text);
        struct node *n = node_get(parse(text.data), "k");
        if (n->type != cases[i].type)
            fail_msg("%s has type %d", cases[i].text, n->type);
        str_release(&text);
    }
    assert_int_equal(parse("")->type, NODE_NULL);
    assert_int_equal(parse("# only a comment\n")->type, NODE_NULL);
    assert_true(node_get(parse("a: -1.50\n"), "a")->number == -1.5);
    assert_string_equal(node_get(parse("a: -1.50\n"), "a")->text, "-1.50");
}

static void places(void **state) {
    (void)state;
    struct node *root = parse("# head\nfields:\n  - name: delay\n    min: 0\n  - {name: ä, öl: x}\n");
    struct node *list = node_get(root, "fields");
    assert_int_equal(list->line, 3);
    assert_int_equal(list->column, 3);
    struct node *min = node_get(node_at(list, 0), "min");
    assert_int_equal(min->line, 4);
    assert_int_equal(min->column, 10);
    assert_int_equal(min->key_column, 5);
    struct node *x = node_get(node_at(list, 1), "öl");
    assert_int_equal(x->line, 5);
    assert_int_equal(x->column, 19); /* characters, not bytes */
    struct err e = {0};
    int64_t out;
    assert_int_equal(node_i64(node_at(list, 1), "name", true, &out, &e), ERR_INPUT);
    assert_string_equal(e.message, "t.yaml:5:12: \"name\" must be a whole number, not \"ä\"");
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "t.yaml:3:1: the key \"a\" stands here already, on line 1"},
        {"a: &x 1\n", "t.yaml:1:4: anchors and tags"},
        {"a: 1\nb: *x\n", "t.yaml:2:4: aliases"},
        {"a: !!str 1\n", "t.yaml:1:4: anchors and tags"},
        {"a: !!map {}\n", "t.yaml:1:4: anchors and tags"},
        {"a: 1\n---\nb: 1\n", "t.yaml:2:1: a second document"},
        {"? [a]\n: 1\n", "t.yaml:1:3: a list or map cannot be a key"},
        {"a: b: c\n", "t.yaml:1:5: not valid YAML"},
        {"a:\n\t- 1\n", "t.yaml:2:1: not valid YAML"},
        {"a: [1\n", "t.yaml:2:1: not valid YAML"},
        {"a: \"x\\0y\"\n", "t.yaml:1:4: a value with a NUL"},
        {"ok: 1\nbad: \xc3(\n", "t.yaml:2:6: byte 0xc3 is not UTF-8"},
        {"a: \x01\n", "t.yaml: not valid YAML: byte 3: control characters"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct node *root = NULL;
        struct err e = {0};
        assert_int_equal(yaml_node_parse(&arena, "t.yaml", cases[i].text, strlen(cases[i].text), &root, &e),
                         ERR_FORMAT);
        assert_null(root);
        if (strncmp(e.message, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s\ndoes not begin with\n%s", e.message, cases[i].message);
    }
}

static void limits(void **state) {
    (void)state;
    struct str text = {0};
    struct node *root = NULL;
    for (int i = 0; i < 65; i++)
        str_add(&text, "[");
    assert_int_equal(yaml_node_parse(&arena, "t", text.data, text.len, &root, NULL), ERR_FORMAT);
    str_clear(&text);
    for (int i = 0; i < 10001; i++)
        str_addf(&text, "k%d: 1\n", i);
    assert_int_equal(yaml_node_parse(&arena, "t", text.data, text.len, &root, NULL), ERR_FORMAT);
    str_release(&text);
}

static void written_text_reads_back(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "plain words",
                                        "12",
                                        "1e3",
                                        "true",
                                        "No",
                                        "null",
                                        "~",
                                        "a: b",
                                        "a #b",
                                        "- a",
                                        "\"q\"",
                                        "it's",
                                        " lead",
                                        "tail ",
                                        "tab\there",
                                        "two\nli",
                                        "{a}",
                                        "[a]",
                                        "@x",
                                        "%x",
                                        "*x",
                                        "&x",
                                        "!x",
                                        "ä€",
                                        "a,b",
                                        "back\\slash",
                                        "2026-01-31",
                                        "?",
                                        "-",
                                        "a:",
                                        ":a",
                                        "/abs/path.csv",
                                        "rpi5-8gb",
                                        "https://x/v1",
                                        ".5",
                                        "_",
                                        "0x10",
                                        "key-1",
                                        "<<",
                                        "=",
                                        "\x7f"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct str out = {0};
        str_add(&out, "k: ");
        yaml_text_string(&out, texts[i]);
        str_add(&out, "\nl:\n  - ");
        yaml_text_string(&out, texts[i]);
        str_add(&out, "\nf: {a: ");
        yaml_text_string(&out, texts[i]);
        str_add(&out, ", b: 1}\n");
        struct node *root = parse(out.data),
                    *places[] = {node_get(root, "k"), node_at(node_get(root, "l"), 0),
                                 node_get(node_get(root, "f"), "a")};
        for (size_t p = 0; p < 3; p++) {
            assert_int_equal(places[p]->type, NODE_STRING);
            assert_string_equal(places[p]->text, texts[i]);
        }
        str_release(&out);
    }
}

static void files(void **state) {
    (void)state;
    struct node *root = NULL;
    struct err e = {0};
    assert_int_equal(yaml_node_read(&arena, "none.yaml", &root, &e), ERR_NOT_FOUND);
    file_write("a.yaml",
               "\xef\xbb\xbf"
               "a: 1\n",
               8, &e);
    err_clear(&e);
    assert_int_equal(yaml_node_read(&arena, "a.yaml", &root, &e), 0);
    assert_int_equal(node_get(root, "a")->line, 1);
    char garbage[512];
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 167 + 13);
    file_write("bin.yaml", garbage, sizeof garbage, &e);
    assert_int_equal(yaml_node_read(&arena, "bin.yaml", &root, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "bin.yaml:1:"));
}

static void yaml_numbers_as_json(void **state) {
    (void)state;
    struct str out = {0};
    json_text_node(&out, parse("[+1, .5, 5., 007, -0.50, 1e3, -.5]"));
    assert_string_equal(out.data, "[1,0.5,5,7,-0.50,1e3,-0.5]");
    str_release(&out);
}

static void each_allocation_fails(void **state) {
    (void)state;
    static const char *const text = "a: [1, 2, {b: c}]\nd: \"text\"\ne:\n  - f\n";
    if (!oom_available())
        skip();
    for (int64_t n = 1;; n++) {
        struct arena a = {0};
        struct node *root = NULL;
        struct err e = {0};
        oom_arm(n);
        int code = yaml_node_parse(&a, "t.yaml", text, strlen(text), &root, &e);
        bool hit = oom_disarm();
        arena_release(&a);
        if (!hit) {
            assert_int_equal(code, 0);
            break;
        }
        if (code != ERR_NO_MEMORY)
            fail_msg("allocation %d: %d %s", (int)n, code, e.message);
    }
}

static int release(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(places),
        cmocka_unit_test(refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(written_text_reads_back),
        cmocka_unit_test(files),
        cmocka_unit_test(yaml_numbers_as_json),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, release);
}
