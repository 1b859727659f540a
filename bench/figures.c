/* The table and the file of figures that every measurement program ends with. */
#include "figures.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct figures {
    json_t *document, *list;
    bool keep; /* what the file has and this run does not measure */
    char name[64];
};

static json_t *must(json_t *j) {
    if (!j) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    return j;
}

struct figures *figures_new(const char *bench) {
    struct figures *f = calloc(1, sizeof *f);
    if (!f) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    snprintf(f->name, sizeof f->name, "%s", bench);
    f->document = must(json_object());
    json_object_set_new(f->document, "bench", must(json_string(bench)));
    f->list = must(json_array());
    json_object_set_new(f->document, "figures", f->list);
    return f;
}

static json_t *number(double value) {
    return must(isfinite(value) ? json_real(value) : json_null());
}

void figures_add(struct figures *f, const struct figure *one) {
    char now[32];
    json_t *j = must(json_object());
    json_object_set_new(j, "id", must(json_string(one->id)));
    json_object_set_new(j, "name", must(json_string(one->name)));
    json_object_set_new(j, "value", number(one->value));
    json_object_set_new(j, "unit", must(json_string(one->unit ? one->unit : "")));
    json_object_set_new(j, "n", must(json_integer(one->n)));
    json_object_set_new(j, "min", number(one->min));
    json_object_set_new(j, "max", number(one->max));
    json_object_set_new(j, "measured_at", must(json_string(clock_iso(now, clock_unix_ms()))));
    if (one->note)
        json_object_set_new(j, "note", must(json_string(one->note)));
    json_array_append_new(f->list, j);
}

void figures_skip(struct figures *f, const char *id, const char *name, const char *reason) {
    figures_add(
        f, &(struct figure){.id = id, .name = name, .value = NAN, .min = NAN, .max = NAN, .note = reason});
}

void figures_context(struct figures *f, const char *key, const char *text) {
    json_object_set_new(f->document, key, must(json_string(text)));
}

/* ---- in parts ---- */

int figures_count(const struct figures *f) {
    return (int)json_array_size(f->list);
}

bool figures_find(const struct figures *f, const char *id, const char *name, struct figure *out) {
    size_t i;
    json_t *one;
    json_array_foreach(f->list, i, one) {
        const char *its_id = json_string_value(json_object_get(one, "id"));
        const char *its_name = json_string_value(json_object_get(one, "name"));
        if (!its_id || !its_name || strcmp(its_id, id) != 0 || strcmp(its_name, name) != 0)
            continue;
        *out = (struct figure){.value = json_number_value(json_object_get(one, "value")),
                               .min = json_number_value(json_object_get(one, "min")),
                               .max = json_number_value(json_object_get(one, "max"))};
        return true;
    }
    return false;
}

void figures_keep(const struct figures *f, int from, const char *path) {
    struct err e = {0};
    json_t *part = must(json_array());
    for (size_t i = (size_t)from; i < json_array_size(f->list); i++)
        json_array_append(part, json_array_get(f->list, i));
    char *text = json_dumps(part, JSON_INDENT(1) | JSON_REAL_PRECISION(8));
    int rc = text ? file_write(path, text, strlen(text), &e) : ERR_NO_MEMORY;
    free(text);
    json_decref(part);
    if (rc < 0) {
        log_err(&e);
        exit(1);
    }
}

bool figures_recall(struct figures *f, const char *path) {
    json_t *part = json_load_file(path, 0, NULL);
    bool there = json_is_array(part);
    if (there)
        json_array_extend(f->list, part);
    json_decref(part);
    return there;
}

/* ---- the table ---- */

static void print_number(const json_t *j, int width) {
    if (json_is_number(j))
        printf(" %*.5g", width, json_number_value(j));
    else
        printf(" %*s", width, "-");
}

static void print_table(const struct figures *f) {
    size_t i;
    json_t *one;
    int width = 20;
    json_array_foreach(f->list, i, one) {
        int n = (int)strlen(json_string_value(json_object_get(one, "name")));
        width = n > width ? n : width;
    }
    printf("%-6s %-*s %10s %-10s %8s %10s %10s\n", "id", width, "figure", "value", "unit", "n", "min", "max");
    json_array_foreach(f->list, i, one) {
        const char *note = json_string_value(json_object_get(one, "note"));
        printf("%-6s %-*s", json_string_value(json_object_get(one, "id")), width,
               json_string_value(json_object_get(one, "name")));
        print_number(json_object_get(one, "value"), 10);
        printf(" %-10s %8lld", json_string_value(json_object_get(one, "unit")),
               (long long)json_integer_value(json_object_get(one, "n")));
        print_number(json_object_get(one, "min"), 10);
        print_number(json_object_get(one, "max"), 10);
        printf("%s%s\n", note ? "  " : "", note ? note : "");
    }
}

/* ---- figures of earlier runs ---- */

void figures_update(struct figures *f) {
    f->keep = true;
}

static const char *text_of(const json_t *figure, const char *key) {
    const char *text = json_string_value(json_object_get(figure, key));
    return text ? text : "";
}

static bool has_figure(const json_t *list, const json_t *figure) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        if (strcmp(text_of(one, "id"), text_of(figure, "id")) == 0 &&
            strcmp(text_of(one, "name"), text_of(figure, "name")) == 0)
            return true;
    }
    return false;
}

/* In order of their ids, those of one id as they were added. */
static void add_in_order(json_t *list, json_t *figure) {
    size_t at = json_array_size(list);
    while (at > 0 && strcmp(text_of(json_array_get(list, at - 1), "id"), text_of(figure, "id")) > 0)
        at--;
    json_array_insert(list, at, figure);
}

/* What was skipped before is not kept: it stands for nothing. */
static void take_over(struct figures *f, const char *path) {
    size_t i;
    json_t *one, *before = json_load_file(path, 0, NULL), *merged = must(json_array());
    json_array_foreach(json_object_get(before, "figures"), i, one) {
        if (json_is_number(json_object_get(one, "value")) && !has_figure(f->list, one))
            add_in_order(merged, one);
    }
    json_array_foreach(f->list, i, one) add_in_order(merged, one);
    json_decref(before);
    f->list = merged;
    json_object_set_new(f->document, "figures", merged);
}

int figures_finish(struct figures *f) {
    struct err e = {0};
    const char *folder = getenv("EDGESTILL_BENCH_DIR");
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.json", folder ? folder : "build/bench", f->name);
    if (f->keep)
        take_over(f, path);
    print_table(f);
    char *text = json_dumps(f->document, JSON_INDENT(1) | JSON_REAL_PRECISION(8));
    int rc = text ? file_make_folders(folder ? folder : "build/bench", &e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = file_write(path, text, strlen(text), &e);
    if (rc < 0)
        log_err(&e);
    else
        printf("written: %s\n", path);
    free(text);
    json_decref(f->document);
    free(f);
    return rc < 0 ? 1 : 0;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void figures_spread(double *values, int64_t n, struct figure *to) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    to->n = n;
    to->value = n ? (values[(n - 1) / 2] + values[n / 2]) / 2 : NAN;
    to->min = n ? values[0] : NAN;
    to->max = n ? values[n - 1] : NAN;
}
