/* throughput.csv: what people measured on boards, one row a run. */
#include "base/str.h"
#include "catalog/load.h"
#include "format/csv.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
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

/* Who reads: what is wrong in the catalogue's own file is an error; of others' files what can be read is taken. */
struct reading {
    struct csv_reader *csv;
    int at[N_COLUMNS];
    bool lenient;
};

static const char *field(const struct reading *r, enum column column) {
    return r->at[column] < 0 ? "" : csv_reader_field(r->csv, r->at[column]);
}

/* "~12.3 +- 0.4" is 12.3; words are no figure. */
static double number_in(const char *text) {
    text += strcspn(text, "0123456789.");
    char *end = NULL;
    double value = strtod(text, &end);
    return end != text && isfinite(value) && value > 0 ? value : 0;
}

/* An empty field is not measured: 0. */
static int number(const struct reading *r, enum column column, double *out, struct err *e) {
    const char *text = field(r, column);
    *out = 0;
    if (text[0] == '\0')
        return 0;
    if (str_to_double(text, out) && isfinite(*out) && *out >= 0)
        return 0;
    if (!r->lenient)
        return csv_reader_error(r->csv, r->at[column], e, "'%s' is not a number", text);
    *out = text[0] == '-' ? 0 : number_in(text);
    return 0;
}

/* Runs of graphics and neural processors: by what their rows say of runtime, processor and device. */
static bool runs_elsewhere(const struct catalog_measurement *m) {
    static const char *const words[] = {"CUDA",  "Vulkan", "Metal",   "ROCm",    "SYCL",   "OpenCL",
                                        "HIP",   "GPU",    "RKLLM",   "RKNN",    "NPU",    "TensorRT",
                                        "Hailo", "MLX",    "Hexagon", "GeForce", "Radeon", "RTX"};
    const char *const texts[] = {m->runtime, m->cpu, m->device};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        bool processor = strcasestr(texts[t], "cpu only") != NULL || strcasestr(texts[t], "no gpu") != NULL ||
                         strcasestr(texts[t], "(cpu") != NULL || strcasestr(texts[t], "w/ radeon") != NULL ||
                         strcasestr(texts[t], "with radeon") != NULL;
        for (size_t i = 0; !processor && i < sizeof words / sizeof *words; i++) {
            const char *at = strcasestr(texts[t], words[i]);
            if (at != NULL && (at == texts[t] || !isalpha((unsigned char)at[-1])))
                return true;
        }
    }
    return false;
}

static int read_row(struct catalog *c, const struct reading *r, struct catalog_measurement *out,
                    struct err *e) {
    double threads = 0, params_b = 0, file_mib = 0;
    if (number(r, THREADS, &threads, e) < 0 || number(r, PARAMS, &params_b, e) < 0 ||
        number(r, FILE_MIB, &file_mib, e) < 0 || number(r, READ, &out->prefill_tps, e) < 0 ||
        number(r, WRITE, &out->decode_tps, e) < 0)
        return ERR_INPUT;
    const char *note = field(r, NOTE);
    out->threads = (int)threads;
    out->params = params_b * 1e9;
    out->file_bytes = file_mib * 1024 * 1024;
    out->device = arena_strdup(&c->arena, field(r, DEVICE));
    out->cpu = arena_strdup(&c->arena, field(r, CPU));
    out->model = arena_strdup(&c->arena, field(r, MODEL));
    out->quantisation = arena_strdup(&c->arena, field(r, QUANT));
    out->test = arena_strdup(&c->arena, field(r, TEST));
    out->runtime = arena_strdup(&c->arena, field(r, RUNTIME));
    out->source = arena_strdup(&c->arena, field(r, SOURCE));
    out->tier = field(r, TIER)[0];
    out->repeat = out->tier == 'R' || strstr(note, "not as an extra calibration point") != NULL;
    if (out->device == NULL || out->cpu == NULL || out->model == NULL || out->quantisation == NULL ||
        out->test == NULL || out->runtime == NULL || out->source == NULL)
        return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the measurements");
    out->gpu = runs_elsewhere(out);
    return 0;
}

/* A file of others' needs no more than whose row it is and one speed. */
static bool may_be_missing(const struct reading *r, enum column column) {
    return r->lenient && column != DEVICE && column != MODEL && column != QUANT &&
           (r->at[READ] >= 0 || r->at[WRITE] >= 0);
}

static int read_rows(struct catalog *c, struct reading *r, const char *path, struct err *e) {
    for (int i = 0; i < N_COLUMNS; i++)
        r->at[i] = csv_reader_column(r->csv, columns[i]);
    for (int i = 0; i < N_COLUMNS; i++)
        if (r->at[i] < 0 && !may_be_missing(r, (enum column)i))
            return err_set(e, ERR_FORMAT, "catalog_load", "%s has no column '%s'", path, columns[i]);
    int64_t capacity = 0;
    int code;
    while ((code = csv_reader_next(r->csv, e)) > 0) {
        if (mem_grow((void **)&c->measurements, &capacity, c->n_measurements + 1, sizeof *c->measurements) <
            0)
            return err_set(e, ERR_NO_MEMORY, "catalog_load", "out of memory for the measurements");
        struct catalog_measurement *row = &c->measurements[c->n_measurements];
        *row = (struct catalog_measurement){0};
        if ((code = read_row(c, r, row, e)) < 0)
            return code;
        c->n_measurements++;
    }
    return code;
}

int catalog_load_measurements(struct catalog *c, const char *path, bool lenient, struct err *e) {
    struct reading r = {.lenient = lenient};
    int code = csv_reader_open(&r.csv, path, &(struct csv_options){.delimiter = ','}, e);
    if (code == 0)
        code = read_rows(c, &r, path, e);
    csv_reader_close(r.csv);
    return code;
}
