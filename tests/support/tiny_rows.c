/* Rows of the tiny task. */
#include "tiny_rows.h"
#include "tiny_task.h"
#include <stdio.h>
#include <stdlib.h>

void tiny_rows(struct rows *rows, const struct task *t, int64_t n, uint64_t seed) {
    struct rng r;
    *rows = (struct rows){.n = n};
    rng_seed(&r, seed);
    arena_init(&rows->arena);
    rows->records = calloc((size_t)n, sizeof *rows->records);
    if (!rows->records)
        abort();
    snprintf(rows->sha256, sizeof rows->sha256, "%064llu", (unsigned long long)seed);
    for (int64_t i = 0; i < n; i++)
        rows->records[i] = tiny_record(t, &rows->arena, &r);
}

void tiny_rows_release(struct rows *rows) {
    arena_release(&rows->arena);
    free(rows->records);
    *rows = (struct rows){0};
}
