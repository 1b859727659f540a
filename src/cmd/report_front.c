/* The report's part on compression: the front of candidates as a drawing, and the loss ledger. */
#include "cmd/report.h"
#include <math.h>

enum { SIDE = 260, WIDE = 640, EDGE = 56, TOP = 16, FOOT = 40 };

static double number(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

/* ---- the front ---- */

struct axes {
    const char *cost; /* key of what goes to the right */
    double factor;    /* to the unit it is shown in */
    const char *unit;
    double least, most; /* of the cost, shown */
    double low, high;   /* of the accuracy */
};

static bool measure(const json_t *candidates, double source, struct axes *a) {
    size_t i;
    json_t *one;
    int n = 0;
    a->least = INFINITY;
    a->low = a->high = source;
    json_array_foreach(candidates, i, one) {
        double x = number(one, a->cost) * a->factor, y = number(one, "accuracy");
        if (!isfinite(x) || !isfinite(y))
            continue;
        n++;
        a->least = fmin(a->least, x);
        a->most = fmax(a->most, x);
        a->low = fmin(a->low, y);
        a->high = fmax(a->high, y);
    }
    a->low = fmax(0, a->low - 0.01);
    a->high = fmin(1, a->high + 0.01);
    double margin = fmax((a->most - a->least) * 0.1, a->most * 0.02);
    a->least -= margin;
    a->most += margin;
    return n > 1 && isfinite(source);
}

static double across(const struct axes *a, double x) {
    return EDGE + (x - a->least) / (a->most - a->least) * (WIDE - 2 * EDGE);
}

static double down(const struct axes *a, double y) {
    return SIDE - FOOT - (y - a->low) / (a->high - a->low) * (SIDE - FOOT - TOP);
}

static void draw_axes(struct str *out, const struct axes *a, double source) {
    str_addf(out, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", EDGE, TOP,
             WIDE - 2 * EDGE, SIDE - FOOT - TOP);
    for (int k = 0; k <= 4; k++) {
        double y = a->low + (a->high - a->low) * k / 4, x = a->least + (a->most - a->least) * k / 4;
        str_addf(out, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.1f%%</text>", EDGE - 6, down(a, y) + 4,
                 100 * y);
        str_addf(out, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%.3g %s</text>", across(a, x),
                 SIDE - FOOT + 16, x, a->unit);
    }
    str_addf(out, "<polyline class=\"loss\" stroke-dasharray=\"4 3\" points=\"%d,%.1f %d,%.1f\"/>", EDGE,
             down(a, source), WIDE - EDGE, down(a, source));
}

/* Candidates as dots with their letters, the chosen one filled. */
static void draw_front(struct str *out, const json_t *candidates, double source, struct axes a) {
    size_t i;
    json_t *one;
    if (!measure(candidates, source, &a))
        return;
    str_addf(out,
             "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"accuracy of the candidates over %s\">",
             WIDE, SIDE, a.cost);
    draw_axes(out, &a, source);
    json_array_foreach(candidates, i, one) {
        double x = number(one, a.cost) * a.factor, y = number(one, "accuracy");
        if (!isfinite(x) || !isfinite(y))
            continue;
        bool chosen = json_is_true(json_object_get(one, "chosen"));
        str_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\" stroke=\"#0969da\"/>",
                 across(&a, x), down(&a, y), chosen ? 6 : 4, chosen ? "#0969da" : "none");
        str_addf(out, "<text x=\"%.1f\" y=\"%.1f\">%c</text>", across(&a, x) + 8, down(&a, y) + 14,
                 (char)('A' + (int)(i % 26)));
    }
    str_add(out, "</svg>\n");
}

/* ---- tables ---- */

static void cell(struct str *out, double value, const char *format) {
    str_add(out, "<td class=\"n\">");
    if (isfinite(value))
        str_addf(out, format, value);
    str_add(out, "</td>");
}

