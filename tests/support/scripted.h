/* What tests of asking a teacher begin with: the scripted teacher, listening, its task, and a store in a folder of its own. */
#ifndef TESTS_SUPPORT_SCRIPTED_H
#define TESTS_SUPPORT_SCRIPTED_H

#include "chat_script.h"
#include "store/store.h"

struct scripted {
    char folder[64], path[128]; /* of the store's file */
    struct task task;
    struct chat_script script; /* may be changed while it listens */
    struct http_script *server;
    struct store *store; /* open for writing; a test may close it and set it NULL, or open another */
};

/* 0, or -1 as cmocka's set-ups say it. `s` stays where it is until scripted_end. */
int scripted_begin(struct scripted *s, struct chat_script script);
int scripted_end(struct scripted *s);

#endif
