/* The measurements of a probe. */
#include "plan/probe.h"

#include "base/clock.h"
#include "base/mem.h"
#include "plan/host.h"
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 3, BYTES_WIDE = 4096, BYTES_ROUNDS = 20000 };
static const int64_t LARGEST = 256 << 20, SMALLEST = 32 << 20;

struct reader {
    pthread_t thread;
    const uint64_t *from;
    int64_t n;
    uint64_t sum;
};

static void *read_part(void *context) {
    struct reader *r = context;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (int64_t i = 0; i + 3 < r->n; i += 4) {
        a += r->from[i];
        b += r->from[i + 1];
        c += r->from[i + 2];
        d += r->from[i + 3];
    }
    r->sum = a + b + c + d;
    return NULL;
}

/* Bytes a second of n threads that each read a part of the memory; 0 when a thread could not be started. */
static double read_rate(const uint64_t *memory, int64_t n_words, int n_threads) {
    struct reader readers[PROBE_MOST_THREADS];
    double best = 0;
    for (int k = 0; k < REPEATS; k++) {
        int started = 0;
        double start = clock_seconds();
        for (; started < n_threads; started++) {
            readers[started] =
                (struct reader){.from = memory + n_words / n_threads * started, .n = n_words / n_threads};
            if (pthread_create(&readers[started].thread, NULL, read_part, &readers[started]) != 0)
                break;
        }
        for (int i = 0; i < started; i++)
            pthread_join(readers[i].thread, NULL);
        double rate = 8.0 * (double)n_words / (clock_seconds() - start);
        best = started == n_threads ? fmax(best, rate) : best;
    }
    return best;
}

static double copy_rate(char *memory, int64_t n_bytes, bool copy) {
    double best = 0;
    for (int k = 0; k < REPEATS; k++) {
        double start = clock_seconds();
        if (copy)
            memcpy(memory, memory + n_bytes / 2, (size_t)(n_bytes / 2));
        else
            memset(memory, k, (size_t)n_bytes);
        best = fmax(best, (double)(copy ? n_bytes / 2 : n_bytes) / (clock_seconds() - start));
    }
    return best;
}

/* Bytes times bytes into 32-bit sums, in whatever instructions the compiler chose: a lower bound of what kernels reach. */
static double byte_rate(void) {
    static int8_t a[BYTES_WIDE], b[BYTES_WIDE];
    volatile int32_t keep = 0;
    for (int i = 0; i < BYTES_WIDE; i++)
        a[i] = (int8_t)(i % 127), b[i] = (int8_t)(i % 31);
    double start = clock_seconds();
    for (int k = 0; k < BYTES_ROUNDS; k++) {
        int32_t sum = keep;
        for (int i = 0; i < BYTES_WIDE; i++)
            sum += a[i] * b[i];
        keep = sum & 0xff;
        a[k % BYTES_WIDE] = (int8_t)keep;
    }
    return (double)BYTES_WIDE * BYTES_ROUNDS / (clock_seconds() - start);
}

int probe_rates_measure(struct probe_rates *out, int n_threads, struct progress *p, struct err *e) {
    int64_t available = mem_available_bytes(),
            bytes = available > 0 && available / 4 < LARGEST ? available / 4 : LARGEST;
    struct predict_host host;
    struct probe_rates r = {.n_threads = n_threads < PROBE_MOST_THREADS ? n_threads : PROBE_MOST_THREADS};
    char *memory = bytes >= SMALLEST / 2 ? malloc((size_t)bytes) : NULL;
    if (memory == NULL)
        return err_set(e, ERR_NO_MEMORY, "probe_rates_measure", "too little memory is free to measure it");
    r.memset_mbps = copy_rate(memory, bytes, false) / 1e6; /* also makes the pages real */
    r.memcpy_mbps = copy_rate(memory, bytes, true) / 1e6;
    for (int n = 1; n <= r.n_threads; n++)
        r.read_gbps[n] = read_rate((const uint64_t *)(const void *)memory, bytes / 8, n) / 1e9;
    free(memory);
    r.int8_gmacs = byte_rate() / 1e9;
    int code = host_measure(&host, e);
    if (code == 0)
        code = type_rates_measure(r.reads_gmacs, n_threads, p, e);
    if (code == 0) {
        r.f32_gmacs = host.macs_per_s / 1e9;
        *out = r;
    }
    return code;
}
