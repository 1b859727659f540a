/* Bits for each matrix: which type it gets under a budget of bytes, of seconds a decision on the device, or both, so that the loss
 * on task rows grows least.
 *
 *     struct bits_table t;
 *     bits_measure(&t, &student, &activity, &device, &progress, &e);         // rounds a sample of every matrix to every type
 *     struct bits_budget b = {.bytes = 2000000};
 *     bits_choose(&t, &b, types, &outcome, &e);                              // types[t.n_matrices], places in t.types
 *     bits_release(&t);
 *
 * A matrix's loss under a type is activity_loss (activity.h) of the rounded values. The choice minimises the sum of losses plus a
 * price times the cost, the price found by bisection (a Lagrangian relaxation: optimal up to what one matrix can make of
 * the last bytes, which greedy steps then spend). */
#ifndef COMPRESS_BITS_H
#define COMPRESS_BITS_H

#include "compress/activity.h"
#include "llama/quantize.h"
#include "model/block.h"

enum { BITS_MAX_TYPES = 16 };

/* How fast the device runs a type; 0: not known. */
struct bits_speed {
    const char *type; /* "q4_K" */
    double s_per_mac, s_per_byte;
};

struct bits_device {
    const struct bits_speed *speeds; /* NULL: nothing is known, only bytes count */
    int n_speeds;
    int64_t tokens_read; /* of a decision, once the prefix is there */
    int64_t head_rows;   /* rows of logits of a decision */
};

struct bits_matrix {
    const char *name;
    int64_t rows, cols;
    bool looked_up;              /* an embedding that multiplies nothing */
    bool fits[BITS_MAX_TYPES];   /* may have this type */
    double loss[BITS_MAX_TYPES]; /* nats a row */
    int64_t bytes[BITS_MAX_TYPES];
    double seconds[BITS_MAX_TYPES];
};

struct bits_table {
    struct arena arena;
    struct block_type types[BITS_MAX_TYPES];
    int n_types;
    struct bits_matrix *matrices; /* of the file, in its order */
    int n_matrices;
    int64_t other_bytes; /* norms and biases, which stay as they are */
    bool has_speeds;
};

int bits_measure(struct bits_table *out, struct student *s, const struct activity *a,
                 const struct bits_device *device, struct progress *p, struct err *e);
/* The same without the losses, which are 0: for those that were kept. */
int bits_list(struct bits_table *out, const struct student *s, const struct activity *a,
              const struct bits_device *device, struct err *e);
void bits_release(struct bits_table *t); /* safe to repeat */

struct bits_budget {
    int64_t bytes;  /* of all tensors; 0: no limit */
    double bits;    /* the same limit for each value of the model, on average; 0: no limit */
    double seconds; /* a decision; 0: no limit */
};
bool bits_budget_given(const struct bits_budget *b);

struct bits_outcome {
    double loss, seconds;
    int64_t bytes;
};

/* ERR_UNSUPPORTED naming the least there is when the budget cannot be kept. */
int bits_choose(const struct bits_table *t, const struct bits_budget *b, int *types,
                struct bits_outcome *outcome, struct err *e);

/* The least time of a decision that any types give; 0 where nothing is known of the device. */
double bits_least_seconds(const struct bits_table *t);

/* The same sums for types that somebody else chose, as quantize_preview lists them. Types that the table does not have count with
 * their bytes and the loss of the next smaller one that it has. */
void bits_of_preview(const struct bits_table *t, const struct quantize_preview *p,
                     struct bits_outcome *outcome);

/* A choice as overrides for quantize_file: exact names, n_matrices of them, in `a`. NULL when out of memory. */
struct quantize_override *bits_overrides(const struct bits_table *t, const int *types, struct arena *a);

#endif
