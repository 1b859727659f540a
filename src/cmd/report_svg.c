/* The report's drawings: the training curve and the accuracies with their intervals, as inline SVG. */
#include "cmd/report.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 640, HEIGHT = 240, LEFT = 48, RIGHT = 44, TOP = 16, BOTTOM = 28, BAR = 26, LABEL = 130 };

struct scale {
    double low, high;      /* of the data */
    double from_px, to_px; /* on the page */
};

static double place(const struct scale *s, double value) {
    double span = s->high > s->low ? s->high - s->low : 1;
    return s->from_px + (value - s->low) / span * (s->to_px - s->from_px);
}

static void widen(struct scale *s, double value) {
    s->low = fmin(s->low, value);
    s->high = fmax(s->high, value);
}

static double number(const json_t *point, const char *key) {
    const json_t *v = json_object_get(point, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* One line through the points that have the key. */
static void add_line(struct str *out, const json_t *curve, const char *key, const struct scale *x,
                     const struct scale *y, const char *class) {
    size_t i;
    json_t *point;
    str_addf(out, "<polyline class=\"%s\" points=\"", class);
    json_array_foreach(curve, i, point) {
        double step = number(point, "step"), value = number(point, key);
        if (isfinite(step) && isfinite(value))
            str_addf(out, "%.1f,%.1f ", place(x, step), place(y, value));
    }
    str_add(out, "\"/>");
}

static void add_axis(struct str *out, const struct scale *y, double at_px, const char *anchor,
                     const char *format) {
    for (int i = 0; i <= 4; i++) {
        double value = y->low + (y->high - y->low) * i / 4, px = place(y, value);
        str_addf(out, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">", at_px, px + 4, anchor);
        str_addf(out, strcmp(format, "%") == 0 ? "%.0f%%" : "%.2f",
                 strcmp(format, "%") == 0 ? value * 100 : value);
        str_add(out, "</text>");
    }
}

void report_svg_curve(struct str *out, const json_t *curve) {
    struct scale x = {0, 1, LEFT, WIDTH - RIGHT}, loss = {0, 0, HEIGHT - BOTTOM, TOP};
    struct scale accuracy = {0, 1, HEIGHT - BOTTOM, TOP};
    size_t i;
    json_t *point;
    bool has_accuracy = false;
    json_array_foreach(curve, i, point) {
        const double values[] = {number(point, "loss"), number(point, "validation_loss")};
        for (int k = 0; k < 2; k++)
            if (isfinite(values[k]))
                widen(&loss, values[k]);
        if (isfinite(number(point, "step")))
            widen(&x, number(point, "step"));
        has_accuracy = has_accuracy || isfinite(number(point, "validation_accuracy"));
    }
    str_addf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"training curve\">", WIDTH, HEIGHT);
    str_addf(out, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", LEFT, TOP,
             WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    add_axis(out, &loss, LEFT - 6, "end", "");
    add_line(out, curve, "loss", &x, &loss, "loss");
    add_line(out, curve, "validation_loss", &x, &loss, "validation");
    if (has_accuracy) {
        add_axis(out, &accuracy, WIDTH - RIGHT + 6, "start", "%");
        add_line(out, curve, "validation_accuracy", &x, &accuracy, "accuracy");
    }
    str_addf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step 0 to %.0f</text></svg>", WIDTH / 2,
             HEIGHT - 8, x.high);
}

void report_svg_bars(struct str *out, const json_t *eval) {
    static const char *const who[] = {"base", "student_f16", "student_quant", "teacher"};
    struct scale x = {0, 1, LABEL, WIDTH - RIGHT};
    int n = 0;
    for (size_t i = 0; i < sizeof who / sizeof *who; i++)
        n += json_object_get(eval, who[i]) != NULL;
    str_addf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"accuracy with 95%% intervals\">",
             WIDTH, n * BAR + 24);
    int row = 0;
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        const json_t *one = json_object_get(eval, who[i]);
        if (one == NULL)
            continue;
        double value = number(one, "accuracy"), low = number(one, "low"), high = number(one, "high");
        double y = row++ * BAR + 4.0, middle = y + (BAR - 8) / 2.0;
        str_addf(out, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%s</text>", LABEL - 8, middle + 4,
                 who[i]);
        str_addf(out, "<rect class=\"bar\" x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"%d\"/>", LABEL, y,
                 place(&x, value) - LABEL, BAR - 8);
        str_addf(out, "<line class=\"interval\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                 place(&x, low), place(&x, high), middle, middle);
        str_addf(out, "<text x=\"%d\" y=\"%.0f\">%.1f%%</text>", WIDTH - RIGHT + 4, middle + 4, value * 100);
    }
    for (int i = 0; i <= 4; i++)
        str_addf(out, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%d%%</text>", place(&x, i / 4.0),
                 n * BAR + 18, i * 25);
    str_add(out, "</svg>");
}
