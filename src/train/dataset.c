/* Rows and packing. */
#include "train/dataset.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void dataset_release(struct dataset *d) {
    free(d->tokens);
    free(d->rows);
    free(d->asides);
    free(d->soft);
    free(d->likely);
    *d = (struct dataset){0};
}

static int64_t with_answer(const struct dataset_form *f, int64_t n_own, int label) {
    return f->head.n + n_own + f->answers[label].n - 1; /* the last token is not fed */
}

static int64_t longest_answer(const struct dataset_form *f) {
    int64_t n = 0;
    for (int i = 0; i < f->n_labels; i++)
        n = f->answers[i].n > n ? f->answers[i].n : n;
    return n;
}

int dataset_add(struct dataset *d, const struct dataset_row *row, const int32_t *ids, int64_t n_ctx,
                struct err *e) {
    const struct dataset_form *f = d->form;
    if (row->label < 0 || row->label >= f->n_labels || f->answers[row->label].n < 2 ||
        f->head.n + row->n < 1 || !(row->weight > 0)) {
        err_set(e, ERR_INPUT, "dataset_add", "record %lld has nothing that could be learned: %s",
                (long long)row->id, row->weight > 0 ? "its answer is empty" : "its weight is 0");
        return err_hint(e, "correct or reject it: edgestill review");
    }
    int64_t longest = f->head.n + row->n + (f->written ? f->answers[row->label].n : longest_answer(f));
    if (longest > n_ctx) {
        err_set(e, ERR_INPUT, "dataset_add",
                "record %lld takes %lld tokens with its prompt, the context holds %lld", (long long)row->id,
                (long long)longest, (long long)n_ctx);
        return err_hint(e, "shorten the record or the instruction, or accept a plan with a larger context");
    }
    if (mem_grow((void **)&d->tokens, &d->tokens_capacity, d->n_tokens + row->n, sizeof *d->tokens) < 0 ||
        mem_grow((void **)&d->rows, &d->rows_capacity, d->n_rows + 1, sizeof *d->rows) < 0)
        return err_set(e, ERR_NO_MEMORY, "dataset_add", "no room for record %lld", (long long)row->id);
    memcpy(d->tokens + d->n_tokens, ids, (size_t)row->n * sizeof *ids);
    d->rows[d->n_rows] = *row;
    d->rows[d->n_rows].soft_at = d->rows[d->n_rows].likely_at = d->rows[d->n_rows].aside = -1;
    d->rows[d->n_rows++].at = d->n_tokens;
    d->n_tokens += row->n;
    return 0;
}

int dataset_add_aside(struct dataset *d, struct token_span ids, struct token_span answer, float share,
                      int64_t n_ctx, struct err *e) {
    struct dataset_row *row = d->n_rows > 0 ? &d->rows[d->n_rows - 1] : NULL;
    if (!row || row->aside >= 0 || answer.n < 2 || d->form->head.n + ids.n < 1 || !(share > 0) ||
        d->form->head.n + ids.n + answer.n > n_ctx)
        return err_set(e, ERR_INPUT, "dataset_add_aside", "an aside of %lld and %lld tokens does not fit",
                       (long long)ids.n, (long long)answer.n);
    if (mem_grow((void **)&d->tokens, &d->tokens_capacity, d->n_tokens + ids.n + answer.n,
                 sizeof *d->tokens) < 0 ||
        mem_grow((void **)&d->asides, &d->asides_capacity, d->n_asides + 1, sizeof *d->asides) < 0)
        return err_set(e, ERR_NO_MEMORY, "dataset_add_aside", "no room for record %lld", (long long)row->id);
    memcpy(d->tokens + d->n_tokens, ids.ids, (size_t)ids.n * sizeof *ids.ids);
    memcpy(d->tokens + d->n_tokens + ids.n, answer.ids, (size_t)answer.n * sizeof *answer.ids);
    d->asides[d->n_asides] = (struct dataset_aside){.at = d->n_tokens,
                                                    .n = (int32_t)ids.n,
                                                    .n_answer = (int32_t)answer.n,
                                                    .weight = share * row->weight / (float)answer.n};
    d->n_tokens += ids.n + answer.n;
    row->aside = d->n_asides++;
    return 0;
}

