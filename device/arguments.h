/* The program's arguments: one table feeds the parser and the help. */
#ifndef DEVICE_ARGUMENTS_H
#define DEVICE_ARGUMENTS_H

#include "selftest.h"
#include "serve.h"

struct options {
    const char *bundle, *receipt;
    bool selftest, json, serve, version, help;
    struct runner_options runner;
    struct selftest_options test;
    struct serve_options server;
    int n_words; /* record from the arguments */
    char **words;
};

/* argv is borrowed. ERR_USAGE with what is wrong. */
int arguments_parse(int argc, char *argv[], struct options *o, struct err *e);

/* Appends the help. */
void arguments_help(struct str *out);

#endif
