/* `edgestill report`: what became of the project, as one page (report.html), as text and as JSON. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/plan_text.h"
#include "cmd/report.h"
#include "format/json.h"

#include <string.h>

static const struct option_def options[] = {
    {"out", OPTION_STRING, "FILE", "the page (default: report.html in the project)", NULL},
    {"summary", OPTION_STRING, "FILE", "also write the figures alone, as JSON", NULL},
    {"seconds", OPTION_STRING, "FILE", "for --summary: lines of a step's name and its seconds", NULL},
    {0},
};

/* A figure that answers of this kind do not have is no nought. */
static const char *figure_text(char text[16], const json_t *one, const char *name, const char *format,
                               double by) {
    const json_t *x = json_object_get(one, name);
    if (json_is_number(x))
        snprintf(text, 16, format, json_number_value(x) * by);
    return json_is_number(x) ? text : "-";
}

static void print_eval(struct cmd_ctx *c, const json_t *eval) {
    static const char *const who[] = {"base", "student_f16", "student_quant", "teacher"};
    if (!json_is_object(eval))
        return;
    cmd_print(c, "%-16s %9s %18s %9s %9s %8s\n", "", "accuracy", "95% interval", "balanced", "macro F1",
              "rows");
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        const json_t *one = json_object_get(eval, who[i]);
        char balanced[16], macro_f1[16];
        if (one == NULL)
            continue;
        cmd_print(c, "%-16s %8.1f%% %8.1f to %5.1f%% %9s %9s %8lld\n", who[i],
                  json_number_value(json_object_get(one, "accuracy")) * 100,
                  json_number_value(json_object_get(one, "low")) * 100,
                  json_number_value(json_object_get(one, "high")) * 100,
                  figure_text(balanced, one, "balanced_accuracy", "%.1f%%", 100),
                  figure_text(macro_f1, one, "macro_f1", "%.3f", 1),
                  (long long)json_integer_value(json_object_get(one, "n")));
    }
}

static void print_comparison(struct cmd_ctx *c, const json_t *rows) {
    size_t i;
    json_t *row;
    if (json_array_size(rows) == 0)
        return;
    cmd_print(c, "\n%-22s %-38s %-14s %s\n", "", "predicted (19 times of 20)", "measured", "where");
    json_array_foreach(rows, i, row) {
        const json_t *p = json_object_get(row, "predicted"), *measured = json_object_get(row, "measured");
        const char *unit = json_string_value(json_object_get(row, "unit"));
        const struct estimate x = {json_number_value(json_object_get(p, "value")),
                                   json_number_value(json_object_get(p, "low")),
                                   json_number_value(json_object_get(p, "high")), ""};
        struct str predicted = {0}, value = {0};
        plan_text_estimate(&predicted, &x, unit);
        if (json_is_number(measured))
            plan_text_value(&value, json_number_value(measured), unit);
        const char *where = json_string_value(json_object_get(row, "where"));
        cmd_print(c, "%-22s %-38s %-14s %s\n", json_string_value(json_object_get(row, "what")),
                  str_text(&predicted), value.len > 0 ? str_text(&value) : "not yet",
                  strcmp(where, "emulated") == 0 ? "emulated: not the device's"
                  : strcmp(where, "here") == 0   ? "this machine"
                                                 : where);
        str_release(&predicted);
        str_release(&value);
    }
}

static int write_page(const json_t *document, const char *path, struct err *e) {
    struct str page = {0};
    int code = report_html(document, &page, e);
    if (code == 0)
        code = file_write(path, page.data, page.len, e);
    str_release(&page);
    return code;
}

static int write_summary(struct cmd_ctx *c, const json_t *document) {
    json_t *summary = NULL;
    int code = report_summary(document, cmd_string(c, "seconds"), &summary, &c->err);
    if (code == 0)
        code = json_file_write(cmd_string(c, "summary"), summary, &c->err);
    json_decref(summary);
    return code;
}

static int run_report(struct cmd_ctx *c) {
    struct project p;
    json_t *document = NULL;
    int code = project_open(&p, c->project_dir, &c->err);
    if (code < 0)
        return code;
    const char *page = cmd_string(c, "out") != NULL ? cmd_string(c, "out") : project_path(&p, "report.html");
    code = page != NULL ? report_gather(&p, &document, &c->err)
                        : err_set(&c->err, ERR_NO_MEMORY, "report", "out of memory");
    if (code == 0)
        code = write_page(document, page, &c->err);
    if (code == 0 && cmd_string(c, "summary") != NULL)
        code = write_summary(c, document);
    if (code == 0) {
        print_eval(c, json_object_get(document, "eval"));
        print_comparison(c, json_object_get(document, "comparison"));
        cmd_print(c, "\n%s\n", page);
        json_object_update(c->result, document);
        json_object_set_new(c->result, "page", json_string(page));
    }
    json_decref(document);
    project_release(&p);
    return code;
}

const struct verb verb_report = {
    "report", "write report.html: what was made, how good it is, predicted beside measured", "[options]",
    options, run_report};
