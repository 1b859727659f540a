/* YAML of any kind: it is refused, or its tree, written as JSON, is read back by both parsers as the same tree. */
#include "../support/fuzz.h"
#include "format/json.h"
#include "format/yaml.h"

#include <string.h>

static void check_scalars(const struct node *n) {
    FUZZ_CHECK(n->line > 0 && n->column > 0);
    if (n->type == NODE_STRING) {
        struct arena a = {0};
        struct str text = {0};
        struct node *again = NULL;
        yaml_text_string(&text, n->text);
        FUZZ_CHECK(yaml_node_parse(&a, "scalar", text.data, text.len, &again, NULL) == 0);
        FUZZ_CHECK(again->type == NODE_STRING && strcmp(again->text, n->text) == 0);
        str_release(&text);
        arena_release(&a);
    }
    for (const struct node *child = n->first; child; child = child->next)
        check_scalars(child);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct arena a = {0};
    struct node *root = NULL, *again = NULL;
    struct err e = {0};
    int code = yaml_node_parse(&a, "fuzz", (const char *)bytes, n, &root, &e);
    FUZZ_CHECK((code == 0) == (root != NULL));
    FUZZ_CHECK((code == 0) == (e.code == 0));
    if (code == 0) {
        struct str first = {0}, second = {0};
        check_scalars(root);
        json_text_node(&first, root);
        FUZZ_CHECK(json_node_parse(&a, "again", 1, first.data, first.len, &again, &e) == 0);
        json_text_node(&second, again);
        FUZZ_CHECK(strcmp(first.data, second.data) == 0);
        str_release(&first);
        str_release(&second);
    }
    arena_release(&a);
    return 0;
}

FUZZ_MAIN("yaml")
