/* Time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

double clock_seconds(void);                        /* monotonic */
int64_t clock_unix_ms(void);                       /* wall clock; may jump */
void clock_sleep_ms(int64_t ms);                   /* ends early on a signal */
char *clock_iso(char buffer[32], int64_t unix_ms); /* "2026-01-31T09:15:00Z" */

#endif
