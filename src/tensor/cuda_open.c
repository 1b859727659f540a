/* The CUDA table from outside: finds and loads libedgestill-cuda.so, so that the program itself needs neither CUDA nor a GPU.
 * The library stays loaded until the process ends: the driver keeps threads of its own in it, which must not lose their code. */
#include "tensor/cuda/abi.h"
#include "tensor/ops.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CUDA_LIBRARY "libedgestill-cuda.so"

/* The library beside the running program, or in PREFIX/lib/edgestill of an installed PREFIX/bin/edgestill. False when it is in
 * neither place; then `path` is where it should have been. */
static bool default_path(char path[PATH_MAX]) {
    static const char *const places[] = {"/../lib/edgestill/" CUDA_LIBRARY, "/" CUDA_LIBRARY};
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 64);
    if (n <= 0)
        return false;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        strcpy(slash, places[i]); /* 64 bytes were kept for it */
        if (access(path, R_OK) == 0)
            return true;
    }
    return false;
}

/* dlsym gives a data pointer; POSIX promises that it holds a function's address. */
static void symbol_copy(void *handle, const char *name, void *fn) {
    void *p = dlsym(handle, name);
    memcpy(fn, &p, sizeof p);
}

static int library_open(struct ops *o, void *handle, const char *path, struct err *e) {
    cuda_abi_fn abi;
    cuda_open_fn open;
    symbol_copy(handle, CUDA_ABI_SYMBOL, &abi);
    symbol_copy(handle, CUDA_OPEN_SYMBOL, &open);
    if (!abi || !open || abi() != cuda_abi_number()) {
        err_set(e, ERR_UNSUPPORTED, "ops_open_cuda", "%s was built for another version of edgestill", path);
        return err_hint(e, "build it again from the same sources: make cuda");
    }
    return open(o, e);
}

int ops_open_cuda(struct ops *o, const char *library, struct err *e) {
    char beside[PATH_MAX] = CUDA_LIBRARY;
    const char *path = library ? library : getenv("EDGESTILL_CUDA_LIBRARY");
    if (!path || !*path) {
        path = beside;
        if (!default_path(beside)) {
            err_set(e, ERR_UNSUPPORTED, "ops_open_cuda", "there are no GPU kernels: %s is missing", beside);
            return err_hint(e,
                            "build them with make cuda, or say where they are with EDGESTILL_CUDA_LIBRARY");
        }
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        err_set(e, ERR_UNSUPPORTED, "ops_open_cuda", "the GPU kernels cannot be loaded: %s", dlerror());
        return err_hint(
            e, "they need the CUDA runtime's cuBLAS: install it, or put its folder into LD_LIBRARY_PATH");
    }
    int code = library_open(o, handle, path, e);
    if (code)
        dlclose(handle);
    return code;
}
