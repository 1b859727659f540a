/* The report as one self-contained page: no script, no picture from elsewhere, readable when printed. */
#include "cmd/plan_text.h"
#include "cmd/report.h"

#include <math.h>
#include <string.h>

static const char style[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 "
    "1rem;color:#1b1f24;background:#fff}"
    "h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid "
    "#d0d7de}"
    "table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.25rem "
    ".7rem;text-align:left;border-bottom:1px solid #e4e8ec;"
    "vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}small,.quiet{color:#"
    "59636e}"
    ".chain span{display:inline-block;padding:.15rem .6rem;margin:.15rem .1rem;border:1px solid "
    "#d0d7de;border-radius:1rem}"
    ".chain .done{background:#dafbe1;border-color:#4ac26b}.chain "
    ".old{background:#fff8c5;border-color:#d4a72c}"
    ".emulated{background:#fff1e5;color:#953800;padding:0 .35rem;border-radius:.3rem}"
    "svg{width:100%;max-width:44rem;font:12px system-ui,sans-serif;fill:#59636e}svg "
    ".frame{fill:none;stroke:#d0d7de}"
    "polyline{fill:none;stroke-width:1.8}.loss{stroke:#8c959f}.validation{stroke:#0969da}.accuracy{stroke:#"
    "1a7f37}"
    ".bar{fill:#b6d4f5}.interval{stroke:#0a3069;stroke-width:2}blockquote{margin:.4rem "
    "0;padding-left:1rem;border-left:3px solid #d0d7de}"
    "i.k{display:inline-block;width:1.4em;height:3px;vertical-align:middle;margin-right:.3em}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}h2,th,td{border-color:#30363d}"
    ".chain .done{background:#12361f}.chain "
    ".old{background:#3b2e05}.emulated{background:#3d1d05;color:#ffb77c}"
    "svg,small,.quiet{fill:#9198a1;color:#9198a1}}";

void report_escape(struct str *out, const char *text) {
    for (const char *p = text != NULL ? text : ""; *p != '\0'; p++)
        switch (*p) {
        case '&':
            str_add(out, "&amp;");
            break;
        case '<':
            str_add(out, "&lt;");
            break;
        case '>':
            str_add(out, "&gt;");
            break;
        case '"':
            str_add(out, "&quot;");
            break;
        default:
            str_add_char(out, *p);
        }
}

/* ---- small pieces ---- */

static const char *text_of(const json_t *map, const char *key) {
    const char *s = json_string_value(json_object_get(map, key));
    return s != NULL ? s : "";
}

static void heading(struct str *out, const char *text) {
    str_addf(out, "<h2>%s</h2>\n", text);
}

static void cell(struct str *out, const char *text) {
    str_add(out, "<td>");
    report_escape(out, text);
    str_add(out, "</td>");
}

static void cell_value(struct str *out, const json_t *v, const char *format, double factor) {
    str_add(out, "<td class=\"n\">");
    if (json_is_number(v))
        str_addf(out, strcmp(format, "%") == 0 ? "%.1f%%" : "%.3f", json_number_value(v) * factor);
    str_add(out, "</td>");
}

static void any_value(struct str *out, const json_t *v);

/* "prefix 29, record 74" */
static void pairs(struct str *out, const json_t *map) {
    const char *key;
    json_t *value;
    bool first = true;
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        str_add(out, first ? "" : ", ");
        report_escape(out, key);
        str_add_char(out, ' ');
        any_value(out, value);
        first = false;
    }
}

/* "a, b, c" */
static void items(struct str *out, const json_t *list) {
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value) {
        str_add(out, i ? ", " : "");
        any_value(out, value);
    }
}

/* A JSON value as people read it: text as it is, yes and no, a few digits. */
static void any_value(struct str *out, const json_t *v) {
    if (json_is_string(v)) {
        report_escape(out, json_string_value(v));
    } else if (json_is_boolean(v)) {
        str_add(out, json_is_true(v) ? "yes" : "no");
    } else if (json_is_real(v)) {
        str_addf(out, "%.6g", json_real_value(v));
    } else if (json_is_object(v)) {
        pairs(out, v);
    } else if (json_is_array(v)) {
        items(out, v);
    } else {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        report_escape(out, text != NULL ? text : "");
        free(text);
    }
}

