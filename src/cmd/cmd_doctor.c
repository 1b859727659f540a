/* `edgestill doctor`: is this machine fit for the chain? Each check really tries what it names: kernels are loaded, a product
 * is computed, programs are started. "missing" fails the verb; "limited" says what will not work. */
#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "catalog/catalog.h"
#include "catalog/data.h"
#include "cmd/cmd.h"
#include "cmd/probe.h"
#include "cmd/project.h"
#include "config.h"
#include "format/json.h"
#include "llama/lm.h"
#include "net/net.h"
#include "plan/host.h"
#include "tensor/ops.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCARCE_BYTES ((int64_t)2 << 30)

enum { PROBE_MS = 20000 };

enum verdict { GOOD, LIMITED, MISSING };

struct doctor {
    struct cmd_ctx *c;
    json_t *list;
    int n_limited, n_missing;
};

static __attribute__((format(printf, 5, 6))) void note(struct doctor *d, enum verdict v, const char *name,
                                                       const char *hint, const char *format, ...) {
    static const char *const texts[] = {[GOOD] = "good", [LIMITED] = "limited", [MISSING] = "missing"};
    struct str detail = {0};
    va_list args;
    va_start(args, format);
    str_addv(&detail, format, args);
    va_end(args);
    json_t *o = json_pack("{s:s, s:s, s:o}", "check", name, "verdict", texts[v], "detail",
                          json_lossy_string(str_text(&detail)));
    if (v != GOOD && hint)
        json_object_set_new(o, "hint", json_lossy_string(hint));
    json_array_append_new(d->list, o);
    cmd_print(d->c, "  %-8s %-16s %s\n", texts[v], name, str_text(&detail));
    if (v != GOOD && hint)
        cmd_print(d->c, "  %-8s %-16s %s\n", "", "", hint);
    d->n_limited += v == LIMITED;
    d->n_missing += v == MISSING;
    str_release(&detail);
}

static void note_err(struct doctor *d, enum verdict v, const char *name, const struct err *e) {
    note(d, v, name, e->hint[0] ? e->hint : NULL, "%s", e->message);
}

/* ---- the machine ---- */

static void check_memory(struct doctor *d) {
    int64_t total = mem_total_bytes(), available = mem_available_bytes();
    char a[32], b[32];
    note(d, available >= SCARCE_BYTES ? GOOD : LIMITED, "memory",
         "see what takes it: ps aux --sort=-rss | head; or plan for less: edgestill plan --base embedded",
         "%s, %s of it free", str_bytes(a, sizeof a, total), str_bytes(b, sizeof b, available));
}

static void check_disk(struct doctor *d) {
    int64_t left = file_free_bytes(d->c->project_dir);
    char text[32];
    if (left < 0)
        note(d, LIMITED, "disk", NULL, "the free space at %s is unknown", d->c->project_dir);
    else
        note(d, left >= SCARCE_BYTES ? GOOD : LIMITED, "disk",
             "a project needs about five times its base's file; see what takes it: du -xh . | sort -h | tail",
             "%s free at %s", str_bytes(text, sizeof text, left), d->c->project_dir);
}

/* ---- what was built in ---- */

extern char *openblas_get_config(void) __attribute__((weak)); /* other CBLAS libraries lack it */

/* One small product through the fast table, against sums by hand. */
static bool product_is_right(const struct ops *o) {
    enum { M = 5, N = 7, K = 33 };
    float a[M * K], b[N * K], c[M * N] = {0};
    for (int i = 0; i < M * K; i++)
        a[i] = (float)(i % 11) - 5;
    for (int i = 0; i < N * K; i++)
        b[i] = (float)(i % 7) - 3;
    o->gemm(o, false, true, M, N, K, 1, a, K, b, K, 0, c, N);
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            float sum = 0; /* small whole numbers: exact in any order */
            for (int k = 0; k < K; k++)
                sum += a[i * K + k] * b[j * K + k];
            if (sum != c[i * N + j])
                return false;
        }
    }
    return true;
}

