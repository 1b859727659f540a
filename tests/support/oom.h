/* Makes one allocation of this process fail, libraries' included, so that a test can fail each in turn:
 *
 *     for (int64_t n = 1; oom_available(); n++) {
 *         oom_arm(n);                       // the n-th allocation from here fails, once
 *         int code = work(&e);
 *         if (!oom_disarm()) break;         // there were fewer than n: all have been tried
 *         assert_int_equal(code, ERR_NO_MEMORY);
 *     }
 *
 * Works by defining malloc, calloc and realloc over glibc's own; not under sanitizers, which define them too. */
#ifndef TESTS_OOM_H
#define TESTS_OOM_H

#include <stdbool.h>
#include <stdint.h>

bool oom_available(void);
void oom_arm(int64_t nth);
bool oom_disarm(void); /* did an allocation fail? */

#endif
