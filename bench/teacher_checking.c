/* Figure 3.2: 100,000 records through parsing, checks and the search for their like, with near copies planted among them. */
#include "bench/teacher_checking.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "format/json.h"
#include "synth/similar.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char notes_task[] =
    "{\"kind\":\"classify\",\"name\":\"notes\",\"sentence\":\"x\",\"instruction\":\"x\",\"fields\":["
    "{\"name\":\"note\",\"type\":\"text\"},{\"name\":\"age\",\"type\":\"integer\",\"min\":0,\"max\":99}],"
    "\"labels\":[{\"name\":\"a\"},{\"name\":\"b\"}]}";

/* Words of random letters: texts that are not planted as alike are not. */
static void add_words(struct rng *r, int n, struct str *out) {
    for (int i = 0; i < n; i++) {
        str_add(out, i ? " " : "");
        for (int k = (int)rng_range(r, 3, 8); k > 0; k--)
            str_add_char(out, (char)rng_range(r, 'a', 'z'));
    }
}

static int load_task(const char *json, struct task *t) {
    struct arena a;
    struct node *root = NULL;
    arena_init(&a);
    int rc = json_node_parse(&a, "task", 0, json, strlen(json), &root, NULL);
    if (rc == 0)
        rc = task_from_node(t, root, NULL);
    arena_release(&a);
    return rc;
}

/* One record through parsing, checks and the search for its like; kept when it is new. */
static enum similar_verdict pass(const struct task *t, struct similar *s, const char *note, int age) {
    struct arena a;
    struct str json = {0};
    struct node *root = NULL;
    struct record r;
    arena_init(&a);
    str_add(&json, "{\"note\":");
    json_text_string(&json, note);
    str_addf(&json, ",\"age\":%d}", age);
    enum similar_verdict v = SIMILAR_EXACT;
    if (json_node_parse(&a, "record", 0, json.data, json.len, &root, NULL) == 0 &&
        record_from_node(t, &a, true, root, &r, NULL) == 0) {
        v = similar_find(s, &r);
        if (v == SIMILAR_NEW)
            similar_add(s, &r, false, NULL);
    }
    str_release(&json);
    arena_release(&a);
    return v;
}

struct passed {
    int64_t n, false_drops, planted, found;
    double first_us, last_us; /* a record, around 1,000 and at the end */
    int64_t bytes;
};

static double similarity(const char *a, const char *b) {
    enum { PIECE = 5 };
    size_t n_a = strlen(a), n_b = strlen(b);
    int64_t both = 0, all = 0;
    for (size_t i = 0; i + PIECE <= n_a; i++) {
        bool again = false, there = false;
        for (size_t k = 0; k < i; k++)
            again = again || strncmp(a + i, a + k, PIECE) == 0;
        for (size_t k = 0; k + PIECE <= n_b; k++)
            there = there || strncmp(a + i, b + k, PIECE) == 0;
        both += !again && there;
        all += !again;
    }
    for (size_t i = 0; i + PIECE <= n_b; i++) {
        bool again = false, there = false;
        for (size_t k = 0; k < i; k++)
            again = again || strncmp(b + i, b + k, PIECE) == 0;
        for (size_t k = 0; k + PIECE <= n_a; k++)
            there = there || strncmp(b + i, a + k, PIECE) == 0;
        all += !again && !there;
    }
    return all > 0 ? (double)both / (double)all : 0;
}

/* A text with one word changed, of similarity 0.8 to 0.85. */
static bool plant_pair(struct rng *r, const char *text, struct str *out) {
    for (int i = 0; i < 200; i++) {
        str_clear(out);
        str_add(out, text);
        int at = (int)rng_range(r, 0, (int64_t)out->len - 1);
        for (int k = at; k < at + 3 && k < (int)out->len; k++)
            if (out->data[k] != ' ')
                out->data[k] = (char)('a' + (out->data[k] - 'a' + 7) % 26);
        double j = similarity(text, str_text(out));
        if (j >= 0.80 && j <= 0.85)
            return true;
    }
    return false;
}

static void pass_records(int n, struct passed *p) {
    struct task t;
    struct similar *s = NULL;
    struct rng r;
    struct str note = {0}, twin = {0};
    *p = (struct passed){.n = n};
    rng_seed(&r, 11);
    if (load_task(notes_task, &t) < 0 || similar_new(&s, &t, NULL) < 0)
        exit(1);
    double begin = clock_seconds();
    for (int i = 0; i < n; i++) {
        if (i == 1000)
            begin = clock_seconds();
        if (i == 6000)
            p->first_us = (clock_seconds() - begin) / 5000 * 1e6;
        if (i == n - 5000)
            begin = clock_seconds();
        str_clear(&note);
        add_words(&r, (int)rng_range(&r, 8, 12), &note);
        int age = (int)rng_range(&r, 0, 99);
        p->false_drops += pass(&t, s, str_text(&note), age) != SIMILAR_NEW;
        if (i % 100 == 50 && i < n - 5000 && i > 6000 && plant_pair(&r, str_text(&note), &twin)) {
            p->planted++;
            p->found += pass(&t, s, str_text(&twin), age) == SIMILAR_NEAR;
        }
    }
    p->last_us = (clock_seconds() - begin) / 5000 * 1e6;
    p->bytes = mem_peak_bytes();
    similar_free(s);
    task_release(&t);
    str_release(&note);
    str_release(&twin);
}

void teacher_checking(struct figures *f) {
    enum { N = 100000 };
    int ends[2];
    struct passed p = {0};
    pid_t pid = pipe(ends) == 0 ? fork() : -1; /* a process of its own, for its memory alone */
    if (pid == 0) {
        int64_t bare = mem_peak_bytes();
        pass_records(N, &p);
        p.bytes = p.bytes > bare ? p.bytes : bare;
        _exit(write(ends[1], &p, sizeof p) == sizeof p ? 0 : 1);
    }
    if (pid < 0 || read(ends[0], &p, sizeof p) != sizeof p)
        exit(1);
    waitpid(pid, NULL, 0);
    const char *note = "records with a text of 8 to 12 words; pairs of Jaccard similarity 0.80 to 0.85";
    figures_add(f, &(struct figure){"3.2", "memory for 100,000 records", "MB", (double)p.bytes / 1e6, p.n, 0,
                                    0, "peak of the whole process; below 64 is asked for"});
    figures_add(f, &(struct figure){"3.2", "time of a record, from the 1,000th on", "us", p.first_us, 5000, 0,
                                    0, NULL});
    figures_add(f, &(struct figure){"3.2", "time of a record, up to the 100,000th", "us", p.last_us, 5000, 0,
                                    0, NULL});
    figures_add(f, &(struct figure){"3.2", "near copies found", "share",
                                    (double)p.found / (double)(p.planted ? p.planted : 1), p.planted, 0, 0,
                                    note});
    figures_add(f, &(struct figure){"3.2", "records dropped without a like", "share",
                                    (double)p.false_drops / (double)p.n, p.n, 0, 0, note});
}
