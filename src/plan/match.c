/* Rows of public tables: which device, which model, which quantisation. */
#include "plan/match.h"

#include "base/str.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME_LENGTH = 96 };

/* Parameters that two counts of one model may differ by, and the share of a model's that are read however few layers it has. */
static const double SAME_MODEL = 0.15;

/* ---- devices ---- */

static void simplify(const char *text, char out[NAME_LENGTH]) {
    size_t n = 0;
    for (; text != NULL && *text != '\0' && n < NAME_LENGTH - 1; text++)
        if (isalnum((unsigned char)*text))
            out[n++] = (char)tolower((unsigned char)*text);
    out[n] = '\0';
}

static bool names_it(const char *text, const char *name) {
    char a[NAME_LENGTH], b[NAME_LENGTH];
    simplify(text, a);
    simplify(name, b);
    return strlen(b) >= 4 && (strstr(a, b) != NULL || (strlen(a) >= 4 && strstr(b, a) != NULL));
}

/* The row counts other cores than the device has: another product with a like name, or another chip of its line. */
static bool contradicts(const struct catalog_device *facts, const struct catalog_device *d) {
    return facts->cores.known && strcmp(facts->cores.source, "the row") == 0 && d->cores.known &&
           (facts->cores.value != d->cores.value || !str_equal(facts->core, d->core));
}

const struct catalog_device *match_device(const struct catalog *c, const struct catalog_measurement *row,
                                          struct catalog_device *storage) {
    for (int64_t i = 0; i < c->n_devices; i++)
        if (str_equal(c->devices[i].measured_as, row->device))
            return &c->devices[i];
    bool facts = match_cpu(c, row->cpu, storage) || match_cpu(c, row->device, storage);
    for (int pass = 0; pass < 3; pass++)
        for (int64_t i = 0; i < c->n_devices; i++) {
            const struct catalog_device *d = &c->devices[i];
            bool named =
                pass == 0   ? strcasecmp(d->name, row->device) == 0
                : pass == 1 ? names_it(row->device, d->title) || names_it(row->device, d->family)
                            : d->soc != NULL && (names_it(row->cpu, d->soc) || names_it(row->device, d->soc));
            if (named && !(facts && contradicts(storage, d)))
                return d;
        }
    return facts ? storage : NULL;
}

/* ---- models ---- */

/* "Llama-3.2-3B-Instruct-GGUF" and "llama3.2:3b" are both llama323b: words that say nothing of the weights are left out. */
static void plain_name(const char *text, char out[NAME_LENGTH]) {
    static const char *const says_nothing[] = {"instruct", "chat", "it",  "gguf", "base",
                                               "hf",       "v1",   "v01", "v03",  "v10"};
    size_t n = 0;
    while (text != NULL && *text != '\0') {
        char word[NAME_LENGTH];
        size_t k = 0;
        for (; *text != '\0' && (isalnum((unsigned char)*text) || *text == '.'); text++)
            if (*text != '.' && k < sizeof word - 1)
                word[k++] = (char)tolower((unsigned char)*text);
        word[k] = '\0';
        bool kept = k > 0;
        for (size_t i = 0; kept && n > 0 && i < sizeof says_nothing / sizeof *says_nothing; i++)
            kept = strcmp(word, says_nothing[i]) != 0;
        for (size_t i = 0; kept && i < k && n < NAME_LENGTH - 1; i++)
            out[n++] = word[i];
        text += *text != '\0';
    }
    out[n] = '\0';
}

/* A number of parameters in a name, "1.7B" or "350M", after `prefix` ('A': those that work on a token, 'E': those that are read;
 * 0: none); 0: it says none. */
static double params_in(const char *name, char prefix) {
    for (const char *at = name; at != NULL && *at != '\0'; at++) {
        char *end = NULL;
        bool begins = at == name || !isalnum((unsigned char)at[-1]);
        const char *digits = prefix != 0 ? at + 1 : at;
        if (!begins || (prefix != 0 && toupper((unsigned char)*at) != prefix) ||
            !isdigit((unsigned char)*digits))
            continue;
        double value = strtod(digits, &end);
        char unit = (char)toupper((unsigned char)*end);
        if (value > 0 && (unit == 'B' || unit == 'M') && !isalnum((unsigned char)end[1]))
            return value * (unit == 'B' ? 1e9 : 1e6);
        at = end - 1;
    }
    return 0;
}

/* Layers more or fewer until it has as many parameters. */
static void stretch(struct shape *s, double params) {
    struct shape without = *s;
    without.n_layer = 0;
    double beside = (double)shape_params(&without), layer = ((double)shape_params(s) - beside) / s->n_layer;
    s->n_layer = (int)fmax(round((params - beside) / layer), 1);
}

