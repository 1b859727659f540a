/* Schema to grammar: each part of the schema becomes a rule r1, r2, …; each $def a rule of its own name. */
#include "teacher/grammar.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/node.h"
#include "task/answer.h"
#include <ctype.h>
#include <string.h>

#define ORIGIN "grammar_from_schema"

enum { DEPTH_MAX = 32 };

struct builder {
    struct str *out;
    int n_rules, depth;
    struct err *e;
};

/* ---- literals ---- */

static void add_json_literal(struct str *out, const struct node *n) {
    struct str json = {0};
    json_text_node(&json, n);
    answer_grammar_literal(str_text(&json), out);
    str_release(&json);
}

static int add_enum(struct builder *b, const struct node *list, struct str *out) {
    if (list->type != NODE_LIST || !list->first)
        return node_error(list, b->e, ORIGIN, "enum must be a list with something in it");
    for (const struct node *n = list->first; n; n = n->next) {
        str_add(out, n == list->first ? "" : " | ");
        add_json_literal(out, n);
    }
    return 0;
}

/* ---- values ---- */

static int add_schema(struct builder *b, const struct node *schema, struct str *out);

static int decimals_of(const struct node *n) {
    const char *point = n ? strchr(n->text, '.') : NULL;
    return point ? (int)strspn(point + 1, "0123456789") : 0;
}

/* "0.00" to "1.00": two decimals; an integer has none; a number without bounds may have any. */
static int add_number(const struct node *schema, bool whole, struct str *out) {
    const struct node *low = node_get(schema, "minimum"), *high = node_get(schema, "maximum");
    struct task_field f = {.type = whole ? FIELD_INTEGER : FIELD_NUMBER};
    if (low && high && low->type == NODE_NUMBER && high->type == NODE_NUMBER) {
        int a = decimals_of(low), b = decimals_of(high);
        f.has_range = true;
        f.min = low->number;
        f.max = high->number;
        f.decimals = whole ? 0 : a > b ? a : b;
    }
    answer_grammar_number(&f, out);
    if (!whole && !f.has_range)
        str_add(out, " (\".\" [0-9]{1,15})?");
    return 0;
}

static int add_string(const struct node *schema, struct str *out) {
    const struct node *most = node_get(schema, "maxLength");
    if (most && most->type == NODE_NUMBER && most->number >= 0 && most->number <= 2000)
        str_addf(out, "\"\\\"\" character{0,%d} \"\\\"\"", (int)most->number);
    else
        str_add(out, "\"\\\"\" character* \"\\\"\"");
    return 0;
}

/* A rule of its own for a part of the schema; its name goes to `out`. */
static int add_rule(struct builder *b, const struct node *schema, struct str *out) {
    struct str body = {0};
    int number = ++b->n_rules;
    int rc = add_schema(b, schema, &body);
    if (rc == 0)
        rc = body.failed ? str_check(&body, b->e) : 0;
    str_addf(b->out, "r%d ::= %s\n", number, str_text(&body));
    str_addf(out, "r%d", number);
    str_release(&body);
    return rc;
}

static int add_array(struct builder *b, const struct node *schema, struct str *out) {
    const struct node *items = node_get(schema, "items"), *least = node_get(schema, "minItems"),
                      *most = node_get(schema, "maxItems");
    int from = least && least->type == NODE_NUMBER ? (int)least->number : 0;
    int to = most && most->type == NODE_NUMBER ? (int)most->number : 0;
    struct str item = {0};
    if (!items)
        return node_error(schema, b->e, ORIGIN, "an array needs items");
    int rc = add_rule(b, items, &item);
    str_add(out, "\"[\" ws ");
    str_add(out, from > 0 ? "" : "(");
    str_addf(out, "%s (ws \",\" ws %s)", str_text(&item), str_text(&item));
    if (to > 0)
        str_addf(out, "{%d,%d}", from > 1 ? from - 1 : 0, to - 1);
    else
        str_addf(out, "{%d,}", from > 1 ? from - 1 : 0);
    str_add(out, from > 0 ? "" : ")?");
    str_add(out, " ws \"]\"");
    str_release(&item);
    return rc;
}

static bool is_required(const struct node *schema, const char *key) {
    const struct node *list = node_get(schema, "required");
    for (const struct node *n = list ? list->first : NULL; n; n = n->next)
        if (n->type == NODE_STRING && strcmp(n->text, key) == 0)
            return true;
    return false;
}

static int add_property(struct builder *b, const struct node *p, struct str *out) {
    struct str key = {0};
    json_text_string(&key, p->key);
    answer_grammar_literal(str_text(&key), out);
    str_add(out, " ws \":\" ws ");
    str_release(&key);
    return add_rule(b, p, out);
}

