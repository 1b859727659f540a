/* Scripts, README and bundle.json. */
#include "deliver/bundle_text.h"
#include "config.h"
#include "deliver/bundle_service.h"
#include "format/json.h"
#include "llama/lm.h"
#include "task/answer.h"
#include <string.h>

/* ---- scripts ---- */

/* The folder of the script, through a link where it was called by one; no program is started for it otherwise. */
static const char find_here[] = "self=$0\n"
                                "[ ! -L \"$self\" ] || self=$(readlink -f -- \"$self\") || exit 1\n"
                                "case $self in */*) ;; *) self=./$self ;; esac\n"
                                "here=$(CDPATH= cd -- \"${self%/*}\" && pwd -P) || exit 1\n";

/* From here on a model gains by large pages: its buffers and, in a vocabulary of 150,000 words, its heap are touched in a fraction of
 * the time (Qwen3-0.6B's shape is loaded in 430 ms instead of 570, its context made in 20 instead of 150). Below, rounding them up
 * would only cost memory. */
static const int64_t large_model_bytes = 64 << 20;

void bundle_text_run(const struct bundle_facts *f, struct str *out) {
    str_addf(out,
             "#!/bin/sh\n"
             "# Starts edgestill-run with this folder's own loader and libraries, whatever the system's are. "
             "See README.md.\n"
             "# EDGESTILL_EMULATOR='qemu-aarch64-static -cpu cortex-a76' tries it on a machine of another "
             "architecture.\n"
             "%s"
             "export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000} # threads that wait soon sleep: others need the "
             "cores, too\n",
             find_here);
    if (f->model_bytes >= large_model_bytes)
        str_add(out,
                "export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1} # large pages where the "
                "kernel has them: a sooner start\n");
    str_addf(out,
             "exec ${EDGESTILL_EMULATOR:-} \"$here/lib/%s\" --inhibit-rpath '' --library-path \"$here/lib\" "
             "\"$here/bin/edgestill-run\" \\\n"
             "    --bundle \"$here\" \"$@\"\n",
             f->loader);
}

void bundle_text_selftest(const struct bundle_facts *f, struct str *out) {
    (void)f;
    str_add(
        out,
        "#!/bin/sh\n"
        "# Runs the golden rows, compares with the host's answers, measures, and writes "
        "receipt.json. See README.md.\n"
        "here=$(dirname -- \"$(readlink -f -- \"$0\")\") || exit 1\n"
        "# a damaged library could end the program before it looks at any file\n"
        "changed=$(sed -n -e 's/^ *\"\\(bin\\/[^\"]*\\)\": \"\\([0-9a-f]*\\)\",*$/\\2  \\1/p' \\\n"
        "    -e 's/^ *\"\\(lib\\/[^\"]*\\)\": \"\\([0-9a-f]*\\)\",*$/\\2  \\1/p' \"$here/bundle.json\" |\n"
        "    (cd \"$here\" && LC_ALL=C sha256sum -c 2>/dev/null) | sed -n 's/: FAILED.*//p')\n"
        "if [ -n \"$changed\" ]; then\n"
        "    printf 'selftest: %s is not as in bundle.json, or cannot be read\\n' $changed >&2\n"
        "    echo 'selftest: copy the bundle again; a damaged card or an interrupted copy are the usual "
        "reasons' >&2\n"
        "    exit 1\n"
        "fi\n"
        "exec \"$here/run\" --selftest \"$@\"\n");
}

/* ---- README ---- */

static void add_example(const struct task *t, struct str *out) {
    struct str word = {0};
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *x = &t->fields[i];
        str_clear(&word);
        str_addf(&word, "%s=", x->name);
        if (x->type == FIELD_CATEGORY && x->n_values > 0)
            str_add(&word, x->values[0]);
        else if (x->type == FIELD_NUMBER)
            str_addf(&word, "%.*f", x->decimals, x->has_range ? (x->min + x->max) / 2 : 1.0);
        else if (x->type == FIELD_INTEGER)
            str_addf(&word, "%.0f", x->has_range ? x->min : 1.0);
        else
            str_add(&word, x->type == FIELD_DATE ? "2026-01-31" : "...");
        str_add_char(out, ' ');
        str_add_quoted(out, str_text(&word));
    }
    str_release(&word);
}