static void check_blas(struct doctor *d) {
    struct ops o;
    struct err e = {0};
    if (ops_open_cpu(&o, 0, &e) < 0) {
        note_err(d, MISSING, "matrix products", &e);
        return;
    }
    bool right = product_is_right(&o);
    struct predict_host host = {0};
    bool measured = right && host_measure(&host, &e) == 0;
    note(d, right ? GOOD : MISSING, "matrix products",
         "the BLAS library of this machine computes wrongly; try make BLAS=none",
         "%s, %d threads, %.0f GMAC/s%s, %s%s", o.name, o.n_threads, measured ? host.macs_per_s / 1e9 : 0,
         measured && host.others > HOST_BUSY ? " beside other programs" : "",
         openblas_get_config ? openblas_get_config() : "no OpenBLAS",
         right ? "" : "; a product comes out wrong");
    o.close(&o);
}

static void check_llama(struct doctor *d) {
    struct err e = {0};
    if (lm_backend_init(NULL, &e) < 0)
        note_err(d, MISSING, "llama.cpp", &e);
    else
        note(d, GOOD, "llama.cpp", NULL, "%s, kernels %s", lm_version(), lm_backend_name());
}

static void check_catalogue(struct doctor *d) {
    struct catalog c;
    struct err e = {0};
    if (catalog_load(&c, d->c->project_dir, &e) < 0) {
        note_err(d, MISSING, "catalogue", &e);
        return;
    }
    note(d, GOOD, "catalogue", NULL, "%" PRId64 " devices, %" PRId64 " models", c.n_devices, c.n_models);
    catalog_release(&c);
}

static void check_seed(struct doctor *d) {
    static const char *const names[] = {"seed/base.gguf", "seed/teacher.gguf"};
    static const char *const roles[] = {"embedded base", "embedded teacher"};
    for (int i = 0; i < 2; i++) {
        struct str path = {0};
        struct err e = {0};
        char size[32];
        if (data_path(names[i], &path, &e) < 0)
            note_err(d, LIMITED, roles[i], &e);
        else
            note(d, GOOD, roles[i], NULL, "%s, %s", str_text(&path),
                 str_bytes(size, sizeof size, file_size(str_text(&path))));
        str_release(&path);
    }
}

/* ---- programs ---- */

static void check_program(struct doctor *d, const char *name, const char *const argv[], const char *hint) {
    char line[160] = "";
    struct err e = {0};
    if (probe_program(argv, PROBE_MS, line, sizeof line, &e) < 0)
        note(d, LIMITED, name, hint, "%s", e.message);
    else
        note(d, GOOD, name, NULL, "%s", line[0] ? line : argv[0]);
}

static void check_server(struct doctor *d) {
    static const char *const built_in[] = {EDGESTILL_LLAMA_SERVER, "--version", NULL};
    const char *named = getenv("EDGESTILL_LLAMA_SERVER");
    const char *const own[] = {named, "--version", NULL};
    check_program(d, "llama-server", named && *named ? own : built_in,
                  "the embedded teacher needs it: make, in edgestill's source tree, or export "
                  "EDGESTILL_LLAMA_SERVER=PROGRAM");
}

static void check_arm64(struct doctor *d) {
    static const char *const qemu[] = {EDGESTILL_QEMU_ARM64, "--version", NULL};
    check_program(d, "arm64 emulator", qemu,
                  "bundles for arm64 can be made but not tried here: apt-get install qemu-user-static");
    bool there = *EDGESTILL_ARM64_LIBDIR && file_exists(EDGESTILL_ARM64_LIBDIR "/libllama.so");
    note(d, there ? GOOD : LIMITED, "arm64 runtime",
         "bundles for arm64 need it: make, in edgestill's source tree", "%s",
         there ? EDGESTILL_ARM64_LIBDIR : "llama.cpp for arm64 is not there");
}

