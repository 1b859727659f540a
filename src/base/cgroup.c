/* Control group limits: see cgroup.h. A limit of any ancestor binds, so the smallest one on the way up
 * counts. */
#include "base/cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "/sys/fs/cgroup"

/* The first line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *line, int n) {
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(line, n, f) != NULL;
    fclose(f);
    return got;
}

/* This process's group below the v2 root: "/user.slice/..."; "" for the root or where unknown. */
static void own_group(char *group, size_t n) {
    group[0] = '\0';
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return;
    char line[PATH_MAX];
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line + 3, "/") != 0 && !strstr(line + 3, ".."))
            snprintf(group, n, "%s", line + 3);
        break;
    }
    fclose(f);
}

/* Smallest positive `parse(line)` of the file `name` in the group and its ancestors; 0: none. */
static double smallest(const char *name, double (*parse)(const char *line)) {
    char group[PATH_MAX], path[PATH_MAX + 128], line[256];
    own_group(group, sizeof group);
    double best = 0;
    for (;;) {
        snprintf(path, sizeof path, ROOT "%s/%s", group, name);
        double value = read_line(path, line, sizeof line) ? parse(line) : 0;
        if (value > 0 && (best <= 0 || value < best))
            best = value;
        char *slash = strrchr(group, '/');
        if (!slash)
            return best;
        *slash = '\0';
    }
}

/* "max" means no limit; v1 writes a number near 2^63 for the same. */
static double parse_bytes(const char *line) {
    double value = strtod(line, NULL);
    return value > 0 && value < 0x1p60 ? value : 0;
}

/* "quota period" in microseconds, or "max period" */
static double parse_cpu_max(const char *line) {
    long long quota = 0, period = 0;
    return sscanf(line, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0
               ? (double)quota / (double)period
               : 0;
}

int64_t cgroup_memory_limit(void) {
    double limit = smallest("memory.max", parse_bytes);
    char line[256];
    if (limit <= 0 && read_line(ROOT "/memory/memory.limit_in_bytes", line, sizeof line))
        limit = parse_bytes(line);
    return (int64_t)limit;
}

/* "inactive_file 123" of memory.stat: cache that is dropped first */
static int64_t inactive_file(const char *path) {
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    char line[256];
    long long bytes = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "inactive_file %lld", &bytes) == 1 ||
            sscanf(line, "total_inactive_file %lld", &bytes) == 1)
            break;
    fclose(f);
    return (int64_t)bytes;
}

int64_t cgroup_memory_used(void) {
    char group[PATH_MAX], path[PATH_MAX + 128], line[256];
    own_group(group, sizeof group);
    snprintf(path, sizeof path, ROOT "%s/memory.current", group);
    int64_t cache;
    if (read_line(path, line, sizeof line)) {
        snprintf(path, sizeof path, ROOT "%s/memory.stat", group);
        cache = inactive_file(path);
    } else if (read_line(ROOT "/memory/memory.usage_in_bytes", line, sizeof line)) {
        cache = inactive_file(ROOT "/memory/memory.stat");
    } else {
        return 0;
    }
    int64_t used = (int64_t)parse_bytes(line) - cache;
    return used > 0 ? used : 0;
}

double cgroup_cpu_limit(void) {
    double limit = smallest("cpu.max", parse_cpu_max);
    char quota[64], period[64];
    if (limit <= 0 && read_line(ROOT "/cpu/cpu.cfs_quota_us", quota, sizeof quota) &&
        read_line(ROOT "/cpu/cpu.cfs_period_us", period, sizeof period)) {
        double q = strtod(quota, NULL), p = strtod(period, NULL);
        limit = q > 0 && p > 0 ? q / p : 0;
    }
    return limit;
}
