/* A scripted teacher as a process, for shell tests: an OpenAI-compatible endpoint that drafts, writes and answers one task of
 * kind extract (wishes with a room and a level) or respond (what a bed needs), whichever the sentence is about.
 *     serve_written        prints its port and serves until it is ended */
#include "base/hash.h"
#include "base/rng.h"
#include "format/json.h"
#include "support/http_script.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD(name, type, range, values)                                                                     \
    "{\"name\":\"" name "\",\"type\":\"" type "\"," range                                                    \
    ",\"decimals\":null,\"unit\":null,\"values\":" values "}"
#define NO_RANGE "\"min\":null,\"max\":null"
#define PERCENT  "\"min\":0,\"max\":100"

static const char draft_extract[] = "{\"refusal\":null,\"kind\":\"extract\",\"fields\":[" FIELD(
    "utterance", "text", NO_RANGE,
    "null") "],\"labels\":[],\"answer\":[" FIELD("room", "category", NO_RANGE,
                                                 "[\"hall\",\"kitchen\",\"attic\"]") "," FIELD("level",
                                                                                               "integer",
                                                                                               PERCENT,
                                                                                               "null") "]}";
static const char draft_respond[] = "{\"refusal\":null,\"kind\":\"respond\",\"fields\":[" FIELD(
    "bed", "category", NO_RANGE,
    "[\"north\",\"south\"]") "," FIELD("moisture", "integer", PERCENT,
                                       "null") "],\"labels\":[],\"answer\":[" FIELD("reply", "text", NO_RANGE,
                                                                                    "null") "]}";
static const char draft_useless[] =
    "{\"refusal\":null,\"kind\":\"extract\",\"fields\":[],\"labels\":[],\"answer\":[]}";

static const char *const rooms[] = {"hall", "kitchen", "attic"};
static atomic_int n_drafts;

static const char *pick(struct rng *r, const char *const words[], int n) {
    return words[rng_range(r, 0, n - 1)];
}

static void write_wish(struct rng *r, struct str *out) {
    static const char *const begins[] = {"please", "could somebody", "I would like to",
                                         "kindly", "hey house,",     "now"};
    static const char *const verbs[] = {"dim", "raise", "set", "bring", "turn", "move", "push", "change"};
    static const char *const things[] = {"lamp", "heater", "blind", "fan", "radio", "oven", "screen", "pump"};
    str_addf(out, "{\"utterance\":\"%s %s the %s in the %s to %lld\"}", pick(r, begins, 6), pick(r, verbs, 8),
             pick(r, things, 8), pick(r, rooms, 3), (long long)rng_range(r, 0, 100));
}

static void write_bed(struct rng *r, struct str *out) {
    static const char *const beds[] = {"north", "south"};
    str_addf(out, "{\"bed\":\"%s\",\"moisture\":%lld}", pick(r, beds, 2), (long long)rng_range(r, 0, 100));
}

static void write_records(const char *system, const char *user, struct rng *r, struct str *out) {
    int n = 0;
    sscanf(user, "Write %d", &n);
    str_add(out, "{\"records\":[");
    for (int i = 0; i < n; i++) {
        str_add(out, i ? "," : "");
        (strstr(system, "moisture") ? write_bed : write_wish)(r, out);
    }
    str_add(out, "]}");
}

static void answer_record(const char *user, struct str *out) {
    const char *to = strstr(user, " to "), *moisture = strstr(user, "moisture: ");
    if (moisture) {
        char bed[16] = "";
        sscanf(user, "Record: bed: %15[a-z]", bed);
        str_addf(out, "{\"reply\":\"%s the %s bed.\"}", atoi(moisture + 10) < 30 ? "Water" : "Leave", bed);
        return;
    }
    for (const char *next; to && (next = strstr(to + 1, " to ")); to = next)
        ;
    for (size_t i = 0; to && i < sizeof rooms / sizeof *rooms; i++)
        if (strstr(user, rooms[i]))
            str_addf(out, "{\"room\":\"%s\",\"level\":%d}", rooms[i], atoi(to + 4));
}

static void content_of(const char *system, const char *user, struct rng *r, struct str *out) {
    if (str_starts(system, "Answer in JSON."))
        str_add(out, "{\"answer\":\"yes\"}");
    else if (str_starts(system, "Draft"))
        str_add(out, n_drafts++ == 0            ? draft_useless
                     : strstr(user, "gardener") ? draft_respond
                                                : draft_extract);
    else if (str_starts(system, "Write"))
        write_records(system, user, r, out);
    else
        answer_record(user, out);
}

static const char *message(const json_t *root, size_t i) {
    const char *text =
        json_string_value(json_object_get(json_array_get(json_object_get(root, "messages"), i), "content"));
    return text ? text : "";
}

static void serve(void *context, const struct http_asked *q, struct http_reply *r) {
    (void)context;
    json_t *root = json_loads(q->body, 0, NULL);
    struct rng rng;
    struct str content = {0};
    rng_seed(&rng, hash64(q->body, strlen(q->body), (uint64_t)q->number));
    content_of(message(root, 0), message(root, 1), &rng, &content);
    str_add(&r->body,
            "{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":");
    json_text_string(&r->body, str_text(&content));
    str_add(&r->body, "}}],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":60}}");
    str_release(&content);
    json_decref(root);
}

int main(void) {
    struct http_script *s = http_script_start(serve, NULL);
    if (!s)
        return 1;
    printf("%d\n", http_script_port(s));
    fflush(stdout);
    for (;;)
        pause();
}
