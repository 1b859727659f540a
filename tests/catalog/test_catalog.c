/* The shipped catalogue keeps its rules; a user's own entries join and replace; bad files are refused with the place. */
#include "base/file.h"
#include "base/str.h"
#include "catalog/catalog.h"
#include "catalog/data.h"
#include "config.h"
#include "model/arch.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct catalog shipped;

static int load_shipped(void **state) {
    (void)state;
    struct err e = {0};
    scratch_enter();
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", "/nonexistent", 1);
    if (catalog_load(&shipped, NULL, &e) < 0) {
        print_error("%s: %s (%s)\n", e.origin, e.message, e.hint);
        return -1;
    }
    return 0;
}

static int release_shipped(void **state) {
    (void)state;
    catalog_release(&shipped);
    return 0;
}

static void test_enough_of_both(void **state) {
    (void)state;
    assert_true(shipped.n_devices >= 25);
    assert_true(shipped.n_models >= 25);
    assert_true(shipped.n_measurements >= 250);
}

/* The boards that people ask for first. */
static void test_wanted_devices(void **state) {
    (void)state;
    static const char *const wanted[] = {
        "rpi-zero-2w", "rpi3bplus",        "rpi4-1gb",       "rpi4-8gb",        "rpi5-2gb",
        "rpi5-16gb",   "stm32mp257-2gb",   "stm32mp257-4gb", "jetson-nano-4gb", "jetson-orin-nano-8gb",
        "rock5b-8gb",  "radxa-zero3w-4gb", "imx8mplus-evk",  "imx93",           "imx95",
        "beagley-ai",  "n100-8gb",         "pixel-6a",       "generic-a53",     "generic-a55",
        "generic-a72", "generic-a76",      "generic-x86"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const struct catalog_device *d = NULL;
        struct err e = {0};
        if (catalog_device_find(&shipped, wanted[i], &d, &e) < 0)
            fail_msg("%s", e.message);
    }
}

/* What `pull` needs: OWNER/REPOSITORY/FILE.gguf of 16 bits, and a licence to show. */
static void test_files_to_pull(void **state) {
    (void)state;
    int known = 0;
    for (int64_t i = 0; i < shipped.n_models; i++) {
        const struct catalog_model *m = &shipped.models[i];
        assert_true(m->license != NULL && m->license[0] != '\0');
        if (m->file16 == NULL)
            continue;
        known++;
        const char *first = strchr(m->file16, '/');
        assert_true(first != NULL && strchr(first + 1, '/') != NULL && str_ends(m->file16, ".gguf"));
        assert_true(strcasestr(m->file16, "f16") != NULL);
    }
    assert_true(known >= 5);
}

static void check_figure(const char *entry, const char *name, const struct catalog_figure *f) {
    if (!f->known)
        return;
    if (f->source == NULL || f->source[0] == '\0' || !(f->low > 0) || f->low > f->value || f->value > f->high)
        fail_msg("%s: %s has no source or no sense", entry, name);
}

static void test_every_figure_has_a_source(void **state) {
    (void)state;
    for (int64_t i = 0; i < shipped.n_devices; i++) {
        const struct catalog_device *d = &shipped.devices[i];
#define X(key, text) check_figure(d->name, #key, &d->key);
        DEVICE_FIGURES(X)
#undef X
        assert_non_null(catalog_core_find(&shipped, d->core));
    }
    for (int64_t i = 0; i < shipped.n_models; i++) {
        const struct catalog_model *m = &shipped.models[i];
#define X(key) check_figure(m->name, #key, &m->key);
        MODEL_SCORES(X)
#undef X
        if (m->shape_known) {
            assert_true(m->n_head % m->n_head_kv == 0);
            assert_non_null(m->source);
        } else {
            assert_non_null(m->unsupported);
        }
    }
    for (int64_t i = 0; i < shipped.n_measurements; i++)
        assert_true(shipped.measurements[i].source[0] != '\0');
}

/* The catalogue's table of architectures and the trainer's are one. */
static void test_trainable_is_what_the_trainer_takes(void **state) {
    (void)state;
    for (int64_t i = 0; i < shipped.n_models; i++) {
        const struct catalog_model *m = &shipped.models[i];
        bool planned_for = m->params < 7.9e9; /* larger ones are here for their measurements */
        if (m->shape_known && (m->unsupported == NULL) != (planned_for && model_arch_find(m->arch) != NULL))
            fail_msg("%s: %s", m->name,
                     m->unsupported != NULL ? m->unsupported : "the trainer does not take it");
    }
}

