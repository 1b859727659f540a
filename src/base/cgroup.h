/* What the control group of this process allows (containers, systemd units): a machine of 64 GB may hold a
 * container of 2 GB. Reads cgroup v2 and v1 below /sys/fs/cgroup; 0 where there is no limit or none can be
 * read. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdint.h>

int64_t cgroup_memory_limit(void); /* bytes */
int64_t cgroup_memory_used(void);  /* bytes, without the page cache that can be dropped */
double cgroup_cpu_limit(void);     /* cores, e.g. 1.5 */

#endif
