/* A bundle is alive: its self-test passes on this machine with nothing but its own files, and emulated on the device's
 * architecture; answers come from arguments and from a pipe; damage is noticed. */
#include "../support/scratch.h"
#include "../support/tiny_bundle.h"
#include "base/file.h"
#include "format/json.h"
#include "llama/type_rate.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tiny_bundle t;
static bool possible;

static int setup(void **state) {
    (void)state;
    possible = tiny_bundle_here(&t);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_bundle_end(&t);
    return 0;
}

/* `whole`: not a short test, which has no rates by type. */
static void expect_receipt(const char *path, bool emulated, bool whole, int n_rows) {
    json_t *receipt = NULL;
    assert_int_equal(json_file_read(path, &receipt, NULL), 0);
    json_t *test = json_object_get(receipt, "selftest"), *measured = json_object_get(receipt, "measured");
    assert_string_equal(json_string_value(json_object_get(receipt, "format")), "edgestill.receipt/1");
    assert_int_equal(json_is_true(json_object_get(receipt, "emulated")), emulated);
    assert_true(json_is_true(json_object_get(test, "passed")));
    assert_true(json_is_true(json_object_get(test, "prefix_restored")));
    assert_int_equal(json_integer_value(json_object_get(test, "prefix_tokens_computed")), 0);
    assert_true(emulated ? json_is_null(json_object_get(test, "memory_kept"))
                         : json_is_true(json_object_get(test, "memory_kept")));
    assert_int_equal(json_integer_value(json_object_get(test, "rows")), n_rows);
    assert_int_equal(json_integer_value(json_object_get(test, "agreeing_rows")), n_rows);
    assert_true(json_number_value(json_object_get(test, "largest_difference")) < 0.05);
    assert_true(json_number_value(json_object_get(measured, "decision_s")) > 0);
    assert_true(json_number_value(json_object_get(measured, "prefill_tps")) > 0);
    assert_true(json_number_value(json_object_get(measured, "decode_tps")) > 0);
    assert_true(json_is_object(json_object_get(json_object_get(receipt, "predicted"), "memory_bytes")));
    assert_string_equal(json_string_value(json_object_get(receipt, "device")), "rpi5-8gb");
    json_t *reads = json_object_get(measured, "reads_gmacs");
    assert_true(whole && !emulated ? json_object_size(reads) == N_TYPE_RATES : json_is_null(reads));
    assert_true(json_is_null(reads) || json_number_value(json_object_get(reads, "Q4_K")) > 0);
    json_decref(receipt);
}

#define RUN "env -i here/run --threads 1 "

static void test_passes_here(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(tiny_shell("env -i here/selftest --threads 1 --receipt here.json"), 0);
    expect_receipt("here.json", false, true, 6);
    assert_int_equal(tiny_shell("env -i here/selftest --threads 1 --rows 2 --receipt short.json"), 0);
    expect_receipt("short.json", false, false, 2);
    assert_int_equal(
        tiny_shell("env -i here/selftest --threads 1 --emulated --no-verify --receipt told.json"), 0);
    expect_receipt("told.json", true, true, 6);
}

static void test_answers(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(tiny_shell(RUN "delay=3 'visit type=routine' | grep -Eq '^(suspicious|normal) [01]\\.'"),
                     0);
    assert_int_equal(tiny_shell(RUN "--json '{\"delay\":3}' | grep -q '^{\"label\":'"), 0);
    assert_int_equal(tiny_shell("ln -s here/run linked && env -i ./linked --version"), 0);
    /* one answer a line, in order; blank lines are passed over; a bad line is answered and counted in the exit status */
    static const char pipe_command[] =
        "printf '%s\\n' '{\"delay\":3,\"id\":\"a\"}' '' '{\"delay\":\"soon\"}' 'x' '{\"delay\":4}' | " RUN
        " >out.jsonl; test $? = 2";
    assert_int_equal(tiny_shell(pipe_command), 0);
    assert_int_equal(tiny_shell("test $(wc -l <out.jsonl) = 4"), 0);
    assert_int_equal(tiny_shell("sed -n 1p out.jsonl | grep -q '^{\"id\":\"a\",\"label\":'"), 0);
    assert_int_equal(tiny_shell("sed -n 2p out.jsonl | grep -q '\"error\":.*delay.*\"line\":3'"), 0);
    assert_int_equal(tiny_shell("sed -n 3p out.jsonl | grep -q '\"error\":.*\"line\":4'"), 0);
    assert_int_equal(tiny_shell("sed -n 4p out.jsonl | grep -q '^{\"label\":'"), 0);
}

