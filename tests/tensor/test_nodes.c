/* Where large memory comes to lie: each of the table's threads touches its share first, and on a machine with several memory nodes
 * each node therefore holds about its share (decision 21). The latter is skipped where there is one node; `make check-nodes`
 * runs it on an emulated machine with two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>

#include <cmocka.h>

#include "tensor/fast/cpu.h"

enum { MOST_THREADS = 64, MOST_NODES = 64, THREADS = 4, LARGE_BYTES = 96 << 20 };

struct thread_faults {
    long id[MOST_THREADS], faults[MOST_THREADS];
    int n;
};

/* Field 10 of a thread's stat, counted after its name, which ends with the last parenthesis: minor page faults. */
static long minor_faults(const char *thread) {
    char path[300], line[1024] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    long faults = -1;
    const char *after = strrchr(line, ')');
    assert_non_null(after);
    assert_int_equal(sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %ld", &faults), 1);
    return faults;
}

static struct thread_faults faults_of_all(void) {
    struct thread_faults all = {.n = 0};
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) && all.n < MOST_THREADS;)
        if (entry->d_name[0] != '.') {
            all.id[all.n] = strtol(entry->d_name, NULL, 10);
            all.faults[all.n++] = minor_faults(entry->d_name);
        }
    closedir(d);
    return all;
}

static void test_every_thread_touches_its_share_first(void **state) {
    (void)state;
    struct ops o;
    struct err e = {0};
    assert_int_equal(ops_open_cpu(&o, THREADS, &e), 0);
    struct thread_faults before = faults_of_all();
    char *p = o.alloc(&o, LARGE_BYTES);
    assert_non_null(p);
    struct thread_faults after = faults_of_all();
    assert_int_equal(before.n, after.n);
    long total = 0, taken[MOST_THREADS];
    for (int i = 0; i < after.n; i++) {
        assert_int_equal(before.id[i], after.id[i]);
        taken[i] = after.faults[i] - before.faults[i];
        total += taken[i];
    }
    int sharing = 0;
    for (int i = 0; i < after.n; i++)
        sharing += taken[i] * THREADS * 2 >= total;
    print_message("%ld faults, %d of %d threads took at least half a share\n", total, sharing, THREADS);
    assert_true(total >= LARGE_BYTES >> 21); /* pages of 2 MB at most */
    assert_int_equal(sharing, THREADS);
    o.free(&o, p);
    o.close(&o);
}

/* Pages of each node in the mapping that contains `p`, by /proc/self/numa_maps (addresses rise from line to line). */
static int pages_by_node(const void *p, long pages[MOST_NODES]) {
    memset(pages, 0, MOST_NODES * sizeof pages[0]);
    FILE *f = fopen("/proc/self/numa_maps", "r");
    if (!f)
        return 0;
    char line[4096], found[4096] = "";
    while (fgets(line, sizeof line, f) && strtoull(line, NULL, 16) <= (uintptr_t)p)
        memcpy(found, line, sizeof found);
    fclose(f);
    for (const char *at = found; (at = strstr(at, " N")); at++) {
        int node = -1;
        long n = 0;
        if (sscanf(at, " N%d=%ld", &node, &n) == 2 && node >= 0 && node < MOST_NODES)
            pages[node] = n;
    }
    return 1;
}

static int nodes_with_processors(void) {
    int n = 0;
    for (int node = 0; node < MOST_NODES; node++) {
        char path[80], list[80] = "";
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
        FILE *f = fopen(path, "r");
        if (f && fgets(list, sizeof list, f))
            n += list[0] != '\n';
        if (f)
            fclose(f);
    }
    return n;
}

static void test_every_node_holds_its_share(void **state) {
    (void)state;
    int n_nodes = nodes_with_processors();
    if (n_nodes < 2) {
        print_message("one memory node here\n");
        skip();
    }
    struct ops o;
    struct err e = {0};
    assert_int_equal(ops_open_cpu(&o, 0, &e), 0);
    char *p = o.alloc(&o, LARGE_BYTES);
    assert_non_null(p);
    long pages[MOST_NODES], total = 0;
    assert_true(pages_by_node(p, pages));
    for (int node = 0; node < MOST_NODES; node++)
        total += pages[node];
    assert_true(total > 0);
    int sharing = 0;
    for (int node = 0; node < MOST_NODES; node++)
        if (pages[node] > 0) {
            print_message("node %d: %.1f%% of %ld pages\n", node, 100.0 * (double)pages[node] / (double)total,
                          total);
            sharing += pages[node] * n_nodes * 2 >= total;
        }
    assert_int_equal(sharing, n_nodes);
    o.free(&o, p);
    o.close(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_thread_touches_its_share_first),
        cmocka_unit_test(test_every_node_holds_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
