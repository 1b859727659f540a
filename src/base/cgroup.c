/* Control group limits: see cgroup.h. A limit of any ancestor binds, so the smallest one on the way up
 * counts.
 *
 * v2 has one hierarchy: "0::/a/b" of /proc/self/cgroup is ROOT/a/b. v1 has one for each controller: "4:memory:/a/b" is
 * ROOT/memory/a/b. In a container that path may be the host's and exist nowhere below ROOT; the way up then ends at ROOT/memory,
 * which is the container's own. */
#include "base/cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cgroup_files here = {"/sys/fs/cgroup", "/proc/self/cgroup"};

/* Where to look: ROOT + controller + group + "/" + name. */
struct group {
    const char *root, *controller; /* "" or "/memory" */
    char path[PATH_MAX];           /* "/a/b"; "" for the root or where unknown */
};

/* The first line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *line, int n) {
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(line, n, f) != NULL;
    fclose(f);
    return got;
}

static const char *file_of(const struct group *g, const char *name, char path[2 * PATH_MAX]) {
    snprintf(path, 2 * PATH_MAX, "%s%s%s/%s", g->root, g->controller, g->path, name);
    return path;
}

/* Whether "cpu,cpuacct" names "cpu"; v2's list is empty and names "". */
static bool lists(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        if (length == n && strncmp(at, name, n) == 0)
            return true;
        at += length;
        if (!*at)
            return false;
    }
}

/* This process's group of a controller of v1 ("/memory"), or of v2 (""). */
static void own_group(struct group *g, const struct cgroup_files *files, const char *controller) {
    char line[PATH_MAX + 128];
    *g = (struct group){.root = files->root, .controller = controller};
    FILE *f = fopen(files->own, "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        if (!lists(list + 1, controller + (controller[0] == '/')))
            continue;
        path[strcspn(path, "\n")] = '\0';
        if (strcmp(path, "/") != 0 && !strstr(path, ".."))
            snprintf(g->path, sizeof g->path, "%s", path);
        break;
    }
    fclose(f);
}

/* On the way up, the smallest positive `read(group)`, and the group that has it; 0: none, and the topmost group. */
static double smallest(struct group *g, double (*read)(const struct group *)) {
    struct group best_group = *g;
    double best = 0;
    for (;;) {
        double value = read(g);
        if (value > 0 && (best <= 0 || value < best)) {
            best = value;
            best_group = *g;
        }
        char *slash = strrchr(g->path, '/');
        if (!slash)
            break;
        *slash = '\0';
    }
    if (best > 0)
        *g = best_group;
    return best;
}

/* "max" means no limit; v1 writes a number near 2^63 for the same. */
static double read_bytes(const struct group *g, const char *name) {
    char path[2 * PATH_MAX], line[256];
    double value = read_line(file_of(g, name, path), line, sizeof line) ? strtod(line, NULL) : 0;
    return value > 0 && value < 0x1p60 ? value : 0;
}

static double memory_v2(const struct group *g) {
    return read_bytes(g, "memory.max");
}

static double memory_v1(const struct group *g) {
    return read_bytes(g, "memory.limit_in_bytes");
}

/* "quota period" in microseconds, or "max period" */
static double cpu_v2(const struct group *g) {
    char path[2 * PATH_MAX], line[256];
    long long quota = 0, period = 0;
    return read_line(file_of(g, "cpu.max", path), line, sizeof line) &&
                   sscanf(line, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0
               ? (double)quota / (double)period
               : 0;
}

static double cpu_v1(const struct group *g) {
    double quota = read_bytes(g, "cpu.cfs_quota_us"), period = read_bytes(g, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The group that limits this process's memory most, of either version; 0 and v2's topmost: none does. */
static double memory_group(struct group *g, const struct cgroup_files *files) {
    struct group v1;
    own_group(g, files, "");
    own_group(&v1, files, "/memory");
    double limit = smallest(g, memory_v2), limit_v1 = smallest(&v1, memory_v1);
    if (limit_v1 <= 0 || (limit > 0 && limit <= limit_v1))
        return limit;
    *g = v1;
    return limit_v1;
}

int64_t cgroup_memory_limit_in(const struct cgroup_files *files) {
    struct group g;
    return (int64_t)memory_group(&g, files);
}

/* "inactive_file 123" of memory.stat: cache that is dropped first. v1 counts a group's children under "total_", as its usage does. */
static int64_t inactive_file(const struct group *g, const char *key) {
    char path[2 * PATH_MAX], line[256];
    FILE *f = fopen(file_of(g, "memory.stat", path), "re");
    if (!f)
        return 0;
    size_t n = strlen(key);
    long long bytes = 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) == 0 && line[n] == ' ') {
            bytes = strtoll(line + n, NULL, 10);
            break;
        }
    }
    fclose(f);
    return (int64_t)bytes;
}

int64_t cgroup_memory_used_in(const struct cgroup_files *files) {
    struct group g;
    if (memory_group(&g, files) <= 0)
        return 0;
    bool v1 = g.controller[0] != '\0';
    int64_t used = (int64_t)read_bytes(&g, v1 ? "memory.usage_in_bytes" : "memory.current") -
                   inactive_file(&g, v1 ? "total_inactive_file" : "inactive_file");
    return used > 0 ? used : 0;
}

double cgroup_cpu_limit_in(const struct cgroup_files *files) {
    struct group v1, v2;
    own_group(&v2, files, "");
    own_group(&v1, files, "/cpu");
    double limit = smallest(&v2, cpu_v2), limit_v1 = smallest(&v1, cpu_v1);
    return limit_v1 <= 0 || (limit > 0 && limit < limit_v1) ? limit : limit_v1;
}

int64_t cgroup_memory_limit(void) {
    return cgroup_memory_limit_in(&here);
}

int64_t cgroup_memory_used(void) {
    return cgroup_memory_used_in(&here);
}

double cgroup_cpu_limit(void) {
    return cgroup_cpu_limit_in(&here);
}