/* A record without any field of the task is refused, one that lacks a field is decided and says so, and the pipe goes on. */
static void test_doubtful_records(void **state) {
    (void)state;
    if (!possible)
        skip();
    static const char pipe_command[] =
        "printf '%s\\n' '{\"dealy\":3,\"colour\":1}' '{\"dealy\":3,\"id\":7,\"approved "
        "share\":1,\"visit "
        "type\":\"routine\"}' "
        "'{\"delay\":3,\"approved share\":1,\"visit type\":\"routine\",\"colour\":1}' '' '{}' | " RUN
        ">doubt.jsonl 2>doubt.log; test $? = 2";
    assert_int_equal(tiny_shell(pipe_command), 0);
    assert_int_equal(tiny_shell("sed -n 1p doubt.jsonl | grep -q '^{\"error\":\".*none of.*fields.*they are: "
                                "delay.*\"line\":1}'"),
                     0);
    assert_int_equal(tiny_shell("sed -n 2p doubt.jsonl | grep -q '^{\"id\":\"7\",\"label\":.*,\"missing\":"
                                "\\[\"delay\"\\],\"unknown\":\\[\"dealy\"\\],\"ms\":'"),
                     0);
    assert_int_equal(
        tiny_shell("sed -n 3p doubt.jsonl | grep '^{\"label\":' | grep -vq -e missing -e unknown -e outside"),
        0);
    assert_int_equal(
        tiny_shell(
            "for v in '21,\"visit type\":\"Routine\"' '-1,\"visit type\":\"other\"' '20,\"visit "
            "type\":\"unknown\"'; do "
            "echo \"{\\\"delay\\\":$v,\\\"approved share\\\":1}\"; done | " RUN
            ">outside.jsonl 2>outside.log && "
            "sed -n 1p outside.jsonl | grep -q ',\"outside\":\\[\"delay\"\\],\"ms\":' && "
            "sed -n 2p outside.jsonl | grep -q ',\"outside\":\\[\"delay\",\"visit type\"\\],\"ms\":' && "
            "sed -n 3p outside.jsonl | grep -vq outside && grep -q '2 of 3 records have values' outside.log"),
        0);
    assert_int_equal(tiny_shell("sed -n 4p doubt.jsonl | grep -q '\"error\":.*\"line\":5'"), 0);
    assert_int_equal(tiny_shell("grep -q '1 of 2 records lack a field' doubt.log"), 0);
    assert_int_equal(tiny_shell(RUN "'visit type=routine' 2>&1 >one.txt | grep -q 'no value for .*delay'"),
                     0);
}

/* A line beyond the limit is answered as an error and the pipe goes on; SIGTERM ends a waiting pipe at once, cleanly. */
static void test_pipes_last(void **state) {
    (void)state;
    if (!possible)
        skip();
    static const char long_line[] =
        "{ head -c 1500000 /dev/zero | tr '\\0' x; printf '\\n{\"delay\":3}\\n'; } | " RUN
        " >long.jsonl; test $? = 2 && sed -n 1p long.jsonl | grep -q '\"error\"' && "
        "sed -n 2p long.jsonl | grep -q '\"label\"'";
    assert_int_equal(tiny_shell(long_line), 0);
    static const char terminated[] =
        "mkfifo in; " RUN "<in >term.jsonl & pid=$!; exec 3>in; echo '{\"delay\":3}' >&3; "
        "while ! test -s term.jsonl; do sleep 0.1; done; kill -TERM $pid; wait $pid";
    assert_int_equal(tiny_shell(terminated), 0);
}

