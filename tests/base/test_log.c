/* Messages, progress, clock and interruption, seen from outside: standard error goes into a file for the time of a test. */
#include "../support/scratch.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int saved;

static void catch_begin(void) {
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    int fd = open("stderr", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* What came; free with str_release. */
static struct str catch_end(void) {
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    struct str text = {0};
    struct err e = {0};
    assert_int_equal(file_read("stderr", 0, &text, &e), 0);
    return text;
}

static void levels(void **state) {
    (void)state;
    catch_begin();
    log_set_level(LOG_WARN);
    log_info("not shown");
    log_warn("shown %d", 1);
    log_status("not on a terminal's foot");
    log_status("");
    log_set_level(LOG_INFO);
    log_info("shown 2");
    struct str text = catch_end();
    assert_null(strstr(text.data, "not shown"));
    assert_non_null(strstr(text.data, "edgestill: warning: shown 1\n"));
    assert_non_null(strstr(text.data, "shown 2\n"));
    assert_int_equal(log_get_level(), LOG_INFO);
    str_release(&text);
}

static void errors(void **state) {
    (void)state;
    struct err e = {0};
    catch_begin();
    log_err(&e); /* nothing to say */
    err_set(&e, ERR_INPUT, "somewhere", "a.csv:3: bad");
    err_hint(&e, "fix it");
    log_err(&e);
    struct str text = catch_end();
    assert_string_equal(text.data, "edgestill: a.csv:3: bad\n  fix it\n");
    str_release(&text);
}

static void progress_stays_quiet_at_first(void **state) {
    (void)state;
    struct progress p;
    catch_begin();
    progress_begin(&p, "train", "step", 10);
    progress_note(&p, "loss %.1f", 0.5);
    for (int i = 0; i < 10; i++)
        progress_update(&p, i + 1);
    progress_end(&p);
    progress_begin(NULL, "x", "y", 1);
    progress_note(NULL, "x");
    progress_update(NULL, 1);
    progress_end(NULL);
    struct str text = catch_end();
    assert_string_equal(text.data, "");
    str_release(&text);
}

static void progress_after_a_while(void **state) {
    (void)state;
    struct progress p;
    catch_begin();
    progress_begin(&p, "train", "step", 10);
    p.start_s -= 60; /* as if begun a minute ago */
    p.shown_s -= 60;
    progress_note(&p, "loss %.1f", 0.5);
    progress_update(&p, 5);
    progress_update(&p, 6); /* too soon to be shown */
    progress_update(&p, 10);
    progress_end(&p);
    setenv("EDGESTILL_PROGRESS", "json", 1);
    progress_begin(&p, "label", "record", 0);
    p.start_s -= 60;
    p.shown_s -= 60;
    progress_update(&p, 3);
    unsetenv("EDGESTILL_PROGRESS");
    progress_set_quiet(true);
    p.shown_s -= 60;
    progress_update(&p, 4);
    progress_set_quiet(false);
    struct str text = catch_end();
    assert_non_null(strstr(text.data, "train: step 5 of 10, loss 0.5, 1 min 00 s left\n"));
    assert_null(strstr(text.data, "step 6"));
    assert_non_null(strstr(text.data, "train: step 10 of 10, loss 0.5, took 1 min 00 s\n"));
    assert_non_null(strstr(text.data, "{\"progress\":\"label\",\"unit\":\"record\",\"done\":3,\"total\":0,"));
    assert_null(strstr(text.data, "\"done\":4"));
    str_release(&text);
}

static void clocks(void **state) {
    (void)state;
    char text[32];
    assert_string_equal(clock_iso(text, 0), "1970-01-01T00:00:00Z");
    assert_string_equal(clock_iso(text, INT64_C(1769850900000)), "2026-01-31T09:15:00Z");
    double before = clock_seconds();
    clock_sleep_ms(5);
    clock_sleep_ms(-1);
    assert_true(clock_seconds() >= before + 0.005);
    assert_true(clock_unix_ms() > INT64_C(1700000000000));
}

static void interruption(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(interrupt_check(&e), 0);
    pid_t child = fork();
    if (child == 0) {
        interrupt_install();
        raise(SIGTERM);
        bool asked = interrupt_requested() && interrupt_check(&e) == ERR_INTERRUPTED && e.hint[0];
        if (!asked)
            _exit(1);
        raise(SIGTERM); /* the same one, sent to the group as well */
        clock_sleep_ms(400);
        raise(SIGINT); /* the second one ends at once */
        _exit(2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

int main(void) {
    scratch_enter();
    unsetenv("EDGESTILL_LOG");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),
        cmocka_unit_test(errors),
        cmocka_unit_test(progress_stays_quiet_at_first),
        cmocka_unit_test(progress_after_a_while),
        cmocka_unit_test(clocks),
        cmocka_unit_test(interruption),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
