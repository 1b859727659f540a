/* How a question gets to the teacher and its answer back: over the network, to the embedded teacher's processes, or to a model in
 * this one. run.c knows slots alone. */
#include "base/file.h"
#include "base/thread.h"
#include "teacher/internal.h"
#include <string.h>

#define ORIGIN "teacher_run"

/* A small model computes on one core (embedded.h), so there is a process for each core. Each has an even part of the slots. */
static int servers_wanted(const struct teacher *t) {
    int n = file_size(t->config.gguf) < EMBEDDED_SMALL_MODEL ? thread_core_count() : 1;
    n = n > TEACHER_SERVERS_MAX ? TEACHER_SERVERS_MAX : n;
    return n > t->parallel ? t->parallel : n;
}

/* Not more than there are questions for: a draft is one. */
static int start_servers(struct teacher *t, int n_questions, struct err *e) {
    int n = servers_wanted(t);
    struct embedded_options o = {.gguf = t->config.gguf, .slots = (t->parallel + n - 1) / n};
    while (t->n_servers < n && t->n_servers < n_questions) {
        struct embedded **server = &t->servers[t->n_servers];
        int rc = embedded_start(server, &o, e);
        if (rc < 0)
            return rc;
        char *url = arena_printf(&t->arena, "%s/chat/completions", embedded_url(*server));
        t->chat_url[t->n_servers++] = url;
        if (!url)
            return err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    }
    return 0;
}

int teacher_check_servers(struct teacher *t, struct err *e) {
    int rc = 0;
    for (int i = 0; i < t->n_servers && rc == 0; i++)
        rc = embedded_check(t->servers[i], e);
    return rc;
}

/* A server on this machine is not reached through a proxy. */
static bool is_loopback(const char *url) {
    static const char *const hosts[] = {"127.", "localhost", "[::1]"};
    const char *host = strstr(url, "://");
    for (size_t i = 0; host && i < sizeof hosts / sizeof *hosts; i++)
        if (str_starts(host + 3, hosts[i]))
            return true;
    return false;
}

static int load_model(struct teacher *t, struct err *e) {
    enum { LARGE = 500 * 1000 * 1000 };
    char size[32];
    int64_t bytes = file_size(t->config.gguf);
    if (bytes > LARGE)
        teacher_say(t, "loading %s (%s)", t->config.gguf, str_bytes(size, sizeof size, bytes));
    return local_open(&t->local, &(struct local_options){.gguf = t->config.gguf, .lanes = t->parallel}, e);
}

int teacher_connect(struct teacher *t, int n_questions, struct err *e) {
    bool embedded = teacher_is_embedded(t);
    if (teacher_scores(t))
        return t->local ? 0 : load_model(t, e);
    int rc = embedded ? start_servers(t, n_questions, e) : 0;
    if (rc < 0 || t->net)
        return rc;
    struct net_options o = t->config.net;
    o.parallel = t->parallel;
    o.requests_per_minute = t->config.requests_per_minute;
    o.tokens_per_minute = t->config.tokens_per_minute;
    o.direct = o.direct || embedded || is_loopback(t->config.url);
    return net_open(&t->net, &o, e);
}

void teacher_disconnect(struct teacher *t) {
    local_close(t->local);
    net_close(t->net);
    for (int i = 0; i < t->n_servers; i++)
        embedded_stop(t->servers[i]);
}

/* ---- questions under way ---- */

static int send_here(struct slot *s, const struct teacher_way *way, struct err *e) {
    const struct protocol_request *r = &s->request;
    struct local_question q = {.system = str_text(&r->system),
                               .user = str_text(&r->user),
                               .schema = str_text(&r->schema),
                               .max_tokens = r->max_tokens,
                               .temperature = s->temperature,
                               .seed = s->seed,
                               .labels = r->labels,
                               .n_labels = r->n_labels,
                               .context = s,
                               .done = way->done};
    return local_submit(s->teacher->local, &q, e);
}

int teacher_send(struct slot *s, const struct teacher_way *way, struct err *e) {
    struct teacher *t = s->teacher;
    if (t->local)
        return send_here(s, way, e);
    int server = t->n_servers ? (int)(s - t->slots) % t->n_servers : 0;
    struct net_request r = {.url = t->chat_url[server],
                            .body = s->body.data,
                            .bearer = t->key,
                            .tokens =
                                (s->reserved.tokens_in + s->reserved.tokens_out) / 4, /* bytes bound tokens */
                            .context = s,
                            .again = way->again,
                            .done = way->done};
    return net_submit(t->net, &r, e);
}

int teacher_under_way(const struct teacher *t) {
    return t->local ? local_pending(t->local) : t->net ? net_pending(t->net) : 0;
}

int teacher_step(struct teacher *t, int64_t wait_ms, struct err *e) {
    if (teacher_under_way(t) == 0)
        return 0;
    return t->local ? local_step(t->local, e) : net_step(t->net, wait_ms, e);
}

void teacher_drain(struct teacher *t) {
    if (t->net)
        net_drain(t->net);
}

void teacher_abort(struct teacher *t) {
    if (t->local)
        local_abort(t->local);
    if (t->net)
        net_abort(t->net);
}