static void facts(struct str *out, const json_t *map, const char *const keys[][2]) {
    str_add(out, "<table>");
    for (int i = 0; keys[i][0] != NULL; i++) {
        const json_t *v = json_object_get(map, keys[i][0]);
        if (v == NULL || json_is_null(v))
            continue;
        str_addf(out, "<tr><th>%s</th><td>", keys[i][1]);
        any_value(out, v);
        str_add(out, "</td></tr>\n");
    }
    str_add(out, "</table>\n");
}

/* ---- parts ---- */

static void add_chain(struct str *out, const json_t *document) {
    size_t i;
    json_t *s;
    str_add(out, "<p class=\"chain\">");
    json_array_foreach(json_object_get(document, "stages"), i, s) {
        const char *state = text_of(s, "state");
        const char *class = strcmp(state, "up to date") == 0 ? "done"
                            : strcmp(state, "absent") == 0   ? "none"
                                                             : "old";
        str_addf(out, "<span class=\"%s\" title=\"", class);
        report_escape(out, text_of(s, "reason"));
        str_addf(out, "\">%s: ", text_of(s, "stage"));
        report_escape(out, strcmp(state, "absent") == 0 ? "not run" : state);
        const json_t *seconds = json_object_get(s, "seconds");
        char took[32];
        if (json_is_number(seconds))
            str_addf(out, " <small>%s</small>", str_duration(took, sizeof took, json_number_value(seconds)));
        str_add(out, "</span> ");
    }
    str_add(out, "</p>\n");
}

static void add_task(struct str *out, const json_t *task) {
    size_t i;
    json_t *one;
    if (!json_is_object(task))
        return;
    heading(out, "Task");
    str_add(out, "<p class=\"quiet\">What the student is told:</p><blockquote>");
    report_escape(out, text_of(task, "instruction"));
    str_add(out, "</blockquote><table><tr><th>field</th><th>type</th><th>range</th></tr>\n");
    json_array_foreach(json_object_get(task, "fields"), i, one) {
        str_add(out, "<tr>");
        cell(out, text_of(one, "name"));
        cell(out, text_of(one, "type"));
        str_add(out, "<td>");
        if (json_object_get(one, "values") != NULL)
            any_value(out, json_object_get(one, "values"));
        else if (json_object_get(one, "min") != NULL)
            str_addf(out, "%g to %g ", json_number_value(json_object_get(one, "min")),
                     json_number_value(json_object_get(one, "max")));
        report_escape(out, text_of(one, "unit"));
        str_add(out, "</td></tr>\n");
    }
    str_add(out, "</table><table><tr><th>label</th><th>when</th></tr>\n");
    json_array_foreach(json_object_get(task, "labels"), i, one) {
        str_add(out, "<tr>");
        cell(out, text_of(one, "name"));
        cell(out, text_of(one, "definition"));
        str_add(out, "</tr>\n");
    }
    str_add(out, "</table>\n");
}

static void add_plan(struct str *out, const json_t *plan) {
    static const char *const keys[][2] = {{"device", "device"},
                                          {"base", "base"},
                                          {"method", "method"},
                                          {"rank", "rank"},
                                          {"quantisation", "quantisation"},
                                          {"context", "context"},
                                          {"ubatch", "tokens at once"},
                                          {"threads", "threads"},
                                          {"kv_type", "cache"},
                                          {"label_scoring", "labels scored, not written"},
                                          {"prefix_state", "shared prefix kept"},
                                          {"tokens", "tokens of a decision"},
                                          {NULL, NULL}};
    heading(out, "Plan");
    if (!json_is_object(plan)) {
        str_add(out, "<p>No plan is accepted.</p>\n");
        return;
    }
    str_add(out, "<p>");
    report_escape(out, text_of(plan, "reason"));
    str_add(out, "</p>");
    facts(out, plan, keys);
}

