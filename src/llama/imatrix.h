/* Importance matrices: for each weight, the mean square of each of its input channels over task text. A quantiser that knows
 * them spends its precision on the channels that matter.
 *
 *     struct imatrix *im; imatrix_new(&im, &e);
 *     lm_open(&m, path, &(struct lm_options){.observe = imatrix_observe, .observe_context = im}, &e);
 *     imatrix_set_weight(im, 1); ... decode training rows ...
 *     imatrix_save(im, "imatrix.gguf", "training rows", &e);   // llama-quantize --imatrix reads it, too
 *     imatrix_free(im);
 *
 * Format of the file (llama.cpp's own): general.type "imatrix", imatrix.datasets, imatrix.chunk_count and chunk_size, and for
 * each weight two F32 tensors: "<weight>.in_sum2" [width, 1] sums of squares, "<weight>.counts" [1, 1] rows. */
#ifndef LLAMA_IMATRIX_H
#define LLAMA_IMATRIX_H

#include "base/hash.h"
#include "llama/lm.h"

struct imatrix; /* opaque; one thread at a time */

int imatrix_new(struct imatrix **out, struct err *e);
void imatrix_free(struct imatrix *im); /* NULL is fine */

/* How much each row counts that is observed from here on (1 at first): a prefix that all prompts share is decoded once and
 * counted as often as it is used. 0 stops counting. */
void imatrix_set_weight(struct imatrix *im, double weight);

/* For lm_options.observe, or called by a forward pass of one's own. Adds p's rows to the weight's sums; false when out of
 * memory or when a weight changes its width. */
bool imatrix_observe(void *im, const struct lm_product *p);

/* Adds sums that somebody else collected: sum2 [width], of `count` rows. false as above. */
bool imatrix_add(struct imatrix *im, const char *weight, const double *sum2, int64_t width, double count);

struct imatrix_entry { /* borrowed until the imatrix changes */
    const char *weight;
    const double *sum2; /* [width] */
    int64_t width;
    double count;
};
int imatrix_count(const struct imatrix *im);
/* Entries in alphabetical order. */
struct imatrix_entry imatrix_at(const struct imatrix *im, int index);

/* `dataset` says what the rows were (a name, or a key to recognise them by); n_rows how many. Atomic. */
int imatrix_save(const struct imatrix *im, const char *path, const char *dataset, int64_t n_rows,
                 struct err *e);
/* ERR_FORMAT when the file is no importance matrix or holds values that cannot be sums of squares. */
int imatrix_load(struct imatrix **out, const char *path, struct err *e);

/* What a loaded matrix was saved with: "" and 0 for one that was not. */
const char *imatrix_dataset(const struct imatrix *im);
/* The hash of the model that it was collected with, where it says so; "" where not. Saved with it. */
void imatrix_set_model(struct imatrix *im, const char hash[SHA256_HEX]);
const char *imatrix_model(const struct imatrix *im);
int64_t imatrix_rows(const struct imatrix *im);

#endif