static void test_wrong_usage(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(tiny_shell(RUN "colour=blue"), 2);
    assert_int_equal(tiny_shell(RUN "--frobnicate"), 2);
    assert_int_equal(tiny_shell(RUN "--frobnicate 2>&1 | grep -q -- '--frobnicate is unknown'"), 0);
    assert_int_equal(tiny_shell(RUN "delay=3 >/dev/full"),
                     1); /* an answer that did not arrive is a failure */
    assert_int_equal(tiny_shell(RUN "--threads 0 delay=3"), 2);
    assert_int_equal(tiny_shell(RUN "--threads 100000 delay=3 2>&1 | grep -q '100000 threads are more'"), 0);
    assert_int_equal(tiny_shell(RUN "--selftest delay=3"), 2);
    assert_int_equal(tiny_shell(RUN "delay=soon"), 2);
    assert_int_equal(tiny_shell(RUN "--bundle /nowhere delay=3"), 2);
    assert_int_equal(tiny_shell(RUN "--help"), 0);
    assert_int_equal(tiny_shell(RUN "--help >/dev/full"), 1);
    assert_int_equal(tiny_shell("CDPATH=$PWD env here/run --threads 1 delay=3"), 0);
    assert_int_equal(tiny_shell(RUN "-help 2>&1 | grep -q -- '^edgestill: -help is unknown'"), 0);
    assert_int_equal(tiny_shell(RUN "--rows 2>&1 | grep -q -- '^edgestill: --rows is unknown'"), 0);
    assert_int_equal(tiny_shell(RUN "--max-wait 99999999 2>&1 | grep -q 'from 1 to 16777216'"), 0);
    assert_int_equal(tiny_shell(RUN "delay=3 --json 2>&1 | grep -q 'options come before the record'"), 0);
    assert_int_equal(tiny_shell(RUN "'\n {\"delay\":3}'"), 0);
}

static void test_damage_is_noticed(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(
        tiny_shell("cp -r here torn && printf x >>torn/README.md && env -i torn/selftest --threads 1"), 1);
    assert_int_equal(
        tiny_shell(
            "rm torn/README.md && env -i torn/selftest --threads 1 2>gone; test $? = 1 && "
            "grep -q 'README.md was bundled and is not here' gone && grep -q 'copy the bundle again' gone"),
        0);
    /* libraries that would end the program before it looks at any file */
    assert_int_equal(
        tiny_shell(
            "cp here/README.md torn/ && for f in torn/lib/lib*.so*; do head -c 5000 $f >cut && cat cut >$f; "
            "done && "
            "LC_ALL=de_DE.UTF-8 torn/selftest --threads 1 2>cut; test $? = 1 && "
            "grep -q 'selftest: lib/libllama.so.0 is not as in bundle.json' cut && "
            "grep -q 'copy the bundle again' cut && ! grep -q loader cut && cp here/lib/lib* torn/lib/"),
        0);
    assert_int_equal(
        tiny_shell("env -i here/selftest --threads 1 --rows 1 --receipt /nowhere/r.json 2>where; "
                   "test $? = 1 && grep -q -- '--receipt FILE writes it elsewhere' where"),
        0);
    assert_int_equal(
        tiny_shell(
            "cp here/README.md torn/ && head -c 1000 here/model/student.gguf >torn/model/student.gguf && "
            "env -i torn/run --threads 1 delay=3; test $? = 2"),
        0);
    /* a model that was exchanged is noticed, and does not get the other's prefix */
    assert_int_equal(tiny_shell("cp here/model/student.gguf torn/model/ && printf '\\377\\377' | dd "
                                "of=torn/model/student.gguf bs=1 "
                                "seek=$(($(stat -c %s torn/model/student.gguf) - 40)) conv=notrunc && "
                                "env -i torn/run --threads 1 delay=3 2>warning && grep -q 'not the model "
                                "that was bundled' warning && "
                                "grep -q 'computed again' warning"),
                     0);
    /* a prefix of another model is computed again */
    assert_int_equal(
        tiny_shell("cp here/model/student.gguf torn/model/ && printf x >torn/prefix.state && "
                   "env -i torn/run --threads 1 delay=3 2>warning && grep -q 'computed again' warning"),
        0);
}

static void edit(const char *file, const char *expression) {
    char command[640];
    snprintf(command, sizeof command, "sed -i -E '%s' %s", expression, file);
    assert_int_equal(tiny_shell(command), 0);
}

/* Another processor's answers, beyond what rounding does. */
static void test_other_answers_fail(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(tiny_shell("cp -r here wrong"), 0);
    edit("wrong/golden.jsonl",
         "s/\"label\":\"suspicious\".*/\"label\":\"N/; s/\"label\":\"normal\".*/\"label\":\"suspicious\","
         "\"probabilities\":{\"suspicious\":0.95,\"normal\":0.05}}/; s/\"label\":\"N$/\"label\":\"normal\","
         "\"probabilities\":{\"suspicious\":0.05,\"normal\":0.95}}/");
    assert_int_equal(
        tiny_shell("env -i wrong/selftest --threads 1 --no-verify --receipt wrong.json >words 2>&1; "
                   "test $? = 1 && grep -q 'FAILED: the answers differ' words && "
                   "grep -q '6 of 6 golden rows are answered differently' words"),
        0);
    json_t *receipt = NULL;
    assert_int_equal(json_file_read("wrong.json", &receipt, NULL), 0);
    json_t *test = json_object_get(receipt, "selftest");
    assert_true(json_is_false(json_object_get(test, "passed")));
    assert_int_equal(json_integer_value(json_object_get(test, "agreeing_rows")), 0);
    assert_int_equal(json_array_size(json_object_get(test, "disagreements")), 6);
    json_decref(receipt);
}

