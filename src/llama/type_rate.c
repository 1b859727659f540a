/* One product of one type, computed as llama.cpp would place it. */
#include "llama/type_rate.h"
#include "base/clock.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "llama/layout.h"
#include "llama/lm.h"
#include <math.h>
#include <stdlib.h>
#include <strings.h>

static const char *const names[N_TYPE_RATES] = {
#define X(name) #name,
    TYPE_RATES(X)
#undef X
};

const char *type_rate_name(enum type_rate t) {
    return names[t];
}

enum { WIDTH = TYPE_RATE_WIDTH, ROWS = TYPE_RATE_ROWS, LEAST_RUNS = 3, MOST_RUNS = 200 };
static const double FOR_S = 0.15;

/* Contexts hold descriptions alone, buffers what they describe. */
struct product {
    ggml_backend_t backend;
    struct ggml_context *weights, *others;
    ggml_backend_buffer_t weight_data, other_data;
    struct ggml_tensor *w, *x; /* [WIDTH, WIDTH], [ROWS, WIDTH] */
    struct ggml_cgraph *graph;
};

static void product_release(struct product *p) {
    ggml_backend_buffer_free(p->weight_data);
    ggml_backend_buffer_free(p->other_data);
    ggml_free(p->weights);
    ggml_free(p->others);
    ggml_backend_free(p->backend);
}

/* Those that weights can have: whole numbers and what products round their other side to are none. */
static enum ggml_type type_of(const char *name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        enum ggml_type t = (enum ggml_type)i;
        bool weights =
            t == GGML_TYPE_F16 || (ggml_is_quantized(t) && t != GGML_TYPE_Q8_1 && t != GGML_TYPE_Q8_K);
        if (weights && ggml_type_size(t) > 0 && strcasecmp(ggml_type_name(t), name) == 0)
            return t;
    }
    return GGML_TYPE_COUNT;
}

static void set_threads(ggml_backend_t backend, ggml_backend_dev_t device, int n_threads) {
    ggml_backend_set_n_threads_t set = (ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads");
    if (set)
        set(backend, n_threads);
}

static int product_init(struct product *p, enum ggml_type type, int n_threads, struct err *e) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    struct ggml_init_params room = {.mem_size = 16 * ggml_tensor_overhead() + ggml_graph_overhead(),
                                    .no_alloc = true};
    if (!device)
        return err_set(e, ERR_UNSUPPORTED, "type_rate_measure", "no kernels are loaded");
    p->backend = ggml_backend_dev_init(device, NULL);
    p->weights = ggml_init(room);
    p->others = ggml_init(room);
    if (!p->backend || !p->weights || !p->others)
        return err_set(e, ERR_NO_MEMORY, "type_rate_measure", "out of memory");
    set_threads(p->backend, device, n_threads);
    p->w = ggml_new_tensor_2d(p->weights, type, WIDTH, WIDTH);
    p->x = ggml_new_tensor_2d(p->others, GGML_TYPE_F32, WIDTH, ROWS);
    struct ggml_tensor *product = ggml_mul_mat(p->others, p->w, p->x);
    p->graph = ggml_new_graph_custom(p->others, 4, false);
    ggml_build_forward_expand(p->graph, product);
    p->weight_data = ggml_backend_alloc_ctx_tensors_from_buft(p->weights, layout_of(device, p->w, product));
    p->other_data = ggml_backend_alloc_ctx_tensors(p->others, p->backend);
    return p->weight_data && p->other_data ? 0
                                           : err_set(e, ERR_NO_MEMORY, "type_rate_measure", "out of memory");
}

static int fill(struct product *p, struct err *e) {
    size_t n = (size_t)WIDTH * WIDTH, bytes = ggml_nbytes(p->w);
    float *values = malloc(n * sizeof *values);
    void *rounded = malloc(bytes);
    struct rng r;
    int rc = values && rounded ? 0 : err_set(e, ERR_NO_MEMORY, "type_rate_measure", "out of memory");
    rng_seed(&r, 1);
    for (size_t i = 0; i < n && rc == 0; i++)
        values[i] = (float)rng_range(&r, -1000, 1000) / 1000;
    if (rc == 0) {
        ggml_backend_tensor_set(p->x, values, 0, ggml_nbytes(p->x));
        ggml_quantize_chunk(p->w->type, values, rounded, 0, WIDTH, WIDTH, NULL);
        ggml_backend_tensor_set(p->w, rounded, 0, bytes);
    }
    free(values);
    free(rounded);
    return rc;
}

static double fastest(struct product *p) {
    double best = INFINITY, start = clock_seconds(), at = start;
    for (int i = 0; i < MOST_RUNS && (i < LEAST_RUNS || at - start < FOR_S); i++) {
        ggml_backend_graph_compute(p->backend, p->graph);
        double now = clock_seconds();
        best = fmin(best, now - at);
        at = now;
    }
    return best;
}

int type_rate_measure(const char *type, int n_threads, double *macs_per_s, struct err *e) {
    struct product p = {0};
    enum ggml_type t = type_of(type);
    if (t == GGML_TYPE_COUNT || WIDTH % ggml_blck_size(t) != 0 || ggml_quantize_requires_imatrix(t))
        return err_set(e, ERR_UNSUPPORTED, "type_rate_measure", "%s is no type that can be measured", type);
    int rc = product_init(&p, t, n_threads, e);
    if (rc == 0)
        rc = fill(&p, e);
    if (rc == 0)
        *macs_per_s = (double)WIDTH * WIDTH * ROWS / fmax(fastest(&p), 1e-9);
    product_release(&p);
    return rc;
}

int type_rates_measure(double gmacs[N_TYPE_RATES], int n_threads, struct progress *p, struct err *e) {
    int rc = lm_backend_init(NULL, e);
    if (p)
        p->total = N_TYPE_RATES;
    for (int i = 0; i < N_TYPE_RATES && rc == 0; i++) {
        double macs_per_s = 0;
        rc = type_rate_measure(names[i], n_threads, &macs_per_s, e);
        gmacs[i] = macs_per_s / 1e9;
        progress_update(p, i + 1);
        if (rc == 0)
            rc = interrupt_check(e);
    }
    return rc;
}
