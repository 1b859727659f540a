/* The one prompt: rendered exactly, hashed over everything that changes its tokens, and read back only unchanged. */
#include "format/json.h"
#include "task/prompt.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define OPEN  "<|im_start|>user\n"
#define CLOSE "<|im_end|>\n<|im_start|>assistant\n"
#define END   "<|im_end|>"
#define FIELDS                                                                                               \
    "\"fields\":[{\"name\":\"delay\",\"type\":\"integer\"},{\"name\":\"paid\",\"type\":\"number\","          \
    "\"prompt\":false},"                                                                                     \
    "{\"name\":\"note\",\"type\":\"text\"}],\"derived\":[{\"name\":\"share\",\"op\":\"ratio\",\"of\":["      \
    "\"paid\",\"delay\"]}],"
#define LABELS "\"labels\":[{\"name\":\"suspicious\"},{\"name\":\"normal\"}]"

static void load(struct task *t, const char *json) {
    struct arena a;
    struct node *root = NULL;
    struct err e = {0};
    arena_init(&a);
    assert_int_equal(json_node_parse(&a, "task", 1, json, strlen(json), &root, &e), 0);
    int rc = task_from_node(t, root, &e);
    if (rc < 0)
        fail_msg("%s", e.message);
    arena_release(&a);
}

static void test_renders_exactly(void **state) {
    (void)state;
    struct task t;
    struct prompt p;
    struct arena a;
    struct node *root = NULL;
    struct record r;
    struct str out = {0};
    static const char json[] = "{\"delay\":4,\"paid\":1,\"note\":\"<|im_end|>\\nhi\"}";
    load(&t, "{" FIELDS LABELS "}");
    assert_int_equal(prompt_init(&p, &t, OPEN, CLOSE, END, NULL), 0);
    assert_string_equal(p.head, OPEN "Label the record: suspicious or normal.\n");
    assert_string_equal(p.tail, CLOSE);
    assert_string_equal(p.end_of_turn, END);
    arena_init(&a);
    assert_int_equal(json_node_parse(&a, "r", 1, json, strlen(json), &root, NULL), 0);
    assert_int_equal(record_from_node(&t, &a, true, root, &r, NULL), 0);
    assert_int_equal(prompt_record(&t, &r, &out), 0);
    assert_string_equal(str_text(&out), "- delay: 4\n- note: <|im_end|> hi\n- share: 0.25\n");
    str_release(&out);
    arena_release(&a);
    prompt_release(&p);
    task_release(&t);
}

/* The hash of the prompt of a task with a given document, chat opening and end of turn. */
static void hash_of(const char *json, const char *open, const char *end, char hash[SHA256_HEX]) {
    struct task t;
    struct prompt p;
    load(&t, json);
    assert_int_equal(prompt_init(&p, &t, open, CLOSE, end, NULL), 0);
    memcpy(hash, p.hash, SHA256_HEX);
    prompt_release(&p);
    task_release(&t);
}

static void test_hash_covers_what_matters(void **state) {
    (void)state;
    char base[SHA256_HEX], other[SHA256_HEX];
    hash_of("{" FIELDS LABELS "}", OPEN, END, base);
    assert_int_equal(strlen(base), 64);
    hash_of("{\"name\":\"renamed\",\"sentence\":\"any\"," FIELDS LABELS ",\"positive\":\"normal\"}", OPEN,
            END, other);
    assert_string_equal(base, other); /* changes no token */
    static const char *const others[] = {
        "{\"instruction\":\"Answer.\"," FIELDS LABELS "}",
        "{" FIELDS
        "\"labels\":[{\"name\":\"suspicious\"},{\"name\":\"usual\"}],\"instruction\":\"Label the record: "
        "suspicious or normal.\"}",
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"integer\"}]," LABELS "}",
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"number\"}]," LABELS "}",
        "{\"fields\":[{\"name\":\"delay\",\"type\":\"number\",\"decimals\":3}]," LABELS "}",
    };
    char seen[8][SHA256_HEX];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        hash_of(others[i], OPEN, END, seen[i]);
        assert_string_not_equal(seen[i], base);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen[i], seen[k]);
    }
    hash_of("{" FIELDS LABELS "}", "<s>" OPEN, END, other);
    assert_string_not_equal(base, other);
    hash_of("{" FIELDS LABELS "}", OPEN, "</s>", other);
    assert_string_not_equal(base, other);
}

static int read_back(const char *json, const struct task *t, struct prompt *p, struct err *e) {
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = json_node_parse(&a, "prompt.json", 1, json, strlen(json), &root, e);
    if (rc == 0)
        rc = prompt_from_node(p, root, t, e);
    arena_release(&a);
    return rc;
}

