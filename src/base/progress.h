/* Progress with time left for anything over two seconds. The worker calls progress_update as often as it
 * likes; the receiver decides what to show: a line that rewrites itself on a terminal, one line every ten
 * seconds elsewhere, JSON Lines with EDGESTILL_PROGRESS=json. A NULL progress is allowed everywhere and shows
 * nothing.
 *
 *     struct progress p; progress_begin(&p, "train", "step", n_steps);
 *     for (...) { progress_note(&p, "loss %.3f", loss); progress_update(&p, step + 1); }
 *     progress_end(&p); */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* borrowed until progress_end */
    const char *unit;
    int64_t done, total; /* total 0: unknown */
    double start_s, shown_s;
    char note[160];
    bool shown;
};

void progress_begin(struct progress *p, const char *what, const char *unit, int64_t total);
void progress_note(struct progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void progress_update(struct progress *p, int64_t done);
void progress_end(struct progress *p);

/* Process-wide choice made once by src/cmd: shown or not. */
void progress_set_quiet(bool quiet);

#endif
