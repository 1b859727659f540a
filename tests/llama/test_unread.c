/* What of a model's file is not read again after loading: found as llama.cpp's own reader finds it, unmapped, and nothing else. */
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "base/file.h"
#include "base/rng.h"
#include "llama/layout.h"
#include "llama/lm.h"
#include "llama/quantize.h"
#include "llama/unread.h"
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Some of its matrices are repacked on most processors (Q4_K), some are not (Q3_K, and the looked-up rows). */
static const char *const files[] = {"mixed.gguf", "tied.gguf", "copied.gguf"};
enum { N_FILES = sizeof files / sizeof *files };

static int make_models(void **state) {
    (void)state;
    static const char *const type[N_FILES] = {"Q3_K_M", "Q4_0", "Q4_0"};
    struct err e = {0};
    int rc = lm_backend_init(NULL, &e);
    for (int i = 0; i < N_FILES && rc == 0; i++) {
        struct tiny_gguf t = {.n_layer = 12,
                              .n_embd = 512,
                              .n_head = 8,
                              .n_kv = 8,
                              .n_ff = 1024,
                              .n_vocab = 640,
                              .tied = i == 1,
                              .seed = 5,
                              .type = GGML_TYPE_F16};
        rc = tiny_gguf_write("f16.gguf", &t, &e);
        if (rc == 0)
            rc = quantize_file("f16.gguf", files[i], &(struct quantize_options){.type = type[i]}, &e);
    }
    if (rc < 0)
        fail_msg("%s", e.message);
    return rc;
}

static struct lm *open_model(const char *path, const struct lm_options *o) {
    struct err e = {0};
    struct lm *m = NULL;
    if (lm_open(&m, path, o, &e) < 0)
        fail_msg("%s", e.message);
    return m;
}

/* ---- finding ---- */

static bool is_part(const struct unread *u, uint64_t begin, uint64_t n_bytes, bool copied) {
    for (int64_t i = 0; i < u->n; i++)
        if (u->parts[i].begin == begin && u->parts[i].end == begin + n_bytes && u->parts[i].copied == copied)
            return true;
    return false;
}

/* Against gguf_init_from_file(), which reads the same head the long way. */
static void check_parts(const char *path) {
    struct unread u;
    struct ggml_context *shapes = NULL;
    struct gguf_context *g =
        gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true, .ctx = &shapes});
    assert_non_null(g);
    unread_find(&u, path);
    bool has_head = gguf_find_tensor(g, "output.weight") >= 0;
    int64_t n = 0;
    uint64_t all = 0, copied_bytes = 0;
    for (int64_t i = 0; i < gguf_get_n_tensors(g); i++) {
        const char *name = gguf_get_tensor_name(g, i);
        const struct ggml_tensor *t = ggml_get_tensor(shapes, name);
        bool table = strcmp(name, "token_embd.weight") == 0;
        bool copied =
            ggml_n_dims(t) == 2 && !(table && has_head) && layout_copies(t->type, t->ne[1], t->ne[0]);
        uint64_t bytes = gguf_get_tensor_size(g, i);
        all += bytes;
        copied_bytes += copied ? bytes : 0;
        if (copied || (table && has_head)) {
            n++;
            if (!is_part(&u, gguf_get_data_offset(g) + gguf_get_tensor_offset(g, i), bytes, copied))
                fail_msg("%s: %s is missing", path, name);
        }
    }
    assert_int_equal(u.n, n);
    assert_int_equal(u.model_bytes, all);
    assert_int_equal(u.copied_bytes, copied_bytes);
    for (int64_t i = 1; i < u.n; i++)
        assert_true(u.parts[i - 1].copied < u.parts[i].copied ||
                    (u.parts[i - 1].copied == u.parts[i].copied && u.parts[i - 1].layer <= u.parts[i].layer));
    print_message("%s: %d parts, %.0f%% copied\n", path, (int)u.n,
                  100.0 * (double)copied_bytes / (double)all);
    unread_release(&u);
    gguf_free(g);
    ggml_free(shapes);
}

static void test_parts_are_those_of_the_long_way(void **state) {
    (void)state;
    for (int i = 0; i < N_FILES; i++)
        check_parts(files[i]);
}

/* Cut anywhere, or with any bytes: parts lie where an offset puts them, or there are none, and nothing is read beyond the end. */
static void test_damaged_heads_have_no_parts(void **state) {
    (void)state;
    enum { HEAD = 40000, TIMES = 400 };
    struct str file = {0};
    struct unread u;
    struct rng r;
    rng_seed(&r, 3);
    assert_int_equal(file_read("mixed.gguf", 0, &file, NULL), 0);
    unread_find(&u, "absent.gguf");
    assert_int_equal(u.n, 0);
    for (int i = 0; i < TIMES; i++) {
        size_t n = (size_t)rng_range(&r, 0, HEAD), at = (size_t)rng_range(&r, 0, 6000);
        char kept = file.data[at];
        assert_int_equal(file_write("cut.gguf", file.data, n < file.len ? n : file.len, NULL), 0);
        unread_find(&u, "cut.gguf");
        unread_release(&u);
        file.data[at] = (char)rng_range(&r, -128, 127);
        assert_int_equal(file_write("bent.gguf", file.data, HEAD < file.len ? HEAD : file.len, NULL), 0);
        unread_find(&u, "bent.gguf");
        unread_unmap(&u, "bent.gguf", 0, u.n);
        unread_release(&u);
        file.data[at] = kept;
    }
    assert_int_equal(file_write("cut.gguf", file.data, 3000, NULL), 0);
    unread_find(&u, "cut.gguf");
    assert_int_equal(u.n, 0);
    str_release(&file);
}