/* Those that may be left out have their comma with them: after a required one in front of it, before the first one behind. */
static int add_object(struct builder *b, const struct node *schema, struct str *out) {
    const struct node *properties = node_get(schema, "properties");
    bool after_required = false;
    int rc = 0;
    if (!properties || properties->type != NODE_MAP)
        return node_error(schema, b->e, ORIGIN, "an object needs properties");
    str_add(out, "\"{\" ws ");
    for (const struct node *p = properties->first; p && rc == 0; p = p->next) {
        bool required = is_required(schema, p->key);
        str_add(out, required ? "" : "(");
        str_add(out, after_required ? "ws \",\" ws " : "");
        rc = add_property(b, p, out);
        str_add(out, required || after_required ? " " : " ws \",\" ws ");
        str_add(out, required ? "" : ")? ");
        after_required = after_required || required;
    }
    if (rc == 0 && properties->first && !after_required)
        return node_error(schema, b->e, ORIGIN, "an object needs a required property");
    str_add(out, "ws \"}\"");
    return rc;
}

static int add_type(struct builder *b, const struct node *schema, const struct node *type, struct str *out) {
    const char *name = type->type == NODE_STRING ? type->text : "";
    if (strcmp(name, "object") == 0)
        return add_object(b, schema, out);
    if (strcmp(name, "array") == 0)
        return add_array(b, schema, out);
    if (strcmp(name, "string") == 0)
        return add_string(schema, out);
    if (strcmp(name, "integer") == 0 || strcmp(name, "number") == 0)
        return add_number(schema, name[0] == 'i', out);
    if (strcmp(name, "boolean") == 0 || strcmp(name, "null") == 0) {
        str_add(out, name[0] == 'n' ? "\"null\"" : "\"true\" | \"false\"");
        return 0;
    }
    return node_error(type, b->e, ORIGIN, "the type '%s' is not one of JSON's", name);
}

static int add_ref(struct builder *b, const struct node *ref, struct str *out) {
    static const char prefix[] = "#/$defs/";
    const char *name =
        ref->type == NODE_STRING && str_starts(ref->text, prefix) ? ref->text + sizeof prefix - 1 : "";
    for (const char *c = name; *c || !*name; c++)
        if (!isalnum((unsigned char)*c))
            return node_error(ref, b->e, ORIGIN, "a $ref must be #/$defs/ and a plain name");
    str_addf(out, "def-%s", name);
    return 0;
}

static int add_choices(struct builder *b, const struct node *list, struct str *out) {
    int rc = 0;
    for (const struct node *n = list->first; n && rc == 0; n = n->next) {
        str_add(out, n == list->first ? "" : " | ");
        rc = add_rule(b, n, out);
    }
    return rc;
}

static int add_schema(struct builder *b, const struct node *schema, struct str *out) {
    const struct node *ref = node_get(schema, "$ref"), *any = node_get(schema, "anyOf"),
                      *list = node_get(schema, "enum"), *one = node_get(schema, "const"),
                      *type = node_get(schema, "type");
    int rc = 0;
    if (++b->depth > DEPTH_MAX)
        return node_error(schema, b->e, ORIGIN, "the schema is nested too deep");
    if (ref)
        rc = add_ref(b, ref, out);
    else if (any && any->type == NODE_LIST)
        rc = add_choices(b, any, out);
    else if (list)
        rc = add_enum(b, list, out);
    else if (one)
        add_json_literal(out, one);
    else if (type && type->type == NODE_LIST)
        for (const struct node *n = type->first; n && rc == 0; n = n->next) {
            str_add(out, n == type->first ? "" : " | ");
            rc = add_type(b, schema, n, out);
        }
    else
        rc = type ? add_type(b, schema, type, out)
                  : node_error(schema, b->e, ORIGIN, "this part of the schema allows anything");
    b->depth--;
    return rc;
}

static int add_defs(struct builder *b, const struct node *root) {
    const struct node *defs = node_get(root, "$defs");
    int rc = 0;
    for (const struct node *n = defs ? defs->first : NULL; n && rc == 0; n = n->next) {
        struct str body = {0};
        rc = add_schema(b, n, &body);
        if (rc == 0)
            rc = body.failed ? str_check(&body, b->e) : 0;
        str_addf(b->out, "def-%s ::= %s\n", n->key, str_text(&body));
        str_release(&body);
    }
    return rc;
}

int grammar_from_schema(const char *schema, struct str *out, struct err *e) {
    struct builder b = {.out = out, .e = e};
    struct arena a;
    struct node *root = NULL;
    struct str body = {0};
    arena_init(&a);
    int rc = json_node_parse(&a, "schema", 0, schema, strlen(schema), &root, e);
    if (rc == 0)
        rc = add_schema(&b, root, &body);
    if (rc == 0)
        rc = add_defs(&b, root);
    str_addf(out, "root ::= %s\n", str_text(&body));
    str_add(out,
            "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"
            "character ::= [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4})\n");
    if (rc == 0 && body.failed)
        rc = str_check(&body, e);
    str_release(&body);
    arena_release(&a);
    return rc == 0 ? str_check(out, e) : rc;
}
