/* Replaying a corpus and mutations of it: see fuzz.h. */
#include "fuzz.h"

#include "base/file.h"
#include "base/rng.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Enough that the seeds' neighbourhood is visited, in about a second. */
enum { MUTATIONS = 20000, MOST_SEEDS = 256, MOST_EDITS = 6 };

static struct {
    const char *name;
    struct str seeds[MOST_SEEDS];
    int n_seeds;
} corpus;

void fuzz_fail(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int load(void **state) {
    (void)state;
    struct str folder = {0};
    struct dirent **entries = NULL;
    str_addf(&folder, "tests/fuzz/corpus/%s", corpus.name);
    int n = scandir(folder.data, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char *path = file_join(folder.data, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && corpus.n_seeds < MOST_SEEDS &&
            file_read(path, 0, &corpus.seeds[corpus.n_seeds], NULL) == 0)
            corpus.n_seeds++;
        free(path);
        free(entries[i]);
    }
    free(entries);
    str_release(&folder);
    return corpus.n_seeds > 0 ? 0 : -1; /* run from the source tree's root */
}

static int unload(void **state) {
    (void)state;
    while (corpus.n_seeds > 0)
        str_release(&corpus.seeds[--corpus.n_seeds]);
    return 0;
}

/* A copy of exactly n bytes, so that the sanitizers see a read beyond. */
static void run(const char *bytes, size_t n) {
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (!copy)
        abort();
    if (n > 0)
        memcpy(copy, bytes, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static void corpus_replays(void **state) {
    (void)state;
    for (int i = 0; i < corpus.n_seeds; i++)
        run(corpus.seeds[i].data, corpus.seeds[i].len);
}

static void edit(struct rng *r, struct str *text) {
    static const char interesting[] = "\"'{}[],:;-?&*!|>%@#\\\n\r\t \0\xff\xc3\xef\xbb\xbf"
                                      "019.eE+";
    const struct str *other = &corpus.seeds[rng_range(r, 0, corpus.n_seeds - 1)];
    size_t at = (size_t)rng_range(r, 0, (int64_t)text->len);
    struct str out = {0};
    str_add_bytes(&out, text->data, at);
    size_t rest = text->len - at, dropped = 0;
    switch (rng_range(r, 0, 3)) {
    case 0: /* cut a few bytes out */
        dropped = (size_t)rng_range(r, 0, rest < 8 ? (int64_t)rest : 8);
        break;
    case 1: /* overwrite one */
        dropped = rest > 0 ? 1 : 0;
        str_add_char(&out, (char)rng_range(r, 0, 255));
        break;
    case 2:
        str_add_char(&out, interesting[rng_range(r, 0, (int64_t)sizeof interesting - 2)]);
        break;
    default: /* a piece of another seed */
        if (other->len > 0) {
            size_t from = (size_t)rng_range(r, 0, (int64_t)other->len - 1);
            str_add_bytes(&out, other->data + from, (size_t)rng_range(r, 0, (int64_t)(other->len - from)));
        }
    }
    str_add_bytes(&out, text->data + at + dropped, rest - dropped);
    str_release(text);
    *text = out;
}

static void mutations(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < MUTATIONS; i++) {
        const struct str *seed = &corpus.seeds[rng_range(&r, 0, corpus.n_seeds - 1)];
        struct str text = {0};
        str_add_bytes(&text, seed->data, seed->len);
        for (int64_t edits = rng_range(&r, 1, MOST_EDITS); edits > 0; edits--)
            edit(&r, &text);
        run(text.data, text.len);
        str_release(&text);
    }
}

int fuzz_replay(const char *name) {
    corpus.name = name;
    const struct CMUnitTest tests[] = {cmocka_unit_test(corpus_replays), cmocka_unit_test(mutations)};
    return cmocka_run_group_tests_name(name, tests, load, unload);
}