static void check_ssh(struct doctor *d) {
    static const char *const ssh[] = {"ssh", "-V", NULL}, *const compiler[] = {"cc", "--version", NULL};
    check_program(d, "ssh", ssh, "deploy and probe HOST need it: apt-get install openssh-client");
    check_program(d, "compiler", compiler, "only building edgestill needs it: apt-get install gcc make");
}

/* ---- the project, where there is one ---- */

static void take_answer(void *context, const struct net_answer *a) {
    *(int *)context = a->status > 0 ? a->status : -1;
}

/* Does anybody answer at the teacher's address? Which status does not matter: nothing is asked that costs. */
static void check_reachable(struct doctor *d, const struct project_teacher *t) {
    struct net *n = NULL;
    struct err e = {0};
    int status = 0;
    int code =
        net_open(&n, &(struct net_options){.max_attempts = 1, .connect_ms = 5000, .answer_ms = 10000}, &e);
    if (code == 0)
        code =
            net_submit(n, &(struct net_request){.url = t->url, .context = &status, .done = take_answer}, &e);
    while (code == 0 && net_pending(n) > 0)
        code = net_step(n, 100, &e);
    net_close(n);
    if (status > 0)
        note(d, GOOD, "teacher reached", NULL, "%s answers", t->url);
    else
        note(d, LIMITED, "teacher reached",
             "try it: curl -I URL, with the address (teacher: url) of edgestill.yaml; behind a proxy export "
             "https_proxy",
             "%s does not answer", t->url);
}

static void check_key(struct doctor *d, const struct project *p) {
    const struct project_teacher *t = &p->teacher;
    if (strcmp(t->kind, "openai") != 0) {
        note(d, GOOD, "teacher", NULL, "%s: no key needed", t->kind);
        return;
    }
    const char *key = t->key_env ? getenv(t->key_env) : NULL;
    if (t->key_env && !(key && *key))
        note(d, LIMITED, "teacher",
             "export NAME=KEY with that name, in the shell that runs edgestill generate",
             "%s at %s: the variable %s is not set", t->model, t->url, t->key_env);
    else if (!t->key_env && t->key_file && file_size(t->key_file) <= 0)
        note(d, LIMITED, "teacher", "put the key there: umask 077; cat > FILE, then the key and Ctrl-D",
             "%s at %s: %s cannot be read or is empty", t->model, t->url, t->key_file);
    else
        note(d, GOOD, "teacher", NULL, "%s at %s, %s", t->model, t->url,
             t->key_env || t->key_file ? "a key is there" : "without a key");
}

static void check_project(struct doctor *d) {
    struct project p;
    struct err e = {0};
    int code = project_open(&p, d->c->project_dir, &e);
    if (code == ERR_NOT_FOUND)
        return;
    if (code < 0) {
        note_err(d, MISSING, "project", &e);
        return;
    }
    note(d, GOOD, "project", NULL, "%s/edgestill.yaml can be read", p.dir);
    check_key(d, &p);
    if (str_equal(p.teacher.kind, "openai"))
        check_reachable(d, &p.teacher);
    project_release(&p);
}

static int run_doctor(struct cmd_ctx *c) {
    struct doctor d = {.c = c, .list = json_array()};
    json_object_set_new(c->result, "checks", d.list);
    cmd_print(c, "edgestill " EDGESTILL_VERSION "\n");
    note(&d, GOOD, "cores", NULL, "%d", thread_core_count());
    check_memory(&d);
    check_disk(&d);
    check_blas(&d);
    check_llama(&d);
    check_catalogue(&d);
    check_seed(&d);
    check_server(&d);
    check_arm64(&d);
    check_ssh(&d);
    check_project(&d);
    if (d.n_missing == 0) {
        cmd_print(c, "%s\n", d.n_limited ? "Usable; what is limited is named above." : "All is well.");
        return 0;
    }
    return err_set(&c->err, ERR_FAILED, "doctor", "%d of the checks failed; each says above what to do",
                   d.n_missing);
}

const struct verb verb_doctor = {"doctor", "check this machine: libraries, kernels, programs, memory, keys",
                                 "[options]", NULL, run_doctor};
