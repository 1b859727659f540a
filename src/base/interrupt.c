/* Ctrl-C and SIGTERM: see interrupt.h. The handler only writes a flag and a time; SA_RESTART keeps library reads whole.
 */
#include "base/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { SENT_TWICE_MS = 333 };

/* Atomic, not sig_atomic_t: the kernel may deliver the signal to any thread, and another one looks at it. Without locks, so a
 * handler may write it. */
static atomic_int requested;
static atomic_llong first_ms;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "a signal handler may write them");

static void on_signal(int number) {
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now); /* a handler may call it */
    long long now_ms = (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (!requested) {
        first_ms = now_ms;
        requested = 1;
    } else if (now_ms - first_ms > SENT_TWICE_MS) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

void interrupt_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupt_requested(void) {
    return requested != 0;
}

int interrupt_check(struct err *e) {
    if (!requested)
        return 0;
    int code = err_set(e, ERR_INTERRUPTED, "interrupt_check", "interrupted; what was done so far is kept");
    err_hint(e, "run the same command again to go on");
    return code;
}
