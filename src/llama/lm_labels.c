/* Scoring labels: the probability of each whole answer (its tokens, then the end of turn) without generating anything.
 *
 * The labels' tokens form a trie. All its nodes go through the model in one batch: each label is a sequence of its own that
 * starts as a fork of the prompt, and a node belongs to the sequences of all labels beneath it, so that common beginnings
 * are read once and each node sees exactly its own ancestors. The rest of the prompt may go in front in the same batch.
 *
 * Labels are sorted by their tokens: a node's labels are then neighbours, [first, first + count), and preorder keeps
 * parents before children. More labels than there are spare sequences or rows of logits go in several groups. */
#include "base/mem.h"
#include "llama/lm_internal.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LABEL_TOKENS = 256 };

struct trie_node {
    int32_t token;
    int parent;       /* node, or -1: the prompt's end */
    int depth;        /* tokens from the prompt's end, from 1 */
    int first, count; /* labels beneath, in sorted order */
};

struct lm_labels {
    struct arena arena;
    int n_labels, n_nodes;
    int32_t eot;
    struct trie_node *nodes; /* preorder */
    int *label;              /* sorted position -> the caller's index */
    int *end;                /* sorted position -> node of its last token */
    /* scratch of one call */
    int *slot;           /* node -> index in the batch; -1: not in this group */
    double *log_p;       /* node -> log P(its token | its ancestors, prompt) */
    double *log_p_final; /* node -> log P(end of turn | node) */
};

/* ---- building ---- */

struct label_tokens {
    int32_t *ids;
    int64_t n;
    int label;
};

static int compare_tokens(const void *pa, const void *pb) {
    const struct label_tokens *a = pa, *b = pb;
    for (int64_t i = 0; i < a->n && i < b->n; i++) {
        if (a->ids[i] != b->ids[i])
            return a->ids[i] < b->ids[i] ? -1 : 1;
    }
    return (a->n > b->n) - (a->n < b->n);
}

/* The tokens of `name` where it continues `before`. A tokenizer may draw the two together ("n" and "ew" to "new"); then there is
 * no such continuation. */
static int tokenize_label(struct arena *a, const struct lm *m, const char *before, const char *name,
                          struct label_tokens *t, struct err *e) {
    int32_t ids[MAX_LABEL_TOKENS], first[MAX_LABEL_TOKENS];
    const char *whole = arena_printf(a, "%s%s", before, name);
    if (!whole)
        return err_set(e, ERR_NO_MEMORY, "lm_labels_new", "no memory for the labels");
    int64_t n_first = lm_tokenize(m, before, strlen(before), LM_PLAIN, first, MAX_LABEL_TOKENS, e);
    int64_t n =
        n_first < 0 ? n_first : lm_tokenize(m, whole, strlen(whole), LM_PLAIN, ids, MAX_LABEL_TOKENS, e);
    if (n < 0)
        return err_context(e, "label \"%s\"", name);
    if (n <= n_first || memcmp(ids, first, (size_t)n_first * sizeof *ids) != 0)
        return err_set(e, ERR_INPUT, "lm_labels_new",
                       n_first > 0 ? "the label \"%s\" has no tokens of its own after \"%s\""
                                   : "a label is empty",
                       name, before);
    t->n = n - n_first;
    t->ids = arena_calloc(a, (size_t)t->n, sizeof *t->ids);
    if (!t->ids)
        return err_set(e, ERR_NO_MEMORY, "lm_labels_new", "no memory for the labels");
    memcpy(t->ids, ids + n_first, (size_t)t->n * sizeof *ids);
    return 0;
}

/* Adds label `i` of the sorted list; `path` holds the previous label's nodes. */
static void add_label(struct lm_labels *l, const struct label_tokens *t, int i, int path[MAX_LABEL_TOKENS]) {
    int64_t common = 0;
    if (i > 0) {
        while (common < t[i - 1].n && common < t[i].n && t[i - 1].ids[common] == t[i].ids[common])
            common++;
    }
    for (int64_t d = 0; d < common; d++)
        l->nodes[path[d]].count++;
    for (int64_t d = common; d < t[i].n; d++) {
        path[d] = l->n_nodes++;
        l->nodes[path[d]] = (struct trie_node){.token = t[i].ids[d],
                                               .parent = d ? path[d - 1] : -1,
                                               .depth = (int)d + 1,
                                               .first = i,
                                               .count = 1};
    }
    l->label[i] = t[i].label;
    l->end[i] = path[t[i].n - 1];
}

