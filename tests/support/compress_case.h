/* What the compression's tests share: the tiny task with its rows, refusals, an entry of an importance matrix by name. */
#ifndef TESTS_COMPRESS_CASE_H
#define TESTS_COMPRESS_CASE_H

#include "compress/compress.h"
#include "eval/rows.h"
#include "llama/imatrix.h"

struct compress_case {
    struct task task;
    struct rows training, validation; /* 10 for validation */
};

/* Fails the test with the error's message when rc is negative. */
void must(int rc, const struct err *e);

/* Fails the test when it cannot. */
void compress_case_begin(struct compress_case *c, int64_t n_training);
void compress_case_end(struct compress_case *c);

/* Fails the test when there is none. */
struct imatrix_entry imatrix_entry_of(const struct imatrix *im, const char *weight);

/* The request is refused with this code, in a message that holds these words. */
void expect_refused(const struct compress_request *q, int code, const char *words);

#endif
