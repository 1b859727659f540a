/* Comparing written answers by field and by word. */
#include "eval/written.h"
#include "task/answer.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

int64_t written_field_right(const struct task *t, const struct rows *rows, const struct scores *s,
                            int field) {
    int64_t right = 0;
    struct arena a;
    arena_init(&a);
    for (int64_t i = 0; i < s->n; i++) {
        if (s->answer[i] >= 0) {
            const char *truth = answer_field(t, &a, rows->records[i].answer, field);
            right += truth && str_equal(truth, answer_field(t, &a, s->text[i], field));
        }
        arena_reset(&a);
    }
    arena_release(&a);
    return right;
}

/* ---- words ---- */

enum { WORDS_MAX = 512 };

struct word {
    const char *text;
    size_t n;
    bool taken;
};

static bool of_word(unsigned char c) {
    return c >= 0x80 || isalnum(c);
}

static int split(const char *text, struct word words[WORDS_MAX]) {
    int n = 0;
    while (*text && n < WORDS_MAX) {
        while (*text && !of_word((unsigned char)*text))
            text++;
        const char *end = text;
        while (of_word((unsigned char)*end) && *end)
            end++;
        if (end > text)
            words[n++] = (struct word){.text = text, .n = (size_t)(end - text)};
        text = end;
    }
    return n;
}

static bool same_word(const struct word *a, const struct word *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (tolower((unsigned char)a->text[i]) != tolower((unsigned char)b->text[i]))
            return false;
    return true;
}

double written_words_shared(const char *truth, const char *answer) {
    struct word a[WORDS_MAX], b[WORDS_MAX];
    int n_a = split(truth, a), n_b = split(answer, b), common = 0;
    for (int i = 0; i < n_a; i++)
        for (int k = 0; k < n_b; k++)
            if (!b[k].taken && same_word(&a[i], &b[k])) {
                b[k].taken = true;
                common++;
                break;
            }
    return n_a + n_b == 0 ? 1 : 2.0 * common / (n_a + n_b);
}

double written_word_f1(const struct rows *rows, const struct scores *s) {
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum += s->text[i] ? written_words_shared(rows->records[i].answer, s->text[i]) : 0;
    return s->n > 0 ? sum / (double)s->n : NAN;
}