int64_t dataset_aside_tokens(const struct dataset *d, int64_t i) {
    const struct dataset_aside *a = d->rows[i].aside < 0 ? NULL : &d->asides[d->rows[i].aside];
    return a ? d->form->head.n + a->n + a->n_answer - 1 : 0;
}

int dataset_soften(struct dataset *d, const float *probabilities, struct err *e) {
    int n = d->form->n_labels;
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += probabilities[i] >= 0 ? (double)probabilities[i] : NAN;
    if (d->n_rows < 1 || !(fabs(sum - 1) < 1e-3))
        return err_set(e, ERR_INPUT, "dataset_soften", "the labels' probabilities sum to %g, not 1", sum);
    if (mem_grow((void **)&d->soft, &d->soft_capacity, d->n_soft + n, sizeof *d->soft) < 0)
        return err_set(e, ERR_NO_MEMORY, "dataset_soften", "no room for probabilities");
    memcpy(d->soft + d->n_soft, probabilities, (size_t)n * sizeof *d->soft);
    d->rows[d->n_rows - 1].soft_at = d->n_soft;
    d->n_soft += n;
    return 0;
}

int dataset_add_likely(struct dataset *d, int64_t at, const struct likely_token *top, int n, struct err *e) {
    if (at < 0 || at >= d->n_rows || n < 1 || (d->n_likely > 0 && d->n_likely != n))
        return err_set(e, ERR_INPUT, "dataset_add_likely", "%d tokens a place, after %d", n, d->n_likely);
    struct dataset_row *row = &d->rows[at];
    int64_t n_places = d->form->answers[row->label].n, n_values = n_places * n;
    if (mem_grow((void **)&d->likely, &d->likely_capacity, d->n_likely_values + n_values, sizeof *d->likely) <
        0)
        return err_set(e, ERR_NO_MEMORY, "dataset_add_likely", "no room for a teacher's tokens");
    for (int64_t i = 0; i < n_places; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += top[i * n + j].p >= 0 ? (double)top[i * n + j].p : NAN;
        if (!(sum > 0) || !isfinite(sum))
            return err_set(e, ERR_INPUT, "dataset_add_likely",
                           "record %lld: the teacher's probabilities at token %lld of its answer sum to %g",
                           (long long)row->id, (long long)i, sum);
        for (int j = 0; j < n; j++)
            d->likely[d->n_likely_values + i * n + j] =
                (struct likely_token){top[i * n + j].token, (float)((double)top[i * n + j].p / sum)};
    }
    d->n_likely = n;
    row->likely_at = d->n_likely_values;
    d->n_likely_values += n_values;
    return 0;
}

#define LEAST_WEIGHT 1e-3f

float dataset_label_weight(const struct dataset *d, int64_t i, int label, float share) {
    const struct dataset_row *row = &d->rows[i];
    float own = row->label == label ? 1 : 0;
    float target = row->soft_at < 0 ? own : (1 - share) * own + share * d->soft[row->soft_at + label];
    return target < LEAST_WEIGHT ? 0 : row->weight * target;
}

int64_t dataset_row_tokens(const struct dataset *d, int64_t i, int label) {
    return with_answer(d->form, d->rows[i].n, label);
}

int64_t dataset_longest(const struct dataset *d) {
    int64_t longest = 0;
    for (int64_t i = 0; i < d->n_rows; i++)
        longest = d->rows[i].n > longest ? d->rows[i].n : longest;
    longest += d->form->head.n + longest_answer(d->form) - 1;
    for (int64_t i = 0; i < d->n_rows; i++)
        longest = dataset_aside_tokens(d, i) > longest ? dataset_aside_tokens(d, i) : longest;
    return longest;
}

enum { LEAST_SHARED = 8 };

