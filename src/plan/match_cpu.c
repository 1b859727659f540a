/* Devices from what a row says of their processor. */
#include "plan/match.h"

#include "base/str.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct catalog_figure says(double low, double high, const char *source) {
    return (struct catalog_figure){high > 0, (low + high) / 2, low, high, source};
}

static struct catalog_figure row_says(double value) {
    return says(value, value, "the row");
}

static double core_score(const struct catalog *c, const char *name) {
    const struct catalog_core *core = catalog_core_find(c, name);
    return core != NULL && core->seven_zip.known ? core->seven_zip.value : 0;
}

/* ---- cores by their names ---- */

/* A run of cores in a text: "4x Cortex-A76", "2x X1", "2x A78 2.2 GHz", "8x SiFive P550". */
struct cluster {
    const char *core; /* class of the catalogue */
    double cores, mhz;
};

/* The class that a text begins with, with or without its maker: the longest name, since a76 is not a7. */
static const char *class_at(const struct catalog *c, const char *text, size_t *length) {
    static const char *const makers[] = {"cortex-", "sifive-", "spacemit-", "thead-"};
    const char *found = NULL;
    for (size_t m = 0; m < sizeof makers / sizeof *makers; m++)
        for (int64_t i = 0; i < c->n_cores; i++) {
            const char *name = c->cores[i].name;
            bool of_maker = strncmp(name, makers[m], strlen(makers[m])) == 0;
            const char *tail = of_maker ? name + strlen(makers[m]) : name;
            size_t before =
                of_maker && strncasecmp(text, makers[m], strlen(makers[m])) == 0 ? strlen(makers[m]) : 0;
            if (strncasecmp(text + before, tail, strlen(tail)) == 0 &&
                (found == NULL || strlen(name) > strlen(found))) {
                found = name;
                *length = before + strlen(tail);
            }
        }
    return found;
}

/* The clock that is named after `text` before the next cluster begins, in MHz; 0: none. */
static double clock_after(const char *text, const char **where) {
    size_t n = strcspn(text, "+,;");
    for (const char *at = text; at < text + n; at++) {
        char *end = NULL;
        double value = isdigit((unsigned char)*at) ? strtod(at, &end) : 0;
        if (value <= 0)
            continue;
        *where = at;
        while (*end == ' ')
            end++;
        if (strncasecmp(end, "ghz", 3) == 0)
            return 1000 * value;
        if (strncasecmp(end, "mhz", 3) == 0)
            return value;
        at = end - 1;
    }
    return 0;
}

/* "12x" at the beginning of a word: 12; 0: no such thing. */
static double count_at(const char *text, const char *at) {
    char *end = NULL;
    bool begins = isdigit((unsigned char)*at) && (at == text || !isalnum((unsigned char)at[-1]));
    double n = begins ? (double)strtol(at, &end, 10) : 0;
    return n > 0 && (*end == 'x' || *end == 'X') && n < 1024 ? n : 0;
}

/* Clusters of a text, the fastest class first; "1x+3x Cortex-A78" counts together. */
static int clusters_of(const struct catalog *c, const char *text, struct cluster out[2]) {
    struct cluster found[4] = {{0}};
    double pending = 0;
    int n = 0;
    for (const char *at = text; *at != '\0' && n < 4; at++) {
        size_t length = 0;
        const char *where,
            *class = at == text || !isalnum((unsigned char)at[-1]) ? class_at(c, at, &length) : NULL;
        if (class != NULL) {
            found[n++] = (struct cluster){class, pending, clock_after(at + length, &where)};
            pending = 0;
            at += length - 1;
        } else {
            pending += count_at(text, at);
        }
    }
    int first = 0, second = -1;
    for (int i = 1; i < n; i++)
        if (core_score(c, found[i].core) > core_score(c, found[first].core))
            first = i;
    for (int i = 0; i < n; i++)
        if (i != first && (second < 0 || core_score(c, found[i].core) > core_score(c, found[second].core)))
            second = i;
    out[0] = found[first];
    out[1] = second >= 0 ? found[second] : (struct cluster){0};
    return n < 2 ? n : 2;
}

static bool has_dotprod(const char *core) {
    static const char *const with[] = {"cortex-a55", "cortex-a76", "cortex-a78", "cortex-a720", "cortex-x1"};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++)
        if (str_equal(with[i], core))
            return true;
    return false;
}

static const char *arch_of(const char *core) {
    static const char *const riscv[] = {"sifive-u74", "sifive-p550", "thead-c910", "spacemit-x60"};
    for (size_t i = 0; i < sizeof riscv / sizeof *riscv; i++)
        if (str_equal(riscv[i], core))
            return "riscv64";
    return str_equal(core, "gracemont") || str_starts(core, "x86") ? "x86_64" : "aarch64";
}

