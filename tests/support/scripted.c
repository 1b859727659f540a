/* See scripted.h. */
#include "scripted.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>

int scripted_begin(struct scripted *s, struct chat_script script) {
    *s = (struct scripted){.folder = "/tmp/edgestill-test-XXXXXX"}; /* mkdtemp's template */
    if (!mkdtemp(s->folder) || chat_script_task(&s->task, NULL) < 0)
        return -1;
    snprintf(s->path, sizeof s->path, "%s/records.sqlite", s->folder);
    s->script = script;
    s->server = http_script_start(chat_script_serve, &s->script);
    return s->server && store_open(&s->store, s->path, STORE_WRITE, NULL) == 0 ? 0 : -1;
}

int scripted_end(struct scripted *s) {
    store_close(s->store);
    s->store = NULL;
    http_script_stop(s->server);
    task_release(&s->task);
    return file_remove_tree(s->folder, NULL);
}
