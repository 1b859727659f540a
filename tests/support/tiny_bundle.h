/* What a bundle is made of, for tests that make one: the tiny task, rows, a plan, and a quantised random model in
 * "student.gguf" of the working folder. */
#ifndef TESTS_TINY_BUNDLE_H
#define TESTS_TINY_BUNDLE_H

#include "deliver/bundle.h"

struct tiny_bundle {
    struct task task;
    struct rows rows; /* 24 */
    struct plan plan;
    double abstain_cost; /* 0: the bundle has no threshold */
};

void tiny_bundle_begin(struct tiny_bundle *t); /* aborts on failure */
void tiny_bundle_end(struct tiny_bundle *t);

/* A request for 6 golden rows. */
struct bundle_request tiny_bundle_request(const struct tiny_bundle *t, const char *arch, const char *folder,
                                          const char *archive);

/* Can bundles for this architecture be made here? If not, says why on standard output. */
bool tiny_bundle_possible(const char *arch);

/* Begins and makes the bundle of this machine's kind in the folder "here". False when that is not possible here (said on standard
 * output); aborts when making it fails. tiny_bundle_end in either case. */
bool tiny_bundle_here(struct tiny_bundle *t);

/* Exit status of `sh -c command`, its output thrown away. */
int tiny_shell(const char *command);

#endif
