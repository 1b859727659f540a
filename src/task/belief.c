/* Probabilities of labels as text and back. */
#include "task/belief.h"
#include "base/mem.h"
#include "format/json.h"
#include <math.h>
#include <string.h>

int belief_write(const struct task *t, const double *probabilities, struct str *out, struct err *e) {
    for (int i = 0; i < t->n_labels; i++) {
        str_add_char(out, i ? ',' : '{');
        json_text_string(out, t->labels[i].name);
        str_add_char(out, ':');
        json_text_number(out, probabilities[i]);
    }
    str_add_char(out, '}');
    return str_check(out, e);
}

static int fill(const struct task *t, const struct node *root, double *probabilities) {
    double sum = 0;
    for (int i = 0; i < t->n_labels; i++) {
        const struct node *n = node_get(root, t->labels[i].name);
        if (!n || n->type != NODE_NUMBER || !(n->number >= 0))
            return ERR_INPUT;
        sum += n->number;
    }
    if (root->n_children != t->n_labels || fabs(sum - 1) > 1e-6)
        return ERR_INPUT;
    for (int i = 0; i < t->n_labels; i++)
        probabilities[i] = node_get(root, t->labels[i].name)->number;
    return 0;
}

int belief_read(const struct task *t, const char *text, double *probabilities, struct err *e) {
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = json_node_parse(&a, "probabilities", 0, text, strlen(text), &root, NULL);
    if (rc == 0)
        rc = fill(t, root, probabilities);
    arena_release(&a);
    if (rc == 0 || rc == ERR_NO_MEMORY)
        return rc == 0 ? 0 : err_set(e, rc, "belief_read", "out of memory");
    err_set(e, ERR_INPUT, "belief_read", "'%.80s' are no probabilities of the labels of %s", text, t->name);
    return err_hint(e, "the task changed after the records were made: edgestill generate makes them anew");
}