static int build(struct lm_labels *l, const struct lm *m, const char *before, const char *const labels[],
                 int n, struct err *e) {
    struct label_tokens *t = arena_calloc(&l->arena, (size_t)n, sizeof *t);
    size_t n_tokens = 0;
    for (int i = 0; i < n && t; i++) {
        int rc = tokenize_label(&l->arena, m, before, labels[i], &t[i], e);
        if (rc < 0)
            return rc;
        t[i].label = i;
        n_tokens += (size_t)t[i].n;
    }
    l->nodes = arena_calloc(&l->arena, n_tokens, sizeof *l->nodes);
    l->slot = arena_calloc(&l->arena, n_tokens, sizeof *l->slot);
    l->log_p = arena_calloc(&l->arena, n_tokens, sizeof *l->log_p);
    l->log_p_final = arena_calloc(&l->arena, n_tokens, sizeof *l->log_p_final);
    l->label = arena_calloc(&l->arena, (size_t)n, sizeof *l->label);
    l->end = arena_calloc(&l->arena, (size_t)n, sizeof *l->end);
    if (!t || !l->nodes || !l->slot || !l->log_p || !l->log_p_final || !l->label || !l->end)
        return err_set(e, ERR_NO_MEMORY, "lm_labels_new", "no memory for %d labels", n);
    qsort(t, (size_t)n, sizeof *t, compare_tokens);
    int path[MAX_LABEL_TOKENS] = {0};
    for (int i = 0; i < n; i++) {
        if (i > 0 && compare_tokens(&t[i - 1], &t[i]) == 0)
            return err_set(e, ERR_INPUT, "lm_labels_new", "the labels \"%s\" and \"%s\" are the same tokens",
                           labels[t[i - 1].label], labels[t[i].label]);
        add_label(l, t, i, path);
    }
    return 0;
}

int lm_labels_new(struct lm_labels **out, const struct lm *m, const char *const labels[], int n_labels,
                  struct err *e) {
    return lm_labels_new_after(out, m, "", labels, n_labels, e);
}

int lm_labels_new_after(struct lm_labels **out, const struct lm *m, const char *before,
                        const char *const labels[], int n_labels, struct err *e) {
    if (n_labels < 1)
        return err_set(e, ERR_USAGE, "lm_labels_new", "there are no labels to score");
    if (lm_token_eot(m) < 0)
        return err_set(e, ERR_UNSUPPORTED, "lm_labels_new", "the model has no token that ends a turn");
    struct lm_labels *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, ERR_NO_MEMORY, "lm_labels_new", "no memory for %d labels", n_labels);
    arena_init(&l->arena);
    l->n_labels = n_labels;
    l->eot = lm_token_eot(m);
    int rc = build(l, m, before, labels, n_labels, e);
    if (rc < 0) {
        lm_labels_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void lm_labels_free(struct lm_labels *l) {
    if (!l)
        return;
    arena_release(&l->arena);
    free(l);
}

int lm_labels_count(const struct lm_labels *l) {
    return l->n_labels;
}

int lm_labels_n_outputs(const struct lm_labels *l) {
    return l->n_nodes + 1;
}

/* ---- scoring ---- */

/* log of the softmax's denominator: subtract it from a logit to get a log-probability. */
static double log_sum_exp(const float *row, int32_t n) {
    float highest = row[0];
    for (int32_t i = 1; i < n; i++)
        highest = row[i] > highest ? row[i] : highest;
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)expf(row[i] - highest);
    return (double)highest + log(sum);
}

/* A row after `parent` (-1: the prompt): the log-probabilities of its children, and of ending there. */
static void read_row(const struct lm_labels *l, int parent, const float *row, int32_t n_vocab) {
    double denominator = log_sum_exp(row, n_vocab);
    for (int i = parent + 1; i < l->n_nodes; i++) {
        if (l->nodes[i].parent == parent)
            l->log_p[i] = (double)row[l->nodes[i].token] - denominator;
    }
    if (parent >= 0)
        l->log_p_final[parent] = (double)row[l->eot] - denominator;
}

/* Labels [first, last) go through the model at once; `ids` is what is left of the prompt. */
struct group {
    int seq, first, last;
    const int32_t *ids;
    int64_t n_ids;
};

static bool in_group(const struct trie_node *n, const struct group *g) {
    return n->first < g->last && n->first + n->count > g->first;
}

/* The most labels from `first` on whose nodes fit `n_rows` rows of logits and the spare sequences. */
static int group_end(const struct lm *m, const struct lm_labels *l, int first, int n_rows) {
    int last = first;
    while (last < l->n_labels && last - first < m->n_branches) {
        struct group g = {.first = first, .last = last + 1};
        int rows = 0;
        for (int i = 0; i < l->n_nodes; i++)
            rows += in_group(&l->nodes[i], &g);
        if (rows > n_rows)
            break;
        last++;
    }
    return last;
}

static void fill_batch(struct lm *m, const struct lm_labels *l, const struct group *g) {
    int32_t seqs[LM_MAX_BRANCHES], start = lm_position(m, g->seq);
    int n_seqs = g->last - g->first;
    m->batch.n_tokens = 0;
    for (int s = 0; s < n_seqs; s++) {
        seqs[s] = m->n_seq + s;
        compat_fork(m->ctx, g->seq, seqs[s]);
    }
    for (int64_t i = 0; i < g->n_ids; i++)
        lm_batch_add(m, g->ids[i], start + (int32_t)i, seqs, n_seqs, i == g->n_ids - 1);
    start += (int32_t)g->n_ids;
    for (int i = 0; i < l->n_nodes; i++) {
        const struct trie_node *n = &l->nodes[i];
        l->slot[i] = -1;
        if (!in_group(n, g))
            continue;
        int from = n->first > g->first ? n->first - g->first : 0;
        int to = n->first + n->count < g->last ? n->first + n->count - g->first : n_seqs;
        l->slot[i] = m->batch.n_tokens;
        lm_batch_add(m, n->token, start + n->depth - 1, seqs + from, to - from, true);
    }
}