/* How many of the first n tokens the other text of n_own begins with. */
static int64_t alike(const int32_t *first, int64_t n, const int32_t *own, int64_t n_own) {
    int64_t i = 0;
    while (i < n && i < n_own && own[i] == first[i])
        i++;
    return i;
}

int64_t dataset_shared(const struct dataset *d) {
    if (d->n_rows < 2)
        return 0;
    const int32_t *first = d->tokens + d->rows[0].at;
    int64_t common = d->rows[0].n;
    for (int64_t i = 1; i < d->n_rows; i++)
        common = alike(first, common, d->tokens + d->rows[i].at, d->rows[i].n);
    for (int64_t i = 0; i < d->n_asides; i++) /* one token of its own is left over, as below */
        common = alike(first, common, d->tokens + d->asides[i].at, d->asides[i].n - 1);
    int64_t n = d->form->head.n + common;
    for (int64_t i = 0; i < d->n_rows; i++)
        n = d->form->head.n + d->rows[i].n - 1 < n ? d->form->head.n + d->rows[i].n - 1 : n;
    return n < LEAST_SHARED ? 0 : n;
}

/* Times fewer tokens: batches of one row are smaller, and so slower for each token. */
enum { BY_ROW_PAYS = 4 };

bool dataset_scored_by_row(const struct dataset *d) {
    double prompts = 0, own = 0;
    int64_t shared = dataset_shared(d);
    for (int64_t i = 0; i < d->n_rows; i++) {
        int64_t n = d->form->head.n + d->rows[i].n;
        if (n < 2)
            return false;
        prompts += (double)n;
        own += (double)(n - shared);
    }
    return !d->form->written && own * d->form->n_labels > BY_ROW_PAYS * prompts;
}

int64_t dataset_scored_prefix(const struct dataset *d) {
    int64_t longest = 0;
    if (!dataset_scored_by_row(d))
        return dataset_shared(d);
    for (int64_t i = 0; i < d->n_rows; i++)
        longest = d->rows[i].n > longest ? d->rows[i].n : longest;
    return d->form->head.n + longest - 1;
}

void dataset_shared_tokens(const struct dataset *d, int32_t *to, int64_t n) {
    int64_t n_head = d->form->head.n < n ? d->form->head.n : n;
    memcpy(to, d->form->head.ids, (size_t)n_head * sizeof *to);
    if (n > n_head)
        memcpy(to + n_head, d->tokens + d->rows[0].at, (size_t)(n - n_head) * sizeof *to);
}

/* The largest share of tokens with a target that rows behind `n_shared` tokens can have. */
static double target_density(const struct dataset *d, int64_t n_shared) {
    double most = 0;
    for (int64_t i = 0; i < d->n_rows; i++)
        for (int label = 0; label < d->form->n_labels; label++) {
            if (d->form->written && label != d->rows[i].label)
                continue;
            double row = (double)(dataset_row_tokens(d, i, label) - n_shared);
            most = fmax(most, (double)d->form->answers[label].n / fmax(row, 1));
        }
    for (int64_t i = 0; i < d->n_rows; i++)
        if (d->rows[i].aside >= 0)
            most = fmax(most, (double)d->asides[d->rows[i].aside].n_answer /
                                  fmax((double)(dataset_aside_tokens(d, i) - n_shared), 1));
    return most < 1 ? most : 1;
}

int64_t dataset_most_targets(const struct dataset *d, int64_t capacity, int64_t n_shared) {
    int64_t most = (int64_t)ceil(target_density(d, n_shared) * (double)capacity);
    return most < 1 ? 1 : most > capacity ? capacity : most;
}