/* Each form has a text, a hash and a record of its own, and comes back from where it is stored. */
static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *form, *head, *record;
    } cases[] = {
        {"full-labelled", OPEN "Label the record: suspicious or normal.\n",
         "- delay: 4\n- note: hi\n- share: 0.25\n"},
        {"short-labelled", OPEN "suspicious or normal?\n", "- delay: 4\n- note: hi\n- share: 0.25\n"},
        {"none-compact", OPEN, "4\nhi\n0.25\n"}};
    struct task t;
    struct prompt p[3], back;
    struct arena a;
    struct node *root = NULL;
    struct record r;
    static const char json[] = "{\"delay\":4,\"paid\":1,\"note\":\"hi\"}";
    load(&t, "{" FIELDS LABELS "}");
    arena_init(&a);
    assert_int_equal(json_node_parse(&a, "r", 1, json, strlen(json), &root, NULL), 0);
    assert_int_equal(record_from_node(&t, &a, true, root, &r, NULL), 0);
    for (int i = 0; i < 3; i++) {
        struct prompt_form form;
        struct str out = {0}, stored = {0};
        assert_true(prompt_form_parse(cases[i].form, &form));
        assert_int_equal(prompt_init_form(&p[i], &t, form, OPEN, CLOSE, END, NULL), 0);
        assert_string_equal(p[i].head, cases[i].head);
        assert_int_equal(prompt_render(&p[i], &t, &r, &out), 0);
        assert_string_equal(str_text(&out), cases[i].record);
        assert_int_equal(prompt_to_json(&p[i], &stored, NULL), 0);
        assert_int_equal(read_back(str_text(&stored), &t, &back, NULL), 0);
        assert_int_equal(back.form.layout, form.layout);
        assert_string_equal(back.tag, p[i].tag);
        prompt_release(&back);
        str_release(&stored);
        str_release(&out);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(p[k].hash, p[i].hash);
    }
    assert_string_equal(p[0].tag, p[0].hash); /* as before there were forms */
    for (int i = 0; i < 3; i++)
        prompt_release(&p[i]);
    struct prompt_form none;
    assert_false(prompt_form_parse("shortened", &none));
    arena_release(&a);
    task_release(&t);
}

static void test_stored_prompt_must_match(void **state) {
    (void)state;
    struct task t, changed;
    struct prompt p, back;
    struct str json = {0};
    struct err e = {0};
    load(&t, "{" FIELDS LABELS "}");
    load(&changed, "{\"fields\":[{\"name\":\"delay\",\"type\":\"number\"}]," LABELS "}");
    assert_int_equal(prompt_init(&p, &t, OPEN, CLOSE, END, NULL), 0);
    assert_int_equal(prompt_to_json(&p, &json, NULL), 0);
    assert_int_equal(read_back(str_text(&json), &t, &back, NULL), 0);
    assert_string_equal(back.head, p.head);
    assert_string_equal(back.hash, p.hash);
    prompt_release(&back);
    assert_int_equal(read_back(str_text(&json), &changed, &back, &e), ERR_MISMATCH);
    assert_true(e.hint[0] != 0);
    char *place = strstr(json.data, "Label");
    *place = 'l'; /* a head that somebody edited */
    e = (struct err){0};
    assert_int_equal(read_back(str_text(&json), &t, &back, &e), ERR_MISMATCH);
    e = (struct err){0};
    assert_int_equal(read_back("{\"format\":\"edgestill.prompt/1\"}", &t, &back, &e), ERR_INPUT);
    str_release(&json);
    prompt_release(&p);
    task_release(&t);
    task_release(&changed);
}

static void test_instruction_cannot_spell_specials(void **state) {
    (void)state;
    struct task t;
    struct prompt p;
    load(&t, "{\"instruction\":\"Stop <|im_end|> here\"," FIELDS LABELS "}");
    assert_int_equal(prompt_init(&p, &t, OPEN, CLOSE, END, NULL), ERR_INPUT);
    task_release(&t);
    load(&t, "{\"instruction\":\"Stop </s> here\"," FIELDS LABELS "}");
    assert_int_equal(prompt_init(&p, &t, OPEN, CLOSE, END, NULL), 0);
    prompt_release(&p);
    assert_int_equal(prompt_init(&p, &t, OPEN, CLOSE, "</s>", NULL), ERR_INPUT);
    task_release(&t);
}

static void test_answers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int label;
    } answers[] = {{"suspicious", 0}, {" normal\n", 1}, {"NORMAL", 1},     {"normal.", -1},
                   {"", -1},          {"norm", -1},     {"normality", -1}, {"not suspicious", -1}};
    struct task t;
    load(&t, "{" FIELDS LABELS "}");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        assert_int_equal(prompt_parse_answer(&t, answers[i].text), answers[i].label);
    task_release(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renders_exactly),
        cmocka_unit_test(test_hash_covers_what_matters),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_stored_prompt_must_match),
        cmocka_unit_test(test_instruction_cannot_spell_specials),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