/* ---- x86-64 by product lines ---- */

/* The fastest memory of two channels that a generation takes, in GB/s, and its first with AVX2 (ark.intel.com, amd.com). Where both
 * DDR4 and DDR5 are usual, the middle. */
struct generation {
    int first, last;
    double gbps;
};
static const struct generation intel[] = {{2, 3, 25.6},   {4, 5, 25.6},   {6, 6, 34.1},
                                          {7, 7, 38.4},   {8, 9, 42.7},   {10, 10, 46.9},
                                          {11, 11, 51.2}, {12, 12, 64.0}, {13, 14, 70.4}};
static const struct generation ryzen[] = {{1, 1, 42.7}, {2, 2, 46.9}, {3, 5, 51.2},
                                          {6, 6, 76.8}, {7, 7, 83.2}, {8, 9, 89.6}};
static const double NEWEST_GBPS = 89.6;         /* Core Ultra, Ryzen AI: DDR5-5600 */
static const double FOUR_CHANNELS_GBPS = 102.4; /* Threadripper: four of DDR4-3200 */
enum { FIRST_AVX2 = 4, FIRST_HYBRID = 12, FIRST_SIX_CORES = 8 };

struct machine {
    const char *core;
    double cores, gbps; /* 0: not known */
};

static double memory_of(const struct generation *table, size_t n, int generation) {
    for (size_t i = 0; i < n; i++)
        if (generation >= table[i].first && generation <= table[i].last)
            return table[i].gbps;
    return 0;
}
#define MEMORY_OF(table, generation) memory_of(table, sizeof(table) / sizeof *(table), generation)

/* Fast cores that most of a line have: tier 3, 5, 7, 9; U, Y and G are laptops of 15 W. */
static double intel_cores(int generation, char tier, bool thin) {
    if (generation >= FIRST_HYBRID)
        return thin ? 2 : tier == '3' ? 4 : tier == '5' ? 6 : 8;
    if (generation >= FIRST_SIX_CORES)
        return thin ? (tier == '3' ? 2 : 4) : tier == '3' ? 4 : 6;
    return thin || tier == '3' ? 2 : 4;
}

/* "i7-8550U": the first digit, or two where they are 10 and more (1135G7, 13400F). */
static bool intel_line(const char *text, struct machine *m) {
    for (const char *at = text; (at = strpbrk(at, "iI")) != NULL; at++) {
        bool begins = at == text || !isalnum((unsigned char)at[-1]);
        if (!begins || strchr("3579", at[1]) == NULL || at[1] == '\0' || (at[2] != '-' && at[2] != ' '))
            continue;
        size_t digits = strspn(at + 3, "0123456789");
        int number = atoi(at + 3);
        if (digits < 3)
            continue;
        int generation = digits == 5                    ? number / 1000
                         : digits == 4 && number < 1500 ? number / 100
                         : digits == 4                  ? number / 1000
                                                        : 1;
        char suffix = (char)toupper((unsigned char)at[3 + digits]);
        bool thin = suffix == 'U' || suffix == 'Y' || suffix == 'G';
        *m = (struct machine){generation >= FIRST_AVX2 ? "x86-avx2" : "x86-before-avx2",
                              intel_cores(generation, at[1], thin), MEMORY_OF(intel, generation)};
        return true;
    }
    return false;
}

static bool amd_line(const char *text, struct machine *m) {
    const char *at = strcasestr(text, "ryzen");
    if (at == NULL)
        return false;
    at += 5;
    bool newest = strncasecmp(at, " ai", 3) == 0;
    const char *tier = at + strcspn(at, "0123456789");
    const char *number = tier + (*tier != '\0') + strspn(tier + (*tier != '\0'), " ");
    double cores = *tier == '3' ? 4 : *tier == '5' ? 6 : *tier == '7' ? 8 : *tier == '9' ? 12 : 0;
    *m = (struct machine){"x86-avx2", cores,
                          newest ? NEWEST_GBPS
                                 : MEMORY_OF(ryzen, isdigit((unsigned char)*number) ? *number - '0' : 0)};
    return true;
}

/* Intel's N-series, whose cores are those of the N100: "N95", "N200", "i3-N305". */
static bool names_n_series(const char *text) {
    for (const char *at = strpbrk(text, "nN"); at != NULL; at = strpbrk(at + 1, "nN")) {
        size_t digits = strspn(at + 1, "0123456789");
        bool alone = at == text || at[-1] == ' ' || at[-1] == '-';
        if (alone && (digits == 2 || digits == 3) && !isalnum((unsigned char)at[1 + digits]))
            return true;
    }
    return false;
}

