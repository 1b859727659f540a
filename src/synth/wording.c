/* Rewording by a table of patterns, applied from top to bottom, each until it matches no more. POSIX extended expressions, letters of
 * either case; \b is GNU's end of a word. */
#include "synth/wording.h"
#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define WORD   "[a-z][a-z0-9_-]*"
#define THING  WORD "( " WORD ")?"
#define NUMBER "-?[0-9]+[.]?[0-9]*"
#define LIST   "((" WORD ", )*" WORD ",? or " WORD ")"
#define BEGIN  "(^|[.] )"

struct rule {
    const char *pattern,
        *into; /* \1 to \9: what a group matched, after ~ in small letters; a capital stays where the match began with one */
};

static const struct rule rules[] = {
    /* marks */
    {"[[:space:]]+", " "},
    {"’", "'"},
    {"(\\b)(is|does|was)n't\\b", "\\2 not"},
    {"(\"|“|”|„|‘|`)|'(" WORD ")'", "\\2"},
    {" *° *([CF])\\b", " \\1"},
    {"°|℃", " degrees "},
    {"([0-9]) ?%", "\\1 percent"},
    {"([0-9]),([0-9]{3})\\b", "\\1\\2"},
    {"(^|[^0-9])([.][0-9])", "\\10\\2"},
    {" *(\\bis )?(>=|=>|≥) *", " is at least "},
    {" *(\\bis )?(<=|=<|≤) *", " is at most "},
    {" *(\\bis )?> *", " is over "},
    {" *(\\bis )?< *", " is under "},
    {" *(\\bis )?==? *", " is "},
    {"([0-9]) ?(–|—|-|[.][.]+|…) ?(-?[0-9])", "\\1 to \\3"},

    /* what a record has */
    {BEGIN "(each|every|an?|the|any) (" THING
           ") (consists of|contains|includes|carries|reports|gives|shows|holds|is described by|has "
           "got|comes along with) ",
     "\\1Each \\3 has "},
    {BEGIN "(for|of|in|with) (each|every|an?) (" THING "),? (we|you|i) (know|have|get|see|measure|record) ",
     "\\1Each \\4 has "},
    {" the following fields?:?( an?\\b)", "\\1"},
    {"\\b(ranging|running|going|varying|anywhere|somewhere|measured) (from|between)\\b", "\\2"},
    {"\\bin the range (of |from )?(" NUMBER ") (to|and)\\b", "from \\2 to"},
    {"\\bin the range between\\b", "between"},
    {"\\bof (" NUMBER ") to\\b", "from \\1 to"},
    {"\\b(from|between) (" NUMBER ") (" WORD ") (to|and) (" NUMBER ") \\3\\b", "\\1 \\2 \\4 \\5 \\3"},
    {",? (that|which|who) (is|can be|may be|are) (either |one of:? )?" LIST, " (\\4)"},
    {",? being (either |one of:? )?" LIST, " (\\2)"},
    {" ?: ?(either |one of:? )?" LIST, " (\\2)"},
    {"\\((either|one of:?) ", "("},
    {"\\((" WORD ") ?/ ?(" WORD ") ?/ ?(" WORD ") ?/ ?(" WORD ")\\)", "(\\1, \\2, \\3 or \\4)"},
    {"\\((" WORD ") ?/ ?(" WORD ") ?/ ?(" WORD ")\\)", "(\\1, \\2 or \\3)"},
    {"\\((" WORD ") ?[/|] ?(" WORD ")\\)", "(\\1 or \\2)"},
    {"\\((" WORD "(, " WORD ")*), (" WORD ")\\)", "(\\1 or \\3)"},
    {", or (" WORD "\\))", " or \\1"},
    {", and (an? )", " and \\1"},
    {",? (as well as|along with|together with|plus) (an? )", " and \\2"},

    /* where the rule stands */
    {BEGIN "(when|if|whenever) (the [^;]+), (then )?(flag|label|mark|call|tag|classify|report) (it|the " THING
           ") (as )?(" WORD ")\\b",
     "\\1Flag it as \\9 when \\3"},
    {"\\b(classify|categori[sz]e|tag|report|treat|consider|count|rate|grade|deem|declare|regard|sort) "
     "(it|(an?|the|each|every|any) " WORD ") (as |to be )?(" WORD ") (when|if|whenever)\\b",
     "Flag it as \\5 \\6"},
    {"\\b(flag|label|mark|call) (an?|each|every|any) " WORD " (as )?(" WORD ") (when|if|whenever)\\b",
     "Flag it as \\4 \\5"},
    {"\\b(label|call|mark) the " WORD " (as )?(" WORD ") (when|if|whenever)\\b", "Flag it as \\3 \\4"},
    {"\\b(label|call) it as\\b", "\\1 it"},
    {"\\b(mark|flag) it (" WORD ") (when|if|whenever)\\b", "\\1 it as \\2 \\3"},
    {BEGIN "(" WORD ") (it|them) (when|if|whenever)\\b", "\\1Flag it as ~\\2 when"},
    {"\\bit (counts as|must be|should be|is (considered|deemed|called|regarded as|classified as|flagged "
     "as|marked as|label+ed)|should be "
     "(considered|called|classified as|flagged as|marked as|label+ed)) ",
     "It is "},
    {BEGIN "(an?|the|each|every|any) (" THING ") (is|counts as) (" WORD ") (when|if|whenever)\\b",
     "\\1It is \\6 \\7"},

    /* conditions */
    {"\\b(if|whenever|as soon as|in case|provided|provided that) (either )?(the|its)\\b", "when the"},
    {"\\bwhen (either|both) the\\b", "when the"},
    {"\\bits (" WORD ")", "the \\1"},
    {",? (and|but) (also )?(when )?the\\b", " and the"},
    {",? (while|whereas|as long as) the\\b", " and the"},
    {" (or|and) also\\b", " \\1"},
    {"\\b(is (less|lower|smaller|fewer) than or equal to|is equal to or (less|lower|below) than|is "
     "(below|under) or equal to|is at or "
     "(below|under)|is (no|not) (more|higher|greater|larger|longer|older) than|is not (over|above)|does not "
     "exceed|is up to|is a maximum "
     "of) (-?[0-9])",
     "is at most \\9"},
    {"\\b(is (greater|more|higher|larger) than or equal to|is equal to or (more|greater|above) than|is "
     "(above|over) or equal to|is at or "
     "(above|over)|is (no|not) (less|lower|smaller|fewer|shorter|younger) than|is not "
     "(under|below)|reaches|is a minimum of) (-?[0-9])",
     "is at least \\9"},
    {"\\b(exceeds|surpasses|is (beyond|past|in excess of)|(goes|rises|climbs|gets|is going|rose) "
     "(over|above|beyond)|is (larger|bigger|"
     "longer|hotter|warmer|older|heavier|faster|later) than) (-?[0-9])",
     "is over \\6"},
    {"\\b((falls|drops|goes|sinks|gets|dips) (under|below)|is "
     "(smaller|fewer|shorter|colder|cooler|younger|lighter|slower|earlier) "
     "than) (-?[0-9])",
     "is under \\5"},
    {"\\bis (" NUMBER "( " WORD ")?) or (more|higher|above|longer|greater|over|older|up)\\b",
     "is at least \\1"},
    {"\\bis (" NUMBER "( " WORD ")?) or (less|lower|below|shorter|under|fewer|younger)\\b", "is at most \\1"},
    {"\\bis (between|from) (" NUMBER ") (and|to) (" NUMBER ")", "is at least \\2 and at most \\4"},
    {"\\b(equals|is equal to|is exactly)\\b", "is"},
    {"\\bis (other than|anything but|different from)\\b", "is not"},

    /* what is left */
    {"[.;,] ?(in (all|any|every) other cases?|everything else|anything else|all others?|all other " WORD
     "|the rest),? (it )?(is |are |as "
     ")?(an? )?",
     "; otherwise it is "},
    {"[.] ?(otherwise|else|if not)[,:]? (it is |it's )?", "; otherwise it is "},
    {"([;,]|,? (and|or)) (otherwise|else),? (it's|it counts as|call it|label it( as)?|mark it( as)?|flag it( "
     "as)?|flag it as) ",
     "; otherwise it is "},
    {",? (and|or) (otherwise|else),? (it is )?", "; otherwise it is "},
    {"; (otherwise|else), ", "; \\1 "},
    {", (otherwise|else) (" WORD ")[.]?$", "; otherwise \\2."},
    {", (" WORD ") otherwise[.]?$", "; otherwise it is \\1."},
    {"([^;,]) otherwise it is ", "\\1; otherwise it is "},
    {"; (otherwise|else) (" WORD ") (it|them)[.]?$", "; otherwise it is \\2."},

    /* a field is named with its article, or the teacher takes the condition for one of the field before it */
    {"\\b(when|and|or) (" THING ") is ", "\\1 the \\2 is "},
    {"\\bthe when\\b", "when the"},
    {"\\bthe (the|it|its|otherwise|else)\\b", "\\1"},

    /* and tidy up */
    {"  +", " "},
    {" ([.,;)])", "\\1"},
    {"\\( ", "("},
    {"^ | $", ""},
    {"([^.!?])$", "\\1."},
};
enum { N_RULES = sizeof rules / sizeof *rules, GROUPS = 10, MOST_TIMES = 100 };

