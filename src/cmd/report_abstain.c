/* The report's part on leaving records undecided: the risk-coverage curve that the bundle carries. */
#include "cmd/report.h"

enum { SIDE = 240, WIDE = 640, EDGE = 48 };

static double at(const json_t *point, size_t i) {
    return json_number_value(json_array_get(point, i));
}

static double largest_risk(const json_t *curve) {
    double most = 0.01;
    size_t i;
    json_t *point;
    json_array_foreach(curve, i, point) {
        most = at(point, 1) > most ? at(point, 1) : most;
    }
    return most;
}

static double across(double coverage) {
    return EDGE + coverage * (WIDE - 2 * EDGE);
}

static double down(double risk, double most) {
    return SIDE - 28 - risk / most * (SIDE - 44);
}

static void draw(struct str *out, const json_t *abstain) {
    const json_t *curve = json_object_get(abstain, "curve");
    double most = largest_risk(curve), coverage = json_number_value(json_object_get(abstain, "coverage"));
    size_t i;
    json_t *point;
    str_addf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"risk by coverage\">", WIDE, SIDE);
    str_addf(out, "<rect class=\"frame\" x=\"%d\" y=\"16\" width=\"%d\" height=\"%d\"/>", EDGE,
             WIDE - 2 * EDGE, SIDE - 44);
    for (int k = 0; k <= 4; k++) {
        str_addf(out, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.1f%%</text>", EDGE - 6,
                 down(most * k / 4, most) + 4, most * k * 25);
        str_addf(out, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%d%%</text>", across(k / 4.0),
                 SIDE - 12, k * 25);
    }
    str_add(out, "<polyline class=\"validation\" points=\"");
    json_array_foreach(curve, i, point) {
        str_addf(out, "%.1f,%.1f ", across(at(point, 0)), down(at(point, 1), most));
    }
    str_addf(out, "\"/><line class=\"interval\" x1=\"%.1f\" x2=\"%.1f\" y1=\"16\" y2=\"%d\"/></svg>",
             across(coverage), across(coverage), SIDE - 28);
}

void report_abstain(struct str *out, const json_t *abstain) {
    if (!json_is_object(abstain))
        return;
    str_add(out, "<h2>Records left undecided</h2>\n");
    draw(out, abstain);
    str_addf(out,
             "<p>The share of wrong answers (up) when only the surest share of the records is decided "
             "(right), over %lld "
             "validation rows. The device leaves a record undecided when its best label's probability is "
             "below %.3f (the "
             "line): it then decides %.1f%%, and %.1f%% of those are wrong; deciding all, %.1f%% would be. "
             "The threshold "
             "counts a record left as %.2g of a wrong answer. Mean risk over all coverages: %.2f%%.</p>\n",
             (long long)json_integer_value(json_object_get(abstain, "rows")),
             json_number_value(json_object_get(abstain, "threshold")),
             100 * json_number_value(json_object_get(abstain, "coverage")),
             100 * json_number_value(json_object_get(abstain, "risk")),
             100 * json_number_value(json_object_get(abstain, "risk_all")),
             json_number_value(json_object_get(abstain, "cost")),
             100 * json_number_value(json_object_get(abstain, "aurc")));
}