static void add_fields(const struct task *t, struct str *out) {
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *x = &t->fields[i];
        str_addf(out, "| %s | %s |", x->name, task_type_name(x->type));
        if (x->has_range)
            str_addf(out, " %.*f to %.*f", x->type == FIELD_NUMBER ? x->decimals : 0, x->min,
                     x->type == FIELD_NUMBER ? x->decimals : 0, x->max);
        for (int k = 0; k < x->n_values; k++)
            str_addf(out, "%s%s", k ? ", " : " ", x->values[k]);
        str_addf(out, "%s%s |\n", x->unit ? " " : "", x->unit ? x->unit : "");
    }
}

void bundle_text_readme(const struct bundle_facts *f, struct str *out) {
    static const char *const written[] = {[TASK_CLASSIFY] = "the label, the probability of each label,",
                                          [TASK_EXTRACT] = "`answer`, a JSON object, whether it is `valid`,",
                                          [TASK_RESPOND] = "`answer`, a text, whether it is `valid`,"};
    const struct task *t = f->q->task;
    str_addf(out,
             "# %s\n\n> %s\n\nA language model that does this one job on %s (%s, Linux), by itself: model, "
             "program and all libraries "
             "are in this folder. Nothing is installed and no network is used.\n\n",
             f->name, t->sentence, f->q->device, f->q->arch);
    str_add(out, "## Try it\n\n```\n./selftest\n./run");
    add_example(t, out);
    str_addf(out,
             "\n./run < records.jsonl > answers.jsonl\n```\n\n"
             "`selftest` answers rows whose answers on the host are known, says whether this machine "
             "agrees, measures speed and "
             "memory, and writes `receipt.json` into the current folder. `run` decides one record; "
             "without arguments it reads a JSON object a line and "
             "writes an answer a line: %s and the milliseconds it "
             "took. A record that "
             "cannot be used gets a line with `error`, and the next one is read. `./run --help` lists "
             "the options.\n\n",
             written[t->kind]);
    str_add(out, "## A record\n\n| field | type | values |\n|---|---|---|\n");
    add_fields(t, out);
    str_add(out,
            "\nA field that is left out counts as unknown, and the answer names it in `missing`; one with "
            "a value beyond this table it names in `outside`: the model has learned nothing of those. A "
            "record with none of the fields is "
            "an error.\n\n");
    if (t->kind != TASK_CLASSIFY) {
        struct task view = answer_view(t);
        str_addf(out, "## The answer\n\n%s\n\n| field | type | values |\n|---|---|---|\n",
                 t->kind == TASK_EXTRACT
                     ? "A JSON object with these fields, null where an optional one is missing."
                     : "A short text.");
        add_fields(&view, out);
        str_add(out, "\n`valid` is false where the model's answer does not keep to this; such an answer "
                     "stands as a text.\n");
    }
    str_add(out, t->n_labels ? "## Labels\n\n" : "");
    for (int i = 0; i < t->n_labels; i++)
        str_addf(out, "* **%s**: %s\n", t->labels[i].name, t->labels[i].definition);
    str_add_char(out, '\n');
    bundle_text_service_help(f, out);
    str_addf(out,
             "## What is in it\n\n`model/` the model; `prefix.state` what every prompt begins with, read "
             "once and kept; `golden.jsonl` "
             "the rows of the self-test; `bundle.json` settings, predictions and the SHA-256 of every file; "
             "`lib/` the libraries and "
             "CPU kernels (the ones that suit this processor are chosen at start); `licenses/` their "
             "licences and the versions of the Debian packages they come from.\n\n"
             "Made by edgestill %s with %s. Licence of the model: %s.\n",
             EDGESTILL_VERSION, lm_version(),
             f->model_license[0] ? f->model_license : "not stated in its file");
}

/* ---- bundle.json ---- */

static void add_key(struct str *out, const char *key, const char *text) {
    str_addf(out, ",\n  \"%s\": ", key);
    json_text_string(out, text);
}

static void add_estimate(struct str *out, const char *name, const struct estimate *x, bool *first) {
    if (!x->basis || !x->basis[0])
        return;
    str_addf(out, "%s\n    \"%s\": {\"value\": ", *first ? "" : ",", name);
    json_text_number(out, x->value);
    str_add(out, ", \"low\": ");
    json_text_number(out, x->low);
    str_add(out, ", \"high\": ");
    json_text_number(out, x->high);
    str_add(out, ", \"basis\": ");
    json_text_string(out, x->basis);
    str_add_char(out, '}');
    *first = false;
}

