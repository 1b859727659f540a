/* The table of architectures. */
#include "model/arch.h"
#include <stddef.h>
#include <string.h>

static const struct model_arch archs[] = {
#define X(text, ...) {.name = text, __VA_ARGS__},
    MODEL_ARCHS(X)
#undef X
};

const struct model_arch *model_arch_find(const char *name) {
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strcmp(archs[i].name, name) == 0)
            return &archs[i];
    return NULL;
}

const char *model_arch_names(void) {
#define X(text, ...) ", " text
    return &(MODEL_ARCHS(X))[2];
#undef X
}
