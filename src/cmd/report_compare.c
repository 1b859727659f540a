/* What was predicted beside what was measured, and the short list of figures. */
#include "base/file.h"
#include "cmd/report.h"

#include <stdlib.h>
#include <string.h>

/* ---- comparison ---- */

static void add_row(json_t *rows, const json_t *predicted, const char *name, const char *what,
                    const char *unit, const json_t *measured, const char *where) {
    const json_t *p = json_object_get(predicted, name);
    if (!json_is_object(p) && !json_is_number(measured))
        return;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "name", name, "what", what, "unit", unit, "where",
                            json_is_number(measured) ? where : "");
    json_object_set_new(row, "predicted",
                        json_is_object(p) ? json_copy((json_t *)(uintptr_t)p) : json_null());
    json_object_set_new(row, "measured",
                        json_is_number(measured) ? json_real(json_number_value(measured)) : json_null());
    json_array_append_new(rows, row);
}

static const json_t *stage_of(const json_t *document, const char *verb) {
    size_t i;
    json_t *s;
    json_array_foreach(json_object_get(document, "stages"), i, s) {
        const char *name = json_string_value(json_object_get(s, "stage"));
        if (name != NULL && strcmp(name, verb) == 0)
            return s;
    }
    return NULL;
}

/* Where a receipt's figures were measured. `bundle --selftest` on the building machine leaves "...-here.json": real figures, but
 * not the device's. */
static const char *receipt_where(const json_t *receipt) {
    const char *file = json_string_value(json_object_get(receipt, "file"));
    if (json_is_true(json_object_get(receipt, "emulated")))
        return "emulated";
    return file != NULL && str_ends(file, "-here.json") ? "here" : "device";
}

/* The receipt that says most about the device: one of its own, else an emulated one, else one of this machine. */
static const json_t *receipt_of(const json_t *document) {
    static const char *const order[] = {"device", "emulated", "here"};
    const json_t *found = NULL;
    size_t i;
    json_t *one;
    for (size_t k = 0; k < sizeof order / sizeof *order && found == NULL; k++)
        json_array_foreach(json_object_get(document, "receipts"), i, one) {
            if (strcmp(receipt_where(one), order[k]) == 0)
                found = one;
        }
    return found;
}

json_t *report_comparison(const json_t *document) {
    json_t *rows = json_array();
    const json_t *predicted = json_object_get(json_object_get(document, "plan"), "predicted");
    const json_t *receipt = receipt_of(document), *measured = json_object_get(receipt, "measured");
    const char *where = receipt_where(receipt);
    if (!json_is_object(predicted))
        return rows;
    add_row(rows, predicted, "file_bytes", "file size", "bytes", json_object_get(document, "model_bytes"),
            "here");
    add_row(rows, predicted, "train_s", "training", "s",
            json_object_get(stage_of(document, "train"), "seconds"), "here");
    add_row(rows, predicted, "train_memory_bytes", "training memory", "bytes",
            json_object_get(json_object_get(document, "training"), "memory_bytes"), "here");
    add_row(rows, predicted, "memory_bytes", "memory on the device", "bytes",
            json_object_get(measured, "memory_bytes"), where);
    add_row(rows, predicted, "prefill_tps", "reading", "tokens/s", json_object_get(measured, "prefill_tps"),
            where);
    add_row(rows, predicted, "decode_tps", "writing", "tokens/s", json_object_get(measured, "decode_tps"),
            where);
    add_row(rows, predicted, "decision_s", "one decision", "s", json_object_get(measured, "decision_s"),
            where);
    return rows;
}

/* ---- summary ---- */

/* "name seconds" lines, written by the demonstration as its steps end. */
static int read_seconds(const char *path, json_t *out, struct err *e) {
    struct str text = {0};
    int code = file_read(path, 1 << 20, &text, e);
    char *rest = NULL;
    for (char *line = code == 0 ? strtok_r(text.data, "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *blank = strchr(line, ' ');
        double s = 0;
        if (blank == NULL)
            continue;
        *blank = '\0';
        if (str_to_double(blank + 1, &s))
            json_object_set_new(out, line, json_real(s));
    }
    str_release(&text);
    return code;
}

static json_t *stage_seconds(const json_t *document) {
    json_t *out = json_object(), *s;
    size_t i;
    json_array_foreach(json_object_get(document, "stages"), i, s) {
        const json_t *seconds = json_object_get(s, "seconds");
        if (json_is_number(seconds))
            json_object_set_new(out, json_string_value(json_object_get(s, "stage")),
                                json_real(json_number_value(seconds)));
    }
    return out;
}

static json_t *summary_records(const json_t *records) {
    json_t *by_label = json_object(), *counts;
    const char *label;
    json_object_foreach(json_object_get(records, "labels"), label, counts) {
        json_object_set(by_label, label, json_object_get(counts, "accepted"));
    }
    return json_pack("{s:o, s:O?}", "accepted", by_label, "rejected", json_object_get(records, "rejected"));
}

int report_summary(const json_t *document, const char *seconds_path, json_t **out, struct err *e) {
    static const char *const who[] = {"base", "teacher", "student_f16", "student_quant"};
    const json_t *eval = json_object_get(document, "eval"), *receipt = receipt_of(document);
    json_t *j = json_pack("{s:s}", "format", REPORT_SUMMARY_FORMAT), *seconds = stage_seconds(document);
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        json_t *one = json_object_get(eval, who[i]);
        json_object_set_new(j, who[i], one != NULL ? json_copy(one) : json_null());
    }
    json_object_set_new(j, "comparisons", json_deep_copy(json_object_get(eval, "comparisons")));
    json_object_set_new(j, "records", summary_records(json_object_get(document, "records")));
    json_object_set(j, "model_bytes", json_object_get(document, "model_bytes"));
    int code = seconds_path != NULL ? read_seconds(seconds_path, seconds, e) : 0;
    json_object_set_new(j, "seconds", seconds);
    json_t *test = json_null();
    const json_t *found = json_object_get(receipt, "selftest");
    if (json_is_object(found))
        test = json_pack("{s:O?, s:O?, s:O?, s:O?}", "rows", json_object_get(found, "rows"), "agreeing_rows",
                         json_object_get(found, "agreeing_rows"), "passed", json_object_get(found, "passed"),
                         "emulated", json_object_get(receipt, "emulated"));
    json_object_set_new(j, "device_selftest", test);
    json_object_set(j, "predicted_measured", json_object_get(document, "comparison"));
    json_object_set(j, "versions", json_object_get(document, "versions"));
    if (code < 0) {
        json_decref(j);
        return code;
    }
    *out = j;
    return 0;
}
