/* Collecting the runtime. */
#include "deliver/runtime.h"
#include "base/file.h"
#include "catalog/data.h"
#include "config.h"
#include "deliver/elf.h"
#include <elf.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct arch {
    const char *name;
    int machine;
    const char *loader, *data_name, *source_name;
};

static const struct arch archs[] = {
#define X(name, machine, loader, data_name, source_name) {name, machine, loader, data_name, source_name},
    RUNTIME_ARCHS(X)
#undef X
};

/* Which package's copyright file covers a library: patterns of sonames and of folders in usr/share/doc. */
static const struct {
    const char *soname, *package;
} packages[] = {{"libllama.so*", "libllama[0-9]*"},
                {"libggml*", "libggml[0-9]*"},
                {"ld-linux-*", "libc6"},
                {"libc.so*", "libc6"},
                {"libm.so*", "libc6"},
                {"libmvec.so*", "libc6"},
                {"libdl.so*", "libc6"},
                {"libpthread.so*", "libc6"},
                {"librt.so*", "libc6"},
                {"libstdc++.so*", "gcc-*-base"},
                {"libgcc_s.so*", "gcc-*-base"},
                {"libgomp.so*", "gcc-*-base"},
                {"libcrypto.so*", "libssl3*"},
                {"libjansson.so*", "libjansson4"},
                {"libz.so*", "zlib1g"},
                {"libzstd.so*", "libzstd1"},
                {"libmicrohttpd.so*", "libmicrohttpd1*"},
                /* what libmicrohttpd asks for besides */
                {"libgnutls.so*", "libgnutls30*"},
                {"libp11-kit.so*", "libp11-kit0*"},
                {"libidn2.so*", "libidn2-0*"},
                {"libunistring.so*", "libunistring[0-9]*"},
                {"libtasn1.so*", "libtasn1-6*"},
                {"libnettle.so*", "libnettle[0-9]*"},
                {"libhogweed.so*", "libhogweed[0-9]*"},
                {"libgmp.so*", "libgmp10*"},
                {"libffi.so*", "libffi[0-9]*"}};

/* Linked into edgestill-run itself where their archives are (tools/configure.sh). */
static const char *const inside[] = {"libmicrohttpd.so", "libcrypto.so"};

static const struct arch *find_arch(const char *name) {
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        if (str_equal(archs[i].name, name))
            return &archs[i];
    }
    return NULL;
}

bool runtime_arch_known(const char *arch) {
    return find_arch(arch) != NULL;
}

const char *runtime_loader(const char *arch) {
    const struct arch *a = find_arch(arch);
    return a ? a->loader : "";
}

/* ---- the list ---- */

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "runtime_collect", "no memory for the list of libraries");
}

