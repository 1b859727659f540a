/* Questions in lanes: free -> waiting -> writing -> free. A lane is a sequence of the model's cache.
 *
 * Between questions a lane keeps its last prompt, and the next one begins with the longest beginning that any lane has: all
 * questions of a kind share their system text, which is most of a prompt. */
#include "teacher/local.h"
#include "base/clock.h"
#include "base/mem.h"
#include "format/json.h"
#include "llama/writer.h"
#include "teacher/chat.h"
#include "teacher/grammar.h"
#include "teacher/protocol_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "local_step"

/* Room that an answer's last line and the labels take at the end of a lane. */
enum { LANES_MAX = 32, TAIL_TOKENS = 128, LEAST_ANSWER = 16 };

enum lane_state { LANE_FREE, LANE_WAITING, LANE_WRITING };
struct lane {
    enum lane_state state;
    struct local_question question;
    struct lm_writer *writer;
    struct lm_grammar *grammar;   /* of the text under way; NULL: free */
    int32_t *prompt;              /* of the latest question */
    int64_t n_prompt, n_computed; /* of it in the sequence, with what was written after it while writing */
    int64_t capacity;
    double begin_s;
};

struct local {
    struct lm *lm;
    int n_lanes;
    int64_t lane_tokens;
    struct lane lanes[LANES_MAX];
    /* of the labels that were scored last */
    struct lm_labels *labels;
    const struct task_label *labels_of;
    int n_labels;
    double *log_prob;
};

/* ---- life ---- */

int local_open(struct local **out, const struct local_options *o, struct err *e) {
    struct local *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, ERR_NO_MEMORY, "local_open", "out of memory");
    l->n_lanes = o->lanes < 1 ? 1 : o->lanes > LANES_MAX ? LANES_MAX : o->lanes;
    const struct lm_options options = {
        .n_seq_max = l->n_lanes, .n_threads = o->n_threads, .n_ctx_is_each = true};
    int rc = lm_open(&l->lm, o->gguf, &options, e);
    if (rc < 0) {
        local_close(l);
        return err_context(e, "the teacher %s", o->gguf);
    }
    l->lane_tokens = lm_n_ctx(l->lm) / l->n_lanes;
    *out = l;
    return 0;
}

static void forget_labels(struct local *l) {
    lm_labels_free(l->labels);
    free(l->log_prob);
    l->labels = NULL;
    l->labels_of = NULL;
    l->log_prob = NULL;
}

static void end_text(struct lane *lane) {
    lm_writer_free(lane->writer);
    lm_grammar_free(lane->grammar);
    lane->writer = NULL;
    lane->grammar = NULL;
}

void local_close(struct local *l) {
    if (!l)
        return;
    for (int i = 0; i < l->n_lanes; i++) {
        end_text(&l->lanes[i]);
        free(l->lanes[i].prompt);
    }
    forget_labels(l);
    lm_free(l->lm);
    free(l);
}

int local_submit(struct local *l, const struct local_question *q, struct err *e) {
    for (int i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].state == LANE_FREE) {
            l->lanes[i].state = LANE_WAITING;
            l->lanes[i].question = *q;
            l->lanes[i].begin_s = clock_seconds();
            return 0;
        }
    return err_set(e, ERR_USAGE, "local_submit", "all %d lanes are taken", l->n_lanes);
}

int local_pending(const struct local *l) {
    int n = 0;
    for (int i = 0; i < l->n_lanes; i++)
        n += l->lanes[i].state != LANE_FREE;
    return n;
}

/* The lane is free before `done` is called. */
static void finish(struct lane *lane, struct net_answer *a) {
    struct local_question q = lane->question;
    end_text(lane);
    lane->state = LANE_FREE;
    a->attempts = 1;
    a->seconds = clock_seconds() - lane->begin_s;
    q.done(q.context, a);
}

static void fail(struct lane *lane, int code, const char *problem) {
    lane->n_computed = 0; /* whatever is there is not trusted */
    finish(lane, &(struct net_answer){.code = code, .body = "", .problem = problem});
}

void local_abort(struct local *l) {
    for (int i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].state != LANE_FREE)
            fail(&l->lanes[i], ERR_INTERRUPTED, "stopped while under way");
}

/* ---- the prompt ---- */

static int read_prompt(struct local *l, struct lane *lane, int32_t **ids, int64_t *n, struct err *e) {
    const struct local_question *q = &lane->question;
    int64_t room = l->lane_tokens - TAIL_TOKENS - LEAST_ANSWER;
    *ids = malloc((size_t)(room > 0 ? room : 1) * sizeof **ids);
    if (!*ids)
        return err_set(e, ERR_NO_MEMORY, ORIGIN, "no memory for a prompt");
    *n = lm_chat_tokens(l->lm, q->system, q->user, *ids, room, e);
    if (*n == ERR_INPUT)
        return err_context(e, "a question for a context of %lld tokens", (long long)l->lane_tokens);
    return *n < 0 ? (int)*n : 0;
}