/* "12th gen 2P+8E": the generation and the fast cores. */
static bool numbered_generation(const char *text, struct machine *m) {
    const char *gen = strcasestr(text, "th gen");
    const char *at = gen;
    while (at != NULL && at > text && isdigit((unsigned char)at[-1]))
        at--;
    if (gen == NULL || at == gen)
        return false;
    int generation = atoi(at);
    *m = (struct machine){generation >= FIRST_AVX2 ? "x86-avx2" : "x86-before-avx2", 0,
                          MEMORY_OF(intel, generation)};
    return true;
}

static double fast_cores(const char *text) {
    for (const char *at = text; *at != '\0'; at++) {
        char *end = NULL;
        bool begins = isdigit((unsigned char)*at) && (at == text || !isalnum((unsigned char)at[-1]));
        double n = begins ? (double)strtol(at, &end, 10) : 0;
        if (n > 0 && *end == 'P' && (end[1] == '+' || end[1] == '\0' || end[1] == ' '))
            return n;
    }
    return 0;
}

static bool x86_machine(const char *text, struct machine *m) {
    static const char *const old[] = {"core 2", "core2", "pentium", "celeron", "atom", "phenom", "athlon"};
    static const char *const makers[] = {"intel", "amd ",         "x86",       "xeon",
                                         "epyc",  "threadripper", "core ultra"};
    if (names_n_series(text)) {
        *m = (struct machine){"gracemont", 0, 0};
        return true;
    }
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (strcasestr(text, old[i]) != NULL) {
            *m = (struct machine){"x86-before-avx2", 0, 0};
            return true;
        }
    if (intel_line(text, m) || amd_line(text, m) || numbered_generation(text, m))
        return true;
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        if (strcasestr(text, makers[i]) != NULL) {
            *m = (struct machine){"x86-avx2", 0,
                                  strcasestr(text, "core ultra") != NULL     ? NEWEST_GBPS
                                  : strcasestr(text, "threadripper") != NULL ? FOUR_CHANNELS_GBPS
                                                                             : 0};
            return true;
        }
    return false;
}

/* A clock after an @ is the base; boosts are half as much again at least, and more in thin laptops. */
static struct catalog_figure x86_clock(const char *text) {
    const char *counted = strstr(text, "x "), *where = NULL;
    double mhz = clock_after(counted != NULL ? counted : text, &where);
    if (mhz <= 0 || where == NULL || where == text)
        return row_says(mhz);
    const char *before = where - 1;
    while (before > text && *before == ' ')
        before--;
    return *before == '@' ? says(mhz, 1.5 * mhz, "the row's base clock and half as much again")
                          : row_says(mhz);
}

static void fill_x86(const char *text, const struct machine *m, struct catalog_device *out) {
    double counted = fast_cores(text);
    for (const char *at = text; counted <= 0 && *at != '\0'; at++)
        counted = count_at(text, at);
    out->core = m->core;
    out->arch = "x86_64";
    out->dotprod = out->i8mm = "n/a";
    out->cores = counted > 0 ? row_says(counted) : says(m->cores, m->cores, "what most of this line have");
    out->clock_mhz = x86_clock(text);
    out->theoretical_gbps = says(m->gbps, m->gbps, "the most that this generation takes, two channels");
}

bool match_cpu(const struct catalog *c, const char *text, struct catalog_device *out) {
    struct cluster cores[2] = {{0}};
    struct machine m;
    *out = (struct catalog_device){.name = "by its facts", .title = text, .family = "by its facts"};
    if (text == NULL)
        return false;
    int n = clusters_of(c, text, cores);
    if (n > 0 && !str_equal(arch_of(cores[0].core), "x86_64")) {
        out->arch = arch_of(cores[0].core);
        out->core = cores[0].core;
        out->second_core = cores[1].core;
        out->dotprod = has_dotprod(out->core) ? "yes" : "no";
        out->i8mm = str_equal(out->core, "cortex-a720") ? "yes" : "no";
        out->cores = row_says(cores[0].cores);
        out->clock_mhz = row_says(cores[0].mhz);
        out->second_cores = row_says(cores[1].cores);
        out->second_mhz = row_says(cores[1].mhz);
        return true;
    }
    if (n > 0)
        m = (struct machine){cores[0].core, 0, 0};
    else if (!x86_machine(text, &m))
        return false;
    fill_x86(text, &m, out);
    return true;
}
