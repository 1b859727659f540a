/* Choosing the CPU kernels at run time, and llama.cpp's log.
 *
 * ggml's kernels are modules of one name each instruction set (libggml-cpu-haswell.so, libggml-cpu-armv8.2_1.so); each
 * tells by ggml_backend_score how well it suits this machine, 0 when it cannot run. ggml_backend_load_all_from_path()
 * would choose the same one, but would also load a BLAS module that lies beside, whose arithmetic (weights widened to F32)
 * is not the device's (activations rounded to 8 bits); and it does not say which one it chose. */
#include "base/file.h"
#include "base/log.h"
#include "config.h"
#include "llama/lm_internal.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static bool initialised;
static char kernel_name[64] = "built-in";

/* ---- log ---- */

static _Thread_local struct lm_log_listener *listener;

static void listener_add(struct lm_log_listener *l, bool is_error, const char *text) {
    if (is_error && l->errors[0] == 0) {
        snprintf(l->errors, sizeof l->errors, "%s", text);
        l->errors[strcspn(l->errors, "\n")] = 0;
    }
    if (!l->line)
        return;
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        str_add_bytes(&l->partial, text, (size_t)(end - text));
        l->line(l->context, str_text(&l->partial));
        str_clear(&l->partial);
    }
    str_add(&l->partial, text);
}

static void on_log(enum ggml_log_level level, const char *text, void *context) {
    (void)context;
    if (listener)
        listener_add(listener, level == GGML_LOG_LEVEL_ERROR, text);
    if (log_get_level() >= LOG_DEBUG)
        log_debug("%.*s", (int)strcspn(text, "\n"), text);
}

void lm_log_begin(struct lm_log_listener *l) {
    l->errors[0] = 0;
    l->partial = (struct str){0};
    l->outer = listener;
    listener = l;
}

void lm_log_end(struct lm_log_listener *l) {
    str_release(&l->partial);
    listener = l->outer;
}

void lm_log_install(void) {
    llama_log_set(on_log, NULL);
}

/* ---- threads ---- */

void lm_calm_threads(char *const argv[]) {
    static const char spins[] =
        "10000"; /* some 30 microseconds: longer than threads in step wait for each other */
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || n <= 0)
        return;
    exe[n] = 0;
    const char *slash = strrchr(exe, '/');
    if (slash &&
        str_starts(slash + 1, "ld-")) /* started through a loader by hand: that is not what argv is for */
        return;
    if (setenv("GOMP_SPINCOUNT", spins, 1) == 0)
        execv(exe, argv);
}

/* ---- kernels ---- */

static bool is_cpu_module(const char *name) {
    return str_starts(name, "libggml-cpu") && str_ends(name, ".so");
}

/* 0: this machine cannot run it. */
static int module_score(const char *path) {
    void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL); /* most are only asked and closed again */
    if (!handle)
        return 0;
    int (*score)(void) = NULL;
    *(void **)&score = dlsym(handle, "ggml_backend_score");
    int points = score ? score() : 1;
    dlclose(handle);
    return points;
}

/* What llama.cpp's modules are called, each before those whose instructions it has all and more: the first that this machine can run
 * is the best, and the others need not be read from a slow card to be asked. */
static const char *const by_demand[] = {
    "sapphirerapids", "zen4",      "cooperlake", "icelake",    "cascadelake", "cannonlake",
    "skylakex",       "alderlake", "haswell",    "piledriver", "ivybridge",   "sandybridge",
    "sse42",          "x64",       "armv9.2_2",  "armv9.2_1",  "armv8.6_2",   "armv8.6_1",
    "armv8.2_3",      "armv8.2_2", "armv8.2_1",  "armv8.0_1"};
enum { N_BY_DEMAND = sizeof by_demand / sizeof *by_demand };

static char *known_module(const char *folder, int i) {
    char name[64];
    snprintf(name, sizeof name, "libggml-cpu-%s.so", by_demand[i]);
    return file_join(folder, name);
}