static void add_predictions(struct str *out, const struct plan *p) {
    bool first = true;
    str_add(out, ",\n  \"predicted\": {");
#define X(name, text, unit) add_estimate(out, #name, &p->predicted.name, &first);
    PLAN_PREDICTIONS(X)
#undef X
    str_add(out, "\n  }");
}

/* What the device may use: the upper end of the prediction, which should hold 19 times of 20; and what it needs to begin. */
static void add_memory(struct str *out, const struct plan *p) {
    const struct estimate *m = &p->predicted.memory_bytes;
    if (m->basis && m->basis[0] && m->high > 0)
        str_addf(out, ",\n  \"memory\": {\"need_bytes\": %.0f, \"limit_bytes\": %.0f}", m->value, m->high);
}

static void add_abstain(struct str *out, const struct abstain *a) {
    if (!a)
        return;
    /* exact: between rows of which one is at 0.9999999 and the next at 0.9999995, six decimals would be 1 and leave all undecided */
    str_add(out, ",\n  \"abstain\": {\"threshold\": ");
    json_text_number(out, a->threshold);
    str_addf(out,
             ", \"cost\": %g, \"rows\": %lld, \"coverage\": %.6f, \"risk\": "
             "%.6f, \"risk_all\": %.6f, \"aurc\": %.6f,\n    \"curve\": [",
             a->cost, (long long)a->n_rows, a->coverage, a->risk, a->risk_all, a->aurc);
    for (int i = 0; i < a->n_points; i++)
        str_addf(out, "%s[%.4f, %.6f, %.6f]", i ? ", " : "", a->points[i].coverage, a->points[i].risk,
                 a->points[i].threshold);
    str_add(out, "]}");
}

/* The texts of everything in it that others wrote. */
static void add_licenses(struct str *out, const struct bundle_facts *f) {
    bool first = true;
    str_add(out, ",\n  \"licenses\": [");
    for (int64_t i = 0; i < f->n_files; i++) {
        if (strncmp(f->files[i].name, "licenses/", 9) != 0)
            continue;
        str_add(out, first ? "\n    " : ",\n    ");
        json_text_string(out, f->files[i].name);
        first = false;
    }
    str_add_char(out, ']');
}

void bundle_text_manifest(const struct bundle_facts *f, struct str *out) {
    const struct plan *p = f->q->plan;
    str_add(out, "{\n  \"format\": \"" BUNDLE_FORMAT "\"");
    add_key(out, "name", f->name);
    add_key(out, "arch", f->q->arch);
    add_key(out, "device", f->q->device);
    add_key(out, "task", f->q->task->sentence);
    str_addf(out,
             ",\n  \"runtime\": {\"context\": %lld, \"batch\": %lld, \"threads\": %d, \"kv_type\": \"%s\", "
             "\"flash_attention\": true, \"outputs\": %lld, "
             "\"prefix_state\": %s, \"prefix_tokens\": %lld}",
             (long long)f->n_ctx, (long long)f->n_batch, p->threads, plan_kv_type_text(p->kv_type),
             (long long)f->n_outputs, f->prefix_state ? "true" : "false", (long long)f->prefix_tokens);
    str_addf(out, ",\n  \"tolerance\": %g,\n  \"golden_rows\": %lld", f->tolerance, (long long)f->n_golden);
    str_addf(out, ",\n  \"model\": {\"bytes\": %lld, \"fingerprint\": \"%016llx\"}",
             (long long)f->model_bytes, (unsigned long long)f->model_fingerprint);
    add_memory(out, p);
    add_abstain(out, f->abstain);
    add_predictions(out, p);
    add_key(out, "quantisation", p->quantisation);
    add_key(out, "model_license", f->model_license);
    add_licenses(out, f);
    add_key(out, "prompt_sha256", f->prompt_sha256);
    str_add(out, ",\n  \"versions\": {\"edgestill\": \"" EDGESTILL_VERSION "\", \"runtime\": ");
    json_text_string(out, lm_version());
    str_add(out, "},\n  \"files\": {");
    for (int64_t i = 0; i < f->n_files; i++) {
        str_add(out, i ? ",\n    " : "\n    ");
        json_text_string(out, f->files[i].name);
        str_addf(out, ": \"%s\"", f->files[i].sha256);
    }
    str_add(out, "\n  }\n}\n");
}
