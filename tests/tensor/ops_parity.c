/* Compares a fast table of operations with the reference, operation by operation, and measures its speed.
 *
 *     ops_parity [--table cuda|cpu] [--time] [--only NAME]     exit 0: all agree, 1: not, 77: that table cannot be had here
 *
 * One table of cases drives it all: each names an operation and a size. `arrays` says which arrays the operation takes and
 * how they are filled, `call` calls it. Small cases are computed by both tables and by the fast one twice: results must agree
 * within the case's tolerance, and the two runs to the bit. Large cases (--time) are those of a step of training a model of
 * 8 million parameters on 32,768 packed tokens; how often a step does each gives the step's time.
 *
 * Needs a C compiler and nothing else, for machines that have a GPU and little besides; src/tensor/cuda/README.md has the
 * command in one line:
 *
 *     gcc -std=c17 -D_GNU_SOURCE -O2 -Isrc -o build/ops_parity tests/tensor/ops_parity.c tests/tensor/ops_parity_cases.c
 *         src/tensor/cuda_open.c src/tensor/ref/attention_ref.c src/tensor/ref/ops_ref.c src/tensor/host_memory.c
 *         src/base/err.c -ldl -lm
 *
 * With -DPARITY_CPU and the library of the main build (build/libedgestill.a) it knows the processor's table too. */
#include "ops_parity.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The ways to multiply, and the largest difference |a - b| / (rms + |b|) from a value b of the reference's array, rms being
 * the array's root mean square. Exact: sums in another order, exp and division of another library; measured (in the emulation)
 * 4e-6 at most. TF32: factors of 10 bits of mantissa, each off by 2^-11 of itself at most; measured 4e-3 at most, in
 * attention's backward pass. */
static const struct mode {
    const char *tf32, *name;
    double tolerance;
    bool products_only; /* the others have been compared */
} modes[] = {{"0", "exact products", 3e-5, false}, {"1", "products in TF32", 1e-2, true}};

struct options {
    const char *table, *only;
    bool time;
};

static uint64_t random_next(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double random_uniform(uint64_t *state) {
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

static float random_normal(uint64_t *state) {
    double u = 1 - random_uniform(state), v = random_uniform(state);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void *memory_get(size_t size_bytes) {
    void *p = malloc(size_bytes ? size_bytes : 1);
    if (!p) {
        fprintf(stderr, "ops_parity: out of memory\n");
        exit(1);
    }
    return p;
}

static void array_fill(struct array *a, uint64_t *state) {
    int32_t *integers = a->host = memory_get(a->n * sizeof(float));
    float *values = a->host;
    for (size_t i = 0; i < a->n; i++)
        switch (a->fill) {
        case FILL_NORMAL:
            values[i] = (float)a->amount * random_normal(state);
            break;
        case FILL_POSITIVE:
            values[i] = (float)(a->amount * (0.5 + random_uniform(state)));
            break;
        case FILL_POISON:
            values[i] = NAN;
            break;
        case FILL_TOKENS: /* a quarter of them the same, as the newline of a template */
            integers[i] = random_next(state) % 4 ? (int32_t)(random_next(state) % (uint64_t)a->amount) : 1;
            break;
        case FILL_TARGETS:
            integers[i] = random_next(state) % 4 ? (int32_t)(random_next(state) % (uint64_t)a->amount) : -1;
            break;
        case FILL_DISTINCT:
            integers[i] = (int32_t)((i * 7 + 3) % (size_t)a->amount);
            break;
        case FILL_POSITIONS:
            integers[i] = (int32_t)(i % (size_t)a->amount);
            break;
        }
}

static void problem_make(struct problem *p, const struct parity_case *c) {
    *p = (struct problem){.size = &c->size};
    c->op->arrays(p);
    uint64_t state = 1;
    for (int i = 0; i < p->n_arrays; i++)
        array_fill(&p->array[i], &state);
}

static void problem_release(struct problem *p) {
    for (int i = 0; i < p->n_arrays; i++)
        free(p->array[i].host);
    free(p->start);
}

/* The arrays of a problem in a table's memory. */
static bool arrays_upload(const struct ops *o, const struct problem *p, void **to) {
    for (int i = 0; i < p->n_arrays; i++) {
        size_t size_bytes = p->array[i].n * sizeof(float);
        to[i] = o->alloc(o, size_bytes);
        if (!to[i]) {
            fprintf(stderr, "ops_parity: the table %s has no memory left\n", o->name);
            return false;
        }
        o->upload(o, to[i], p->array[i].host, size_bytes);
    }
    return true;
}

static void arrays_release(const struct ops *o, const struct problem *p, void **arrays) {
    for (int i = 0; i < p->n_arrays; i++)
        o->free(o, arrays[i]);
}

/* Compute once; results [n_arrays] become new memory of the host (NULL where the operation only reads). */
static bool compute(const struct ops *o, const struct parity_case *c, struct problem *p, float **results) {
    void *arrays[MAX_ARRAYS] = {0};
    bool done = arrays_upload(o, p, arrays);
    if (done)
        c->op->call(o, arrays, p);
    for (int i = 0; done && i < p->n_arrays; i++) {
        results[i] = NULL;
        if (!p->array[i].result)
            continue;
        results[i] = memory_get(p->array[i].n * sizeof(float));
        o->download(o, results[i], arrays[i], p->array[i].n * sizeof(float));
    }
    arrays_release(o, p, arrays);
    return done;
}

static double difference(const float *a, const float *reference, size_t n) {
    double squares = 0, worst = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)reference[i] * reference[i];
    double rms = sqrt(squares / (double)(n ? n : 1));
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - reference[i]) / (rms + fabs((double)reference[i]));
        if (!(d <= worst) && a[i] != reference[i]) /* a NaN is the worst of all */
            worst = d;
    }
    return worst;
}

