/* A bundle: a folder, and an archive of it, that runs on the device by itself and proves that it gives the host's answers.
 *
 *     dist/claims-arm64/
 *       run, selftest          start scripts: the bundle's own loader, libraries and program
 *       README.md              what it is, how to run it, written for this task
 *       bundle.json            edgestill.bundle/1, below
 *       task.json, prompt.json, model/student.gguf
 *       prefix.state           KV state of the prompt's prefix, computed by the host
 *       golden.jsonl           {"record":{...},"label":"normal","probabilities":{"suspicious":0.02,...}}: rows with the host's answers
 *       edgestill.service, install, uninstall, Modelfile, grammar.gbnf, with-llama-server
 *       bin/edgestill-run, lib/, lib/backends/, licenses/
 *     dist/claims-arm64.tar.zst   the same, reproducible
 *
 *   bundle.json: {"format":"edgestill.bundle/1","name":"claims","arch":"arm64","device":"rpi5-8gb","task":"the sentence",
 *     "runtime":{"context":512,"batch":128,"threads":3,"kv_type":"f16","flash_attention":true,"outputs":7,"prefix_state":true,"prefix_tokens":41},
 *     "tolerance":0.05,"golden_rows":64,"predicted":{"memory_bytes":{"value":..,"low":..,"high":..,"basis":".."},...},
 *     "model_license":"...","licenses":["licenses/libc6/copyright",...],"prompt_sha256":"...","versions":{"edgestill":"0.1.0","runtime":"llama 0.7.0, ggml 0.27.0"},
 *     "files":{"README.md":sha256,...}}      every other file of the bundle
 *
 * The same inputs give the same bytes. The folder appears whole or not at all. */
#ifndef DELIVER_BUNDLE_H
#define DELIVER_BUNDLE_H

#include "eval/abstain.h"
#include "eval/rows.h"
#include "plan/plan.h"
#include "task/task.h"

#define BUNDLE_FORMAT "edgestill.bundle/1"

enum { BUNDLE_GOLDEN_ROWS = 64 };

struct bundle_request {
    const char *arch;   /* "arm64", "amd64" */
    const char *device; /* catalogue name, for the README */
    const char *model;  /* the quantised student's GGUF */
    const struct task *task;
    const struct plan *plan;   /* runtime settings and predictions */
    const struct rows *golden; /* rows to choose golden ones from; their labels are not used */
    int64_t n_golden;          /* 0: BUNDLE_GOLDEN_ROWS */
    bool golden_are_training;  /* rows that training saw: good for a self-test, not for a threshold */
    double abstain_cost;       /* eval/abstain.h; 0: no threshold, the device answers everything */
    const char *folder;        /* to make; replaced when there */
    const char *archive;       /* NULL: none */
    int n_threads;             /* of this machine; 0: one a core */
};

struct bundle_result {
    int64_t n_files, folder_bytes, archive_bytes, model_bytes, runtime_bytes;
    int64_t n_golden, prefix_tokens;
    bool has_abstain; /* a threshold was chosen */
    struct abstain abstain;
    char sha256[SHA256_HEX]; /* of bundle.json, which names all else */
};

int bundle_make(struct bundle_result *out, const struct bundle_request *q, struct err *e);

/* "claims-arm64": the bundle's name, appended. */
void bundle_name(const struct task *t, const char *arch, struct str *out);

#endif