static void add_replacement(struct str *out, const char *into, const char *text, const regmatch_t *m) {
    size_t begin = out->len;
    for (; *into; into++) {
        bool small = into[0] == '~' && into[1] == '\\';
        into += small;
        int group = into[0] == '\\' ? into[1] - '0' : -1;
        if (group < 0) {
            str_add_char(out, *into);
            continue;
        }
        into++;
        if (m[group].rm_so >= 0)
            for (regoff_t i = m[group].rm_so; i < m[group].rm_eo; i++)
                str_add_char(out, small ? (char)tolower((unsigned char)text[i]) : text[i]);
    }
    char first = text[m[0].rm_so]; /* a sentence's capital */
    if (out->len > begin && first >= 'A' && first <= 'Z' && out->data[begin] >= 'a' &&
        out->data[begin] <= 'z')
        out->data[begin] = (char)(out->data[begin] - 'a' + 'A');
}

/* One pass over the text: every match, from left to right. true when something changed. */
static bool replace_all(const regex_t *pattern, const char *into, const char *text, struct str *out) {
    regmatch_t m[GROUPS];
    const char *at = text;
    str_clear(out);
    while (regexec(pattern, at, GROUPS, m, at > text ? REG_NOTBOL : 0) == 0 && m[0].rm_eo > m[0].rm_so) {
        for (regoff_t i = 0; i < m[0].rm_so; i++)
            str_add_char(out, at[i]);
        add_replacement(out, into, at, m);
        at += m[0].rm_eo;
    }
    str_add(out, at);
    return strcmp(text, str_text(out)) != 0;
}

