/* Progress with time left: see progress.h. The time left comes from the mean speed so far, which is steady
 * for the long loops this serves; nothing is shown before two seconds have passed. */
#include "base/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SHOWN_S    2.0
#define TERMINAL_EVERY_S 0.2
#define JSON_EVERY_S     1.0
#define PLAIN_EVERY_S    10.0

enum { TEXT_SIZE = 512 };

static atomic_bool quiet;

void progress_set_quiet(bool is_quiet) {
    atomic_store(&quiet, is_quiet);
}

void progress_begin(struct progress *p, const char *what, const char *unit, int64_t total) {
    if (!p)
        return;
    double now = clock_seconds();
    *p = (struct progress){.what = what, .unit = unit, .total = total, .start_s = now, .shown_s = now};
}

void progress_note(struct progress *p, const char *format, ...) {
    if (!p)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(p->note, sizeof p->note, format, args);
    va_end(args);
}

static bool want_json(void) {
    const char *style = getenv("EDGESTILL_PROGRESS");
    return style && strcmp(style, "json") == 0;
}

/* Seconds left, or -1 where nothing can be said. */
static double time_left(const struct progress *p, double now) {
    if (p->total <= 0 || p->done <= 0 || p->done > p->total)
        return -1;
    return (now - p->start_s) / (double)p->done * (double)(p->total - p->done);
}

static void show_json(const struct progress *p, double now) {
    fprintf(stderr, "{\"progress\":\"%s\",\"unit\":\"%s\",\"done\":%lld,\"total\":%lld,\"seconds\":%.1f",
            p->what, p->unit, (long long)p->done, (long long)p->total, now - p->start_s);
    double left = time_left(p, now);
    if (left >= 0)
        fprintf(stderr, ",\"seconds_left\":%.1f", left);
    fputs("}\n", stderr);
}

static void describe(const struct progress *p, double now, char *text, size_t n) {
    char left_text[48], counts[64];
    if (p->total > 0)
        snprintf(counts, sizeof counts, "%lld of %lld", (long long)p->done, (long long)p->total);
    else
        snprintf(counts, sizeof counts, "%lld", (long long)p->done);
    double left = time_left(p, now);
    bool have_left = left >= 0 && p->done < p->total;
    snprintf(text, n, "%s: %s %s%s%s%s%s%s", p->what, p->unit, counts, p->note[0] ? ", " : "", p->note,
             have_left ? ", " : "", have_left ? str_duration(left_text, sizeof left_text, left) : "",
             have_left ? " left" : "");
}

static void show(struct progress *p, double now) {
    p->shown_s = now;
    p->shown = true;
    if (want_json()) {
        show_json(p, now);
        return;
    }
    char text[TEXT_SIZE];
    describe(p, now, text, sizeof text);
    if (log_is_terminal())
        log_status(text);
    else
        log_line(LOG_INFO, "%s", text);
}

void progress_update(struct progress *p, int64_t done) {
    if (!p)
        return;
    p->done = done;
    double now = clock_seconds();
    if (now - p->start_s < FIRST_SHOWN_S || now - p->shown_s < TERMINAL_EVERY_S || atomic_load(&quiet))
        return; /* the cheap answer to most calls */
    double every = want_json() ? JSON_EVERY_S : log_is_terminal() ? TERMINAL_EVERY_S : PLAIN_EVERY_S;
    if (now - p->shown_s >= every && log_get_level() >= LOG_INFO)
        show(p, now);
}

void progress_end(struct progress *p) {
    if (!p || !p->shown)
        return;
    double now = clock_seconds();
    if (want_json()) {
        show_json(p, now);
    } else {
        char text[TEXT_SIZE], took[48];
        describe(p, now, text, sizeof text);
        if (log_is_terminal())
            log_status("");
        log_line(LOG_INFO, "%s, took %s", text, str_duration(took, sizeof took, now - p->start_s));
    }
    p->shown = false;
}
