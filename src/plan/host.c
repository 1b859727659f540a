/* Times a few single-precision products through the table of operations that training uses, and looks who else computes meanwhile. */
#include "plan/host.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tensor/ops.h"
#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

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

/* Processor seconds that all programs had since the machine started, and this one's; 0 where the system does not say. */
struct used {
    double all, own;
};

static struct used used_now(void) {
    struct used u = {0};
    struct timespec t;
    double busy[3] = {0}, system[3] = {0};
    FILE *f = fopen("/proc/stat", "r");
    /* user nice system idle iowait irq softirq steal */
    if (f != NULL && fscanf(f, "cpu %lf %lf %lf %*f %*f %lf %lf %lf", &busy[0], &busy[1], &busy[2],
                            &system[0], &system[1], &system[2]) == 6)
        u.all =
            (busy[0] + busy[1] + busy[2] + system[0] + system[1] + system[2]) / (double)sysconf(_SC_CLK_TCK);
    if (f != NULL)
        fclose(f);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
        u.own = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    return u;
}

/* Share of the processors that others had between two moments. */
static double others_share(struct used before, struct used after, double seconds) {
    double others = (after.all - before.all) - (after.own - before.own);
    double share = others / (seconds * thread_core_count());
    return after.all > 0 && share > 0 ? fmin(share, 1) : 0;
}

int host_measure(struct predict_host *out, struct err *e) {
    struct ops o;
    struct used before = used_now();
    double begun = clock_seconds();
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
        code = host_measure_steps(&o, out, e);
        out->others = others_share(before, used_now(), clock_seconds() - begun);
    }
    o.free(&o, a);
    o.free(&o, b);
    o.free(&o, c);
    o.close(&o);
    return code;
}
