/* Figures 6.1 to 6.6: the device's program beside llama.cpp's own server, within a memory limit, emulated, under load, deployed.
 *
 *     make bench-device
 *     DEVICE_PARTS=0 make bench-device             makes the models alone (a quarter of an hour, most of it compress's choice for 6.2;
 *                                                  kept in build/bench/shapes)
 *     DEVICE_PARTS=1,5 make bench-device           some figures; the others stay in the file as they were measured before
 *     DEVICE_MODEL=qwen3|tinyllama                 6.1 for one of the models
 *     DEVICE_RUNS=5 DEVICE_STARTS=1 DEVICE_LOAD_S=10   a quick look
 *     DEVICE_SMALL=1                               small models: does the measurement run?
 *     DEVICE_THREADS=1                             threads of all servers (default: the cores; 6.2: one)
 *
 * Models have real shapes and random weights (bench/shapes.h): what the weights say changes neither speed nor memory. Both servers run
 * at the same time, read the same file with the same number of threads, and are asked in turn over loopback by the same client; the
 * records change from one question to the next. Processor time is that of all threads of the server; on a machine that does other
 * work it says more than wall time. Nothing here was measured on a device. */
#include "base/file.h"
#include "bench/device_parts.h"
#include "bench/device_race.h"
#include "llama/lm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the whole ---- */

int bench_threads(void) {
    static int cores;
    if (!cores)
        cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return (int)chain_setting("DEVICE_THREADS", cores);
}

static bool wanted(char part) {
    const char *parts = getenv("DEVICE_PARTS");
    return !parts || !*parts || strchr(parts, part);
}

static bool wanted_model(const char *name) {
    const char *model = getenv("DEVICE_MODEL");
    return !model || !*model || strcmp(model, name) == 0;
}

static void report(struct figures *f, const char *id, const char *name, int rc, struct err *e) {
    if (rc < 0)
        figures_skip(f, id, name, e->message);
    *e = (struct err){0};
}

int main(void) {
    struct err e = {0};
    char text[64];
    struct figures *f = figures_new("device");
    figures_update(f);
    if (file_make_folders("build/bench/device-work", &e) < 0 || lm_backend_init(NULL, &e) < 0) {
        fprintf(stderr, "bench: %s\n", e.message);
        return 2;
    }
    setenv("GOMP_SPINCOUNT", "10000", 0); /* for both servers: threads that wait soon sleep */
    snprintf(text, sizeof text, "%d threads of %ld cores, kernels %s", bench_threads(),
             sysconf(_SC_NPROCESSORS_ONLN), lm_backend_name());
    figures_context(f, "machine", text);
    if (wanted('0'))
        report(f, "6.0", "making the models", bench_shapes(&e), &e);
    if (wanted('1') && wanted_model("qwen3"))
        report(f, "6.1", "qwen3-0.6b", bench_race(f, shape_pick(&shape_qwen3), &e), &e);
    if (wanted('1') && wanted_model("tinyllama"))
        report(f, "6.1", "tinyllama-1.1b", bench_race(f, shape_pick(&shape_tinyllama), &e), &e);
    if (wanted('2'))
        report(f, "6.2", "against the paper's set-up", bench_paper(f, &e), &e);
    if (wanted('3'))
        report(f, "6.3", "within a memory limit", bench_memory_limit(f, &e), &e);
    if (wanted('4'))
        report(f, "6.4", "emulated self-tests", bench_emulated(f, &e), &e);
    if (wanted('5'))
        report(f, "6.5", "HTTP under load", bench_load(f, &e), &e);
    if (wanted('6'))
        report(f, "6.6", "deployment", bench_deployment(f, &e), &e);
    return figures_finish(f);
}
