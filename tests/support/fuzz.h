/* Fuzz targets that are tests too. A target is tests/fuzz/test_fuzz_<name>.c with
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) { ...; return 0; }
 *     FUZZ_MAIN("name")
 *
 * `make test` runs every file of tests/fuzz/corpus/<name>/ and a fixed number of mutations of them through it;
 * tools/fuzz.sh <name> builds it with clang's fuzzer instead and searches on. What it finds is added to the corpus. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int fuzz_replay(const char *name);

/* A broken invariant must end the process: the fuzzer sees nothing else. */
#define FUZZ_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fuzz_fail(__FILE__, __LINE__, #condition);                                                       \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

#ifdef FUZZING
#define FUZZ_MAIN(name) _Static_assert(1, "the fuzzer brings its own main");
#else
#define FUZZ_MAIN(name)                                                                                      \
    int main(void) {                                                                                         \
        return fuzz_replay(name);                                                                            \
    }
#endif

#endif