static bool is_known(const char *file) {
    char name[64];
    for (int i = 0; i < N_BY_DEMAND; i++) {
        snprintf(name, sizeof name, "libggml-cpu-%s.so", by_demand[i]);
        if (strcmp(file, name) == 0)
            return true;
    }
    return false;
}

/* The best module of the folder, as a path (free()), or NULL. Those that are not known by name are all asked. */
static char *best_module(const char *folder) {
    char *best = NULL;
    int best_score = 0;
    for (int i = 0; i < N_BY_DEMAND && best_score == 0; i++) {
        free(best);
        best = known_module(folder, i);
        best_score = best && file_exists(best) ? module_score(best) : 0;
    }
    if (best_score == 0) {
        free(best);
        best = NULL;
    }
    DIR *d = opendir(folder);
    for (const struct dirent *entry; d && (entry = readdir(d));) {
        if (!is_cpu_module(entry->d_name) || is_known(entry->d_name))
            continue;
        char *path = file_join(folder, entry->d_name);
        int score = path ? module_score(path) : 0;
        bool better = score > best_score || (score > 0 && score == best_score && strcmp(path, best) < 0);
        if (better) {
            free(best);
            best = path;
            best_score = score;
        } else {
            free(path);
        }
    }
    if (d)
        closedir(d);
    return best;
}

static void remember_name(const char *path) {
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    name += strlen("libggml-cpu");
    name += *name == '-';
    snprintf(kernel_name, sizeof kernel_name, "%s", name);
    kernel_name[strlen(kernel_name) - strlen(".so")] = 0;
    if (kernel_name[0] == 0)
        snprintf(kernel_name, sizeof kernel_name, "plain");
}

static bool load_best(const char *folder) {
    char *path = folder && folder[0] ? best_module(folder) : NULL;
    bool loaded = path && ggml_backend_load(path);
    if (loaded)
        remember_name(path);
    free(path);
    return loaded;
}

/* Beside the running program: ../lib/backends, or backends/ where the loader itself was started from lib/. */
static bool load_beside_program(void) {
    static const char *const places[] = {"/../lib/backends", "/backends"};
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return false;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (!slash)
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(slash, sizeof exe - (size_t)(slash - exe), "%s", places[i]);
        if (load_best(exe))
            return true;
    }
    return false;
}

static int load_kernels(const char *folder, struct err *e) {
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU))
        return 0; /* part of the library, or loaded before */
    const char *named = folder ? folder : getenv("EDGESTILL_LLAMA_BACKENDS");
    if (named && load_best(named))
        return 0;
    if (named) {
        err_set(e, ERR_UNSUPPORTED, "lm_backend_init", "no ggml CPU kernel in %s runs on this machine",
                named);
        err_hint(e, "the folder must hold libggml-cpu-*.so modules of this architecture");
        return ERR_UNSUPPORTED;
    }
    if (load_best(EDGESTILL_LLAMA_BACKENDS) || load_beside_program())
        return 0;
    err_set(e, ERR_UNSUPPORTED, "lm_backend_init",
            "found no ggml CPU kernels (looked in \"%s\" and beside the program)", EDGESTILL_LLAMA_BACKENDS);
    err_hint(e, "run make again, or set EDGESTILL_LLAMA_BACKENDS to the folder of libggml-cpu-*.so");
    return ERR_UNSUPPORTED;
}

int lm_backend_init(const char *folder, struct err *e) {
    pthread_mutex_lock(&init_lock);
    int rc = 0;
    if (!initialised) {
        lm_log_install();
        rc = load_kernels(folder, e);
        if (rc == 0) {
            llama_backend_init();
            initialised = true;
        }
    }
    pthread_mutex_unlock(&init_lock);
    return rc;
}

const char *lm_backend_name(void) {
    return kernel_name;
}

const char *lm_version(void) {
    static char text[96];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (text[0] == 0)
        snprintf(text, sizeof text, "llama %s, ggml %s", compat_llama_version(), compat_ggml_version());
    pthread_mutex_unlock(&lock);
    return text;
}
