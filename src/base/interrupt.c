/* Ctrl-C and SIGTERM: see interrupt.h. The handler only writes a flag; SA_RESTART keeps library reads whole.
 */
#include "base/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* Atomic, not sig_atomic_t: the kernel may deliver the signal to any thread, and another one looks at it. Without locks, so a
 * handler may write it. */
static atomic_int requested;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may write it");

static void on_signal(int number) {
    if (requested) {
        signal(number, SIG_DFL);
        raise(number);
    }
    requested = 1;
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