struct train_need dataset_need(const struct dataset *train, const struct dataset *validation,
                               int64_t batch_rows, bool apart) {
    const struct dataset *both[] = {train, validation};
    struct train_need need = {0};
    for (int i = 0; i < 2; i++) {
        int64_t shared = apart ? 0 : dataset_shared(both[i]), longest = dataset_longest(both[i]);
        int64_t prefix =
            i == 0 || apart ? shared : dataset_scored_prefix(both[i]); /* training rows are not scored */
        need.longest = longest > need.longest ? longest : need.longest;
        need.shared = prefix > need.shared ? prefix : need.shared;
        need.targets_per_token = fmax(need.targets_per_token, target_density(both[i], shared));
        if (i == 0)
            need.step_tokens = batch_rows * (longest - shared) * (both[i]->n_asides > 0 ? 2 : 1);
    }
    return need;
}

static uint64_t hash_word(uint64_t h, uint64_t word) {
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t hash_ids(uint64_t h, const int32_t *ids, int64_t n) {
    h = hash_word(h, (uint64_t)n);
    for (int64_t i = 0; i < n; i++)
        h = hash_word(h, (uint64_t)ids[i]);
    return h;
}

uint64_t dataset_hash(const struct dataset *d, uint64_t seed) {
    uint64_t h = hash_ids(seed, d->form->head.ids, d->form->head.n);
    for (int i = 0; i < d->form->n_labels; i++)
        h = hash_ids(h, d->form->answers[i].ids, d->form->answers[i].n);
    for (int64_t i = 0; i < d->n_rows; i++) {
        uint32_t weight;
        memcpy(&weight, &d->rows[i].weight, sizeof weight);
        h = hash_word(hash_word(h, weight), (uint64_t)d->rows[i].label);
        h = hash_ids(h, d->tokens + d->rows[i].at, d->rows[i].n);
        h = hash_word(h, (uint64_t)d->rows[i].soft_at);
    }
    for (int64_t i = 0; i < d->n_asides; i++) {
        uint32_t weight;
        memcpy(&weight, &d->asides[i].weight, sizeof weight);
        h = hash_ids(hash_word(h, weight), d->tokens + d->asides[i].at, d->asides[i].n);
        h = hash_ids(h, d->tokens + d->asides[i].at + d->asides[i].n, d->asides[i].n_answer);
    }
    for (int64_t i = 0; i < d->n_likely_values; i++) {
        uint32_t word;
        memcpy(&word, &d->likely[i].p, sizeof word);
        h = hash_word(hash_word(h, (uint64_t)d->likely[i].token), word);
    }
    for (int64_t i = 0; i < d->n_soft; i++) {
        uint32_t word;
        memcpy(&word, &d->soft[i], sizeof word);
        h = hash_word(h, word);
    }
    return h;
}

/* ---- packing ---- */

int packer_init(struct packer *p, int64_t capacity, struct err *e) {
    *p = (struct packer){.capacity = capacity};
    size_t n = (size_t)capacity;
    p->token = malloc(n * sizeof *p->token);
    p->position = malloc(n * sizeof *p->position);
    p->target = malloc(n * sizeof *p->target);
    p->start = malloc((n + 1) * sizeof *p->start);
    p->weight = malloc(n * sizeof *p->weight);
    if (!p->token || !p->position || !p->target || !p->start || !p->weight) {
        packer_release(p);
        return err_set(e, ERR_NO_MEMORY, "packer_init", "no room for a batch of %lld tokens",
                       (long long)capacity);
    }
    packer_clear(p);
    return 0;
}

int packer_init_others(struct packer *p, int n_others, struct err *e) {
    size_t n = (size_t)p->capacity * (size_t)n_others;
    p->n_others = n_others;
    p->other = calloc(n + 1, sizeof *p->other);
    p->other_weight = calloc(n + 1, sizeof *p->other_weight);
    return p->other && p->other_weight
               ? 0
               : err_set(e, ERR_NO_MEMORY, "packer_init_others", "no room for a teacher's tokens");
}

void packer_release(struct packer *p) {
    free(p->other);
    free(p->other_weight);
    free(p->token);
    free(p->position);
    free(p->target);
    free(p->start);
    free(p->weight);
    *p = (struct packer){0};
}

void packer_clear(struct packer *p) {
    p->n_tokens = 0;
    p->n_seq = 0;
    p->start[0] = 0;
}

void packer_share(struct packer *p, int64_t n_shared) {
    p->n_shared = n_shared;
    packer_clear(p);
}

/* Tokens of the row from position `*at` on, less those that are shared. */
static void append(struct packer *p, const int32_t *ids, int64_t n, int64_t *at) {
    for (int64_t i = 0; i < n; i++, (*at)++) {
        if (*at < p->n_shared)
            continue;
        p->token[p->n_tokens] = ids[i];
        p->position[p->n_tokens] = (int32_t)*at;
        p->target[p->n_tokens] = -1;
        p->weight[p->n_tokens++] = 0;
    }
}

/* The weight of token `at`, the place-th of row i's answer, goes to the target and to what the teacher holds likely there. */
static void share_weight(struct packer *p, const struct dataset *d, int64_t i, int64_t at, int64_t place) {
    const struct dataset_row *row = &d->rows[i];
    float share = row->likely_at < 0 ? 0 : p->others_share, weight = p->weight[at];
    p->weight[at] = (1 - share) * weight;
    for (int j = 0; j < p->n_others; j++) {
        bool named = row->likely_at >= 0 && j < d->n_likely;
        struct likely_token top =
            named ? d->likely[row->likely_at + place * d->n_likely + j] : (struct likely_token){0};
        p->other[at * p->n_others + j] = top.token;
        p->other_weight[at * p->n_others + j] = share * weight * top.p;
    }
}

/* A teacher's tokens are named for a row's own answer alone. */
static void name_none(struct packer *p, int64_t at) {
    if (p->others_share > 0)
        memset(p->other_weight + at * p->n_others, 0, (size_t)p->n_others * sizeof *p->other_weight);
}

bool packer_add(struct packer *p, const struct dataset *d, int64_t i, int label, float weight) {
    const struct dataset_row *row = &d->rows[i];
    const struct token_span *answer = &d->form->answers[label];
    int64_t at = 0;
    if (p->n_tokens + dataset_row_tokens(d, i, label) - p->n_shared > p->capacity)
        return false;
    append(p, d->form->head.ids, d->form->head.n, &at);
    append(p, d->tokens + row->at, row->n, &at);
    int64_t last = p->n_tokens - 1; /* the token before the answer */
    append(p, answer->ids, answer->n - 1, &at);
    for (int64_t j = 0; j < answer->n; j++) {
        p->target[last + j] = answer->ids[j];
        p->weight[last + j] = weight;
        if (p->others_share > 0 && label == row->label)
            share_weight(p, d, i, last + j, j);
        else
            name_none(p, last + j);
    }
    p->start[++p->n_seq] = (int32_t)p->n_tokens;
    return true;
}

bool packer_add_aside(struct packer *p, const struct dataset *d, int64_t i) {
    const struct dataset_aside *a = &d->asides[d->rows[i].aside];
    const int32_t *answer = d->tokens + a->at + a->n;
    int64_t at = 0;
    if (p->n_tokens + dataset_aside_tokens(d, i) - p->n_shared > p->capacity)
        return false;
    append(p, d->form->head.ids, d->form->head.n, &at);
    append(p, d->tokens + a->at, a->n, &at);
    int64_t last = p->n_tokens - 1;
    append(p, answer, a->n_answer - 1, &at);
    for (int64_t j = 0; j < a->n_answer; j++) {
        p->target[last + j] = answer[j];
        p->weight[last + j] = a->weight;
        name_none(p, last + j);
    }
    p->start[++p->n_seq] = (int32_t)p->n_tokens;
    return true;
}

struct nn_batch packer_batch(const struct packer *p) {
    return (struct nn_batch){.n_tokens = p->n_tokens,
                             .token = p->token,
                             .position = p->position,
                             .target = p->target,
                             .weight = p->weight,
                             .n_seq = p->n_seq,
                             .start = p->start,
                             .n_prefix = p->n_shared,
                             .n_others = p->others_share > 0 ? p->n_others : 0,
                             .other = p->other,
                             .other_weight = p->other_weight};
}
