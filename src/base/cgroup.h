/* What the control group of this process allows (containers, systemd units): a machine of 64 GB may hold a
 * container of 2 GB. Reads cgroup v2 and v1 below /sys/fs/cgroup, of the process's own group and of all above it; 0 where there is
 * no limit or none can be read. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdint.h>

int64_t cgroup_memory_limit(void); /* bytes */
int64_t
cgroup_memory_used(void); /* bytes, of the group that limits, without the page cache that can be dropped */
double cgroup_cpu_limit(void); /* cores, e.g. 1.5 */

/* The same, of files elsewhere (tests). */
struct cgroup_files {
    const char *root; /* as /sys/fs/cgroup */
    const char *own;  /* as /proc/self/cgroup */
};
int64_t cgroup_memory_limit_in(const struct cgroup_files *files);
int64_t cgroup_memory_used_in(const struct cgroup_files *files);
double cgroup_cpu_limit_in(const struct cgroup_files *files);

#endif