/* Of all results of a case, the worst difference; -1 when two runs of the same differ. */
static double case_compare(const struct ops *o, const struct ops *reference, const struct parity_case *c) {
    struct problem p;
    float *once[MAX_ARRAYS] = {0}, *twice[MAX_ARRAYS] = {0}, *expected[MAX_ARRAYS] = {0};
    double worst = 0;
    problem_make(&p, c);
    if (!compute(o, c, &p, once) || !compute(o, c, &p, twice) || !compute(reference, c, &p, expected))
        exit(1);
    for (int i = 0; i < p.n_arrays; i++) {
        if (!p.array[i].result)
            continue;
        double d = difference(once[i], expected[i], p.array[i].n);
        worst = worst >= 0 && !(d <= worst) ? d : worst;
        if (memcmp(once[i], twice[i], p.array[i].n * sizeof(float)) != 0)
            worst = -1;
        free(once[i]);
        free(twice[i]);
        free(expected[i]);
    }
    problem_release(&p);
    return worst;
}

/* 0 when all cases of one mode agree. */
static int parity_run(const struct ops *o, const struct ops *reference, const struct mode *mode,
                      const struct options *options) {
    int n_bad = 0;
    printf("%s, %s: worst difference |a - b| / (rms + |b|)\n", o->name, mode->name);
    for (int i = 0; i < parity_case_count; i++) {
        const struct parity_case *c = &parity_cases[i];
        if (c->per_step > 0 || (options->only && strcmp(options->only, c->op->name) != 0) ||
            (mode->products_only && !c->op->products))
            continue;
        double limit = mode->tolerance, d = case_compare(o, reference, c);
        bool good = d >= 0 && d <= limit;
        printf("  %-20s %-44s %9.2e  %s\n", c->op->name, c->text, d,
               good    ? "ok"
               : d < 0 ? "FAILED: two runs differ"
                       : "FAILED");
        fflush(stdout);
        n_bad += !good;
    }
    return n_bad;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double calls_time(const struct ops *o, const struct parity_case *c, struct problem *p, void **arrays,
                         int n) {
    float probe;
    double begin = seconds();
    for (int i = 0; i < n; i++)
        c->op->call(o, arrays, p);
    o->download(o, &probe, arrays[0], sizeof probe); /* waits for all of them */
    return seconds() - begin;
}

/* Seconds of one call: after two to warm up, the mean of as many as take a quarter of a second. */
static double case_time(const struct ops *o, const struct parity_case *c, struct problem *p) {
    void *arrays[MAX_ARRAYS] = {0};
    if (!arrays_upload(o, p, arrays))
        exit(1);
    calls_time(o, c, p, arrays, 2);
    int n = 1;
    double took;
    while ((took = calls_time(o, c, p, arrays, n)) < 0.25)
        n *= 2;
    arrays_release(o, p, arrays);
    return took / n;
}

static void time_run(const struct ops *o, const struct options *options) {
    double step = 0;
    printf("%s: one call, and a step of training (8 layers, %d tokens)\n", o->name, STEP_TOKENS);
    printf("  %-20s %-44s %9s %8s %8s %5s %9s\n", "", "", "us", "GB/s", "TFLOP/s", "calls", "ms a step");
    for (int i = 0; i < parity_case_count; i++) {
        const struct parity_case *c = &parity_cases[i];
        if (c->per_step == 0 || (options->only && strcmp(options->only, c->op->name) != 0))
            continue;
        struct problem p;
        problem_make(&p, c);
        double t = case_time(o, c, &p), bytes = 0;
        for (int j = 0; j < p.n_arrays; j++) /* read, written, or both */
            bytes += (double)p.array[j].n * sizeof(float) *
                     (p.array[j].result && p.array[j].fill != FILL_POISON ? 2 : 1);
        printf("  %-20s %-44s %9.1f %8.0f %8.1f %5d %9.3f\n", c->op->name, c->text, t * 1e6, bytes / t * 1e-9,
               p.flops / t * 1e-12, c->per_step, t * c->per_step * 1e3);
        fflush(stdout);
        step += t * c->per_step;
        problem_release(&p);
    }
    printf("  a step: %.2f ms, %.0f tokens/s\n", step * 1e3, STEP_TOKENS / step);
}

static int table_open(struct ops *o, const struct options *options, struct err *e) {
    if (strcmp(options->table, "cuda") == 0)
        return ops_open_cuda(o, NULL, e);
#ifdef PARITY_CPU
    if (strcmp(options->table, "cpu") == 0)
        return ops_open_cpu(o, 0, e);
#endif
    return err_set(e, ERR_UNSUPPORTED, "ops_parity", "this program was built without the table %s",
                   options->table);
}

/* A table that failed says so: nothing that comes from it afterwards looks like a result. */
static int health_check(struct ops *o) {
    struct err e = {0};
    float probe = 0, values[1024] = {0};
    const int32_t start[2] = {0, 1};
    float *p = o->alloc(o, sizeof values);
    int code = o->reserve(o, 1 << 20, &e);
    if (code < 0)
        printf("%s reports an error: %s\n", o->name, e.message);
    if (code < 0 || strcmp(o->name, "cuda") != 0) {
        o->free(o, p);
        return code < 0;
    }
    struct attention_shape too_wide = {.n_tokens = 1,
                                       .n_heads = 1,
                                       .n_kv_heads = 1,
                                       .head_dim = 1000,
                                       .scale = 1,
                                       .n_seq = 1,
                                       .start = start};
    o->attention(o, p, p, p, p, p, &too_wide);
    o->download(o, &probe, p, sizeof probe);
    bool told = isnan(probe) && isnan(o->sum_squares(o, p, 1)) && o->reserve(o, 0, &e) == ERR_UNSUPPORTED;
    o->free(o, p);
    printf("%s after an error: %s\n", o->name,
           told ? "poison, and reserve reports it: ok" : "FAILED: silence");
    return !told;
}

static int options_read(struct options *options, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--time") == 0)
            options->time = true;
        else if (more && strcmp(argv[i], "--table") == 0)
            options->table = argv[++i];
        else if (more && strcmp(argv[i], "--only") == 0)
            options->only = argv[++i];
        else {
            fprintf(stderr, "usage: ops_parity [--table cuda|cpu] [--time] [--only NAME]\n");
            return 2;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    struct options options = {.table = "cuda"};
    struct ops reference, o;
    struct err e = {0};
    if (options_read(&options, argc, argv))
        return 2;
    if (ops_open_ref(&reference, &e) < 0)
        return 1;
    int n_bad = 0, n_modes = strcmp(options.table, "cuda") == 0 ? 2 : 1;
    for (int i = 0; i < n_modes; i++) {
        setenv("EDGESTILL_CUDA_TF32", modes[i].tf32, 1);
        if (table_open(&o, &options, &e) < 0) {
            printf("skipped: %s%s%s\n", e.message, *e.hint ? "; " : "", e.hint);
            return 77;
        }
        n_bad += parity_run(&o, &reference, &modes[i], &options);
        if (options.time && i == n_modes - 1)
            time_run(&o, &options);
        n_bad += health_check(&o);
        o.close(&o);
    }
    printf("%s\n", n_bad ? "FAILED" : "all agree");
    return n_bad > 0;
}