static void add_counts(struct str *out, const json_t *map, const char *what) {
    const char *key;
    json_t *n;
    if (json_object_size(map) == 0)
        return;
    str_addf(out, "<table><tr><th>%s</th><th class=\"n\">records</th></tr>\n", what);
    json_object_foreach((json_t *)(uintptr_t)map, key, n) {
        str_add(out, "<tr>");
        cell(out, key);
        str_addf(out, "<td class=\"n\">%lld</td></tr>\n", (long long)json_integer_value(n));
    }
    str_add(out, "</table>\n");
}

static long long integer_of(const json_t *map, const char *key) {
    return (long long)json_integer_value(json_object_get(map, key));
}

/* What of the user's own rows a teacher was shown, or that it was shown none. */
static void add_shared(struct str *out, const json_t *records) {
    const json_t *list = json_object_get(records, "shared"), *one, *column;
    size_t i, k;
    json_array_foreach(list, i, one) {
        str_addf(out, "<p>Own rows shown to a teacher: %lld of ", integer_of(one, "rows"));
        report_escape(out, json_string_value(json_object_get(one, "from")));
        str_add(out, " to ");
        report_escape(out, json_string_value(json_object_get(one, "teacher")));
        str_add(out, ", with");
        json_array_foreach(json_object_get(one, "columns"), k, column) {
            str_add(out, k ? ", " : " ");
            report_escape(out, json_string_value(column));
        }
        str_addf(out, " (%s).</p>\n", json_string_value(json_object_get(one, "what")));
    }
    if (json_array_size(list) == 0 && json_is_true(json_object_get(records, "kept_back")))
        str_add(out, "<p>No own row was sent to a teacher (share_rows is not set): the gate on own rows was "
                     "skipped, and so "
                     "is a remote teacher's score on them.</p>\n");
}

static void add_records(struct str *out, const json_t *records) {
    const char *label;
    json_t *counts;
    if (!json_is_object(records))
        return;
    heading(out, "Data");
    str_add(out, "<table><tr><th>label</th><th class=\"n\">accepted</th><th class=\"n\">train</th><th "
                 "class=\"n\">validation</th>"
                 "<th class=\"n\">test</th></tr>\n");
    json_object_foreach(json_object_get(records, "labels"), label, counts) {
        str_add(out, "<tr>");
        cell(out, label);
        str_addf(out,
                 "<td class=\"n\">%lld</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td><td "
                 "class=\"n\">%lld</td></tr>\n",
                 integer_of(counts, "accepted"), integer_of(counts, "train"),
                 integer_of(counts, "validation"), integer_of(counts, "test"));
    }
    str_add(out, "</table>\n");
    add_counts(out, json_object_get(records, "rejected"), "why rejected");
    const json_t *all = json_object_get(json_object_get(records, "ledger"), "all");
    str_addf(out,
             "<p>Ledger: %lld requests answered, %lld failed, %lld in doubt; %lld tokens in, %lld out; %.2f "
             "USD.</p>\n",
             integer_of(all, "answered"), integer_of(all, "failed"), integer_of(all, "doubt"),
             integer_of(all, "tokens_in"), integer_of(all, "tokens_out"),
             json_number_value(json_object_get(all, "money")));
    add_shared(out, records);
}

static void add_training(struct str *out, const json_t *training) {
    const json_t *curve = json_object_get(training, "curve");
    if (json_array_size(curve) < 2)
        return;
    heading(out, "Training");
    report_svg_curve(out, curve);
    str_add(out, "<p class=\"quiet\"><i class=\"k\" style=\"background:#8c959f\"></i>loss <i class=\"k\" "
                 "style=\"background:#0969da\"></i>loss on validation rows <i class=\"k\" "
                 "style=\"background:#1a7f37\"></i>accuracy "
                 "on validation rows (right axis)</p>\n");
}

static void add_confusion(struct str *out, const char *who, const json_t *confusion) {
    const json_t *labels = json_object_get(confusion, "labels");
    size_t n = json_array_size(labels);
    str_add(out, "<table><tr><th>");
    report_escape(out, who);
    str_add(out, "</th>");
    for (size_t i = 0; i <= n; i++) {
        str_add(out, "<th class=\"n\">");
        report_escape(out, i < n ? json_string_value(json_array_get(labels, i)) : "invalid");
        str_add(out, "</th>");
    }
    str_add(out, "</tr>\n");
    for (size_t t = 0; t < n; t++) {
        str_add(out, "<tr>");
        cell(out, json_string_value(json_array_get(labels, t)));
        for (size_t a = 0; a <= n; a++)
            str_addf(out, "<td class=\"n\">%lld</td>",
                     (long long)json_integer_value(
                         json_array_get(json_array_get(json_object_get(confusion, "matrix"), t), a)));
        str_add(out, "</tr>\n");
    }
    str_add(out, "</table>\n");
}