static int apply(const struct rule *r, struct str *text, struct str *scratch, struct err *e) {
    regex_t pattern;
    if (regcomp(&pattern, r->pattern, REG_EXTENDED | REG_ICASE) != 0)
        return err_set(e, ERR_NO_MEMORY, "wording_plain", "no memory for a pattern");
    for (int i = 0; i < MOST_TIMES && replace_all(&pattern, r->into, str_text(text), scratch); i++) {
        struct str other = *text;
        *text = *scratch;
        *scratch = other;
    }
    regfree(&pattern);
    return 0;
}

int wording_plain(const char *sentence, struct str *out, struct err *e) {
    struct str scratch = {0};
    int rc = 0;
    str_clear(out);
    str_add(out, sentence);
    for (int i = 0; i < N_RULES && rc == 0; i++)
        rc = apply(&rules[i], out, &scratch, e);
    if (rc == 0)
        rc = str_check(out, e);
    str_release(&scratch);
    return rc;
}

int wording_condition(const char *condition, struct str *out, struct err *e) {
    static const char before[] = "Flag it as x when ", after[] = "; otherwise it is y.";
    struct str sentence = {0};
    str_addf(&sentence, "%s%s%s", before, condition, after);
    int rc = str_check(&sentence, e);
    if (rc == 0)
        rc = wording_plain(sentence.data, out, e);
    str_release(&sentence);
    if (rc < 0)
        return rc;
    if (str_starts(str_text(out), before) && str_ends(str_text(out), after)) {
        size_t n = out->len - strlen(before) - strlen(after);
        memmove(out->data, out->data + strlen(before), n);
        out->data[out->len = n] = 0;
    } else {
        str_clear(out);
        str_add(out, condition);
    }
    return str_check(out, e);
}

/* ---- turning ---- */

enum { FIELDS_MAX = 16 };

struct span {
    const char *at;
    size_t n;
};

static bool is_article(const char *at) {
    return str_starts(at, "a ") || str_starts(at, "an ");
}

/* The fields between `begin` and `end`: "a delay …", cut at ", a" and " and a" outside of parentheses. 0: too many. */
static int cut_fields(const char *begin, const char *end, struct span fields[FIELDS_MAX]) {
    int n = 0, depth = 0;
    const char *from = begin;
    for (const char *at = begin; at < end; at++) {
        depth += (*at == '(') - (*at == ')');
        size_t gap = depth > 0 ? 0 : str_starts(at, ", ") ? 2 : str_starts(at, " and ") ? 5 : 0;
        if (gap == 0 || !is_article(at + gap))
            continue;
        if (n + 1 == FIELDS_MAX)
            return 0;
        fields[n++] = (struct span){from, (size_t)(at - from)};
        from = at + gap;
    }
    fields[n++] = (struct span){from, (size_t)(end - from)};
    return n;
}

/* Where the list of fields begins and ends: behind the first " has " or " comes with ", up to that sentence's end. */
static bool find_fields(const char *sentence, const char **begin, const char **end) {
    static const char *const verbs[] = {" has ", " comes with "};
    *begin = NULL;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs && !*begin; i++)
        if ((*begin = strstr(sentence, verbs[i])))
            *begin += strlen(verbs[i]);
    *end = *begin ? strstr(*begin, ". ") : NULL;
    return *end && is_article(*begin);
}

int wording_turned(const char *plain, int by, struct str *out, struct err *e) {
    struct span fields[FIELDS_MAX];
    const char *begin, *end;
    str_clear(out);
    int n = find_fields(plain, &begin, &end) ? cut_fields(begin, end, fields) : 0;
    if (n < 2) {
        str_add(out, plain);
        return str_check(out, e);
    }
    str_add_bytes(out, plain, (size_t)(begin - plain));
    for (int i = 0; i < n; i++) {
        const struct span *f = &fields[(i + by) % n];
        str_add(out, i == 0 ? "" : i + 1 < n ? ", " : " and ");
        str_add_bytes(out, f->at, f->n);
    }
    str_add(out, end);
    return str_check(out, e);
}
