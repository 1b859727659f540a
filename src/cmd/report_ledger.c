/* The loss ledger's last steps: what the runner answered where its self-test ran, beside the file that ships and the 16-bit file. */
#include "base/file.h"
#include "base/hash.h"
#include "cmd/report.h"
#include "eval/interval.h"
#include "format/csv.h"
#include "format/json.h"
#include <stdlib.h>
#include <string.h>

/* Which answers were right, by validation record; from model/ledger.csv. */
struct answers {
    int64_t n;         /* validation records */
    bool *there;       /* [n] is the record one of the ledger's? */
    bool *shipped;     /* [n] is the chosen file right? */
    bool *sixteen;     /* [n] the 16-bit file? */
    char (*truth)[80]; /* [n] */
};

static void answers_release(struct answers *a) {
    free(a->there);
    free(a->shipped);
    free(a->sixteen);
    free(a->truth);
}

static bool read_answers(struct project *p, int64_t n, const char *chosen, struct answers *a) {
    const char *path = project_path(p, "model/ledger.csv");
    struct csv_reader *r;
    if (!path || n < 1 || csv_reader_open(&r, path, NULL, NULL) < 0)
        return false;
    *a = (struct answers){.n = n,
                          .there = calloc((size_t)n, 1),
                          .shipped = calloc((size_t)n, 1),
                          .sixteen = calloc((size_t)n, 1),
                          .truth = calloc((size_t)n, sizeof *a->truth)};
    int row = csv_reader_column(r, "row"), truth = csv_reader_column(r, "truth"),
        sixteen = csv_reader_column(r, "16-bit"), last = csv_reader_column(r, chosen);
    bool ok = a->there && a->shipped && a->sixteen && a->truth && row >= 0 && truth >= 0 && sixteen >= 0 &&
              last >= 0;
    while (ok && csv_reader_next(r, NULL) > 0) {
        int64_t at = 0;
        ok = str_to_i64(csv_reader_field(r, row), &at) && at >= 1 && at <= n;
        if (!ok)
            break;
        const char *is = csv_reader_field(r, truth);
        snprintf(a->truth[at - 1], sizeof a->truth[at - 1], "%s", is);
        a->there[at - 1] = true;
        a->shipped[at - 1] = strcmp(csv_reader_field(r, last), is) == 0;
        a->sixteen[at - 1] = strcmp(csv_reader_field(r, sixteen), is) == 0;
    }
    csv_reader_close(r);
    if (!ok)
        answers_release(a);
    return ok;
}

static bool hash_of(struct project *p, const char *name, char hex[SHA256_HEX]) {
    const char *path = project_path(p, name);
    return path && sha256_file(path, hex, NULL) == 0;
}

/* Golden rows lie evenly over the validation records (deliver/golden.h). 0: the bundle that the receipt is of is not there
 * any more, or another student was chosen since. */
static int64_t golden_rows(struct project *p, const json_t *receipt) {
    const char *name = json_string_value(json_object_get(receipt, "name")),
               *arch = json_string_value(json_object_get(receipt, "arch")),
               *was = json_string_value(json_object_get(receipt, "bundle_sha256"));
    json_t *bundle = NULL;
    const char *folder = name && arch ? arena_printf(&p->arena, "dist/%s-%s", name, arch) : NULL;
    const char *path = folder ? arena_printf(&p->arena, "%s/bundle.json", folder) : NULL,
               *model = folder ? arena_printf(&p->arena, "%s/model/student.gguf", folder) : NULL;
    char is[SHA256_HEX], packed[SHA256_HEX], here[SHA256_HEX];
    if (!path || !model || !was || !hash_of(p, path, is) || strcmp(is, was) != 0 ||
        !hash_of(p, model, packed) || !hash_of(p, "model/student.gguf", here) || strcmp(packed, here) != 0 ||
        json_file_read(project_path(p, path), &bundle, NULL) < 0)
        return 0;
    int64_t n = json_integer_value(json_object_get(bundle, "golden_rows"));
    json_decref(bundle);
    return n;
}

