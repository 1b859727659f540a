/* The schema of a plain draft: what it names must be words of the sentence, so a grammar made of the schema leaves a small
 * teacher no way to slip from "mineral" to "minal". */
#include "teacher/protocol_words.h"
#include "format/json.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 400, NAME_WORDS = 3 };

struct word {
    const char *at;
    size_t n;
    bool ends; /* punctuation follows: no name goes on after it */
};

static bool is_word_char(const char *at) {
    return isalnum((unsigned char)*at) || *at == '_' || *at == '%' || (unsigned char)*at >= 0x80 ||
           (*at == '-' && isalnum((unsigned char)at[1])) ||
           (strchr(".'/&+", *at) && *at && isalnum((unsigned char)at[1]));
}

static int split_words(const char *sentence, struct word words[WORDS_MAX]) {
    int n = 0;
    for (const char *at = sentence; *at && n < WORDS_MAX;) {
        if (!is_word_char(at)) {
            at++;
            continue;
        }
        struct word *w = &words[n++];
        w->at = at;
        while (*at && is_word_char(at))
            at++;
        w->n = (size_t)(at - w->at);
        w->ends = at[0] != ' ' || !is_word_char(at + 1);
    }
    return n;
}

struct choices {
    struct str *out;
    size_t begin; /* of the list in out, after its bracket */
};

/* Once each: the list is short, and a string in quotes stands in it or does not. */
static void add_choice(struct choices *c, const char *text, size_t n) {
    struct str quoted = {0};
    json_text_string_n(&quoted, text, n);
    if (!strstr(str_text(c->out) + c->begin, str_text(&quoted))) {
        str_add(c->out, c->out->len > c->begin ? "," : "");
        str_add(c->out, str_text(&quoted));
    }
    str_release(&quoted);
}

/* "#/$defs/words": every run of one to three words without punctuation between them. */
static void add_words(struct choices *c, const struct word *words, int n_words) {
    for (int i = 0; i < n_words; i++)
        for (int k = i; k < n_words && k < i + NAME_WORDS; k++) {
            add_choice(c, words[i].at, (size_t)(words[k].at + words[k].n - words[i].at));
            if (words[k].ends)
                break;
        }
}

/* "#/$defs/conditions": whatever stands between a "when" or "if" and a place where a clause may end, and "otherwise". */
static void add_conditions(struct choices *c, const struct word *words, int n_words, const char *sentence) {
    const char *end = sentence + strlen(sentence);
    add_choice(c, "otherwise", strlen("otherwise"));
    for (int i = 0; i + 1 < n_words; i++) {
        if (!(words[i].n == 4 && strncasecmp(words[i].at, "when", 4) == 0) &&
            !(words[i].n == 2 && strncasecmp(words[i].at, "if", 2) == 0))
            continue;
        const char *from = words[i + 1].at;
        for (const char *at = from; at <= end; at++)
            if (*at == '\0' || *at == ';' || *at == ',' || (*at == '.' && (at[1] == ' ' || at[1] == '\0'))) {
                if (at > from)
                    add_choice(c, from, (size_t)(at - from));
                if (*at != ',')
                    break;
            }
    }
}

void protocol_draft_schema(const char *sentence, struct str *out) {
    static const char numeric[] =
        "\"min\":{\"type\":\"%s\"},\"max\":{\"type\":\"%s\"},%s\"unit\":{\"$ref\":\"#/$defs/words\"}},"
        "\"required\":[\"name\",\"type\",\"min\",\"max\"%s],\"additionalProperties\":false},";
    static const char field[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"$ref\":\"#/$defs/"
                                "words\"},\"type\":{\"const\":\"%s\"},";
    struct word words[WORDS_MAX];
    int n_words = split_words(sentence, words);
    str_add(out, "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"fields\":{\"type\":\"array\","
                 "\"minItems\":1,\"maxItems\":16,"
                 "\"items\":{\"anyOf\":[");
    str_addf(out, field, "integer");
    str_addf(out, numeric, "integer", "integer", "", "");
    str_addf(out, field, "number");
    str_addf(out, numeric, "number", "number",
             "\"decimals\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":6},", ",\"decimals\"");
    str_addf(out, field, "category");
    str_add(out, "\"values\":{\"type\":\"array\",\"minItems\":2,\"maxItems\":16,\"items\":{\"$ref\":\"#/"
                 "$defs/words\"}}},"
                 "\"required\":[\"name\",\"type\",\"values\"],\"additionalProperties\":false}]}},"
                 "\"labels\":{\"type\":\"array\",\"minItems\":2,\"maxItems\":16,\"items\":{\"type\":"
                 "\"object\",\"properties\":{"
                 "\"name\":{\"$ref\":\"#/$defs/words\"},\"definition\":{\"$ref\":\"#/$defs/conditions\"}},"
                 "\"required\":[\"name\",\"definition\"],\"additionalProperties\":false}}},"
                 "\"required\":[\"fields\",\"labels\"],\"additionalProperties\":false},"
                 "{\"type\":\"object\",\"properties\":{\"refusal\":{\"type\":\"string\",\"maxLength\":200}},"
                 "\"required\":[\"refusal\"],"
                 "\"additionalProperties\":false}],\"$defs\":{\"words\":{\"enum\":[");
    struct choices c = {out, out->len};
    add_words(&c, words, n_words);
    str_add(out, "]},\"conditions\":{\"enum\":[");
    c.begin = out->len;
    add_conditions(&c, words, n_words, sentence);
    str_add(out, "]}}}");
}
