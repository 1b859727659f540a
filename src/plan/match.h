/* Who is a row of measurements about? Rows come from public tables, whose writers name devices, models and quantisations as they
 * like, give some facts and leave others out.
 *
 *     struct catalog_device made_up;
 *     const struct catalog_device *d = match_device(c, row, &made_up);     // NULL: nothing is known of it
 *     struct shape s; enum mix m;
 *     if (match_model(c, row, &s) != MATCH_NOT && match_mix(row, &s, &m) != MATCH_NOT) ... */
#ifndef PLAN_MATCH_H
#define PLAN_MATCH_H

#include "plan/mix.h"

enum match {
    MATCH_NOT,
    MATCH_LIKE, /* not known by that name: the nearest by what the row says (parameters; bits, size of the file) */
    MATCH_NAME /* known */
};

/* By the name that the device's rows go by, by name or title, by chip, else by the facts in the row: "4x Cortex-A76 2.4GHz" is any
 * board with such cores, "Intel i5-9500" a machine as that product line has them. `storage` takes a device that is made up so. */
const struct catalog_device *match_device(const struct catalog *c, const struct catalog_measurement *row,
                                          struct catalog_device *storage);

/* By name, however it is written ("llama3.2:3b"), else a shape of as many parameters: the nearest of the catalogue with more or fewer
 * layers. Of a mixture of experts those count that work on a token, when its name says so ("30B-A3B"). */
enum match match_model(const struct catalog *c, const struct catalog_measurement *row, struct shape *out);

/* By llama.cpp's name, else by what the name begins with ("UD-Q4_K_XL", "Q4_0_4_4", "int8"), else by the size of the file. */
enum match match_mix(const struct catalog_measurement *row, const struct shape *s, enum mix *out);

/* match_cpu.c: "4x Cortex-A76 2.4GHz" as a device with such cores, "Intel i5, 6x 4.4 GHz" as an x86-64 machine; false: neither is
 * named. `text` is borrowed by *out. */
bool match_cpu(const struct catalog *c, const char *text, struct catalog_device *out);

#endif
