/* edgestill: see verbs.c for the table of verbs, cmd_<verb>.c for each of them. */
#include "cmd/verbs.h"

int main(int argc, char **argv) {
    return verbs_main(argc, (const char *const *)argv);
}
