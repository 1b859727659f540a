/* Text helpers of the task folder. The YAML scalar is written here because the device program, which shares this folder,
 * has no YAML library. */
#include "task/text.h"
#include "format/json.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Letters, digits, blanks and a few signs that mean nothing to YAML inside a word; the first character a
 * letter; no word that YAML takes for something else. */
static bool is_plain_yaml(const char *text) {
    static const char *const reserved[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", NULL};
    for (int i = 0; reserved[i]; i++)
        if (strcasecmp(text, reserved[i]) == 0)
            return false;
    if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z')))
        return false;
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x80 || (!isalnum(c) && !strchr(" _.;/()-'", c)))
            return false;
    }
    return text[n - 1] != ' ';
}

void text_add_yaml(struct str *out, const char *text) {
    if (is_plain_yaml(text))
        str_add(out, text);
    else
        json_text_string(out, text);
}

/* printf's decimal point is the locale's; ours is always '.'. */
static void add_with_point(struct str *out, const char *printed) {
    bool in_point = false;
    for (const char *c = printed; *c; c++) {
        bool number_part = (*c >= '0' && *c <= '9') || *c == '-' || *c == '+' || *c == 'e';
        if (number_part)
            str_add_char(out, *c);
        else if (!in_point)
            str_add_char(out, '.');
        in_point = !number_part;
    }
}

void text_add_number(struct str *out, double number, int decimals) {
    char buffer[400]; /* the longest double has 309 digits before the point */
    snprintf(buffer, sizeof buffer, "%.*f", decimals, number);
    bool zero = true;
    for (const char *c = buffer; *c && zero; c++)
        zero = *c < '1' || *c > '9';
    add_with_point(out, zero && buffer[0] == '-' ? buffer + 1 : buffer);
}

char *text_squeeze(struct arena *a, const char *text) {
    char *out = arena_alloc(a, strlen(text) + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    bool gap = false;
    for (const char *c = text; *c; c++) {
        unsigned char u = (unsigned char)*c;
        if (u <= 0x20 || u == 0x7f) {
            gap = n > 0;
            continue;
        }
        if (gap)
            out[n++] = ' ';
        gap = false;
        out[n++] = *c;
    }
    out[n] = 0;
    return out;
}
