/* Manifests: what makes a stage stale, and what does not. */
#include "../support/oom.h"
#include "../support/scratch.h"
#include "base/file.h"
#include "cmd/manifest.h"
#include "format/json.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void put(const char *path, const char *text) {
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
}

/* As if the file were written some minutes ago: only then may its time stand for its content. */
static void make_old(const char *path) {
    struct timespec times[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

struct run {
    int64_t epochs;
    uint64_t seed;
    const char *rows;
    bool extra_setting;
};

static void prepare(struct manifest *m, const struct run *r) {
    struct err e = {0};
    assert_int_equal(manifest_init(m, "p", "train", "train/manifest.json", &e), 0);
    assert_int_equal(manifest_input(m, "plan.yaml", &e), 0);
    assert_int_equal(manifest_input(m, "edgestill.yaml#data.label", &e), 0);
    manifest_input_hash(m, "records:train", r->rows);
    manifest_setting(m, "epochs", json_integer(r->epochs));
    if (r->extra_setting)
        manifest_setting(m, "rank", json_integer(8));
    manifest_seed(m, r->seed);
    manifest_version(m, "llama", "0.7");
}

static void setup_files(void) {
    file_remove_tree("p", NULL);
    file_make_folders("p/train", NULL);
    put("p/plan.yaml", "base: x\n");
    put("p/edgestill.yaml", "device: a\ndata:\n  label: class\n");
    put("p/train/out.gguf", "weights");
}

static void finish(const struct run *r) {
    struct manifest m;
    struct err e = {0};
    prepare(&m, r);
    assert_int_equal(manifest_output(&m, "train/out.gguf", &e), 0);
    assert_int_equal(manifest_write(&m, &e), 0);
    manifest_release(&m);
}

/* NULL: current; else it must be stale for this reason. */
static void expect(const struct run *r, const char *reason) {
    struct manifest m;
    struct str why = {0};
    prepare(&m, r);
    assert_int_equal(manifest_is_current(&m, &why), reason == NULL);
    assert_string_equal(str_text(&why), reason ? reason : "");
    str_release(&why);
    manifest_release(&m);
}

static const struct run usual = {.epochs = 3, .seed = 1, .rows = "r1"};

static void reasons(void **state) {
    (void)state;
    setup_files();
    expect(&usual, "it was not made yet");
    finish(&usual);
    expect(&usual, NULL);
    expect(&(struct run){.epochs = 4, .seed = 1, .rows = "r1"}, "the setting epochs changed");
    expect(&(struct run){.epochs = 3, .seed = 1, .rows = "r1", .extra_setting = true},
           "the setting rank is new");
    expect(&(struct run){.epochs = 3, .seed = 2, .rows = "r1"}, "the seed changed");
    expect(&(struct run){.epochs = 3, .seed = 1, .rows = "r2"}, "records:train changed");
    put("p/plan.yaml", "base: y\n");
    expect(&usual, "plan.yaml changed");
    put("p/plan.yaml", "base: x\n");
    expect(&usual, NULL); /* the content counts, not the time */
    put("p/edgestill.yaml", "device: b  # edited elsewhere\ndata:\n  label: class\n");
    expect(&usual, NULL);
    put("p/edgestill.yaml", "device: b\ndata:\n  label: other\n");
    expect(&usual, "edgestill.yaml#data.label changed");
    put("p/edgestill.yaml", "device: b\n");
    expect(&usual, "edgestill.yaml#data.label changed");
    put("p/edgestill.yaml", "data: {label: class}\n");
    put("p/train/out.gguf", "weightz");
    expect(&usual, "train/out.gguf was changed afterwards");
    unlink("p/train/out.gguf");
    expect(&usual, "train/out.gguf is missing");
}

static void time_spares_hashing(void **state) {
    (void)state;
    setup_files();
    make_old("p/plan.yaml");
    make_old("p/train/out.gguf");
    finish(&usual);
    expect(&usual, NULL);
    /* same size, same time: taken as unchanged, which is the price; another time: read again */
    put("p/train/out.gguf", "WEIGHTS");
    make_old("p/train/out.gguf");
    expect(&usual, NULL);
    put("p/train/out.gguf", "WEIGHTS");
    expect(&usual, "train/out.gguf was changed afterwards");
}

static void broken_manifests(void **state) {
    (void)state;
    setup_files();
    static const char *const texts[] = {
        "",         "{",
        "[]",       "{\"format\":\"edgestill.manifest/9\"}",
        "\x01\x02", "{\"format\":\"edgestill.manifest/1\",\"inputs\":3,\"outputs\":{}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put("p/train/manifest.json", texts[i]);
        expect(&usual, "it was not made yet");
        assert_int_equal(manifest_state("p", "train/manifest.json", NULL, NULL), MANIFEST_ABSENT);
    }
}

static void state_from_disk(void **state) {
    (void)state;
    struct str why = {0};
    setup_files();
    assert_int_equal(manifest_state("p", "train/manifest.json", NULL, NULL), MANIFEST_ABSENT);
    finish(&usual);
    assert_int_equal(manifest_state("p", "train/manifest.json", NULL, &why), MANIFEST_CURRENT);
    json_t *upstream = json_pack("{s:s}", "records:train", "r9");
    assert_int_equal(manifest_state("p", "train/manifest.json", upstream, &why), MANIFEST_STALE);
    assert_string_equal(why.data, "records:train changed");
    json_object_set_new(upstream, "records:train", json_string("r1"));
    assert_int_equal(manifest_state("p", "train/manifest.json", upstream, NULL), MANIFEST_CURRENT);
    json_decref(upstream);
    str_clear(&why);
    unlink("p/plan.yaml");
    assert_int_equal(manifest_state("p", "train/manifest.json", NULL, &why), MANIFEST_STALE);
    assert_string_equal(why.data, "plan.yaml is gone");
    str_release(&why);
}

static void failures(void **state) {
    (void)state;
    struct manifest m;
    struct err e = {0};
    setup_files();
    assert_int_equal(manifest_init(&m, "p", "train", "no/such/folder.json", &e), 0);
    assert_int_equal(manifest_input(&m, "none.yaml", &e), ERR_NOT_FOUND);
    err_clear(&e);
    assert_int_equal(manifest_output(&m, "none.gguf", &e), ERR_NOT_FOUND);
    err_clear(&e);
    assert_int_equal(manifest_write(&m, &e), ERR_IO);
    manifest_release(&m);
    manifest_release(&m);
    put("p/edgestill.yaml", "data: {label: 1}\nbroken: [\n");
    assert_int_equal(manifest_init(&m, "p", "train", "train/manifest.json", NULL), 0);
    assert_int_equal(manifest_input(&m, "edgestill.yaml#data.label", NULL), ERR_FORMAT);
    manifest_release(&m);
}

static int make_one(struct err *e) {
    struct manifest m;
    int code = manifest_init(&m, "p", "train", "train/manifest.json", e);
    if (code < 0)
        return code;
    if ((code = manifest_input(&m, "plan.yaml", e)) == 0 &&
        (code = manifest_input(&m, "edgestill.yaml#data.label", e)) == 0) {
        manifest_input_hash(&m, "records:train", "r1");
        manifest_setting(&m, "epochs", json_integer(3));
        manifest_seed(&m, 1);
        manifest_version(&m, "llama", "0.7");
        if ((code = manifest_output(&m, "train/out.gguf", e)) == 0)
            code = manifest_write(&m, e);
    }
    manifest_release(&m);
    return code;
}

static void each_allocation_fails(void **state) {
    (void)state;
    if (!oom_available())
        skip();
    setup_files();
    finish(&usual);
    for (int64_t n = 1;; n++) {
        struct err e = {0};
        oom_arm(n);
        int code = make_one(&e);
        if (!oom_disarm())
            break;
        assert_true(code == 0 || e.code < 0);
        expect(&usual, NULL); /* the old one or the whole new one */
    }
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons),          cmocka_unit_test(time_spares_hashing),
        cmocka_unit_test(broken_manifests), cmocka_unit_test(state_from_disk),
        cmocka_unit_test(failures),         cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