/* What the runner answered to golden row `row`, from 1: NULL where it is the file's answer. */
static const char *answered_here(const json_t *list, int64_t row) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) if (json_integer_value(json_object_get(one, "row")) ==
                                         row) return json_string_value(json_object_get(one, "here"));
    return NULL;
}

static void add_difference(json_t *step, const char *key, const int64_t n[4]) {
    struct interval i = paired_newcombe(n[3], n[1], n[2], n[0]);
    double all = (double)(n[0] + n[1] + n[2] + n[3]);
    json_t *j = json_pack("{s:f, s:f, s:f, s:f}", "difference", (double)(n[1] - n[2]) / all, "low", i.low,
                          "high", i.high, "p_value", paired_mcnemar(n[1], n[2]));
    if (key)
        json_object_set_new(step, key, j);
    else
        json_object_update_new(step, j);
}

/* n[0] neither is right, n[1] the runner alone, n[2] the other alone, n[3] both. */
static void count_right(json_t *step, const struct answers *a, const json_t *list, int64_t rows,
                        int64_t golden) {
    int64_t n = 0, right = 0, shipped[4] = {0}, sixteen[4] = {0};
    for (int64_t i = 0; i < rows; i++) {
        int64_t at = i * a->n / golden;
        if (at >= a->n || !a->there[at])
            continue;
        const char *here = answered_here(list, i + 1);
        bool ok = here ? strcmp(here, a->truth[at]) == 0 : a->shipped[at];
        n++;
        right += ok;
        shipped[ok + 2 * a->shipped[at]]++;
        sixteen[ok + 2 * a->sixteen[at]]++;
    }
    if (n == 0)
        return;
    json_object_set_new(step, "accuracy", json_real((double)right / (double)n));
    json_object_set_new(step, "counted", json_integer(n));
    add_difference(step, "change", shipped);
    add_difference(step, NULL, sixteen);
}

static json_t *runner_step(struct project *p, const json_t *receipt, const struct answers *a) {
    const json_t *test = json_object_get(receipt, "selftest"), *list = json_object_get(test, "disagreements");
    int64_t rows = json_integer_value(json_object_get(test, "rows")),
            same = json_integer_value(json_object_get(test, "agreeing_rows")),
            golden = golden_rows(p, receipt);
    bool emulated = json_is_true(json_object_get(receipt, "emulated"));
    const char *file = json_string_value(json_object_get(receipt, "file")),
               *at = file && emulated ? strstr(file, "-emulated-") : NULL,
               *model = json_string_value(json_object_get(json_object_get(receipt, "machine"), "model"));
    if (rows < 1 || golden < rows)
        return NULL;
    json_t *step = json_pack("{s:b, s:I, s:f}", "emulated", emulated, "rows", (json_int_t)rows, "agreement",
                             (double)same / (double)rows);
    if (at) {
        at += strlen("-emulated-");
        json_object_set_new(step, "step", json_sprintf("runner on %.*s", (int)strcspn(at, "."), at));
    } else if (file && strstr(file, "-here.json")) {
        json_object_set_new(step, "step", json_string("runner here"));
    } else {
        json_object_set_new(step, "step", json_sprintf("runner on %s", model ? model : "the device"));
    }
    if (a && (int64_t)json_array_size(list) == rows - same)
        count_right(step, a, list, rows, golden);
    return step;
}

json_t *report_runners(struct project *p, const json_t *document) {
    const json_t *compress = json_object_get(document, "compress");
    const char *chosen = json_string_value(json_object_get(compress, "chosen"));
    json_t *list = json_array(), *receipt;
    struct answers a = {0};
    size_t i;
    bool known = chosen && read_answers(p, json_integer_value(json_object_get(compress, "validation_rows")),
                                        chosen, &a);
    json_array_foreach(json_object_get(document, "receipts"), i, receipt) {
        json_t *step = runner_step(p, receipt, known ? &a : NULL);
        if (step)
            json_array_append_new(list, step);
    }
    if (known)
        answers_release(&a);
    return list;
}
