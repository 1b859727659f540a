/* edgestill-seed: makes the embedded models. See README.md beside this file.
 *
 *     edgestill-seed train trunk|base|teacher FOLDER [--threads N] [--tokens N] [--seconds N] [--from CHECKPOINT]
 *                                          [--precision f32|bf16]
 *     edgestill-seed examine FOLDER [N]        the teacher's accuracy on unseen rules, by number of conditions
 *     edgestill-seed show trunk|base|teacher N       documents of the training text
 *     edgestill-seed vocabulary                the tokens, one a line */
#include "base/interrupt.h"
#include "base/log.h"
#include "train/optimizer.h"
#include "trainer.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(struct err *e) {
    return err_set(e, ERR_USAGE, "edgestill-seed",
                   "usage: edgestill-seed train trunk|base|teacher FOLDER [--threads N] [--tokens N] "
                   "[--seconds N] [--from "
                   "CHECKPOINT] | examine FOLDER [N] | show trunk|base|teacher N | vocabulary");
}

static int run_train(int argc, char **argv, struct err *e) {
    const struct recipe *r = argc >= 4 ? recipe_find(argv[2]) : NULL;
    if (r == NULL)
        return usage(e);
    struct trainer_options o = {.folder = argv[3]};
    for (int i = 4; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0)
            o.n_threads = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--tokens") == 0)
            o.tokens = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--seconds") == 0)
            o.seconds = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--precision") == 0)
            o.bf16 = strcmp(argv[i + 1], "bf16") == 0;
        else if (strcmp(argv[i], "--from") == 0)
            o.start_from = argv[i + 1];
        else
            return usage(e);
    }
    return trainer_run(r, &o, e);
}

static int run_examine(int argc, char **argv, struct err *e) {
    static const struct {
        int kind;
        const char *name;
    } papers[] = {{1, "one condition"},
                  {2, "two conditions"},
                  {3, "three conditions"},
                  {-1, "drafting"},
                  {-2, "refusing"}};
    struct ops ops = {0};
    struct nn_model m = {0};
    struct bpe *b = NULL;
    int64_t n = argc >= 4 ? atoll(argv[3]) : 500;
    int code = argc >= 3 ? corpus_vocabulary(&b, SEED_VOCABULARY, e) : usage(e);
    if (code == 0)
        code = ops_open_cpu(&ops, 0, e);
    if (code == 0)
        code = trainer_load(recipe_find("teacher"), argv[2], &ops, &m, e);
    for (size_t i = 0; i < sizeof papers / sizeof *papers && code == 0; i++) {
        double share = 0;
        code = trainer_examine(&m, b, papers[i].kind, n, &share, e);
        if (code == 0)
            printf("%-18s %.4f of %" PRId64 "\n", papers[i].name, share, n);
    }
    nn_model_release(&m);
    if (ops.close != NULL)
        ops.close(&ops);
    bpe_free(b);
    return code;
}

static int run_show(int argc, char **argv, struct err *e) {
    const struct recipe *r = argc >= 4 ? recipe_find(argv[2]) : NULL;
    struct bpe *b = NULL;
    if (r == NULL)
        return usage(e);
    int code = corpus_vocabulary(&b, SEED_VOCABULARY, e);
    for (int64_t i = 0; code == 0 && i < atoll(argv[3]); i++) {
        static struct corpus_document d;
        corpus_document(b, r->corpus, r->seed, i, 1, &d);
        for (int64_t k = 0; k < d.n; k++)
            fputs(bpe_token(b, d.ids[k]), stdout);
    }
    bpe_free(b);
    return code;
}

static int run_vocabulary(struct err *e) {
    struct bpe *b = NULL;
    int code = corpus_vocabulary(&b, SEED_VOCABULARY, e);
    for (int i = 0; code == 0 && i < bpe_n_vocab(b); i++) {
        char printable[BPE_PRINTABLE_MAX];
        printf("%d %s\n", i, bpe_token_printable(b, i, printable));
    }
    bpe_free(b);
    return code;
}

int main(int argc, char **argv) {
    struct err e = {0};
    interrupt_install();
    const char *verb = argc > 1 ? argv[1] : "";
    int code = strcmp(verb, "train") == 0        ? run_train(argc, argv, &e)
               : strcmp(verb, "examine") == 0    ? run_examine(argc, argv, &e)
               : strcmp(verb, "show") == 0       ? run_show(argc, argv, &e)
               : strcmp(verb, "vocabulary") == 0 ? run_vocabulary(&e)
                                                 : usage(&e);
    if (code < 0)
        log_err(&e);
    return err_exit_code(code);
}
