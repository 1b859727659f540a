/* Memory, heat and throttling. */
#include "guard.h"
#include "base/cgroup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "machine.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

/* ---- memory ---- */

int64_t guard_available_bytes(void) {
    int64_t left = mem_available_bytes(), held = machine_resident_bytes();
    if (left <= 0 && cgroup_memory_limit() <= 0)
        return 0;
    return left + (held > 0 ? held : 0) + 1; /* a group that is full is not an unknown one */
}

int guard_memory(int64_t need_bytes, int64_t available_bytes, struct err *e) {
    char need[32], have[32];
    if (need_bytes <= 0 || available_bytes <= 0 || need_bytes <= available_bytes)
        return 0;
    err_set(e, ERR_NO_MEMORY, "guard_memory",
            "the plan needs %s of memory and %s are free: starting would make this machine swap",
            str_bytes(need, sizeof need, need_bytes), str_bytes(have, sizeof have, available_bytes));
    err_hint(
        e,
        "end other programs, bundle a smaller plan (edgestill plan --max-memory), or try all the same with "
        "--any-memory");
    return ERR_NO_MEMORY;
}

int guard_lock(struct err *e) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
        return 0;
    err_set(e, ERR_UNSUPPORTED, "guard_lock", "the memory cannot be locked: %s",
            errno == EPERM || errno == ENOMEM ? "the limit of locked memory is too low"
                                              : "not supported here");
    err_hint(e, "raise the limit (systemd: LimitMEMLOCK=infinity; a shell: ulimit -l)");
    return ERR_UNSUPPORTED;
}

void guard_forget_unread(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* passes over mapped pages */
    close(fd);
}

/* ---- watching ---- */

struct guard_state guard_look(void) {
    return (struct guard_state){.swapped_bytes = machine_swapped_bytes(),
                                .temperature_c = machine_temperature_c("/sys"),
                                .throttled = machine_throttled("/sys")};
}

void guard_describe(const struct guard_state *before, const struct guard_state *now, bool *was_hot,
                    char text[GUARD_TEXT]) {
    char size[32], degrees[32] = "";
    if (!isnan(now->temperature_c))
        snprintf(degrees, sizeof degrees, "; %.0f degrees", now->temperature_c);
    /* three degrees between hot and no longer hot, so that it is not said over and over */
    bool hot = now->temperature_c >= (*was_hot ? GUARD_HOT_C - 3 : GUARD_HOT_C);
    text[0] = 0;
    if (now->swapped_bytes > 0 && before->swapped_bytes <= 0)
        snprintf(text, GUARD_TEXT, "%s of this program were swapped out: answers will be slow",
                 str_bytes(size, sizeof size, now->swapped_bytes));
    else if (now->throttled == 1 && before->throttled != 1)
        snprintf(text, GUARD_TEXT, "the processor is held back (heat, or too little power)%s", degrees);
    else if (now->throttled == 0 && before->throttled == 1)
        snprintf(text, GUARD_TEXT, "the processor runs at full speed again");
    else if (hot && !*was_hot)
        snprintf(text, GUARD_TEXT, "the processor is at %.0f degrees", now->temperature_c);
    *was_hot = hot;
}

void guard_watch(struct guard_watch *w) {
    char text[GUARD_TEXT];
    double now_s = clock_seconds();
    if (now_s < w->next_s)
        return;
    struct guard_state now = guard_look();
    guard_describe(&w->last, &now, &w->was_hot, text);
    if (text[0])
        log_warn("%s", text);
    w->last = now;
    w->next_s = now_s + 10;
}
