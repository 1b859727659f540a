/* A small bundle. */
#include "tiny_bundle.h"
#include "deliver/runtime.h"
#include "llama/quantize.h"
#include "tiny_gguf.h"
#include "tiny_task.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int rc, const struct err *e) {
    if (rc < 0) {
        fprintf(stderr, "%s\n", e->message);
        abort();
    }
}

void tiny_bundle_begin(struct tiny_bundle *t) {
    struct err e = {0};
    struct rng r;
    struct tiny_gguf model = {
        .n_embd = 64, .n_head = 2, .n_kv = 1, .n_ff = 128, .n_vocab = 300, .seed = 6, .type = GGML_TYPE_F16};
    *t = (struct tiny_bundle){0};
    rng_seed(&r, 3);
    arena_init(&t->rows.arena);
    must(tiny_task(&t->task, &e), &e);
    must(tiny_gguf_write("f16.gguf", &model, &e), &e);
    must(quantize_file("f16.gguf", "student.gguf", &(struct quantize_options){.type = "Q8_0", .n_threads = 1},
                       &e),
         &e);
    t->rows.n = 24;
    t->rows.records = arena_calloc(&t->rows.arena, 24, sizeof *t->rows.records);
    for (int i = 0; i < 24 && t->rows.records; i++)
        t->rows.records[i] = tiny_record(&t->task, &t->rows.arena, &r);
    t->plan = (struct plan){.quantisation = "Q8_0",
                            .context = 512,
                            .ubatch = 128,
                            .threads = 2,
                            .prefix_state = true,
                            .predicted = {.memory_bytes = {2e7, 1e7, 2e8, "a guess"}}};
}

void tiny_bundle_end(struct tiny_bundle *t) {
    arena_release(&t->rows.arena);
    task_release(&t->task);
}

struct bundle_request tiny_bundle_request(const struct tiny_bundle *t, const char *arch, const char *folder,
                                          const char *archive) {
    return (struct bundle_request){.arch = arch,
                                   .device = "rpi5-8gb",
                                   .model = "student.gguf",
                                   .task = &t->task,
                                   .plan = &t->plan,
                                   .golden = &t->rows,
                                   .n_golden = 6,
                                   .abstain_cost = t->abstain_cost,
                                   .folder = folder,
                                   .archive = archive,
                                   .n_threads = 1};
}

bool tiny_bundle_possible(const char *arch) {
    struct runtime r;
    struct err e = {0};
    if (runtime_collect(&r, arch, &e) < 0) {
        printf("# skipped: %s\n", e.message);
        return false;
    }
    runtime_release(&r);
    return true;
}

bool tiny_bundle_here(struct tiny_bundle *t) {
    struct err e = {0};
    struct bundle_result r;
    tiny_bundle_begin(t);
    if (!tiny_bundle_possible("amd64"))
        return false;
    struct bundle_request q = tiny_bundle_request(t, "amd64", "here", NULL);
    must(bundle_make(&r, &q, &e), &e);
    return true;
}

int tiny_shell(const char *command) {
    pid_t pid = fork();
    if (pid == 0) {
        unsetenv("LD_LIBRARY_PATH"); /* set for sanitized tests; not for the system's own programs */
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(126);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