/* ---- unmapping ---- */

/* Of this process's memory: pages of the file with that inode; large allocations, and those of them that the kernel was asked to
 * give in huge pages ("hg"). */
struct seen {
    int64_t mapped, large, huge; /* bytes */
};

static struct seen look(unsigned long inode) {
    struct seen seen = {0};
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512], access[5] = "";
    unsigned long size = 0, of = 0, kb = 0, from, to;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &from, &to, access, &of) == 4)
            size = to - from;
        else if (sscanf(line, "Rss: %lu kB", &kb) == 1 && of == inode)
            seen.mapped += (int64_t)kb << 10;
        else if (strncmp(line, "VmFlags:", 8) == 0 && of == 0 && strcmp(access, "rw-p") == 0 &&
                 size >= 8 << 20) {
            seen.large += (int64_t)size;
            seen.huge += strstr(line, " hg") ? (int64_t)size : 0;
        }
    }
    fclose(f);
    return seen;
}

static bool nothing_is_copied(const char *path) {
    struct unread u;
    unread_find(&u, path);
    bool none = u.copied_bytes == 0;
    unread_release(&u);
    if (none)
        print_message("skipped: nothing is repacked here\n");
    return none;
}

static struct seen look_when_loaded(const char *path, const struct lm_options *o) {
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    struct lm *m = open_model(path, o);
    struct seen seen = look(file.st_ino);
    lm_free(m);
    return seen;
}

/* Weights that are repacked count once: the file's own pages are given back. */
static void test_copies_count_once(void **state) {
    (void)state;
    struct stat file;
    if (nothing_is_copied("copied.gguf"))
        skip();
    assert_int_equal(stat("copied.gguf", &file), 0);
    struct seen plain = look_when_loaded("copied.gguf", &(struct lm_options){.n_threads = 1});
    struct seen lean =
        look_when_loaded("copied.gguf", &(struct lm_options){.n_threads = 1, .drop_copied = true});
    assert_true(plain.mapped > file.st_size / 2 && lean.mapped < file.st_size / 4);
}

/* What is not copied stays mapped as llama.cpp mapped it: decisions need not fetch it page by page. */
static void test_the_rest_stays_mapped(void **state) {
    (void)state;
    struct stat file;
    struct unread u;
    if (nothing_is_copied("mixed.gguf"))
        skip();
    unread_find(&u, "mixed.gguf");
    int64_t parts = 0;
    for (int64_t i = 0; i < u.n; i++)
        parts += (int64_t)(u.parts[i].end - u.parts[i].begin);
    assert_int_equal(stat("mixed.gguf", &file), 0);
    struct lm *m = open_model("mixed.gguf", &(struct lm_options){.n_threads = 1, .drop_copied = true});
    int64_t left = file.st_size - parts, mapped = look(file.st_ino).mapped;
    int64_t edges = (u.n + 2) * 2 * sysconf(_SC_PAGESIZE); /* pages that a part shares with its neighbours */
    print_message("%lld of %lld bytes are mapped, %lld are not read again\n", (long long)mapped,
                  (long long)file.st_size, (long long)parts);
    assert_true(parts > file.st_size / 8);
    assert_true(mapped > left - left / 8 && mapped < left + edges); /* its head need not stay */
    lm_free(m);
    unread_release(&u);
}

/* The copies themselves are asked for in huge pages. */
static void test_copies_lie_in_huge_pages(void **state) {
    (void)state;
    struct stat file;
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0 || nothing_is_copied("copied.gguf"))
        skip();
    assert_int_equal(stat("copied.gguf", &file), 0);
    struct seen plain = look_when_loaded("copied.gguf", &(struct lm_options){.n_threads = 1});
    struct seen lean =
        look_when_loaded("copied.gguf", &(struct lm_options){.n_threads = 1, .huge_pages = true});
    assert_true(lean.huge - plain.huge > file.st_size / 2);
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_those_of_the_long_way),
        cmocka_unit_test(test_damaged_heads_have_no_parts),
        cmocka_unit_test(test_copies_count_once),
        cmocka_unit_test(test_the_rest_stays_mapped),
        cmocka_unit_test(test_copies_lie_in_huge_pages),
    };
    return cmocka_run_group_tests(tests, make_models, NULL);
}
