/* The texts of a bundle that are written rather than copied: scripts, README, bundle.json. Each is appended to `out`. */
#ifndef DELIVER_BUNDLE_TEXT_H
#define DELIVER_BUNDLE_TEXT_H

#include "base/hash.h"
#include "deliver/bundle.h"
#include "task/prompt.h"

struct bundle_file {
    const char *name;
    bool executable;
    char sha256[SHA256_HEX];
    int64_t size_bytes;
};

/* What the texts speak of. */
struct bundle_facts {
    const struct bundle_request *q;
    const struct prompt *prompt;
    const char *name; /* the task's */
    const char *loader, *model_license, *prompt_sha256;
    int64_t n_ctx, n_batch, n_outputs, prefix_tokens, n_golden;
    bool prefix_state;
    double tolerance;
    int64_t model_bytes;
    uint64_t model_fingerprint;      /* hash_file_sampled */
    const struct abstain *abstain;   /* NULL: it answers everything */
    const struct bundle_file *files; /* sorted by name */
    int64_t n_files;
};

void bundle_text_run(const struct bundle_facts *f, struct str *out);
void bundle_text_selftest(const struct bundle_facts *f, struct str *out);
void bundle_text_readme(const struct bundle_facts *f, struct str *out);
void bundle_text_manifest(const struct bundle_facts *f, struct str *out);

#endif