static void add_figures(struct str *out, const json_t *eval, const char *const who[]) {
    str_add(out, "<table><tr><th></th><th class=\"n\">accuracy</th><th class=\"n\">95% interval</th><th "
                 "class=\"n\">balanced</th>"
                 "<th class=\"n\">macro F1</th><th class=\"n\">invalid</th><th class=\"n\">rows</th></tr>\n");
    for (int i = 0; who[i] != NULL; i++) {
        const json_t *one = json_object_get(eval, who[i]);
        if (one == NULL)
            continue;
        str_add(out, "<tr>");
        cell(out, who[i]);
        cell_value(out, json_object_get(one, "accuracy"), "%", 100);
        str_addf(out, "<td class=\"n\">%.1f to %.1f%%</td>",
                 json_number_value(json_object_get(one, "low")) * 100,
                 json_number_value(json_object_get(one, "high")) * 100);
        cell_value(out, json_object_get(one, "balanced_accuracy"), "%", 100);
        cell_value(out, json_object_get(one, "macro_f1"), "", 1);
        cell_value(out, json_object_get(one, "invalid_rate"), "%", 100);
        str_addf(out, "<td class=\"n\">%lld</td></tr>\n", integer_of(one, "n"));
    }
    str_add(out, "</table>\n");
}

static void add_eval(struct str *out, const json_t *eval) {
    static const char *const who[] = {"base", "student_f16", "student_quant", "teacher", NULL};
    size_t n;
    json_t *one;
    if (!json_is_object(eval))
        return;
    heading(out, "Evaluation");
    str_add(out, "<p class=\"quiet\">Same rows, same prompt, same decoding for all; rows from ");
    report_escape(out, text_of(json_object_get(eval, "rows"), "source"));
    str_add(out, ".</p>\n");
    report_svg_bars(out, eval);
    add_figures(out, eval, who);
    json_array_foreach(json_object_get(eval, "comparisons"), n, one) {
        str_add(out, "<p>");
        report_escape(out, text_of(one, "a"));
        str_add(out, " less ");
        report_escape(out, text_of(one, "b"));
        str_addf(out, ": %+.1f points (%+.1f to %+.1f), p = %.2g.</p>\n",
                 json_number_value(json_object_get(one, "difference")) * 100,
                 json_number_value(json_object_get(one, "low")) * 100,
                 json_number_value(json_object_get(one, "high")) * 100,
                 json_number_value(json_object_get(one, "p_value")));
    }
    json_array_foreach(json_object_get(eval, "skipped"), n, one) {
        str_add(out, "<p class=\"quiet\">Skipped ");
        report_escape(out, text_of(one, "who"));
        str_add(out, ": ");
        report_escape(out, text_of(one, "reason"));
        str_add(out, "</p>\n");
    }
    str_add(out, "<p class=\"quiet\">Rows: true label; columns: answer.</p>\n");
    for (int i = 0; who[i] != NULL; i++) {
        const json_t *detail = json_object_get(json_object_get(eval, "details"), who[i]);
        if (detail != NULL)
            add_confusion(out, who[i], json_object_get(detail, "confusion"));
    }
}