static void test_measured_boards_exist(void **state) {
    (void)state;
    for (int64_t i = 0; i < shipped.n_devices; i++) {
        const char *board = shipped.devices[i].measured_as;
        bool found = board == NULL;
        for (int64_t j = 0; !found && j < shipped.n_measurements; j++)
            found = str_equal(shipped.measurements[j].device, board);
        if (!found)
            fail_msg("%s: no row of throughput.csv is of '%s'", shipped.devices[i].name, board);
    }
}

static void test_the_papers_row_never_calibrates(void **state) {
    (void)state;
    int found = 0;
    for (int64_t i = 0; i < shipped.n_measurements; i++)
        if (str_starts(shipped.measurements[i].device, "STM32")) {
            assert_int_equal(shipped.measurements[i].tier, 'X');
            found++;
        }
    assert_int_equal(found, 1);
}

static void test_finding(void **state) {
    (void)state;
    const struct catalog_device *d = NULL;
    const struct catalog_model *m = NULL;
    struct err e = {0};
    assert_int_equal(catalog_device_find(&shipped, "RPi5-8GB", &d, &e), 0);
    assert_string_equal(d->title, "Raspberry Pi 5, 8 GB");
    assert_true(d->memory_mb.value == 8192);
    assert_int_equal(catalog_device_find(&shipped, "rpi5", &d, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "rpi5-2gb"));
    err_clear(&e);
    assert_int_equal(catalog_device_find(&shipped, "rpi5-8bg", &d, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "rpi5-8gb"));
    err_clear(&e);
    assert_int_equal(catalog_model_find(&shipped, "qwen3-0.6b", &m, &e), 0);
    assert_int_equal(m->n_layer, 28);
    assert_int_equal(catalog_model_find(&shipped, "tinylama", &m, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.hint, "models"));
}

/* ---- a user's own entries ---- */

static const char own_devices[] = "format: edgestill.devices/1\n"
                                  "sources: {bench: my own board}\n"
                                  "families:\n"
                                  "  - family: mine\n"
                                  "    title: My board\n"
                                  "    arch: aarch64\n"
                                  "    core: cortex-a53\n"
                                  "    cores: [2, bench]\n"
                                  "    clock_mhz: [1000-1200, bench]\n"
                                  "    theoretical_gbps: unknown\n"
                                  "    read_peak_gbps: unknown\n"
                                  "    memcpy_mbps: %s\n"
                                  "    memset_mbps: unknown\n"
                                  "    decode_gbps: unknown\n"
                                  "    os_reserved_mb: unknown\n"
                                  "%s"
                                  "    devices:\n"
                                  "      - {name: %s, memory_mb: [1024, bench]}\n";

static int load_own_reads(const char *memcpy_figure, const char *reads, const char *name, struct catalog *c,
                          struct err *e) {
    struct str text = {0};
    assert_int_equal(file_make_folders("project", e), 0);
    str_addf(&text, own_devices, memcpy_figure, reads, name);
    assert_int_equal(file_write("project/devices.yaml", text.data, text.len, e), 0);
    int code = catalog_load(c, "project", e);
    str_release(&text);
    return code;
}

static int load_own(const char *memcpy_figure, const char *name, struct catalog *c, struct err *e) {
    return load_own_reads(memcpy_figure, "", name, c, e);
}

static void test_own_entries(void **state) {
    (void)state;
    struct catalog c;
    struct err e = {0};
    const struct catalog_device *d = NULL;
    assert_int_equal(load_own("[1500, bench]", "my-board", &c, &e), 0);
    assert_int_equal(c.n_devices, shipped.n_devices + 1);
    assert_int_equal(catalog_device_find(&c, "my-board", &d, &e), 0);
    assert_true(d->memcpy_mbps.known && d->memcpy_mbps.value == 1500);
    assert_string_equal(d->memcpy_mbps.source, "my own board");
    assert_true(d->clock_mhz.low == 1000 && d->clock_mhz.high == 1200 && d->clock_mhz.value == 1100);
    catalog_release(&c);
    assert_int_equal(load_own("unknown", "rpi5-8gb", &c, &e), 0); /* the later entry wins */
    assert_int_equal(c.n_devices, shipped.n_devices);
    assert_int_equal(catalog_device_find(&c, "rpi5-8gb", &d, &e), 0);
    assert_string_equal(d->core, "cortex-a53");
    catalog_release(&c);
}