static int64_t common(const struct lane *lane, const int32_t *ids, int64_t n) {
    int64_t k = 0;
    while (k < lane->n_computed && k < lane->n_prompt && k < n && lane->prompt[k] == ids[k])
        k++;
    return k;
}

/* The lane's sequence becomes the longest beginning of ids that a lane has, less its last token, whose logits are needed. */
static int64_t reuse(struct local *l, int at, const int32_t *ids, int64_t n) {
    int best = at;
    int64_t most = common(&l->lanes[at], ids, n);
    for (int i = 0; i < l->n_lanes; i++) {
        int64_t k = common(&l->lanes[i], ids, n);
        if (k > most) {
            most = k;
            best = i;
        }
    }
    most = most < n ? most : n - 1;
    if (best != at && lm_fork(l->lm, best, at, NULL) < 0)
        most = 0;
    if (most == 0 || lm_truncate(l->lm, at, (int32_t)most, NULL) < 0) {
        lm_clear(l->lm, at); /* a model that cannot forget a text's end reads every prompt anew */
        return 0;
    }
    return most;
}

static bool begins_answer(void *context, const char *text) {
    (void)context;
    return protocol_answer_after(text) != NULL;
}

static int make_grammar(const struct local *l, struct lane *lane, struct err *e) {
    const char *schema = lane->question.schema;
    struct str text = {0};
    int rc = schema && *schema ? grammar_from_schema(schema, &text, e) : 0;
    if (rc == 0 && text.len)
        rc = lm_grammar_new(&lane->grammar, l->lm, text.data, e);
    str_release(&text);
    return rc;
}

static int begin_writing(struct local *l, struct lane *lane, int at, struct err *e) {
    const struct local_question *q = &lane->question;
    int64_t room = l->lane_tokens - TAIL_TOKENS - lane->n_prompt;
    int rc = make_grammar(l, lane, e);
    struct lm_writing how = {.grammar = lane->grammar,
                             .n_max = q->max_tokens < room ? q->max_tokens : room,
                             .temperature = q->labels ? 0 : q->temperature,
                             .seed = q->seed,
                             .stop = q->labels ? begins_answer : NULL};
    if (rc == 0)
        rc = lm_writer_new(&lane->writer, l->lm, at, &how, e);
    if (rc == 0)
        lane->state = LANE_WRITING;
    return rc;
}

static int begin(struct local *l, int at, struct err *e) {
    struct lane *lane = &l->lanes[at];
    int32_t *ids = NULL;
    int64_t n = 0;
    const float *logits;
    int rc = read_prompt(l, lane, &ids, &n, e);
    if (rc == 0) {
        int64_t kept = reuse(l, at, ids, n);
        free(lane->prompt);
        lane->prompt = ids;
        lane->n_prompt = n;
        lane->n_computed = kept;
        rc = lm_decode(l->lm, at, ids + kept, n - kept, &logits, e);
    } else {
        free(ids);
    }
    if (rc == 0) {
        lane->n_computed = n;
        rc = begin_writing(l, lane, at, e);
    }
    return rc;
}

/* ---- labels ---- */

static int prepare_labels(struct local *l, const struct local_question *q, struct err *e) {
    if (l->labels && l->labels_of == q->labels && l->n_labels == q->n_labels)
        return 0;
    forget_labels(l);
    const char **names = calloc((size_t)q->n_labels, sizeof *names);
    l->log_prob = calloc((size_t)q->n_labels, sizeof *l->log_prob);
    struct arena a;
    arena_init(&a);
    int rc = names && l->log_prob ? 0 : err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    for (int i = 0; i < q->n_labels && rc == 0; i++)
        if (!(names[i] = arena_printf(&a, " %s", q->labels[i].name)))
            rc = err_set(e, ERR_NO_MEMORY, ORIGIN, "out of memory");
    if (rc == 0)
        rc = lm_labels_new_after(&l->labels, l->lm, PROTOCOL_ANSWER, names, q->n_labels, e);
    arena_release(&a);
    free(names);
    l->labels_of = q->labels;
    l->n_labels = q->n_labels;
    return rc;
}

static int decode_text(struct local *l, int at, const char *text, const float **logits, struct err *e) {
    int32_t ids[TAIL_TOKENS / 2];
    int64_t n = lm_tokenize(l->lm, text, strlen(text), LM_PLAIN, ids, TAIL_TOKENS / 2, e);
    return n < 0 ? (int)n : lm_decode(l->lm, at, ids, n, logits, e);
}

/* Brings the sequence to where the label comes, after "Answer:"; `text` becomes what was written up to there. The writer's last token
 * is not computed yet: it is as it stands where it ends in the colon, else read anew up to there. */
