/* edgestill-simulate: held-out rows for the examples, from the world in an example's rule.yaml. */
#include "simulate.h"
#include "base/file.h"
#include "base/log.h"
#include "format/yaml.h"
#include "simulate_phrases.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: edgestill-simulate RULE.yaml --rows N [--seed S] [--noise SHARE] [--balanced] [--out FILE]\n"
    "Makes N held-out rows as CSV (standard output, or FILE) with the label that the rule gives, a share of\n"
    "labels turned round (default: the file's), and says on standard error what accuracy a perfect reader\n"
    "of the rule would reach.\n"
    "  --balanced  as many rows of one label as of the other\n"
    "  --seed S    another seed, other rows (default 1)\n";

struct settings {
    const char *rule, *out;
    int64_t rows, seed;
    double noise; /* -1: the file's */
    bool balanced;
};

static bool parse(int argc, char *argv[], struct settings *s) {
    static const struct option options[] = {
        {"rows", required_argument, NULL, 'n'},  {"seed", required_argument, NULL, 's'},
        {"noise", required_argument, NULL, 'e'}, {"out", required_argument, NULL, 'o'},
        {"balanced", no_argument, NULL, 'b'},    {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        bool good = true;
        if (c == 'n')
            good = str_to_i64(optarg, &s->rows);
        else if (c == 's')
            good = str_to_i64(optarg, &s->seed);
        else if (c == 'e')
            good = str_to_double(optarg, &s->noise) && s->noise >= 0 && s->noise < 0.5;
        else if (c == 'o')
            s->out = optarg;
        else if (c == 'b')
            s->balanced = true;
        else
            good = false;
        if (!good)
            return false;
    }
    s->rule = optind < argc ? argv[optind] : NULL;
    return s->rule && optind + 1 == argc && s->rows > 0 && s->rows <= 10000000;
}

static int write_out(const struct settings *s, const struct str *csv, struct err *e) {
    int rc = str_check(csv, e);
    if (rc < 0)
        return rc;
    if (s->out)
        return file_write(s->out, csv->data, csv->len, e);
    if (fwrite(csv->data, 1, csv->len, stdout) != csv->len || fflush(stdout) != 0)
        return err_set_errno(e, ERR_IO, "simulate", "writing the rows");
    return 0;
}

static int simulate(const struct settings *s, const struct world *w, struct err *e) {
    struct rng rng;
    struct str csv = {0};
    struct world_row *rows = calloc((size_t)s->rows, sizeof *rows);
    if (!rows)
        return err_set(e, ERR_NO_MEMORY, "simulate", "out of memory for %lld rows", (long long)s->rows);
    rng_seed(&rng, (uint64_t)s->seed);
    int rc = world_rows(w, &rng, s->rows, s->balanced, rows, e);
    if (rc == 0) {
        int64_t first = 0;
        for (int64_t i = 0; i < s->rows; i++)
            first += rows[i].label == 0;
        world_csv(w, rows, s->rows, &csv);
        rc = write_out(s, &csv, e);
        if (rc == 0)
            fprintf(stderr, "%lld rows: %lld %s, %lld %s; label noise %.4g%%; Bayes rate %.2f%%\n",
                    (long long)s->rows, (long long)first, w->labels[0], (long long)(s->rows - first),
                    w->labels[1], 100 * w->noise, 100 * world_bayes_rate(rows, s->rows));
    }
    str_release(&csv);
    free(rows);
    return rc;
}

/* A file of phrases makes texts; 0 when it is none, 1 when it was one. */
static int simulate_phrases(const struct settings *s, struct err *e) {
    struct arena a;
    struct node *root = NULL;
    struct str out = {0};
    arena_init(&a);
    int rc = yaml_node_read(&a, s->rule, &root, e);
    const struct node *format = rc == 0 ? node_get(root, "format") : NULL;
    bool phrases = format && str_equal(format->text, PHRASES_FORMAT);
    if (phrases)
        rc = phrases_rows(root, s->rows, (uint64_t)s->seed, &out, e);
    if (phrases && rc == 0)
        rc = write_out(s, &out, e);
    str_release(&out);
    arena_release(&a);
    return rc < 0 ? rc : phrases;
}

int main(int argc, char *argv[]) {
    struct settings s = {.seed = 1, .noise = -1};
    struct world w;
    struct err e = {0};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!parse(argc, argv, &s)) {
        fputs(usage, stderr);
        return 2;
    }
    int rc = simulate_phrases(&s, &e);
    if (rc == 1)
        return 0;
    if (rc == 0)
        rc = world_load(&w, s.rule, &e);
    if (rc == 0) {
        if (s.noise >= 0)
            w.noise = s.noise;
        rc = simulate(&s, &w, &e);
        world_release(&w);
    }
    if (rc < 0)
        log_err(&e);
    return rc < 0 ? err_exit_code(rc) : 0;
}
