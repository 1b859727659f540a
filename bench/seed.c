/* Figure 1.4: the embedded models. The shipped files are examined, not the trainer's weights: the teacher answers unseen rules
 * through llama.cpp, greedily, by the number of conditions; how they were trained is read from the logs beside them.
 * The rules come from a stream that training never saw. SEED_ROWS sets the examinations of each kind (300). */
#include "bench/figures.h"
#include "eval/interval.h"
#include "format/json.h"
#include "llama/lm.h"
#include "seed/corpus.h"
#include "seed/recipe.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXAMINATION_SEED = 424243, LONGEST_ANSWER = 640 };

/* Right label, right to the letter. */
struct marks {
    int64_t n, label, exact;
};

/* The last "Answer: x" of a text; the whole of it where there is none. */
static const char *answer_of(const char *text) {
    const char *found = text;
    for (const char *at = text; (at = strstr(at, "Answer: ")) != NULL; at++)
        found = at;
    return found;
}

/* kind: conditions 1 to 3; -1 drafting; -2 refusing. */
static int examine(struct lm *m, struct bpe *b, int kind, int64_t n, struct marks *marks, struct err *e) {
    static struct corpus_document d;
    *marks = (struct marks){.n = n};
    for (int64_t i = 0; i < n; i++) {
        int64_t answer = 0;
        struct str expected = {0}, said = {0};
        struct lm_generation g;
        const float *logits = NULL;
        if (kind < 0)
            corpus_draft_examination(b, EXAMINATION_SEED, i, kind == -2, &d, &answer);
        else
            corpus_examination(b, EXAMINATION_SEED + (uint64_t)kind, i, kind, &d, &answer);
        for (int64_t k = answer; k < d.n && d.ids[k] != BPE_IM_END; k++)
            str_add(&expected, bpe_token(b, d.ids[k]));
        lm_clear(m, -1);
        int code = lm_decode(m, 0, d.ids, answer, &logits, e);
        if (code == 0)
            code = lm_generate(m, 0, LONGEST_ANSWER, &said, &g, e);
        marks->exact += strcmp(str_text(&said), str_text(&expected)) == 0;
        marks->label += strcmp(answer_of(str_text(&said)), answer_of(str_text(&expected))) == 0;
        str_release(&expected);
        str_release(&said);
        if (code < 0)
            return code;
    }
    return 0;
}

static void add_share(struct figures *f, const char *name, int64_t right, int64_t n) {
    struct interval i = interval_wilson(right, n);
    figures_add(f, &(struct figure){"1.4", name, "share", (double)right / (double)n, n, i.low, i.high,
                                    "unseen rules, 95% interval (Wilson)"});
}

/* Tokens, hours and the running loss at the end, from seed/logs/NAME.jsonl: of all runs in it, one after the other; a new run
 * begins where the count of tokens falls. False when there is no log. */
static bool read_log(const char *path, double totals[3]) {
    char line[1024];
    double at[2] = {0, 0}, before[2] = {0, 0};
    bool any = false;
    FILE *log = fopen(path, "r");
    while (log != NULL && fgets(line, sizeof line, log) != NULL) {
        json_t *entry = json_loads(line, 0, NULL);
        double tokens = json_number_value(json_object_get(entry, "tokens"));
        for (int i = 0; i < 2 && tokens < at[0]; i++)
            before[i] += at[i];
        at[0] = tokens;
        at[1] = json_number_value(json_object_get(entry, "seconds"));
        totals[2] = json_number_value(json_object_get(entry, "loss"));
        any = any || entry != NULL;
        json_decref(entry);
    }
    if (log != NULL)
        fclose(log);
    for (int i = 0; i < 2; i++)
        totals[i] = before[i] + at[i];
    return any;
}

static void add_training(struct figures *f, const char *name) {
    static const struct {
        const char *what, *unit;
        double scale;
    } rows[] = {{"training tokens", "million", 1e-6},
                {"training time", "h", 1.0 / 3600},
                {"loss on new text at the end", "nat/token", 1}};
    char path[96], label[96];
    double totals[3] = {0, 0, 0};
    snprintf(path, sizeof path, "seed/logs/%s.jsonl", name);
    bool any = read_log(path, totals);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(label, sizeof label, "%s: %s", name, rows[i].what);
        if (any)
            figures_add(
                f, &(struct figure){"1.4", label, rows[i].unit, rows[i].scale * totals[i], 1, 0, 0, path});
        else
            figures_skip(f, "1.4", label, "there is no training log");
    }
}

int main(void) {
    static const struct {
        int kind;
        const char *name;
    } papers[] = {{1, "one condition"},
                  {2, "two conditions"},
                  {3, "three conditions"},
                  {-1, "drafting a sentence"},
                  {-2, "refusing"}};
    const char *rows = getenv("SEED_ROWS");
    int64_t n = rows != NULL ? atoll(rows) : 300;
    struct err e = {0};
    struct lm *m = NULL;
    struct bpe *b = NULL;
    struct figures *f = figures_new("seed");
    for (int i = 0; i < seed_n_recipes; i++)
        add_training(f, seed_recipes[i].name);
    int code = lm_backend_init(NULL, &e);
    if (code == 0)
        code =
            lm_open(&m, "seed/teacher.gguf", &(struct lm_options){.n_ctx = SEED_CONTEXT, .n_seq_max = 1}, &e);
    if (code == 0)
        code = corpus_vocabulary(&b, SEED_VOCABULARY, &e);
    for (size_t i = 0; i < sizeof papers / sizeof *papers && code == 0; i++) {
        struct marks marks;
        char name[96];
        code = examine(m, b, papers[i].kind, n, &marks, &e);
        if (code < 0)
            break;
        if (papers[i].kind > 0) {
            snprintf(name, sizeof name, "teacher, %s: right label", papers[i].name);
            add_share(f, name, marks.label, n);
        }
        snprintf(name, sizeof name, "teacher, %s: right to the letter", papers[i].name);
        add_share(f, name, marks.exact, n);
    }
    lm_free(m);
    bpe_free(b);
    if (code < 0)
        figures_skip(f, "1.4", "teacher's examination", e.message);
    return figures_finish(f);
}
