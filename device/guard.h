/* Memory kept to the plan: the program refuses to start where it would have to swap, and notices when the machine begins to swap,
 * grows hot or slows its processor down. */
#ifndef DEVICE_GUARD_H
#define DEVICE_GUARD_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

/* Memory that this process can hold without anybody swapping: what is left of the machine's or of its control group's, and what it
 * holds already, which a plan counts, too. 0 where neither can be read. */
int64_t guard_available_bytes(void);

/* ERR_NO_MEMORY with both figures when `need` is more than `available`. 0 for one of them: nothing is known, go on. */
int guard_memory(int64_t need_bytes, int64_t available_bytes, struct err *e);

/* Keeps what this process has now, and what it touches later, from being swapped out or dropped. ERR_UNSUPPORTED where the system
 * does not allow that much (RLIMIT_MEMLOCK). */
int guard_lock(struct err *e);

/* Takes the pages of `path` that no program has mapped out of the page cache. A control group pays for them: after repacking they are
 * the originals of what was copied, and for their sake pages that every decision reads get dropped and read again. Refusals are of
 * no consequence. */
void guard_forget_unread(const char *path);

/* How the machine is at this moment. */
struct guard_state {
    int64_t swapped_bytes; /* of this process; -1 unknown */
    double temperature_c;  /* NAN unknown */
    int throttled;         /* 1: the processor is held back for heat or want of power; 0 no; -1 unknown */
};
struct guard_state guard_look(void);

/* Looks at most every ten seconds; a message (EDGESTILL_LOG=warn and below shows it) when something begins or ends. */
struct guard_watch {
    struct guard_state last;
    double next_s;
    bool was_hot;
};
void guard_watch(struct guard_watch *w);

/* The change as a sentence, or "" when there is nothing to say. For guard_watch and its test. */
enum { GUARD_TEXT = 200, GUARD_HOT_C = 80 };
void guard_describe(const struct guard_state *before, const struct guard_state *now, bool *was_hot,
                    char text[GUARD_TEXT]);

#endif
