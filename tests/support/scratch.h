/* A folder of the test's own: scratch_enter() makes one under TMPDIR and makes it the working folder, so that tests name
 * files by short relative names; it is removed when the process ends. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

void scratch_enter(void); /* aborts the test program when it cannot */

#endif
