/* Writing receipts. */
#include "receipt.h"
#include "base/clock.h"
#include "config.h"
#include "format/json.h"
#include <math.h>
#include <string.h>

/* ---- parts ---- */

static json_t *known(double x) {
    return isfinite(x) && x >= 0 ? json_real(x) : json_null();
}

static json_t *known_count(int64_t x) {
    return x >= 0 ? json_integer(x) : json_null();
}

static json_t *machine_part(const struct selftest *s) {
    const struct machine *m = &s->machine;
    return json_pack("{s:s, s:o, s:s, s:i, s:I, s:s, s:i}", "arch", m->arch, "model",
                     m->model[0] ? json_lossy_string(m->model) : json_null(), "kernel", m->kernel, "cores",
                     m->n_cores, "memory_bytes", (json_int_t)m->memory_bytes, "kernels", lm_backend_name(),
                     "threads", s->runner.n_threads);
}

static json_t *selftest_part(const struct selftest *s) {
    json_t *list = json_array();
    int64_t n = s->n_rows - s->n_agreeing;
    for (int64_t i = 0; i < n && i < SELFTEST_DISAGREEMENTS; i++) {
        const struct selftest_disagreement *d = &s->disagreements[i];
        json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:f, s:f}", "row", (json_int_t)d->row, "host",
                                              json_lossy_string(d->host), "here", json_lossy_string(d->here),
                                              "host_p", d->host_p, "here_p", d->here_p));
    }
    return json_pack(
        "{s:I, s:I, s:f, s:f, s:b, s:b, s:I, s:o, s:o}", "rows", (json_int_t)s->n_rows, "agreeing_rows",
        (json_int_t)s->n_agreeing, "largest_difference", s->largest_difference, "tolerance",
        s->runner.bundle.tolerance, "passed", s->passed, "prefix_restored", s->runner.prefix_loaded,
        "prefix_tokens_computed",
        s->runner.prefix_loaded ? (json_int_t)0 : (json_int_t)classifier_prefix_tokens(s->runner.classifier),
        "memory_kept", s->memory_known ? json_boolean(s->memory_kept) : json_null(), "disagreements", list);
}

/* By type; null where none was measured. */
static json_t *reads_part(const struct selftest *s) {
    json_t *m = json_object();
    for (int i = 0; i < N_TYPE_RATES; i++) {
        if (s->reads_gmacs[i] > 0)
            json_object_set_new(m, type_rate_name((enum type_rate)i), json_real(s->reads_gmacs[i]));
    }
    if (json_object_size(m) > 0)
        return m;
    json_decref(m);
    return json_null();
}

static json_t *measured_part(const struct selftest *s) {
    json_t *m = json_object();
#define X(name, text, unit) json_object_set_new(m, #name, known(s->measured.name));
    SELFTEST_FIGURES(X)
#undef X
    json_object_set_new(m, "swapped_bytes", known_count(s->swapped_bytes));
    json_object_set_new(m, "major_faults", known_count(s->major_faults));
    json_object_set_new(m, "temperature_c",
                        isnan(s->temperature_c) ? json_null() : json_real(s->temperature_c));
    json_object_set_new(m, "throttled", s->throttled < 0 ? json_null() : json_boolean(s->throttled));
    json_object_set_new(m, "reads_gmacs", reads_part(s));
    return m;
}

static json_t *predicted_part(const struct selftest *s) {
    const struct node *n = node_get(s->runner.bundle.manifest, "predicted");
    struct str text = {0};
    json_t *out = NULL;
    if (n) {
        json_text_node(&text, n);
        out = json_loadb(str_text(&text), text.len, JSON_DECODE_ANY, NULL);
    }
    str_release(&text);
    return out ? out : json_null();
}

int receipt_write(const struct selftest *s, const char *path, struct err *e) {
    char now[32];
    const struct bundle *b = &s->runner.bundle;
    json_t *document = json_pack(
        "{s:s, s:s, s:s, s:s?, s:s, s:s, s:b, s:o, s:{s:s, s:s}, s:o, s:o, s:o}", "format", RECEIPT_FORMAT,
        "name", b->name, "arch", b->arch, "device", b->device, "bundle_sha256", s->bundle_sha256,
        "measured_at", clock_iso(now, clock_unix_ms()), "emulated", s->emulated, "machine", machine_part(s),
        "versions", "edgestill", EDGESTILL_VERSION, "runtime", lm_version(), "selftest", selftest_part(s),
        "measured", measured_part(s), "predicted", predicted_part(s));
    if (!document)
        return err_set(e, ERR_NO_MEMORY, "receipt_write", "no memory for the receipt");
    int rc = json_file_write(path, document, e);
    json_decref(document);
    return rc;
}

