/* Facts from /proc and /sys.
 *
 * Emulation: a user-mode emulator (qemu-aarch64) runs this program's foreign instructions on the host's kernel. The kernel's
 * files then still speak of the host: its processor has an x86 "vendor_id", or its shell is a program of another machine.
 * Where an emulator hides both, --emulated says so. */
#include "machine.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include <elf.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- emulation ---- */

bool machine_cpuinfo_is_foreign(const char *cpuinfo, const char *arch) {
    bool x86 = strstr(cpuinfo, "vendor_id") && strstr(cpuinfo, "model name");
    bool arm = strstr(cpuinfo, "CPU implementer") != NULL;
    if (strcmp(arch, "aarch64") == 0)
        return x86 && !arm;
    return strcmp(arch, "x86_64") == 0 && arm && !x86;
}

/* The ELF machine of a file, or 0. */
static int elf_machine(const char *path) {
    unsigned char head[20];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    if (n < sizeof head || memcmp(head, ELFMAG, SELFMAG) != 0)
        return 0;
    return head[18] | head[19] << 8;
}

static bool shell_is_foreign(const char *arch) {
    int machine = elf_machine("/bin/sh");
    int own = strcmp(arch, "aarch64") == 0 ? EM_AARCH64 : strcmp(arch, "x86_64") == 0 ? EM_X86_64 : 0;
    return machine != 0 && own != 0 && machine != own;
}

/* ---- description ---- */

static void first_line(const char *text, char *out, size_t n) {
    snprintf(out, n, "%.*s", (int)strcspn(text, "\n"), text);
}

static void cpu_name(const char *cpuinfo, char *out, size_t n) {
    const char *key = strstr(cpuinfo, "model name");
    const char *value = key ? strchr(key, ':') : NULL;
    if (value)
        first_line(value + 1 + (value[1] == ' '), out, n);
}

static void read_text(const char *path, struct str *out) {
    str_clear(out);
    if (file_read(path, 1 << 20, out, NULL) < 0)
        str_clear(out);
}

void machine_describe(struct machine *m) {
    struct utsname u = {0};
    struct str text = {0};
    *m = (struct machine){.n_cores = thread_core_count(), .memory_bytes = mem_total_bytes()};
    uname(&u);
    snprintf(m->arch, sizeof m->arch, "%.31s", u.machine);
    snprintf(m->kernel, sizeof m->kernel, "%.30s %.60s", u.sysname, u.release);
    read_text("/proc/cpuinfo", &text);
    m->emulated = machine_cpuinfo_is_foreign(str_text(&text), m->arch) || shell_is_foreign(m->arch);
    if (!m->emulated) { /* an emulator lets the host's names through */
        cpu_name(str_text(&text), m->model, sizeof m->model);
        read_text("/proc/device-tree/model", &text);
        if (text.len > 0)
            first_line(str_text(&text), m->model, sizeof m->model);
    }
    str_release(&text);
}

/* ---- now ---- */

double machine_temperature_c(const char *sys) {
    double hottest = NAN;
    for (int zone = 0; zone < 32; zone++) {
        char path[512];
        double milli = 0;
        snprintf(path, sizeof path, "%s/class/thermal/thermal_zone%d/temp", sys, zone);
        FILE *f = fopen(path, "r");
        if (!f)
            break;
        if (fscanf(f, "%lf", &milli) == 1)
            hottest = fmax(hottest, milli / 1000); /* a number, where one of them is none */
        fclose(f);
    }
    return hottest;
}

/* The firmware's bits: 0 voltage too low, 1 clock capped, 2 throttled, 3 soft temperature limit; the upper half is history. Their folder
 * is named after the node of the device tree: "soc" up to a Raspberry Pi 4, "soc@107c000000" on a 5. */
static int firmware_throttled(const char *sys) {
    char pattern[512];
    glob_t found = {0};
    unsigned bits = 0;
    snprintf(pattern, sizeof pattern, "%s/devices/platform/soc*/soc*:firmware/get_throttled", sys);
    FILE *f = glob(pattern, 0, NULL, &found) == 0 ? fopen(found.gl_pathv[0], "r") : NULL;
    int n = f ? fscanf(f, "%x", &bits) : 0;
    if (f)
        fclose(f);
    globfree(&found);
    return n == 1 ? (bits & 0xF) != 0 : -1;
}

/* Kernels without that file still have the firmware's word on the voltage (Documentation/hwmon/raspberrypi-hwmon.rst). */
static int voltage_too_low(const char *sys) {
    for (int i = 0; i < 32; i++) {
        char path[512], name[64] = "";
        int alarm = -1;
        snprintf(path, sizeof path, "%s/class/hwmon/hwmon%d/name", sys, i);
        FILE *f = fopen(path, "r");
        bool is_it = f && fscanf(f, "%63s", name) == 1 && strcmp(name, "rpi_volt") == 0;
        if (f)
            fclose(f);
        snprintf(path, sizeof path, "%s/class/hwmon/hwmon%d/in0_lcrit_alarm", sys, i);
        f = is_it ? fopen(path, "r") : NULL;
        bool known = f && fscanf(f, "%d", &alarm) == 1;
        if (f)
            fclose(f);
        if (known)
            return alarm != 0;
    }
    return -1;
}

static bool slows_processors(const char *type) {
    return strstr(type, "cpufreq") || strcmp(type, "Processor") == 0;
}

int machine_throttled(const char *sys) {
    int found = firmware_throttled(sys);
    if (found < 0)
        found = voltage_too_low(sys);
    for (int i = 0; i < 64; i++) {
        char path[512], type[64] = "";
        long state = 0;
        snprintf(path, sizeof path, "%s/class/thermal/cooling_device%d/type", sys, i);
        FILE *f = fopen(path, "r");
        if (!f)
            break;
        bool read_type = fscanf(f, "%63s", type) == 1;
        fclose(f);
        snprintf(path, sizeof path, "%s/class/thermal/cooling_device%d/cur_state", sys, i);
        f = read_type && slows_processors(type) ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        if (fscanf(f, "%ld", &state) == 1)
            found = found == 1 || state > 0;
        fclose(f);
    }
    return found;
}

int64_t machine_swapped_bytes(void) {
    struct str text = {0};
    long long kib = -1;
    read_text("/proc/self/status", &text);
    const char *line = strstr(str_text(&text), "VmSwap:");
    if (!line || sscanf(line, "VmSwap: %lld", &kib) != 1)
        kib = -1;
    str_release(&text);
    return kib < 0 ? -1 : (int64_t)kib * 1024;
}

int64_t machine_major_faults(void) {
    struct rusage r;
    return getrusage(RUSAGE_SELF, &r) == 0 ? (int64_t)r.ru_majflt : -1;
}

int64_t machine_resident_bytes(void) {
    long long total = 0, resident = -1;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lld %lld", &total, &resident) != 2)
        resident = -1;
    if (f)
        fclose(f);
    return resident < 0 ? -1 : (int64_t)resident * sysconf(_SC_PAGESIZE);
}
