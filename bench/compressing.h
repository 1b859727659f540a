/* Students for the measurements of compression, ways to compress them, and what that did to their answers.
 *
 *     struct student_files s;
 *     student_begin(&s, &compress_examples[0], 1, "full-labelled");
 *     struct outcome o;
 *     compress_and_judge(&s, (struct compress_request){.budget = {.bits = 4.5}}, &o);
 *     student_end(&s);
 *
 * Where `make bench-demo` has finished the project of this example and seed (or one is named by COMPRESS_PROJECTS), that project's
 * student is taken, which a teacher taught, with its records, its held-out rows and what `eval` scored on them; else one is
 * trained by the verbs on rows of the example's own simulator. Everything made here lies under build/bench/runs/compress. A
 * failure ends the program. */
#ifndef BENCH_COMPRESSING_H
#define BENCH_COMPRESSING_H

#include "bench/chain.h"
#include "compress/compress.h"

enum { COMPRESS_N_EXAMPLES = 3, COMPRESS_PATH = 600 };
#define COMPRESS_RUNS "build/bench/runs/compress"

struct example {
    const char *name, *instruction, *labels[2], *fields;
};
extern const struct example compress_examples[COMPRESS_N_EXAMPLES];

struct student_files {
    const struct example *example;
    int seed;
    bool of_demo;                /* a teacher's student */
    char dir[256], log[300];     /* of our own work */
    char project[COMPRESS_PATH]; /* read only where it is the demonstration's */
    char f16[COMPRESS_PATH];
    struct task task;
    struct rows training, validation, test;
    struct scores whole; /* of the 16-bit file on the test rows */
};

void student_begin(struct student_files *s, const struct example *x, int seed, const char *form);
void student_end(struct student_files *s);

/* Scores of a file on the test rows, to be released. */
void student_score_file(const struct student_files *s, const char *gguf, struct scores *out);

struct outcome {
    double bits, accuracy, loss, divergence; /* loss: mean -log P(right label), in nats */
    int64_t bytes;
    struct paired paired; /* against the 16-bit file */
};

/* What `eval` of the project kept of `who` ("student-quant"): false where it is not of the test rows, or older than the file. */
bool student_recall(const struct student_files *s, const char *who, const char *gguf, struct scores *out);

void student_judge(const struct student_files *s, const struct scores *scores, const char *gguf,
                   struct outcome *o);

/* The file that `compress` chose by itself in the student's project. */
void student_chosen(const struct student_files *s, struct outcome *o);

/* By compress_run into `dir`/model; what is not set in `q` is the student's. */
void compress_and_judge(const struct student_files *s, struct compress_request q, struct outcome *o);

/* The same, with the scores, to be released. */
void compress_and_score(const struct student_files *s, struct compress_request q, struct scores *scores,
                        struct outcome *o);

double scores_accuracy(const struct scores *s);
double scores_loss(const struct scores *s);

/* Ends the program with the message where rc is an error. */
void bench_must(int rc, const struct err *e);

#endif