static bool has_file(const struct runtime *r, const char *name) {
    for (int64_t i = 0; i < r->n_files; i++) {
        if (strcmp(r->files[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Takes copies of the names. Adding one that is there already does nothing. */
static int add_file(struct runtime *r, const char *from, const char *name, bool executable, struct err *e) {
    if (has_file(r, name))
        return 0;
    if (mem_grow((void **)&r->files, &r->capacity, r->n_files + 1, sizeof *r->files) < 0)
        return no_memory(e);
    struct runtime_file f = {arena_strdup(&r->arena, from), arena_strdup(&r->arena, name), executable};
    if (!f.from || !f.name)
        return no_memory(e);
    r->files[r->n_files++] = f;
    return 0;
}

/* ---- where things are ---- */

/* Libraries of ours that llama.cpp's prefix does not have (jansson) are this system's, for this architecture alone: they ask for
 * an older C library than the prefix's. */
static const char *const system_libraries[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", NULL};

struct places {
    const struct arch *arch;
    const char *libdir, *prefix;
    const char *const *more; /* folders to look in besides, ends with NULL */
};

static int unknown_arch(const char *arch, struct err *e) {
    err_set(e, ERR_USAGE, "runtime_collect", "there are no bundles for \"%s\"", arch);
    err_hint(e, "arm64 and amd64 are known");
    return ERR_USAGE;
}

static int find_places(struct places *p, struct runtime *r, const char *arch, struct err *e) {
    static const char suffix[] = "/usr/lib/";
    p->arch = find_arch(arch);
    if (!p->arch)
        return unknown_arch(arch, e);
    bool own = strcmp(arch, "amd64") == 0;
    const char *libdir = own ? (strcmp(EDGESTILL_LLAMA_KIND, "private") == 0 ? EDGESTILL_LLAMA_LIBDIR : "")
                             : EDGESTILL_ARM64_LIBDIR;
    const char *usr = strstr(libdir, suffix);
    if (!usr || !file_is_folder(libdir)) {
        err_set(e, ERR_UNSUPPORTED, "runtime_collect",
                "this build has no llama.cpp for %s to put into a bundle", arch);
        err_hint(e, own ? "build with the private llama.cpp (docs/building.md)"
                        : "run make again; docs/building.md says more");
        return ERR_UNSUPPORTED;
    }
    p->libdir = libdir;
    p->more = own ? system_libraries : system_libraries + 3;
    p->prefix = arena_strndup(&r->arena, libdir, (size_t)(usr - libdir));
    return p->prefix ? 0 : no_memory(e);
}

/* Beside the running program (a build folder), in the program's data folder, in the source tree. */
static int find_program(const struct arch *arch, struct str *out, struct err *e) {
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    char *slash = n > 0 ? (exe[n] = 0, strrchr(exe, '/')) : NULL;
    if (slash) {
        bool own = arch->machine == EM_X86_64;
        *slash = 0;
        str_addf(out, "%s/%s", exe, own ? "edgestill-run" : arch->data_name);
        if (file_exists(str_text(out)))
            return str_check(out, e);
        str_clear(out);
    }
    if (data_path(arch->data_name, out, NULL) == 0 || data_path(arch->source_name, out, NULL) == 0)
        return str_check(out, e);
    err_set(e, ERR_NOT_FOUND, "runtime_collect", "edgestill-run for %s is not there", arch->name);
    err_hint(e, "run make: it builds %s", arch->source_name);
    return ERR_NOT_FOUND;
}

int runtime_program(const char *arch, struct str *out, struct err *e) {
    const struct arch *a = find_arch(arch);
    if (!a)
        return unknown_arch(arch, e);
    return find_program(a, out, e);
}

/* ---- collecting ---- */

static int add_program(struct runtime *r, const struct places *p, struct err *e) {
    struct str path = {0};
    int rc = find_program(p->arch, &path, e);
    if (rc == 0)
        rc = add_file(r, str_text(&path), "bin/edgestill-run", true, e);
    str_release(&path);
    return rc;
}

static int add_kernels(struct runtime *r, const struct places *p, struct err *e) {
    glob_t found = {0};
    const char *pattern = arena_printf(&r->arena, "%s/ggml/backends*/libggml-cpu-*.so", p->libdir);
    int rc = pattern ? 0 : no_memory(e);
    if (rc == 0 && glob(pattern, 0, NULL, &found) != 0)
        rc = err_set(e, ERR_NOT_FOUND, "runtime_collect", "there are no ggml kernels: %s", pattern);
    for (size_t i = 0; i < found.gl_pathc && rc == 0; i++) {
        const char *name = arena_printf(&r->arena, "lib/backends/%s", strrchr(found.gl_pathv[i], '/') + 1);
        rc = name ? add_file(r, found.gl_pathv[i], name, false, e) : no_memory(e);
    }
    globfree(&found);
    return rc;
}

/* The library's file by its soname, in the arena; NULL when there is none. */
static const char *find_library(struct runtime *r, const struct places *p, const char *soname) {
    const char *path = arena_printf(&r->arena, "%s/%s", p->libdir, soname);
    for (int i = 0; path && !file_exists(path) && p->more[i]; i++)
        path = arena_printf(&r->arena, "%s/%s", p->more[i], soname);
    return path && file_exists(path) ? path : NULL;
}

/* Everything that the files so far need, and what that needs: the list grows while it is gone through. */
static int add_libraries(struct runtime *r, const struct places *p, struct err *e) {
    for (int64_t i = 0; i < r->n_files; i++) {
        struct elf_info info;
        int rc = elf_read(r->files[i].from, &r->arena, &info, e);
        if (rc == 0 && info.machine != p->arch->machine)
            rc = err_set(e, ERR_MISMATCH, "runtime_collect", "%s is not for %s", r->files[i].from,
                         p->arch->name);
        for (int k = 0; rc == 0 && k < info.n_needed; k++) {
            const char *from = find_library(r, p, info.needed[k]);
            const char *name = arena_printf(&r->arena, "lib/%s", info.needed[k]);
            if (!name)
                return no_memory(e);
            if (!from)
                return err_set(e, ERR_NOT_FOUND, "runtime_collect", "%s needs %s, which is not in %s",
                               r->files[i].name, info.needed[k], p->libdir);
            rc = add_file(r, from, name, strcmp(info.needed[k], p->arch->loader) == 0, e);
        }
        if (rc < 0)
            return rc;
    }
    return has_file(r, arena_printf(&r->arena, "lib/%s", p->arch->loader))
               ? 0
               : err_set(e, ERR_NOT_FOUND, "runtime_collect", "no library asks for the loader %s",
                         p->arch->loader);
}

/* ---- licences ---- */

/* The copyright files that match `package` in the prefix, else in this system; 0 when there is one. */
static int find_copyright(struct runtime *r, const struct places *p, const char *package, glob_t *found) {
    const char *roots[] = {p->prefix, p->more[0] ? "" : NULL};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        const char *pattern =
            roots[i] ? arena_printf(&r->arena, "%s/usr/share/doc/%s/copyright", roots[i], package) : NULL;
        if (pattern && glob(pattern, 0, NULL, found) == 0)
            return 0;
        globfree(found);
    }
    return ERR_NOT_FOUND;
}

static int add_licence(struct runtime *r, const struct places *p, const char *soname, struct err *e) {
    glob_t found = {0};
    const char *package = NULL;
    for (size_t i = 0; i < sizeof packages / sizeof *packages && !package; i++)
        package = fnmatch(packages[i].soname, soname, 0) == 0 ? packages[i].package : NULL;
    if (!package || find_copyright(r, p, package, &found) < 0)
        return err_set(e, ERR_NOT_FOUND, "runtime_collect",
                       "no licence text is known for %s, so it cannot be given away", soname);
    int rc = 0;
    for (size_t i = 0; i < found.gl_pathc && rc == 0; i++) {
        char *path = found.gl_pathv[i], *file = strrchr(path, '/');
        *file = 0;
        const char *name = arena_printf(&r->arena, "licenses/%s/copyright", strrchr(path, '/') + 1);
        *file = '/';
        rc = name ? add_file(r, path, name, false, e) : no_memory(e);
    }
    globfree(&found);
    return rc;
}

static int add_licences(struct runtime *r, const struct places *p, struct err *e) {
    int64_t n = r->n_files; /* licences are added behind */
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        const char *soname = strrchr(r->files[i].name, '/') + 1;
        if (strncmp(r->files[i].name, "lib/", 4) == 0)
            rc = add_licence(r, p, soname, e);
    }
    for (size_t i = 0; i < sizeof inside / sizeof *inside && rc == 0; i++)
        rc = add_licence(r, p, inside[i], e);
    const char *lock = arena_printf(&r->arena, "%s/edgestill.lock", p->prefix);
    if (rc == 0 && lock &&
        file_exists(lock)) /* names and versions of the packages, for whoever wants their sources */
        rc = add_file(r, lock, "licenses/packages.txt", false, e);
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct runtime_file *)a)->name, ((const struct runtime_file *)b)->name);
}

int runtime_collect(struct runtime *out, const char *arch, struct err *e) {
    struct runtime r = {0};
    struct places p = {0};
    arena_init(&r.arena);
    int rc = find_places(&p, &r, arch, e);
    if (rc == 0)
        rc = add_program(&r, &p, e);
    if (rc == 0)
        rc = add_kernels(&r, &p, e);
    if (rc == 0)
        rc = add_libraries(&r, &p, e);
    if (rc == 0)
        rc = add_licences(&r, &p, e);
    if (rc < 0) {
        runtime_release(&r);
        return rc;
    }
    qsort(r.files, (size_t)r.n_files, sizeof *r.files, by_name);
    r.arch = p.arch->name;
    r.loader = p.arch->loader;
    *out = r;
    return 0;
}

void runtime_release(struct runtime *r) {
    free(r->files);
    arena_release(&r->arena);
    *r = (struct runtime){0};
}
