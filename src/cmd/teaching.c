/* Opening the project's teacher and asking for leave to spend: see teaching.h. */
#include "cmd/teaching.h"
#include "base/log.h"
#include "catalog/data.h"
#include "cmd/sharing.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void say(void *context, const char *line) {
    (void)context;
    log_warn("%s", line);
}

static int check_options(struct cmd_ctx *c) {
    int64_t parallel = cmd_int(c, "parallel", 0);
    if (parallel < 0 || parallel > 256)
        return err_set(&c->err, ERR_USAGE, c->verb->name, "--parallel must be from 1 to 256, not %lld",
                       (long long)parallel);
    static const char *const amounts[] = {"budget", "price-in", "price-out"};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++)
        if (!(cmd_number(c, amounts[i], 0) >= 0))
            return err_set(&c->err, ERR_USAGE, c->verb->name, "--%s must not be negative", amounts[i]);
    return 0;
}

/* What edgestill.yaml says; the file's path goes to `gguf`, which outlives `out`. */
static int configure(struct cmd_ctx *c, struct project *p, struct str *gguf, struct teacher_config *out) {
    const struct project_teacher *t = &p->teacher;
    bool embedded = strcmp(t->kind, "embedded") == 0;
    int code = embedded ? data_path("seed/teacher.gguf", gguf, &c->err) : 0;
    str_add(gguf, !embedded && t->gguf ? t->gguf : "");
    if (code < 0)
        return err_hint(&c->err,
                        "seed/README.md says how it is made; or choose another teacher in edgestill.yaml");
    *out = (struct teacher_config){.kind = t->kind,
                                   .url = t->url,
                                   .model = t->model,
                                   .key_env = t->key_env,
                                   .key_file = t->key_file,
                                   .style = t->style,
                                   .gguf = str_text(gguf),
                                   .parallel = (int)t->parallel,
                                   .no_thinking = t->no_thinking,
                                   .requests_per_minute = (int)t->requests_per_minute,
                                   .tokens_per_minute = t->tokens_per_minute,
                                   .net = {.seed = p->seed}};
    return 0;
}

/* A cap on money needs to know what a token costs. */
static int check_cap(struct cmd_ctx *c, const struct teacher *t) {
    if (teacher_price(t).known)
        return 0;
    err_set(&c->err, ERR_USAGE, c->verb->name, "what %s costs is not known here, so no --budget can be kept",
            teacher_name(t));
    return err_hint(&c->err, "say it in US dollars for a million tokens with --price-in and --price-out; 0 "
                             "where it costs nothing");
}

int teaching_open(struct cmd_ctx *c, struct project *p, struct store *s, struct teacher **out) {
    int code = check_options(c);
    if (code < 0)
        return code;
    const struct project_teacher *t = &p->teacher;
    if (strcmp(t->kind, "none") == 0) {
        err_set(&c->err, ERR_INPUT, c->verb->name,
                "this project has no teacher (teacher: kind: none in edgestill.yaml)");
        return err_hint(&c->err, "name one there, or do this step by hand: docs/formats.md");
    }
    struct str gguf = {0};
    struct teacher_config config;
    if ((code = configure(c, p, &gguf, &config)) == 0) {
        config.probe = true;
        config.sampling = cmd_flag(c, "sampling");
        config.parallel = (int)cmd_int(c, "parallel", t->parallel);
        config.price_in = cmd_number(c, "price-in", 0);
        config.price_out = cmd_number(c, "price-out", 0);
        config.price_given = cmd_number(c, "price-in", -1) >= 0 || cmd_number(c, "price-out", -1) >= 0;
        config.has_budget = cmd_number(c, "budget", -1) >= 0;
        config.budget = cmd_number(c, "budget", 0);
        config.say = say;
        code = teacher_open(out, &config, s, &c->err);
    }
    str_release(&gguf);
    if (code == 0 && config.has_budget && (code = check_cap(c, *out)) < 0) {
        teacher_close(*out);
        *out = NULL;
    }
    return code;
}

