/* Figure 5.6: llama.cpp's own tools and the files that we write. */
#ifndef BENCH_COMPRESS_TOOLS_H
#define BENCH_COMPRESS_TOOLS_H

#include "figures.h"
#include <stdbool.h>

bool compress_tools(struct figures *f);

/* Runs a tool of llama.cpp's (NULL-terminated arguments) with what it says going to `log`; returns the seconds taken. */
double llama_tool_run(const char *log, const char *tool, const char *const args[]);
/* Its command line: the loader's words first. `path` is storage for the last of them. Returns the number of words in argv. */
int llama_tool_words(const char *tool, char path[1024], const char *argv[], int room);

#endif
