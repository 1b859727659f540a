/* The small task of the tests. */
#include "tiny_task.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>

static const char text[] =
    "{\"format\":\"edgestill.task/1\",\"kind\":\"classify\",\"name\":\"tiny-claims\",\"sentence\":\"Flag "
    "claims that are filed too "
    "soon.\",\"instruction\":\"Label the claim as suspicious or normal.\",\"fields\":["
    "{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":20,\"unit\":\"days\"},"
    "{\"name\":\"approved share\",\"type\":\"number\",\"min\":0,\"max\":1,\"decimals\":2},"
    "{\"name\":\"visit type\",\"type\":\"category\",\"values\":[\"emergency\",\"routine\"]}],"
    "\"labels\":[{\"name\":\"suspicious\",\"definition\":\"the delay is under 4 days\"},"
    "{\"name\":\"normal\",\"definition\":\"otherwise\"}]}";

int tiny_task(struct task *t, struct err *e) {
    struct arena a;
    struct node *root;
    arena_init(&a);
    int rc = json_node_parse(&a, "tiny", 0, text, strlen(text), &root, e);
    if (rc == 0)
        rc = task_from_node(t, root, e);
    arena_release(&a);
    return rc;
}

int tiny_prompt(struct prompt *p, const struct task *t, const struct lm *m, struct err *e) {
    struct str open = {0}, close = {0}, end = {0};
    int rc = lm_chat_frame(m, &open, &close, &end, e);
    if (rc == 0)
        rc = prompt_init(p, t, str_text(&open), str_text(&close), str_text(&end), e);
    str_release(&open);
    str_release(&close);
    str_release(&end);
    return rc;
}

struct record tiny_record(const struct task *t, struct arena *a, struct rng *r) {
    struct record record;
    struct node *root;
    struct err e = {0};
    int64_t delay = rng_range(r, 0, 20), share = rng_range(r, 0, 100);
    bool emergency = rng_chance(r, 0.5);
    char *json = arena_printf(a, "{\"delay\":%d,\"approved share\":%.2f,\"visit type\":\"%s\"}", (int)delay,
                              (double)share / 100, emergency ? "emergency" : "routine");
    if (json_node_parse(a, "record", 0, json, strlen(json), &root, &e) < 0 ||
        record_from_node(t, a, true, root, &record, &e) < 0)
        abort();
    record.label = delay < 4 || (emergency && share < 50) ? 0 : 1;
    return record;
}
