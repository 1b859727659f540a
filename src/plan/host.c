/* Times a few single-precision products through the table of operations that training uses. */
#include "plan/host.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tensor/ops.h"
#include <math.h>

enum { SIDE = 768, WARM_UP = 1, MIN_RUNS = 3 };
static const double LONG_ENOUGH_S = 0.5;

static double best_product_s(const struct ops *o, const float *a, const float *b, float *c) {
    double best = INFINITY, begin = clock_seconds();
    for (int i = 0; i < WARM_UP + MIN_RUNS || clock_seconds() - begin < LONG_ENOUGH_S; i++) {
        double start = clock_seconds();
        o->gemm(o, false, true, SIDE, SIDE, SIDE, 1, a, SIDE, b, SIDE, 0, c, SIDE);
        double took = clock_seconds() - start;
        if (i >= WARM_UP && took < best)
            best = took;
    }
    return best;
}

int host_measure(struct predict_host *out, struct err *e) {
    struct ops o;
    int code = ops_open_cpu(&o, 0, e);
    if (code < 0)
        return err_context(e, "measuring this machine");
    size_t bytes = (size_t)SIDE * SIDE * sizeof(float);
    float *a = o.alloc(&o, bytes), *b = o.alloc(&o, bytes), *c = o.alloc(&o, bytes);
    if (a == NULL || b == NULL || c == NULL) {
        code = err_set(e, ERR_NO_MEMORY, "host_measure", "out of memory for a product of side %d", SIDE);
    } else {
        for (int i = 0; i < SIDE * SIDE; i++)
            a[i] = b[i] = (float)(i % 7) / 8;
        double s = best_product_s(&o, a, b, c);
        *out = (struct predict_host){.macs_per_s = pow(SIDE, 3) / s,
                                     .memory_bytes = (double)mem_available_bytes(),
                                     .measured_size = SIDE,
                                     .threads = o.n_threads};
    }
    o.free(&o, a);
    o.free(&o, b);
    o.free(&o, c);
    o.close(&o);
    return code;
}
