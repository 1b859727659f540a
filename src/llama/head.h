/* The head of a GGUF file, walked through where it is mapped: every length is checked against what is left of the file, and nothing
 * is kept.
 *
 *     struct head h;
 *     struct head_value v;
 *     if (head_open(&h, path)) {
 *         for (uint64_t i = 0; i < h.n_values && head_value(&h, &v); i++)
 *             …
 *         head_close(&h);
 *     }
 *
 * gguf_init_from_file() takes 106 ms for a vocabulary of 152,000 tokens, since it keeps them all; this takes 3.3 ms (Zen 5, n=5). */
#ifndef LLAMA_HEAD_H
#define LLAMA_HEAD_H

#include <stdbool.h>
#include <stdint.h>

struct head {
    const unsigned char *file, *at, *end;
    bool failed; /* something goes beyond the end: all that is read from then on is 0 */
    uint64_t version, n_tensors, n_values;
};

struct head_text {
    const char *bytes; /* in the file, not ended by a zero; NULL: none */
    uint64_t n;
};

struct head_value {
    struct head_text key;
    uint64_t type;         /* enum gguf_type; of an array GGUF_TYPE_ARRAY */
    uint64_t n;            /* values: 1, or the array's */
    struct head_text text; /* of one string */
    uint64_t bits;         /* of one number, as they are in the file */
};

/* Maps the file and stands before its first value. false: it cannot be read, or is none of GGUF's. */
bool head_open(struct head *h, const char *path);
void head_close(struct head *h);

/* The next value. false: the file is damaged. */
bool head_value(struct head *h, struct head_value *out);

/* What follows the values is read number by number: n_bytes 1 to 8, little endian. */
uint64_t head_number(struct head *h, unsigned n_bytes);
struct head_text head_string(struct head *h);
bool head_is(const struct head_text *t, const char *what);
/* Can the rest of the file hold n things? So a loop over a damaged count ends. */
bool head_can_hold(const struct head *h, uint64_t n);

#endif