static void test_rates_by_type(void **state) {
    (void)state;
    struct catalog c;
    struct err e = {0};
    const struct catalog_device *d = NULL;
    assert_int_equal(
        load_own_reads("unknown", "    reads: {Q4_K: [113, bench], Q8_0: unknown}\n", "my-board", &c, &e), 0);
    assert_int_equal(catalog_device_find(&c, "my-board", &d, &e), 0);
    assert_true(d->reads[CATALOG_READ_Q4_K].known && d->reads[CATALOG_READ_Q4_K].value == 113);
    assert_true(!d->reads[CATALOG_READ_Q8_0].known && !d->reads[CATALOG_READ_Q3_K].known);
    catalog_release(&c);
    assert_int_equal(load_own_reads("unknown", "    reads: {Q9_K: [113, bench]}\n", "my-board", &c, &e),
                     ERR_INPUT);
    assert_non_null(strstr(e.message, "Q9_K"));
}

static void test_bad_figures_are_refused(void **state) {
    (void)state;
    const char *const bad[] = {"1500", "[1500]", "[fast, bench]", "[1500, nobody]", "[9-3, bench]", "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct catalog c;
        struct err e = {0};
        assert_int_equal(load_own(bad[i], "my-board", &c, &e), ERR_INPUT);
        if (strstr(e.message, "devices.yaml:12:") == NULL || strstr(e.message, "memcpy_mbps") == NULL)
            fail_msg("'%s': %s", bad[i], e.message);
    }
}

/* The examples of docs/formats.md are loaded as a user's own files. */
static void write_example(const char *page, const char *format, const char *path) {
    struct err e = {0};
    struct str fence = {0};
    str_addf(&fence, "```yaml\nformat: %s\n", format);
    const char *begin = strstr(page, str_text(&fence));
    assert_non_null(begin);
    begin += strlen("```yaml\n");
    const char *end = strstr(begin, "\n```");
    assert_non_null(end);
    assert_int_equal(file_write(path, begin, (size_t)(end - begin) + 1, &e), 0);
    str_release(&fence);
}

static void test_documented_examples(void **state) {
    (void)state;
    struct err e = {0};
    struct str page = {0};
    struct catalog c;
    const struct catalog_device *d = NULL;
    const struct catalog_model *m = NULL;
    assert_int_equal(file_read(EDGESTILL_SOURCE_DIR "/docs/formats.md", 0, &page, &e), 0);
    assert_int_equal(file_make_folders("documented", &e), 0);
    write_example(str_text(&page), "edgestill.devices/1", "documented/devices.yaml");
    write_example(str_text(&page), "edgestill.models/1", "documented/models.yaml");
    if (catalog_load(&c, "documented", &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(catalog_device_find(&c, "my-board-2gb", &d, &e), 0);
    assert_true(d->clock_mhz.low == 1400 && d->clock_mhz.high == 1800 && !d->decode_gbps.known);
    assert_string_equal(d->dotprod, "yes");
    assert_int_equal(catalog_model_find(&c, "my-base", &m, &e), 0);
    assert_null(m->unsupported); /* the shipped file's table of architectures holds for own models, too */
    catalog_release(&c);
    str_release(&page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enough_of_both),
        cmocka_unit_test(test_wanted_devices),
        cmocka_unit_test(test_files_to_pull),
        cmocka_unit_test(test_every_figure_has_a_source),
        cmocka_unit_test(test_trainable_is_what_the_trainer_takes),
        cmocka_unit_test(test_measured_boards_exist),
        cmocka_unit_test(test_the_papers_row_never_calibrates),
        cmocka_unit_test(test_finding),
        cmocka_unit_test(test_own_entries),
        cmocka_unit_test(test_rates_by_type),
        cmocka_unit_test(test_bad_figures_are_refused),
        cmocka_unit_test(test_documented_examples),
    };
    return cmocka_run_group_tests(tests, load_shipped, release_shipped);
}
