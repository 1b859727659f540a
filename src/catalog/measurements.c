/* throughput.csv: what people measured on boards, one row a run. */
#include "base/str.h"
#include "catalog/load.h"
#include "format/csv.h"
#include <string.h>

static const char *const columns[] = {
    "device",         "threads", "model",   "params_b", "quant", "pp_tps", "tg_tps", "source",
    "model_file_mib", "test",    "runtime", "tier",     "note",  "cpu",    NULL};
enum column {
    DEVICE,
    THREADS,
    MODEL,
    PARAMS,
    QUANT,
    READ,
    WRITE,
    SOURCE,
    FILE_MIB,
    TEST,
    RUNTIME,
    TIER,
    NOTE,
    CPU,
    N_COLUMNS
};

/* An empty field is not measured: 0. */
static int number(const struct csv_reader *r, int column, double *out, struct err *e) {
    const char *text = csv_reader_field(r, column);
    *out = 0;
    if (text[0] == '\0')
        return 0;
    if (!str_to_double(text, out) || *out < 0)
        return csv_reader_error(r, column, e, "'%s' is not a number", text);
    return 0;
}

static int read_row(struct catalog *c, const struct csv_reader *r, const int at[N_COLUMNS],
                    struct catalog_measurement *out, struct err *e) {
    double threads = 0, params_b = 0, file_mib = 0;
    if (number(r, at[THREADS], &threads, e) < 0 || number(r, at[PARAMS], &params_b, e) < 0 ||
        number(r, at[FILE_MIB], &file_mib, e) < 0 || number(r, at[READ], &out->prefill_tps, e) < 0 ||
        number(r, at[WRITE], &out->decode_tps, e) < 0)
        return ERR_INPUT;
    const char *note = csv_reader_field(r, at[NOTE]);
    out->threads = (int)threads;
    out->params = params_b * 1e9;
    out->file_bytes = file_mib * 1024 * 1024;
    out->device = arena_strdup(&c->arena, csv_reader_field(r, at[DEVICE]));
    out->cpu = arena_strdup(&c->arena, csv_reader_field(r, at[CPU]));
    out->model = arena_strdup(&c->arena, csv_reader_field(r, at[MODEL]));
    out->quantisation = arena_strdup(&c->arena, csv_reader_field(r, at[QUANT]));
    out->test = arena_strdup(&c->arena, csv_reader_field(r, at[TEST]));
    out->runtime = arena_strdup(&c->arena, csv_reader_field(r, at[RUNTIME]));
    out->source = arena_strdup(&c->arena, csv_reader_field(r, at[SOURCE]));
    out->tier = csv_reader_field(r, at[TIER])[0];
    out->gpu = strstr(out->runtime != NULL ? out->runtime : "", "CUDA") != NULL;
    out->repeat = out->tier == 'R' || strstr(note, "not as an extra calibration point") != NULL;
    if (out->device == NULL || out->cpu == NULL || out->model == NULL || out->quantisation == NULL ||
        out->test == NULL || out->runtime == NULL || out->source == NULL)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the measurements");
    return 0;
}

static int read_rows(struct catalog *c, struct csv_reader *r, const char *path, struct err *e) {
    int at[N_COLUMNS];
    for (int i = 0; i < N_COLUMNS; i++)
        if ((at[i] = csv_reader_column(r, columns[i])) < 0)
            return err_set(e, ERR_FORMAT, "catalog_load", "%s has no column '%s'", path, columns[i]);
    int64_t capacity = 0;
    int code;
    while ((code = csv_reader_next(r, e)) > 0) {
        if (mem_grow((void **)&c->measurements, &capacity, c->n_measurements + 1, sizeof *c->measurements) <
            0)
            return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the measurements");
        struct catalog_measurement *row = &c->measurements[c->n_measurements];
        *row = (struct catalog_measurement){0};
        if ((code = read_row(c, r, at, row, e)) < 0)
            return code;
        c->n_measurements++;
    }
    return code;
}

int catalog_load_measurements(struct catalog *c, const char *path, struct err *e) {
    struct csv_reader *r = NULL;
    int code = csv_reader_open(&r, path, &(struct csv_options){.delimiter = ','}, e);
    if (code == 0)
        code = read_rows(c, r, path, e);
    csv_reader_close(r);
    return code;
}
