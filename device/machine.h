/* What machine this is, as far as Linux tells, and whether it is a real one. */
#ifndef DEVICE_MACHINE_H
#define DEVICE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct machine {
    char arch[32];   /* uname -m */
    char model[128]; /* "Raspberry Pi 5 Model B Rev 1.0", else the processor's name; "" unknown */
    char kernel[96]; /* "Linux 6.6.31" */
    int n_cores;
    int64_t memory_bytes;
    bool emulated; /* this program's instructions are not the machine's own */
};

void machine_describe(struct machine *m);

/* At this moment. `sys` is "/sys" (another folder in tests). */
double
machine_temperature_c(const char *sys); /* the hottest thermal zone, which may be below zero; NAN: unknown */
/* 1: the processor is held back now, for heat or want of power; 0: no; -1: unknown: the
 * Raspberry Pi's own word, and the kernel's cooling devices that slow a processor down. */
int machine_throttled(const char *sys);
int64_t machine_swapped_bytes(void);  /* of this process */
int64_t machine_resident_bytes(void); /* of this process */
int64_t machine_major_faults(void);   /* of this process so far */

/* Is /proc/cpuinfo's text of another architecture than `arch`? Exposed for its test. */
bool machine_cpuinfo_is_foreign(const char *cpuinfo, const char *arch);

#endif
