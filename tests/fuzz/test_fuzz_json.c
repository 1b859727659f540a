/* JSON of any kind: it is refused, or what is written of it reads back as the same. */
#include "../support/fuzz.h"
#include "format/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct arena a = {0};
    struct node *root = NULL, *again = NULL;
    struct err e = {0};
    int code = json_node_parse(&a, "fuzz", 1, (const char *)bytes, n, &root, &e);
    FUZZ_CHECK((code == 0) == (root != NULL));
    FUZZ_CHECK((code == 0) == (e.code == 0));
    if (code == 0) {
        struct str first = {0}, second = {0};
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

FUZZ_MAIN("json")