static void add_candidates(struct str *out, const json_t *candidates) {
    size_t i;
    json_t *one;
    str_add(
        out,
        "<table><tr><th></th><th>candidate</th><th class=\"n\">kB</th><th class=\"n\">bits a weight</th><th "
        "class=\"n\">ms a decision there</th><th class=\"n\">accuracy</th><th class=\"n\">rows</th></tr>\n");
    json_array_foreach(candidates, i, one) {
        str_addf(out, "<tr><td>%c</td><td>", (char)('A' + (int)(i % 26)));
        report_escape(out, text(one, "name"));
        str_add(out, json_is_true(json_object_get(one, "chosen")) ? " <b>chosen</b></td>" : "</td>");
        cell(out, number(one, "bytes") / 1e3, "%.0f");
        cell(out, number(one, "bits_per_weight"), "%.2f");
        cell(out, number(one, "device_seconds") * 1e3, "%.3g");
        cell(out, number(one, "accuracy") * 100, "%.1f%%");
        cell(out, number(one, "rows"), "%.0f");
        str_add(out, "</tr>\n");
    }
    str_add(out, "</table>\n");
}

static void add_difference(struct str *out, const json_t *j) {
    str_add(out, "<td class=\"n\">");
    if (isfinite(number(j, "difference")))
        str_addf(out, "%+.1f (%+.1f to %+.1f), p = %.2g", 100 * number(j, "difference"),
                 100 * number(j, "low"), 100 * number(j, "high"), number(j, "p_value"));
    str_add(out, "</td>");
}

static void add_step(struct str *out, const json_t *step, double rows, const char *lost_at) {
    const char *name = text(step, "step");
    str_add(out, "<tr><td>");
    report_escape(out, name);
    if (json_is_true(json_object_get(step, "emulated")))
        str_add(out, " <span class=\"emulated\">emulated</span>");
    if (*lost_at && str_equal(lost_at, name))
        str_add(out, " <b>most is lost here</b>");
    str_add(out, "</td>");
    cell(out, rows, "%.0f");
    cell(out, number(step, "accuracy") * 100, "%.1f%%");
    cell(out, number(step, "agreement") * 100, "%.1f%%");
    add_difference(out, json_object_get(step, "change"));
    add_difference(out, step);
    str_add(out, "</tr>\n");
}

static void add_ledger(struct str *out, const json_t *compress, const json_t *runners) {
    size_t i;
    json_t *step;
    str_add(out, "<p class=\"quiet\">The loss ledger: the same validation rows through every step, in points "
                 "of accuracy with 95% "
                 "intervals. Agreement is with the 16-bit file, a runner's with the file that "
                 "ships.</p><table><tr><th>step</th><th "
                 "class=\"n\">rows</th><th class=\"n\">accuracy</th><th class=\"n\">agreement</th><th "
                 "class=\"n\">since the "
                 "step before</th><th class=\"n\">since 16-bit</th></tr>\n");
    json_array_foreach(json_object_get(compress, "steps"), i, step) {
        add_step(out, step, number(compress, "first_rows"), text(compress, "lost_at"));
    }
    json_array_foreach(runners, i, step) {
        add_step(out, step, number(step, "rows"), "");
    }
    str_add(out, "</table>\n");
}

void report_compression(struct str *out, const json_t *compress, const json_t *runners) {
    const json_t *candidates = json_object_get(compress, "candidates");
    double source = number(compress, "source_accuracy");
    if (!json_is_object(compress))
        return;
    str_add(out, "<h2>Compression</h2>\n<p>");
    report_escape(out, text(compress, "chosen"));
    str_add(out, ": ");
    report_escape(out, text(compress, "reason"));
    str_add(out, ".</p>\n");
    draw_front(out, candidates, source, (struct axes){.cost = "bytes", .factor = 1e-6, .unit = "MB"});
    draw_front(out, candidates, source, (struct axes){.cost = "device_seconds", .factor = 1e3, .unit = "ms"});
    str_add(out, "<p class=\"quiet\">Accuracy on validation rows over the size of the file, and over the "
                 "time of a decision's matrix "
                 "products on the device as predicted; the line is the 16-bit file.</p>\n");
    add_candidates(out, candidates);
    if (json_array_size(json_object_get(compress, "steps")) > 0)
        add_ledger(out, compress, runners);
}