/* More memory than any machine has: refused before the model is opened, unless told to go on. The self-test of a plan that is
 * too small fails and says so in its receipt. */
static void test_memory_is_kept_to_the_plan(void **state) {
    (void)state;
    if (!possible)
        skip();
    assert_int_equal(tiny_shell("cp -r here large && cp -r here small"), 0);
    edit("large/bundle.json", "s/\"need_bytes\": [0-9]+/\"need_bytes\": 9000000000000000/");
    assert_int_equal(
        tiny_shell("env -i large/run --threads 1 delay=3 2>refusal; test $? = 1 && grep -q swap refusal"), 0);
    assert_int_equal(tiny_shell("env -i large/run --threads 1 --any-memory delay=3"), 0);
    edit("small/bundle.json", "s/\"limit_bytes\": [0-9]+/\"limit_bytes\": 1000000/");
    assert_int_equal(tiny_shell("env -i small/selftest --threads 1 --no-verify --receipt small.json"), 1);
    json_t *receipt = NULL;
    assert_int_equal(json_file_read("small.json", &receipt, NULL), 0);
    json_t *test = json_object_get(receipt, "selftest");
    assert_true(json_is_false(json_object_get(test, "passed")));
    assert_true(json_is_false(json_object_get(test, "memory_kept")));
    assert_int_equal(json_integer_value(json_object_get(test, "agreeing_rows")), 6);
    json_decref(receipt);
}

/* A random model is sure of nothing: with a dear mistake every record is left to the command. */
static void test_leaves_records_undecided(void **state) {
    (void)state;
    struct err e = {0};
    struct bundle_result r;
    if (!possible)
        skip();
    t.abstain_cost = 0.2;
    struct bundle_request q = tiny_bundle_request(&t, "amd64", "unsure", NULL);
    if (bundle_make(&r, &q, &e) < 0)
        fail_msg("%s", e.message);
    t.abstain_cost = 0;
    assert_true(r.has_abstain);
    edit("unsure/bundle.json", "s/\"threshold\": [0-9.]+/\"threshold\": 1.01/");
#define UNSURE "env -i unsure/run --threads 1 "
    assert_int_equal(tiny_shell(UNSURE "delay=3 | grep -q ' undecided$'"), 0);
    assert_int_equal(tiny_shell(UNSURE "--json delay=3 | grep -q '\"abstained\":true'"), 0);
    assert_int_equal(tiny_shell("echo '{\"delay\":3}' | " UNSURE
                                "--on-abstain 'cat >asked; echo ask Ada' | grep -q "
                                "'\"other\":\"ask Ada\"'"),
                     0);
    assert_int_equal(tiny_shell("grep -q '^{\"record\":{\"delay\":3},\"answer\":{\"label\":' asked"), 0);
    assert_int_equal(
        tiny_shell("echo '{\"delay\":3}' | " UNSURE "--on-abstain false | grep -q '\"other_failed\":'"), 0);
    edit("unsure/bundle.json", "s/\"threshold\": [0-9.]+/\"threshold\": 0.01/");
    assert_int_equal(tiny_shell(UNSURE
                                "--json --on-abstain false delay=3 'approved share=1' 'visit type=routine' | "
                                "grep -q '\"abstained\":false,\"ms\"'"),
                     0);
}