/* ---- for people ---- */

static void add_value(struct str *out, double value, const char *unit) {
    char size[32];
    if (strcmp(unit, "bytes") == 0)
        str_add(out, str_bytes(size, sizeof size, (int64_t)value));
    else if (strcmp(unit, "s") == 0 && value < 1)
        str_addf(out, "%.1f ms", value * 1e3);
    else
        str_addf(out, "%.1f %s", value, unit);
}

/* The plan's figure of that name; below 0 when it has none. */
static double predicted(const struct selftest *s, const char *name) {
    const struct node *all = node_get(s->runner.bundle.manifest, "predicted");
    struct node *one = NULL;
    double value = -1;
    if (all && node_map(all, name, false, &one, NULL) == 0 && one)
        node_number(one, "value", false, &value, NULL);
    return value;
}

static void print_figure(const struct selftest *s, struct str *out, const char *name, const char *text,
                         double value, const char *unit) {
    if (!isfinite(value) || value < 0)
        return;
    str_addf(out, "  %-32s ", text);
    add_value(out, value, unit);
    double planned = predicted(s, name);
    if (planned >= 0) {
        str_add(out, " (predicted ");
        add_value(out, planned, unit);
        str_add_char(out, ')');
    }
    str_add_char(out, '\n');
}

static void print_reads(const struct selftest *s, struct str *out) {
    struct str list = {0};
    for (int i = 0; i < N_TYPE_RATES; i++) {
        if (s->reads_gmacs[i] > 0)
            str_addf(&list, " %s %.3g", type_rate_name((enum type_rate)i), s->reads_gmacs[i]);
    }
    if (list.len > 0)
        str_addf(out, "  %-32s%s\n", "reading by type, GMAC/s", str_text(&list));
    str_release(&list);
}

static void print_memory(const struct selftest *s, struct str *out) {
    char limit[32], swapped[32];
    if (!s->memory_known)
        return;
    str_addf(out, "  %-32s %s", "memory of the plan",
             str_bytes(limit, sizeof limit, s->runner.bundle.memory_limit_bytes));
    if (s->swapped_bytes > 0)
        str_addf(out, ", and %s were swapped out", str_bytes(swapped, sizeof swapped, s->swapped_bytes));
    str_add(out, s->memory_kept ? ": kept\n" : ": broken\n");
    if (s->throttled == 1)
        str_add(out, "  The processor is held back for heat or want of power: the figures are lower than "
                     "they need be.\n");
}

void receipt_print(const struct selftest *s, struct str *out) {
    int64_t n = s->n_rows - s->n_agreeing;
    str_addf(out, "%s on %s%s, kernels %s, %d thread%s\n", s->runner.bundle.name,
             s->machine.model[0] && !s->emulated ? s->machine.model : s->machine.arch,
             s->emulated ? " (emulated)" : "", lm_backend_name(), s->runner.n_threads,
             s->runner.n_threads == 1 ? "" : "s");
    str_addf(out,
             "  %lld of %lld golden rows answered as on the host; largest difference of a probability %.4f\n",
             (long long)s->n_agreeing, (long long)s->n_rows, s->largest_difference);
    for (int64_t i = 0; i < n && i < SELFTEST_DISAGREEMENTS; i++) {
        const struct selftest_disagreement *d = &s->disagreements[i];
        str_addf(out, "  row %lld: %s here, %s on the host (%.3f there, %.3f here)\n", (long long)d->row,
                 d->here, d->host, d->host_p, d->here_p);
    }
#define X(name, text, unit) print_figure(s, out, #name, text, s->measured.name, unit);
    SELFTEST_FIGURES(X)
#undef X
    print_reads(s, out);
    if (s->emulated)
        str_add(out, "  Emulated: speed and memory are the emulator's and say nothing about the device.\n");
    print_memory(s, out);
    str_addf(out, "self-test %s\n",
             s->passed                   ? "passed"
             : s->n_agreeing < s->n_rows ? "FAILED: the answers differ from the host's"
                                         : "FAILED: the plan's memory was not kept");
}
