/* The catalogue: devices, base models and public speed measurements, as data with a source for every figure.
 *
 *     struct catalog c;
 *     catalog_load(&c, project_dir, &e);                     // NULL: no project's own entries
 *     const struct catalog_device *d;
 *     catalog_device_find(&c, "rpi5-8gb", &d, &e);           // ERR_NOT_FOUND with the nearest name as hint
 *     catalog_release(&c);
 *
 * Files: catalog/devices.yaml, models.yaml and throughput.csv of the data folder (data.h). A user's own entries of the
 * same form, devices.yaml and models.yaml, are read from $XDG_CONFIG_HOME/edgestill (else ~/.config/edgestill) and from
 * the project folder; a later entry of the same name replaces an earlier one.
 *
 * What nobody measured is `unknown` and stays so: figure.known is false and the planner widens its bounds. Everything lives
 * in the catalogue's arena and is immutable after catalog_load. */
#ifndef CATALOG_CATALOG_H
#define CATALOG_CATALOG_H

#include "base/err.h"
#include "base/mem.h"
#include "llama/type_rate.h"
#include <stdbool.h>
#include <stdint.h>

/* One figure: `[2400, sbc-bench]`, `[4805-6025, sbc-bench]` (value: the middle) or `unknown` in the file. */
struct catalog_figure {
    bool known;
    double value, low, high;
    const char *source; /* citation, resolved from the file's `sources` table; NULL when unknown */
};

#define DEVICE_FIGURES(X)                                                                                    \
    X(memory_mb, "memory the board has")                                                                     \
    X(os_reserved_mb, "memory the operating system keeps")                                                   \
    X(cores, "cores of the fast cluster")                                                                    \
    X(clock_mhz, "clock of the fast cluster")                                                                \
    X(second_cores, "cores of the next cluster, which help where the fast ones are fewer than four")         \
    X(second_mhz, "clock of the next cluster")                                                               \
    X(theoretical_gbps, "memory bandwidth by clock and width")                                               \
    X(read_peak_gbps, "memory bandwidth, measured, reading")                                                 \
    X(memcpy_mbps, "memcpy by one thread")                                                                   \
    X(memset_mbps, "memset by one thread")                                                                   \
    X(decode_gbps, "weights read per second while a model writes, measured")

/* Tensor types of which a device may say how fast it reads prompts: `reads: {Q4_K: [113, probe]}`, 10^9 multiply-accumulates a
 * second of the threads that a model would run with. Named as in plan/mix.h. */
#define CATALOG_READS(X) TYPE_RATES(X)
enum catalog_read {
#define X(name) CATALOG_READ_##name,
    CATALOG_READS(X)
#undef X
        CATALOG_N_READS
};
const char *catalog_read_type(enum catalog_read r); /* "Q4_K" */

struct catalog_device {
    const char *name;        /* rpi5-8gb */
    const char *title;       /* Raspberry Pi 5, 8 GB */
    const char *family;      /* raspberry-pi-5: shared by the memory sizes of one board */
    const char *measured_as; /* name in throughput.csv; NULL: nobody measured it */
    const char *soc;
    const char *arch;        /* aarch64, armv7, x86_64, riscv64 */
    const char *core;        /* cortex-a76: names the class whose rates apply, see cores in devices.yaml */
    const char *second_core; /* class of the next cluster; NULL: none is listed */
    const char *dotprod, *i8mm, *sve; /* yes, no, unknown, n/a */
    const char *note;                 /* NULL: none */
    const char *origin;               /* file it came from */
#define X(name, text) struct catalog_figure name;
    DEVICE_FIGURES(X)
#undef X
    struct catalog_figure reads[CATALOG_N_READS];
};

/* A core class: multiply-accumulates a core does in a clock tick relative to another class, for devices that nobody measured. */
struct catalog_core {
    const char *name;                /* cortex-a35 */
    const char *like;                /* the class whose measurements stand in; itself when it was measured */
    struct catalog_figure relative;  /* speed at the same clock, as a share of `like` */
    struct catalog_figure seven_zip; /* 7-zip's single-threaded score per GHz: weighs clusters of one chip */
    bool in_order;                   /* cannot compute while it waits for memory */
    bool scalar;                     /* llama.cpp has no vector code for it */
};

#define MODEL_SCORES(X) X(mmlu) X(ifeval) X(gsm8k)

struct catalog_model {
    const char *name;               /* qwen3-0.6b */
    const char *title;              /* Qwen3-0.6B */
    const char *const *measured_as; /* names in throughput.csv, ended by NULL */
    const char *arch;               /* GGUF's general.architecture: llama, qwen2, qwen3, gemma3, ... */
    const char *license, *hf_repo, *gguf_repo, *template_note, *note, *source, *origin;
    const char *file16,
        *sha256;       /* 16-bit GGUF on the hub, OWNER/REPOSITORY/FILE, and its checksum; NULL: not known */
    const char *strip; /* what must be stripped from its answers or template; NULL: nothing known */
    const char *unsupported; /* why the trainer cannot take it; NULL: it can */
    bool shape_known;
    double params; /* published or computed count; 0: unknown */
    int n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim, n_vocab, n_ctx_train;
    bool tied, qk_norm, qkv_bias, post_norms; /* tied: the head is the input embedding */
#define X(name) struct catalog_figure name;
    MODEL_SCORES(X)
#undef X
};

/* One row of throughput.csv. Only tier A rows of CPUs calibrate; X is the paper's row, which nothing may be fitted to. */
struct catalog_measurement {
    const char *device, *cpu, *model, *quantisation, *test, *runtime, *source;
    char tier;
    bool gpu, repeat; /* repeat: a second run of a row that is there already */
    int threads;      /* 0: not stated */
    double params, prefill_tps, decode_tps, file_bytes; /* 0: not measured */
};

struct catalog {
    struct arena arena;
    struct catalog_device *devices;
    struct catalog_core *cores;
    struct catalog_model *models;
    struct catalog_measurement *measurements;
    int64_t n_devices, n_cores, n_models, n_measurements;
};

int catalog_load(struct catalog *c, const char *project_dir, struct err *e);
void catalog_release(struct catalog *c);

/* By name, ignoring case. ERR_NOT_FOUND with up to three near names and the verb that lists them all. */
int catalog_device_find(const struct catalog *c, const char *name, const struct catalog_device **out,
                        struct err *e);
int catalog_model_find(const struct catalog *c, const char *name, const struct catalog_model **out,
                       struct err *e);
const struct catalog_core *catalog_core_find(const struct catalog *c, const char *name); /* NULL: none */

#endif