static int come_to_answer(struct local *l, int at, struct str *text, const float **logits, struct err *e) {
    const struct lane *lane = &l->lanes[at];
    struct lm_generation g;
    struct str before = {0};
    lm_writer_done(lane->writer, &g);
    int64_t computed = lm_position(l->lm, at) - lane->n_prompt;
    int rc = lm_writer_text(lane->writer, g.n_tokens, text, e);
    if (rc == 0)
        rc = lm_writer_text(lane->writer, computed, &before, e);
    const char *after = rc == 0 ? protocol_answer_after(str_text(text)) : NULL;
    if (rc == 0 && after && !*after && computed < g.n_tokens) {
        rc = lm_decode(l->lm, at, lm_writer_ids(lane->writer) + computed, g.n_tokens - computed, logits, e);
    } else if (rc == 0) {
        if (after)
            text->data[text->len = (size_t)(after - text->data)] = 0;
        else
            str_addf(text, "%s" PROTOCOL_ANSWER, text->len ? "\n" : "");
        rc = str_check(text, e);
        if (rc == 0 && before.len >= text->len)
            rc = err_set(e, ERR_TEACHER, ORIGIN, "the answer's line does not end in what was written last");
        if (rc == 0)
            rc = decode_text(l, at, text->data + before.len, logits, e);
    }
    str_release(&before);
    return rc;
}

/* The labels' probabilities into log_prob[n_labels]; returns the most probable label or a negative code. */
static int score(struct local *l, int at, struct str *text, struct err *e) {
    const struct local_question *q = &l->lanes[at].question;
    const float *logits;
    int rc = prepare_labels(l, q, e), best = 0;
    if (rc == 0)
        rc = come_to_answer(l, at, text, &logits, e);
    if (rc == 0)
        rc = lm_score_labels(l->lm, at, l->labels, logits, l->log_prob, e);
    if (rc < 0)
        return rc;
    double sum = 0;
    for (int i = 1; i < q->n_labels; i++)
        best = l->log_prob[i] > l->log_prob[best] ? i : best;
    double most = l->log_prob[best];
    for (int i = 0; i < q->n_labels; i++)
        sum += l->log_prob[i] = exp(l->log_prob[i] - most);
    for (int i = 0; i < q->n_labels; i++)
        l->log_prob[i] /= sum;
    str_addf(text, " %s", q->labels[best].name);
    return best;
}

/* ---- the answer ---- */

static void add_probabilities(const struct local *l, const struct local_question *q, struct str *out) {
    str_add(out, ",\"" CHAT_LABELS "\":{");
    for (int i = 0; i < q->n_labels; i++) {
        str_add(out, i ? "," : "");
        json_text_string(out, q->labels[i].name);
        str_add_char(out, ':');
        json_text_number(out, l->log_prob[i]);
    }
    str_add_char(out, '}');
}

/* A chat completion, as a server would give it. */
static void completion(const struct local *l, const struct lane *lane, const char *content, bool whole,
                       int64_t n_written, struct str *out) {
    str_add(out, "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
                 "\"assistant\",\"content\":");
    json_text_string(out, content);
    str_addf(out, "},\"finish_reason\":\"%s\"}]", whole ? "stop" : "length");
    if (lane->question.labels)
        add_probabilities(l, &lane->question, out);
    str_addf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld}}",
             (long long)lane->n_prompt, (long long)n_written);
}

static int answer(struct local *l, int at, struct err *e) {
    struct lane *lane = &l->lanes[at];
    struct lm_generation g;
    struct str text = {0}, body = {0};
    lm_writer_done(lane->writer, &g);
    int rc =
        lane->question.labels ? score(l, at, &text, e) : lm_writer_text(lane->writer, g.n_tokens, &text, e);
    if (rc >= 0) {
        completion(l, lane, str_text(&text), g.ended || lane->question.labels, g.n_tokens, &body);
        rc = text.failed ? str_check(&text, e) : str_check(&body, e);
    }
    if (rc == 0) {
        lane->n_computed = lane->n_prompt; /* what was written after it is no beginning of another question */
        finish(lane,
               &(struct net_answer){.status = 200, .body = body.data, .body_len = body.len, .problem = ""});
    }
    str_release(&text);
    str_release(&body);
    return rc < 0 ? rc : 0;
}

/* ---- steps ---- */

/* A question that cannot be answered ends; the others go on. */
static void settle(struct lane *lane, int rc, const struct err *why) {
    if (rc < 0)
        fail(lane, why->code == ERR_INPUT || why->code == ERR_INTERRUPTED ? why->code : ERR_TEACHER,
             why->message);
}

static int write_on(struct local *l, struct err *e) {
    struct lm_writer *writers[LANES_MAX];
    int n = 0;
    for (int i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].state == LANE_WRITING)
            writers[n++] = l->lanes[i].writer;
    int rc = lm_writers_step(l->lm, writers, n, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < l->n_lanes; i++) {
        struct err why = {0};
        if (l->lanes[i].state == LANE_WRITING && lm_writer_done(l->lanes[i].writer, NULL))
            settle(&l->lanes[i], answer(l, i, &why), &why);
    }
    return 0;
}

int local_step(struct local *l, struct err *e) {
    for (int i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].state == LANE_WAITING) {
            struct err why = {0};
            settle(&l->lanes[i], begin(l, i, &why), &why);
            return 0;
        }
    return write_on(l, e);
}
