/* Hashes against published values (FIPS 180-2) and each other. */
#include "../support/scratch.h"
#include "base/file.h"
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void published_values(void **state) {
    (void)state;
    char hex[SHA256_HEX];
    sha256_bytes("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_bytes("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void pieces_and_files(void **state) {
    (void)state;
    char a[SHA256_HEX], b[SHA256_HEX];
    struct err e = {0};
    struct sha256 *h = sha256_new();
    sha256_add(h, "ab", 2);
    sha256_add(h, "", 0);
    sha256_add(h, "c", 1);
    sha256_finish(h, a);
    file_write("abc", "abc", 3, &e);
    assert_int_equal(sha256_file("abc", b, &e), 0);
    assert_string_equal(a, b);
    h = sha256_new();
    sha256_add_text(h, "ab");
    sha256_add_text(h, "c");
    sha256_finish(h, b);
    assert_string_not_equal(a, b); /* fields do not run together */
    strcpy(b, "untouched");
    assert_int_equal(sha256_file("none", b, &e), ERR_NOT_FOUND);
    assert_string_equal(b, "untouched");
    sha256_add(NULL, "x", 1);
    sha256_finish(NULL, b);
    assert_string_equal(b, "");
}

/* Stored in files, so it must never change. */
static void hash64_is_stable(void **state) {
    (void)state;
    assert_int_equal(hash64("edgestill", 9, 0), hash64("edgestill", 9, 0));
    assert_int_not_equal(hash64("edgestill", 9, 0), hash64("edgestill", 9, 1));
    assert_int_not_equal(hash64("a\0", 2, 0), hash64("a", 1, 0));
    assert_int_equal(hash64("edgestill", 9, 0), UINT64_C(0x071e25a5735682ce));
    assert_int_equal(hash64("", 0, 7), UINT64_C(0x8b2faab3724ac25b));
}

static void hash64_spreads(void **state) {
    (void)state;
    enum { BUCKETS = 64, KEYS = 64 * 100 };
    int counts[BUCKETS] = {0};
    for (int64_t i = 0; i < KEYS; i++)
        counts[hash64(&i, sizeof i, 0) % BUCKETS]++;
    double chi2 = 0;
    for (int i = 0; i < BUCKETS; i++)
        chi2 += (counts[i] - 100.0) * (counts[i] - 100.0) / 100.0;
    assert_true(chi2 < 120); /* 63 degrees of freedom: 103 is the 99.9% point; deterministic */
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values),
        cmocka_unit_test(pieces_and_files),
        cmocka_unit_test(hash64_is_stable),
        cmocka_unit_test(hash64_spreads),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