static void add_comparison(struct str *out, const json_t *rows) {
    size_t i;
    json_t *row;
    if (json_array_size(rows) == 0)
        return;
    heading(out, "Predicted beside measured");
    str_add(out, "<table><tr><th></th><th>predicted</th><th>measured</th><th>where</th><th>the prediction "
                 "rests on</th></tr>\n");
    json_array_foreach(rows, i, row) {
        const json_t *predicted = json_object_get(row, "predicted"),
                     *measured = json_object_get(row, "measured");
        const char *unit = text_of(row, "unit"), *where = text_of(row, "where");
        struct str value = {0};
        str_add(out, "<tr>");
        cell(out, text_of(row, "what"));
        const struct estimate x = {json_number_value(json_object_get(predicted, "value")),
                                   json_number_value(json_object_get(predicted, "low")),
                                   json_number_value(json_object_get(predicted, "high")), ""};
        plan_text_estimate(&value, &x, unit);
        cell(out, str_text(&value));
        str_clear(&value);
        if (json_is_number(measured))
            plan_text_value(&value, json_number_value(measured), unit);
        cell(out, str_text(&value));
        str_addf(out, "<td>%s</td><td class=\"quiet\">",
                 strcmp(where, "emulated") == 0 ? "<span class=\"emulated\">emulated: not the device's</span>"
                 : strcmp(where, "here") == 0   ? "this machine"
                                                : where);
        report_escape(out, text_of(predicted, "basis"));
        str_add(out, "</td></tr>\n");
        str_release(&value);
    }
    str_add(out, "</table>\n");
}

/* The members of a receipt's part as rows; nested lists stay JSON. */
static void add_part(struct str *out, const json_t *part) {
    const char *key;
    json_t *value;
    str_add(out, "<table>");
    json_object_foreach((json_t *)(uintptr_t)part, key, value) {
        if (json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0))
            continue;
        str_add(out, "<tr><th>");
        report_escape(out, key);
        str_add(out, "</th><td>");
        any_value(out, value);
        str_add(out, "</td></tr>\n");
    }
    str_add(out, "</table>\n");
}

static void add_receipts(struct str *out, const json_t *receipts) {
    static const char *const parts[][2] = {
        {"selftest", "Answers beside the host's"}, {"measured", "Measured"}, {"machine", "Machine"}};
    size_t i;
    json_t *one;
    if (json_array_size(receipts) == 0)
        return;
    heading(out, "Self-test of the bundle");
    json_array_foreach(receipts, i, one) {
        bool emulated = json_is_true(json_object_get(one, "emulated"));
        if (emulated)
            str_add(
                out,
                "<p><span class=\"emulated\">Emulated.</span> Its answers count; its speed and memory are "
                "not the device's.</p>\n");
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            const json_t *part = json_object_get(one, parts[k][0]);
            if (!json_is_object(part))
                continue;
            str_addf(out, "<p class=\"quiet\">%s%s</p>", parts[k][1],
                     emulated && k == 1 ? " <span class=\"emulated\">by the emulator</span>" : "");
            add_part(out, part);
        }
    }
}

int report_html(const json_t *document, struct str *out, struct err *e) {
    const json_t *project = json_object_get(document, "project");
    const char *key;
    json_t *value;
    str_add(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                 "content=\"width=device-width,initial-scale=1\"><title>edgestill report</title><style>");
    str_add(out, style);
    str_add(out, "</style></head><body>\n<h1>One sentence, one device</h1>\n<blockquote>");
    report_escape(out, text_of(project, "sentence"));
    str_add(out, "</blockquote><p class=\"quiet\">for ");
    report_escape(out, text_of(project, "device"));
    str_add(out, "; made ");
    report_escape(out, text_of(document, "made"));
    str_add(out, "</p>\n");
    add_chain(out, document);
    add_task(out, json_object_get(document, "task"));
    add_plan(out, json_object_get(document, "plan"));
    add_records(out, json_object_get(document, "records"));
    add_training(out, json_object_get(document, "training"));
    report_compression(out, json_object_get(document, "compress"), json_object_get(document, "runners"));
    add_eval(out, json_object_get(document, "eval"));
    report_abstain(out, json_object_get(document, "abstain"));
    add_comparison(out, json_object_get(document, "comparison"));
    add_receipts(out, json_object_get(document, "receipts"));
    heading(out, "Versions");
    str_add(out, "<p class=\"quiet\">");
    json_object_foreach(json_object_get(document, "versions"), key, value) {
        report_escape(out, key);
        str_add(out, " ");
        any_value(out, value);
        str_add(out, "; ");
    }
    str_add(out, "</p>\n</body></html>\n");
    return str_check(out, e);
}
