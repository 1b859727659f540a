/* What the device's program notices about its machine, what it refuses, and whom it asks: without a model. */
#include "base/file.h"
#include "base/interrupt.h"
#include "device/api.h"
#include "device/arguments.h"
#include "device/escalate.h"
#include "device/guard.h"
#include "device/lines.h"
#include "device/machine.h"
#include "support/scratch.h"
#include <fcntl.h>
#include <getopt.h>
#include <linux/magic.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* As the kernel's own files want it: no file beside, no renaming. */
static bool file_write_over(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

static void put(const char *path, const char *text) {
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
}

static void test_memory(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(guard_memory(700 << 20, 800 << 20, &e), 0);
    assert_int_equal(guard_memory(0, 1, &e), 0);
    assert_int_equal(guard_memory(1, 0, &e), 0);
    assert_int_equal(guard_memory(700 << 20, 600 << 20, &e), ERR_NO_MEMORY);
    assert_non_null(strstr(e.message, "swap"));
    assert_non_null(strstr(e.hint, "--any-memory"));
    assert_true(guard_available_bytes() > 0);
}

/* A control group of either version that allows so much; false: none can be made here. */
static bool group_make(char folder[200], const char *bytes) {
    static const char *const places[][2] = {{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                                            {"/sys/fs/cgroup", "memory.max"}};
    for (size_t i = 0; i < 2; i++) {
        char path[300];
        snprintf(folder, 200, "%s/edgestill-test-%d", places[i][0], (int)getpid());
        if (mkdir(folder, 0755) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, places[i][1]);
        if (file_exists(path) && file_write_over(path, bytes))
            return true;
        rmdir(folder);
    }
    return false;
}

/* In a group of its own: a plan of all that is allowed fits, before and after part of it is taken; one of more does not. */
static int within_group(const char *folder) {
    enum { ALLOWED = 200 << 20, TAKEN = 80 << 20, SPARE = 8 << 20 };
    char path[300], pid[16];
    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (!file_write_over(path, pid))
        return 2;
    int64_t most =
        ALLOWED + machine_resident_bytes() + SPARE; /* what it has from before is charged elsewhere */
    int64_t before = guard_available_bytes();
    char *taken = malloc(TAKEN);
    memset(taken, 1, TAKEN);
    int64_t after = guard_available_bytes();
    bool fits = before >= ALLOWED && after >= ALLOWED, bounded = before < most && after < most;
    return fits && bounded ? taken[TAKEN - 1] - 1 : 1;
}

static void test_memory_of_a_group(void **state) {
    (void)state;
    char folder[200];
    int status = 0;
    if (!group_make(folder, "209715200")) {
        print_message("skipped: no control group can be made here\n");
        skip();
    }
    pid_t child = fork();
    if (child == 0)
        _exit(within_group(folder));
    assert_int_equal(waitpid(child, &status, 0), child);
    rmdir(folder);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Is the page that holds byte `at` of a mapping in memory? */
static bool resident(char *map, size_t at) {
    unsigned char there = 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(mincore(map + at / page * page, page, &there), 0);
    return there & 1;
}

static void test_forgets_what_is_not_mapped(void **state) {
    (void)state;
    enum { SIZE = 8 << 20 };
    char *text = calloc(1, SIZE + 1);
    assert_non_null(text);
    memset(text, 'x', SIZE);
    put("model", text);
    free(text);
    int fd = open("model", O_RDONLY);
    assert_true(fd >= 0 && fsync(fd) == 0);
    char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED && map[0] == 'x' && resident(map, SIZE - 1));
    guard_forget_unread("model");
    assert_true(resident(map, 0));
    struct statfs where;
    assert_int_equal(fstatfs(fd, &where), 0);
    if (where.f_type != TMPFS_MAGIC) /* whose pages are its storage */
        assert_false(resident(map, SIZE - 1));
    munmap(map, SIZE);
    close(fd);
    guard_forget_unread("nowhere");
}

static void test_throttled(void **state) {
    (void)state;
    file_make_folders("sys/class/thermal/cooling_device0", NULL);
    file_make_folders("sys/class/thermal/cooling_device1", NULL);
    file_make_folders("sys/devices/platform/soc/soc:firmware", NULL);
    assert_int_equal(machine_throttled("nowhere"), -1);
    put("sys/class/thermal/cooling_device0/type", "pwm-fan\n");
    put("sys/class/thermal/cooling_device0/cur_state", "3\n");
    assert_int_equal(machine_throttled("sys"), -1); /* a fan slows nothing down */
    put("sys/class/thermal/cooling_device1/type", "thermal-cpufreq-0\n");
    put("sys/class/thermal/cooling_device1/cur_state", "0\n");
    assert_int_equal(machine_throttled("sys"), 0);
    put("sys/class/thermal/cooling_device1/cur_state", "2\n");
    assert_int_equal(machine_throttled("sys"), 1);
    put("sys/class/thermal/cooling_device1/cur_state", "0\n");
    put("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"); /* once, not now */
    assert_int_equal(machine_throttled("sys"), 0);
    put("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    assert_int_equal(machine_throttled("sys"), 1);
}

/* Outdoors it may be below zero, which is no want of a sensor. */
static void test_temperature(void **state) {
    (void)state;
    file_make_folders("cold/class/thermal/thermal_zone0", NULL);
    file_make_folders("cold/class/thermal/thermal_zone1", NULL);
    assert_true(isnan(machine_temperature_c("nowhere")));
    put("cold/class/thermal/thermal_zone0/temp", "-12500\n");
    assert_true(machine_temperature_c("cold") == -12.5);
    put("cold/class/thermal/thermal_zone1/temp", "-4000\n");
    assert_true(machine_temperature_c("cold") == -4);
}

/* A Raspberry Pi 5 names its firmware's folder by an address; newer kernels leave the file out and have the voltage alone. */
static void test_throttled_pi5(void **state) {
    (void)state;
    file_make_folders("pi5/devices/platform/soc@107c000000/soc@107c000000:firmware", NULL);
    put("pi5/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "0\n");
    assert_int_equal(machine_throttled("pi5"), 0);
    put("pi5/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "4\n");
    assert_int_equal(machine_throttled("pi5"), 1);
    file_make_folders("new/class/hwmon/hwmon0", NULL);
    file_make_folders("new/class/hwmon/hwmon3", NULL);
    put("new/class/hwmon/hwmon0/name", "cpu_thermal\n");
    put("new/class/hwmon/hwmon3/name", "rpi_volt\n");
    assert_int_equal(machine_throttled("new"), -1);
    put("new/class/hwmon/hwmon3/in0_lcrit_alarm", "0\n");
    assert_int_equal(machine_throttled("new"), 0);
    put("new/class/hwmon/hwmon3/in0_lcrit_alarm", "1\n");
    assert_int_equal(machine_throttled("new"), 1);
}

/* A child's part of the next test: two lines are read at once, and a signal comes while the first is decided. */
static int lines_after_signal(void) {
    struct lines l;
    struct err e = {0};
    char *line = NULL;
    size_t n = 0;
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "one\ntwo\n", 8) != 8)
        return 1;
    interrupt_install();
    lines_init(&l, ends[0]);
    if (lines_next(&l, &line, &n, &e) != 1 || n != 3 || memcmp(line, "one", 3) != 0)
        return 2;
    raise(SIGTERM);
    return lines_next(&l, &line, &n, &e) == ERR_INTERRUPTED ? 0 : 3;
}

/* SIGTERM finishes the record at hand, and not all that one read brought: on a small board those are minutes. */
static void test_signal_between_lines(void **state) {
    (void)state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(lines_after_signal());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_says_changes_once(void **state) {
    (void)state;
    struct guard_state cool = {0, 50, 0}, hot = {0, 82, 0}, held = {0, 86, 1}, swapped = {1 << 20, 50, 0};
    char text[GUARD_TEXT];
    bool was_hot = false;
    guard_describe(&cool, &cool, &was_hot, text);
    assert_string_equal(text, "");
    guard_describe(&cool, &hot, &was_hot, text);
    assert_non_null(strstr(text, "82 degrees"));
    guard_describe(&hot, &hot, &was_hot, text);
    assert_string_equal(text, "");
    guard_describe(&hot, &held, &was_hot, text);
    assert_non_null(strstr(text, "held back"));
    assert_non_null(strstr(text, "degrees"));
    struct guard_state unknown = {0, NAN, 0}, unknown_held = {0, NAN, 1}, frost = {0, -7, 1};
    guard_describe(&unknown, &unknown_held, &was_hot, text);
    assert_non_null(strstr(text, "held back"));
    assert_null(strstr(text, "degrees"));
    guard_describe(&unknown, &frost, &was_hot, text);
    assert_non_null(strstr(text, "-7 degrees"));
    was_hot = true;
    guard_describe(&held, &hot, &was_hot, text);
    assert_non_null(strstr(text, "full speed"));
    struct guard_state nearly = {0, 78, 0};
    guard_describe(&hot, &nearly, &was_hot, text);
    guard_describe(&nearly, &hot, &was_hot, text); /* 78 to 82 is no news */
    assert_string_equal(text, "");
    guard_describe(&cool, &swapped, &was_hot, text);
    assert_non_null(strstr(text, "swapped out"));
}

static void expect_escalation(const char *command, int64_t timeout_ms, int code, const char *said) {
    struct err e = {0};
    struct str out = {0};
    assert_int_equal(escalate(command, "{\"record\":{}}\n", timeout_ms, &out, &e), code);
    if (said)
        assert_string_equal(str_text(&out), said);
    else
        assert_int_equal(out.len, 0);
    str_release(&out);
}

static void test_escalation(void **state) {
    (void)state;
    expect_escalation("cat", 20000, 0, "{\"record\":{}}");
    expect_escalation("echo normal; echo more", 20000, 0, "normal"); /* without reading its input */
    expect_escalation("true", 20000, ERR_FAILED, NULL);
    expect_escalation("echo no; exit 3", 20000, ERR_FAILED, NULL);
    expect_escalation("sleep 100 & wait", 50, ERR_FAILED, NULL);
    expect_escalation("/nonexistent/program", 20000, ERR_FAILED, NULL);
    expect_escalation("yes", 20000, 0, "y"); /* its first line, however much it has to say */
    expect_escalation("yes | head -n 1", 20000, 0, "y");
    expect_escalation("head -c 5000 /dev/zero | tr '\\0' x", 20000, ERR_FAILED, NULL);
    expect_escalation("echo yes; exec >&-; sleep 100", 50, ERR_FAILED, NULL); /* goes on without an output */
}

static void expect_record(const char *text, const char *json) {
    struct err e = {0};
    struct str out = {0};
    static struct task_field fields[] = {{.name = "delay", .column = "delay", .type = FIELD_NUMBER},
                                         {.name = "note", .column = "Note", .type = FIELD_TEXT}};
    const struct task t = {.fields = fields, .n_fields = 2, .n_declared = 2};
    int rc = api_record_text(&t, text, &out, &e);
    if (json) {
        assert_int_equal(rc, 0);
        assert_string_equal(str_text(&out), json);
    } else {
        assert_int_equal(rc, ERR_INPUT);
    }
    str_release(&out);
}

static void test_records_in_messages(void **state) {
    (void)state;
    expect_record(" {\"delay\":5}", "{\"delay\":5}");
    expect_record("- delay: 5\n- visit type: emergency\n", "{\"delay\":\"5\",\"visit type\":\"emergency\"}");
    expect_record("delay: 5; note: at 10:30 \"sharp\"",
                  "{\"delay\":\"5\",\"note\":\"at 10:30 \\\"sharp\\\"\"}");
    /* what people write has semicolons in it: only a field's name behind one begins another pair */
    expect_record("note: came late; pays: tomorrow; bye\ndelay: 5",
                  "{\"note\":\"came late; pays: tomorrow; bye\",\"delay\":\"5\"}");
    expect_record("Note: came late; delay: 5; colour: red",
                  "{\"Note\":\"came late\",\"delay\":\"5\",\"colour\":\"red\"}");
    expect_record("", NULL);
    expect_record("please decide", NULL);
}

static void test_routes(void **state) {
    (void)state;
    const char *method = NULL;
    assert_int_equal(api_route("/v1/decide", &method), API_DECIDE);
    assert_string_equal(method, "POST");
    assert_int_equal(api_route("/metrics", &method), API_METRICS);
    assert_string_equal(method, "GET");
    assert_int_equal(api_route("/v1", &method), API_NONE);
}

static int parse(struct options *o, const char *const words[], int n) {
    struct err e = {0};
    char *argv[12] = {(char *)(uintptr_t) "run"};
    for (int i = 0; i < n; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i];
    *o = (struct options){0};
    optind = 0;
    return arguments_parse(n + 1, argv, o, &e);
}

static void test_options(void **state) {
    (void)state;
    struct options o;
    assert_int_equal(parse(&o, (const char *[]){"--serve", "--max-queue", "7", "--threads", "2"}, 5), 0);
    assert_true(o.serve);
    assert_int_equal(o.server.max_queue, 7);
    assert_int_equal(o.runner.n_threads, 2);
    assert_int_equal(parse(&o, (const char *[]){"--json", "delay=3", "--lock"}, 3), 0);
    assert_int_equal(o.n_words, 2); /* the record's words begin at the first */
    assert_int_equal(parse(&o, (const char *[]){"--serve", "--selftest"}, 2), ERR_USAGE);
    assert_int_equal(parse(&o, (const char *[]){"--serve", "delay=3"}, 2), ERR_USAGE);
    assert_int_equal(parse(&o, (const char *[]){"--max-queue", "0"}, 2), ERR_USAGE);
    assert_int_equal(parse(&o, (const char *[]){"--max-queue"}, 1), ERR_USAGE);
    struct str help = {0};
    arguments_help(&help);
    assert_non_null(strstr(str_text(&help), "--on-abstain COMMAND"));
    str_release(&help);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_of_a_group),
        cmocka_unit_test(test_throttled),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_throttled_pi5),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_signal_between_lines),
        cmocka_unit_test(test_says_changes_once),
        cmocka_unit_test(test_escalation),
        cmocka_unit_test(test_records_in_messages),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_forgets_what_is_not_mapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
