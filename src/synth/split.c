/* Stratified splits. */
#include "synth/split.h"
#include "base/rng.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    int64_t id;
    uint64_t data;    /* hash of the record's data */
    uint64_t stratum; /* hash of source and label */
    enum store_split split;
    double weight;
    const char *label; /* in the arena */
    int64_t label_call;
};

struct items {
    struct arena arena;
    bool by_label; /* the answers of extract and respond are no strata */
    struct item *items;
    int64_t n, capacity;
};

static int add_item(void *context, const struct store_record *r, struct err *e) {
    struct items *all = context;
    const char *label = arena_strdup(&all->arena, r->label ? r->label : "");
    if (!label || mem_grow((void **)&all->items, &all->capacity, all->n + 1, sizeof *all->items) < 0)
        return err_set(e, ERR_NO_MEMORY, "split_assign", "out of memory");
    uint64_t source = hash64(r->source, strlen(r->source), 1);
    all->items[all->n++] =
        (struct item){.id = r->id,
                      .data = hash64(r->data, strlen(r->data), 0),
                      .stratum = all->by_label ? hash64(label, strlen(label), source) : source,
                      .split = r->split,
                      .weight = r->weight,
                      .label = label,
                      .label_call = r->label_call};
    return 0;
}

/* By data, those that have a split first, then by id: the first of each group of equal data decides for all of it. */
static int by_data(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    bool has_x = x->split != STORE_NO_SPLIT, has_y = y->split != STORE_NO_SPLIT;
    if (has_x != has_y)
        return has_x ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_stratum(const void *a, const void *b) {
    const struct item *x = *(const struct item *const *)a, *y = *(const struct item *const *)b;
    if (x->stratum != y->stratum)
        return x->stratum < y->stratum ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* One stratum's leaders (one a group of equal data), in the order of their ids: fills up test, then validation, then
 * training, in an order drawn by seed. */
static int assign_stratum(struct item **leaders, int64_t n, struct split_shares shares, uint64_t seed,
                          struct err *e) {
    int64_t have[4] = {0}, n_open = 0;
    int64_t *open = malloc((size_t)n * sizeof *open);
    if (!open)
        return err_set(e, ERR_NO_MEMORY, "split_assign", "out of memory");
    for (int64_t i = 0; i < n; i++) {
        have[leaders[i]->split]++;
        if (leaders[i]->split == STORE_NO_SPLIT)
            open[n_open++] = i;
    }
    struct rng rng;
    rng_seed(&rng, seed ^ leaders[0]->stratum);
    rng_shuffle(&rng, open, n_open);
    int64_t n_test = llround((double)n * shares.test) - have[STORE_TEST];
    int64_t n_validation = llround((double)n * shares.validation) - have[STORE_VALIDATION];
    for (int64_t i = 0; i < n_open; i++) {
        enum store_split *split = &leaders[open[i]]->split;
        *split = n_test > 0 ? STORE_TEST : n_validation > 0 ? STORE_VALIDATION : STORE_TRAIN;
        n_test -= *split == STORE_TEST;
        n_validation -= *split == STORE_VALIDATION;
    }
    free(open);
    return 0;
}

static int assign(struct items *all, struct split_shares shares, uint64_t seed, struct err *e) {
    struct item **leaders = malloc((size_t)(all->n + 1) * sizeof *leaders);
    if (!leaders)
        return err_set(e, ERR_NO_MEMORY, "split_assign", "out of memory");
    int64_t n = 0;
    int rc = 0;
    for (int64_t i = 0; i < all->n; i++)
        if (i == 0 || all->items[i].data != all->items[i - 1].data)
            leaders[n++] = &all->items[i];
    qsort(leaders, (size_t)n, sizeof *leaders, by_stratum);
    for (int64_t begin = 0, end; begin < n && rc == 0; begin = end) {
        for (end = begin + 1; end < n && leaders[end]->stratum == leaders[begin]->stratum;)
            end++;
        rc = assign_stratum(leaders + begin, end - begin, shares, seed, e);
    }
    free(leaders);
    return rc;
}

/* Each group's leader decided; the rest follows, unless it has a split of its own already. */
static int write_splits(struct store *s, struct items *all, const bool *had, struct err *e) {
    int rc = 0;
    for (int64_t i = 0, leader = 0; i < all->n && rc == 0; i++) {
        struct item *x = &all->items[i];
        if (i > 0 && x->data != all->items[i - 1].data)
            leader = i;
        if (had[i])
            continue;
        struct store_record r = {.id = x->id,
                                 .label = x->label,
                                 .weight = x->weight,
                                 .status = STORE_ACCEPTED,
                                 .split = all->items[leader].split,
                                 .label_call = x->label_call};
        rc = store_record_update(s, &r, e);
    }
    return rc;
}

int split_assign(struct store *s, const struct task *t, struct split_shares shares, uint64_t seed,
                 struct err *e) {
    struct items all = {.by_label = t->kind == TASK_CLASSIFY};
    arena_init(&all.arena);
    bool *had = NULL;
    int rc = store_records_each(s, STORE_ALL_SPLITS, add_item, &all, e);
    if (rc == 0 && all.n > 0) {
        qsort(all.items, (size_t)all.n, sizeof *all.items, by_data);
        had = malloc((size_t)all.n * sizeof *had);
        if (!had)
            rc = err_set(e, ERR_NO_MEMORY, "split_assign", "out of memory");
        for (int64_t i = 0; had && i < all.n; i++)
            had[i] = all.items[i].split != STORE_NO_SPLIT;
        if (rc == 0)
            rc = assign(&all, shares, seed, e);
        if (rc == 0)
            rc = store_begin(s, e);
        if (rc == 0 && (rc = write_splits(s, &all, had, e)) == 0)
            rc = store_commit(s, e);
        if (rc < 0)
            store_rollback(s);
    }
    free(had);
    free(all.items);
    arena_release(&all.arena);
    return rc;
}

int split_shares_parse(const char *text, struct split_shares *out, struct err *e) {
    double train, validation, test;
    char extra;
    if (sscanf(text, "%lf%*[/,]%lf%*[/,]%lf%c", &train, &validation, &test, &extra) != 3 || train <= 0 ||
        validation < 0 || test < 0 || fabs(train + validation + test - 100) > 1e-9) {
        err_set(e, ERR_USAGE, "split_shares_parse", "'%s' is no split into training, validation and test",
                text);
        return err_hint(e, "for example 80/10/10, which is the default");
    }
    *out = (struct split_shares){validation / 100, test / 100};
    return 0;
}
