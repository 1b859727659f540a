/* edgestill: see verbs.c for the table of verbs, cmd_<verb>.c for each of them. */
#include "cmd/verbs.h"
#include "llama/lm.h"

int main(int argc, char **argv) {
    lm_calm_threads(argv);
    return verbs_main(argc, (const char *const *)argv);
}