static bool of_size(const struct catalog *c, double params, struct shape *out) {
    double best = INFINITY;
    for (int64_t i = 0; params > 0 && i < c->n_models; i++) {
        struct shape s;
        if (!c->models[i].shape_known)
            continue;
        shape_from_catalog(&s, &c->models[i]);
        double off = fabs(log((double)shape_params(&s) / params));
        if (off < best) {
            best = off;
            *out = s;
        }
    }
    if (isfinite(best))
        stretch(out, params);
    return isfinite(best);
}

/* The tied or the untied variant, whichever the row's parameters say. */
static void settle_tied(const struct catalog_measurement *row, struct shape *s) {
    struct shape other = *s;
    other.tied = !other.tied;
    if (row->params > 0 &&
        fabs((double)shape_params(&other) - row->params) < fabs((double)shape_params(s) - row->params))
        *s = other;
}

static bool is_of(const struct catalog_model *m, const struct catalog_measurement *row, bool exactly) {
    char wanted[NAME_LENGTH], name[NAME_LENGTH];
    for (const char *const *as = m->measured_as; as != NULL && *as != NULL; as++)
        if (str_equal(*as, row->model))
            return true;
    if (exactly)
        return false;
    plain_name(row->model, wanted);
    plain_name(m->title, name);
    bool same = strcmp(wanted, name) == 0;
    plain_name(m->name, name);
    return same || strcmp(wanted, name) == 0;
}

enum match match_model(const struct catalog *c, const struct catalog_measurement *row, struct shape *out) {
    double working = params_in(row->model, 'A'), read = params_in(row->model, 'E');
    for (int exactly = 1; exactly >= 0; exactly--)
        for (int64_t i = 0; i < c->n_models; i++) {
            const struct catalog_model *m = &c->models[i];
            if (!m->shape_known || !is_of(m, row, exactly))
                continue;
            struct shape s;
            shape_from_catalog(&s, m);
            settle_tied(row, &s);
            if (row->params > 0 && fabs((double)shape_params(&s) / row->params - 1) > SAME_MODEL)
                continue;
            *out = s;
            return MATCH_NAME;
        }
    double params = working > 0       ? working
                    : read > 0        ? read
                    : row->params > 0 ? row->params
                                      : params_in(row->model, 0);
    return of_size(c, params, out) ? MATCH_LIKE : MATCH_NOT;
}

/* ---- quantisations ---- */

/* Longest first where one begins another. */
static const struct {
    const char *begins;
    enum mix mix;
} like[] = {{"Q4_K_S", MIX_Q4_K_S}, {"Q4_K", MIX_Q4_K_M},   {"Q4_0", MIX_Q4_0},    {"Q4_1", MIX_Q4_1},
            {"Q4", MIX_Q4_K_M},     {"Q5_K_S", MIX_Q5_K_S}, {"Q5_K", MIX_Q5_K_M},  {"Q5_0", MIX_Q5_0},
            {"Q5_1", MIX_Q5_1},     {"Q5", MIX_Q5_K_M},     {"Q6", MIX_Q6_K},      {"Q8", MIX_Q8_0},
            {"Q3_K_S", MIX_Q3_K_S}, {"Q3_K_L", MIX_Q3_K_L}, {"Q3", MIX_Q3_K_M},    {"Q2", MIX_Q2_K},
            {"IQ4_XS", MIX_IQ4_XS}, {"IQ4_NL", MIX_IQ4_NL}, {"IQ4", MIX_IQ4_XS},   {"IQ3", MIX_IQ3_M},
            {"IQ2", MIX_Q2_K},      {"MXFP4", MIX_IQ4_NL},  {"NVFP4", MIX_IQ4_NL}, {"BF16", MIX_F16},
            {"FP16", MIX_F16},      {"F16", MIX_F16},       {"INT8", MIX_Q8_0},    {"INT4", MIX_Q4_0},
            {"W8", MIX_Q8_0},       {"W4", MIX_Q4_0}};

static bool by_size(const struct catalog_measurement *row, const struct shape *s, enum mix *out) {
    double best = INFINITY, most = log(1.25);
    for (int m = 0; row->file_bytes > 0 && m < N_MIXES; m++) {
        struct mix_work work;
        mix_count((enum mix)m, s, &work);
        double off = fabs(log(work.file_bytes / row->file_bytes));
        if (off < best && off < most) {
            best = off;
            *out = (enum mix)m;
        }
    }
    return isfinite(best);
}

enum match match_mix(const struct catalog_measurement *row, const struct shape *s, enum mix *out) {
    const char *name = row->quantisation != NULL ? row->quantisation : "";
    if (mix_from_name(name, out))
        return MATCH_NAME;
    if (strncasecmp(name, "UD-", 3) == 0)
        name += 3;
    for (size_t i = 0; i < sizeof like / sizeof *like; i++)
        if (strncasecmp(name, like[i].begins, strlen(like[i].begins)) == 0) {
            *out = like[i].mix;
            return MATCH_LIKE;
        }
    return by_size(row, s, out) ? MATCH_LIKE : MATCH_NOT;
}