static int score_group(struct lm *m, const struct lm_labels *l, const struct group *g, struct err *e) {
    fill_batch(m, l, g);
    int rc = lm_compute(m, e);
    if (rc == 0 && g->n_ids > 0)
        read_row(l, -1, llama_get_logits_ith(m->ctx, (int32_t)g->n_ids - 1), m->n_vocab);
    for (int i = 0; i < l->n_nodes && rc == 0; i++) {
        if (l->slot[i] >= 0)
            read_row(l, i, llama_get_logits_ith(m->ctx, l->slot[i]), m->n_vocab);
    }
    for (int s = 0; s < g->last - g->first; s++)
        compat_truncate(m->ctx, m->n_seq + s, 0);
    return rc;
}

static void sum_labels(const struct lm_labels *l, double *log_prob) {
    for (int i = 0; i < l->n_labels; i++) {
        double sum = l->log_p_final[l->end[i]];
        for (int n = l->end[i]; n >= 0; n = l->nodes[n].parent)
            sum += l->log_p[n];
        log_prob[l->label[i]] = sum;
    }
}

static int too_long(const struct lm_labels *l, const struct lm *m, int label, struct err *e) {
    err_set(e, ERR_UNSUPPORTED, "lm_score_labels",
            "label %d has %d tokens, and one decode call gives at most %d rows", l->label[label] + 1,
            l->nodes[l->end[label]].depth, m->n_outputs);
    err_hint(e, "shorter label names, or a larger n_outputs");
    return ERR_UNSUPPORTED;
}

static int check_scoring(const struct lm *m, int seq, int64_t n_ids, const struct lm_labels *l,
                         struct err *e) {
    if (!m->ctx || seq < 0 || seq >= m->n_seq)
        return err_set(e, ERR_USAGE, "lm_score_labels", "there is no sequence %d to score after", seq);
    if (n_ids > m->n_ctx - lm_position(m, seq) - l->n_nodes) {
        err_set(e, ERR_INPUT, "lm_score_labels",
                "%lld tokens after %d, and the labels, do not fit the context of %d", (long long)n_ids,
                lm_position(m, seq), m->n_ctx);
        err_hint(e, "a shorter record, or a plan with a larger context");
        return ERR_INPUT;
    }
    return 0;
}

/* Scores groups from label `first` on; the prompt's row was read before. */
static int score_rest(struct lm *m, int seq, const struct lm_labels *l, int first, struct err *e) {
    int rc = 0;
    while (first < l->n_labels && rc == 0) {
        struct group g = {.seq = seq, .first = first, .last = group_end(m, l, first, m->n_outputs)};
        if (g.last == g.first)
            return too_long(l, m, first, e);
        rc = score_group(m, l, &g, e);
        first = g.last;
    }
    return rc;
}

int lm_score_labels(struct lm *m, int seq, const struct lm_labels *l, const float *logits_after_prompt,
                    double *log_prob, struct err *e) {
    int rc = check_scoring(m, seq, 0, l, e);
    if (rc < 0)
        return rc;
    assert(logits_after_prompt);
    read_row(l, -1, logits_after_prompt, m->n_vocab);
    rc = score_rest(m, seq, l, 0, e);
    if (rc == 0)
        sum_labels(l, log_prob);
    return rc;
}

int lm_decode_labels(struct lm *m, int seq, const int32_t *ids, int64_t n, const struct lm_labels *l,
                     double *log_prob, struct err *e) {
    int rc = check_scoring(m, seq, n, l, e);
    if (rc < 0)
        return rc;
    int32_t start = lm_position(m, seq);
    int last = group_end(m, l, 0, m->n_outputs - 1);
    bool one_pass = last == l->n_labels && l->n_nodes < m->n_batch;
    int64_t tail = one_pass && n + l->n_nodes > m->n_batch ? m->n_batch - l->n_nodes : n;
    if (one_pass) { /* only what does not fit the last batch goes ahead */
        if (n > tail)
            rc = lm_decode(m, seq, ids, n - tail, NULL, e);
        struct group g = {.seq = seq, .first = 0, .last = last, .ids = ids + n - tail, .n_ids = tail};
        if (rc == 0)
            rc = score_group(m, l, &g, e);
        if (rc == 0)
            sum_labels(l, log_prob);
    } else {
        const float *logits;
        rc = lm_decode(m, seq, ids, n, &logits, e);
        if (rc == 0)
            rc = lm_score_labels(m, seq, l, logits, log_prob, e);
    }
    if (lm_position(m, seq) > start && lm_truncate(m, seq, start, rc < 0 ? NULL : e) < 0 && rc == 0)
        rc = ERR_UNSUPPORTED;
    return rc;
}
