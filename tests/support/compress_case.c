/* A trained project small enough to compress in a moment. */
#include "compress_case.h"
#include "tiny_rows.h"
#include "tiny_task.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

void must(int rc, const struct err *e) {
    if (rc < 0)
        fail_msg("%s", e->message);
}

void compress_case_begin(struct compress_case *c, int64_t n_training) {
    struct err e = {0};
    must(tiny_task(&c->task, &e), &e);
    tiny_rows(&c->training, &c->task, n_training, 1);
    tiny_rows(&c->validation, &c->task, 10, 2);
}

void compress_case_end(struct compress_case *c) {
    tiny_rows_release(&c->training);
    tiny_rows_release(&c->validation);
    task_release(&c->task);
}

struct imatrix_entry imatrix_entry_of(const struct imatrix *im, const char *weight) {
    for (int i = 0; i < imatrix_count(im); i++)
        if (strcmp(imatrix_at(im, i).weight, weight) == 0)
            return imatrix_at(im, i);
    fail_msg("no entry for %s", weight);
    return (struct imatrix_entry){0};
}

void expect_refused(const struct compress_request *q, int code, const char *words) {
    struct err e = {0};
    struct compress_result r;
    assert_int_equal(compress_run(&r, q, &e), code);
    if (!strstr(e.message, words))
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
}