/* Below a folder of its own, so that this machine is left alone. */
static void test_installs_and_uninstalls(void **state) {
    (void)state;
    if (!possible)
        skip();
#define UNITS "root/etc/systemd/system"
    assert_int_equal(tiny_shell("EDGESTILL_ROOT=$PWD/root here/install"), 0);
    assert_int_equal(tiny_shell("diff -r here root/opt/edgestill/tiny-claims"), 0);
    assert_int_equal(tiny_shell("cmp here/edgestill.service " UNITS "/edgestill-tiny-claims.service"), 0);
    assert_int_equal(tiny_shell("root/opt/edgestill/tiny-claims/run --threads 1 delay=3"), 0);
    /* again, and open to the network: the version before is kept beside */
    assert_int_equal(tiny_shell("EDGESTILL_ROOT=$PWD/root here/install --listen 0.0.0.0:9000"), 0);
    assert_int_equal(tiny_shell("test -d root/opt/edgestill/tiny-claims.old"), 0);
    assert_int_equal(tiny_shell("grep -q -- '--listen 0.0.0.0:9000$' " UNITS
                                "/edgestill-tiny-claims.service.d/listen.conf"),
                     0);
    assert_int_equal(
        tiny_shell("grep -q '^IPAddressDeny=$' " UNITS "/edgestill-tiny-claims.service.d/listen.conf"), 0);
    assert_int_equal(tiny_shell("EDGESTILL_ROOT=$PWD/root here/install --frobnicate"), 2);
    assert_int_equal(tiny_shell("EDGESTILL_ROOT=$PWD/root here/install --listen 127.0.0.1:9000"), 0);
    assert_int_equal(tiny_shell("! grep IPAddress " UNITS "/edgestill-tiny-claims.service.d/listen.conf"), 0);
    /* an update, as deploy --service makes one, keeps the address */
    assert_int_equal(tiny_shell("EDGESTILL_ROOT=$PWD/root here/install"), 0);
    assert_int_equal(tiny_shell("grep -q -- '--listen 127.0.0.1:9000$' " UNITS
                                "/edgestill-tiny-claims.service.d/listen.conf"),
                     0);
    assert_int_equal(tiny_shell("EDGESTILL_ROOT=$PWD/root here/uninstall"), 0);
    assert_int_equal(tiny_shell("test -z \"$(find root -type f)\""), 0);
}

/* Nothing is copied where nothing can start it. */
static void test_needs_systemd(void **state) {
    (void)state;
    if (!possible)
        skip();
    static const char alone[] =
        "mkdir alone && for t in dirname readlink; do ln -s \"$(command -v $t)\" alone/; done && "
        "printf '#!/bin/sh\\necho 0\\n' >alone/id && chmod +x alone/id && "
        "PATH=$PWD/alone here/install 2>words; test $? = 1 && grep -q 'no systemd here.*run --serve' words";
    assert_int_equal(tiny_shell(alone), 0);
}

/* systemd's own word on the unit, where it is here. */
static void test_unit_is_one(void **state) {
    (void)state;
    if (!possible || tiny_shell("command -v systemd-analyze") != 0) {
        print_message("# skipped: no systemd-analyze here\n");
        skip();
    }
    static const char verify[] =
        "mkdir -p unit && sed \"s|/opt/edgestill/tiny-claims|$PWD/here|\" here/edgestill.service "
        ">unit/tiny.service && systemd-analyze verify --man=no unit/tiny.service 2>words; "
        "! grep tiny.service words";
    assert_int_equal(tiny_shell(verify), 0);
}

/* User-mode emulation starts the bundle's loader as `run` does. */
#define QEMU(core)                                                                                           \
    "qemu-aarch64-static -cpu " core                                                                         \
    " there/lib/ld-linux-aarch64.so.1 --library-path there/lib there/bin/edgestill-run "                     \
    "--bundle there "

static void test_passes_emulated_on_the_device(void **state) {
    (void)state;
    struct err e = {0};
    struct bundle_result r;
    if (!tiny_bundle_possible("arm64"))
        skip();
    if (tiny_shell("command -v qemu-aarch64-static") != 0) {
        print_message("# skipped: qemu-aarch64-static is not there\n");
        skip();
    }
    struct bundle_request q = tiny_bundle_request(&t, "arm64", "there", NULL);
    if (bundle_make(&r, &q, &e) < 0)
        fail_msg("%s", e.message);
    static const char selftest[] = QEMU("cortex-a76") "--selftest --rows 2 --threads 1 --receipt there.json";
    assert_int_equal(tiny_shell(selftest), 0);
    expect_receipt("there.json", true, false, 2);
    assert_int_equal(tiny_shell(QEMU("cortex-a35") "--threads 1 delay=3"),
                     0); /* no dotprod: the oldest kernels */
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes_here),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_doubtful_records),
        cmocka_unit_test(test_pipes_last),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_other_answers_fail),
        cmocka_unit_test(test_memory_is_kept_to_the_plan),
        cmocka_unit_test(test_leaves_records_undecided),
        cmocka_unit_test(test_installs_and_uninstalls),
        cmocka_unit_test(test_needs_systemd),
        cmocka_unit_test(test_unit_is_one),
        cmocka_unit_test(test_damage_is_noticed),
        cmocka_unit_test(test_passes_emulated_on_the_device),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
