/* The picture: see scatter.h. */
#include "scatter.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include <math.h>

enum { SIDE = 560, MARGIN = 70, N_COLOURS = 8 };
static const char *const colours[N_COLOURS] = {"#1f6f8b", "#c8553d", "#588157", "#7b2d8b",
                                               "#b08900", "#444444", "#2a9d8f", "#9c2c5f"};

struct axes {
    double low, high; /* log10 */
};

static double place(const struct axes *a, double value) {
    return MARGIN + (SIDE - 2 * MARGIN) * (log10(value) - a->low) / (a->high - a->low);
}

static void add_axes(struct str *s, const struct axes *a, const char *unit) {
    double from = MARGIN, to = SIDE - MARGIN;
    for (int decade = (int)floor(a->low); decade <= (int)ceil(a->high); decade++) {
        double at = place(a, pow(10, decade));
        if (at < from || at > to)
            continue;
        str_addf(s, "<path d='M%.1f %.1fV%.1fM%.1f %.1fH%.1f' stroke='#ddd'/>\n", at, from, to, from,
                 SIDE - at, to);
        str_addf(s,
                 "<text x='%.1f' y='%.1f' text-anchor='middle'>%g</text><text x='%.1f' y='%.1f' "
                 "text-anchor='end'>%g</text>\n",
                 at, to + 18, pow(10, decade), from - 6, SIDE - at + 4, pow(10, decade));
    }
    double band = (to - from) * log10(1.25) / (a->high - a->low);
    str_addf(s, "<path d='M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fZ' fill='#eef4f0'/>\n", from, to - band,
             from, to, to, from + band, to, from);
    str_addf(s, "<path d='M%.1f %.1fL%.1f %.1f' stroke='#888'/>\n", from, to, to, from);
    str_addf(s, "<text x='%d' y='%d' text-anchor='middle'>measured, %s</text>\n", SIDE / 2, SIDE - 20, unit);
    str_addf(s, "<text transform='translate(18 %d) rotate(-90)' text-anchor='middle'>predicted, %s</text>\n",
             SIDE / 2, unit);
}

int scatter_write(const char *path, const char *title, const char *unit, const struct scatter_point *points,
                  int64_t n, const char *const groups[], int n_groups) {
    struct axes a = {INFINITY, -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        a.low = fmin(a.low, log10(fmin(points[i].measured, points[i].predicted)));
        a.high = fmax(a.high, log10(fmax(points[i].measured, points[i].predicted)));
    }
    if (n == 0)
        return 0;
    a.low -= 0.1;
    a.high += 0.1;
    struct str s = {0};
    struct err e = {0};
    str_addf(&s,
             "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' font-family='sans-serif' "
             "font-size='12'>\n"
             "<rect width='100%%' height='100%%' fill='white'/>\n<text x='%d' y='30' text-anchor='middle' "
             "font-size='15'>%s</text>\n",
             SIDE, SIDE, SIDE / 2, title);
    add_axes(&s, &a, unit);
    for (int64_t i = 0; i < n; i++)
        str_addf(&s, "<circle cx='%.1f' cy='%.1f' r='3.5' fill='%s' fill-opacity='0.7'/>\n",
                 place(&a, points[i].measured), SIDE - place(&a, points[i].predicted),
                 colours[points[i].group % N_COLOURS]);
    for (int g = 0; g < n_groups; g++)
        str_addf(&s, "<circle cx='%d' cy='%d' r='4' fill='%s'/><text x='%d' y='%d'>%s</text>\n", MARGIN + 12,
                 MARGIN + 14 + 18 * g, colours[g % N_COLOURS], MARGIN + 22, MARGIN + 18 + 18 * g, groups[g]);
    str_add(&s, "</svg>\n");
    int code = s.failed ? ERR_NO_MEMORY : file_write(path, s.data, s.len, &e);
    if (code < 0)
        log_err(&e);
    str_release(&s);
    return code < 0;
}