int teaching_foresee(struct cmd_ctx *c, struct project *p, struct store *s, struct teacher_traits *out) {
    struct str gguf = {0};
    struct teacher_config config;
    int code = configure(c, p, &gguf, &config);
    if (code == 0)
        code = teacher_foresee(&config, s, out, &c->err);
    if (code == 0 && out->model_file && !(out->model_file = arena_strdup(&p->arena, out->model_file)))
        code = err_set(&c->err, ERR_NO_MEMORY, c->verb->name, "out of memory");
    str_release(&gguf);
    return code;
}

/* ---- the quote ---- */

static void quote_text(const struct teacher *t, const struct teaching_quote *q, struct str *out) {
    struct teacher_price price = teacher_price(t);
    char duration[48], low[48], high[48];
    str_addf(out, "%s: about %lld questions to %s", q->what, (long long)q->calls, teacher_name(t));
    if (q->tokens_in + q->tokens_out > 0)
        str_addf(out, ", %lld tokens to it and %lld from it", (long long)q->tokens_in,
                 (long long)q->tokens_out);
    if (teacher_is_embedded(t))
        str_add(out, ", no money: it runs on this machine");
    else if (price.known)
        str_addf(out, ", about $%.2f and hardly more than $%.2f ($%.2f and $%.2f a million tokens, %s)",
                 q->money, q->money_high, price.in, price.out, price.source);
    else
        str_add(out,
                ", at a price not known here (--price-in and --price-out say it, --budget then caps it)");
    if (q->seconds > 0)
        str_addf(out, "; %s (%s to %s: %s)", str_duration(duration, sizeof duration, q->seconds),
                 str_duration(low, sizeof low, q->seconds_low),
                 str_duration(high, sizeof high, q->seconds_high), q->basis);
}

static void quote_json(struct cmd_ctx *c, const struct teacher *t, const struct teaching_quote *q) {
    json_object_set_new(c->result, "quote",
                        json_pack("{s:I, s:I, s:I, s:f, s:f, s:b, s:f, s:f, s:f}", "calls",
                                  (json_int_t)q->calls, "tokens_in", (json_int_t)q->tokens_in, "tokens_out",
                                  (json_int_t)q->tokens_out, "money", q->money, "money_high", q->money_high,
                                  "price_known", teacher_price(t).known, "seconds", q->seconds, "seconds_low",
                                  q->seconds_low, "seconds_high", q->seconds_high));
}

static bool ask_person(void) {
    char answer[16] = "";
    fputs("Go on? [y/N] ", stderr);
    fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

int teaching_consent(struct cmd_ctx *c, const struct teacher *t, const struct teaching_quote *q) {
    struct str line = {0};
    quote_text(t, q, &line);
    quote_json(c, t, q);
    if (!c->quiet)
        log_info("%s", str_text(&line));
    bool agreed = teacher_is_embedded(t) || cmd_flag(c, "yes");
    if (!agreed && !c->json && isatty(0) && isatty(2))
        agreed = ask_person();
    str_release(&line);
    if (agreed)
        return 0;
    err_set(&c->err, ERR_GATE, c->verb->name, "%s costs something and waits for your yes", q->what);
    return err_hint(&c->err, "give it with --yes, and a cap with --budget");
}

json_t *teaching_ledger(struct store *s, struct str *line) {
    struct store_ledger l = {0};
    if (store_ledger(s, NULL, &l, NULL) < 0)
        return json_null();
    str_addf(line, "%lld answers, %lld tokens to the teacher, %lld from it", (long long)l.n_answered,
             (long long)l.used.tokens_in, (long long)l.used.tokens_out);
    if (l.used.money > 0 || l.reserved.money > 0)
        str_addf(line, ", $%.4f", l.used.money);
    if (l.n_doubt > 0)
        str_addf(line, "; %lld in doubt, counted as $%.4f", (long long)l.n_doubt, l.reserved.money);
    json_t *shared = sharing_ledger(s);
    if (json_array_size(shared) > 0)
        str_add(line, "; it was shown own rows");
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "shared", shared, "answered",
                     (json_int_t)l.n_answered, "failed", (json_int_t)l.n_failed, "in_doubt",
                     (json_int_t)l.n_doubt, "tokens_in", (json_int_t)l.used.tokens_in, "tokens_out",
                     (json_int_t)l.used.tokens_out, "money", l.used.money, "money_in_doubt", l.reserved.money,
                     "teacher_seconds", l.seconds);
}
