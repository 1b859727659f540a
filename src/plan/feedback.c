/* Receipts into rates and memory. */
#include "plan/feedback.h"

#include "base/str.h"
#include "model/file.h"
#include "plan/memory.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ROUNDS = 6 };

/* How far a device's other files lie from what one of them says: public repeats of one measurement differ by 1.13 to 1.38 times. */
static const double RECEIPT_SPREAD = 1.3;
/* A peak is repeated within a hundredth or two; the vocabulary of another trim may be a little larger. */
static const double MEMORY_OFF = 0.03;

/* ---- the file ---- */

static bool type_from_name(const char *name, enum tensor_type *out) {
    for (int t = 0; t < N_TENSOR_TYPES; t++)
        if (strcasecmp(tensor_type_name((enum tensor_type)t), name) == 0) {
            *out = (enum tensor_type)t;
            return true;
        }
    return false;
}

static int count_tensors(const struct model_file *m, bool tied, struct mix_work *work, struct err *e) {
    for (int64_t i = 0; i < model_file_n_tensors(m); i++) {
        struct model_tensor t = model_file_tensor(m, i);
        enum tensor_type type = TENSOR_F32;
        if (!type_from_name(t.type, &type))
            return err_set(e, ERR_UNSUPPORTED, "feedback_read_file", "%s: %s is %s, which is not counted",
                           model_file_path(m), t.name, t.type);
        double macs = (double)t.rows * (double)t.cols;
        bool embedding = str_equal(t.name, "token_embd.weight");
        bool head = str_equal(t.name, "output.weight") || (embedding && tied);
        work->file_bytes += (double)t.n_bytes;
        if (head) {
            work->head_macs = macs;
            work->head_type = type;
        } else if (!embedding && t.rows > 1) {
            work->block_macs[type] += macs;
        }
        if (head || !embedding)
            work->read_bytes[type] += (double)t.n_bytes;
    }
    return 0;
}

int feedback_read_file(struct feedback *f, const char *path, struct err *e) {
    struct model_file *m = NULL;
    struct model_config c;
    struct mix_work work = {0};
    int code = model_file_open(&m, path, e);
    if (code == 0)
        code = model_file_config(m, &c, e);
    if (code == 0)
        code = count_tensors(m, c.tied_head, &work, e);
    if (code == 0) {
        f->shape = (struct shape){.n_layer = c.n_layer,
                                  .n_embd = c.d_model,
                                  .n_ff = c.d_ff,
                                  .n_head = c.n_heads,
                                  .n_head_kv = c.n_kv_heads,
                                  .head_dim = c.head_dim,
                                  .n_vocab = c.n_vocab,
                                  .n_ctx_train = c.n_ctx,
                                  .tied = c.tied_head,
                                  .qk_norm = c.qk_norm,
                                  .qkv_bias = c.qkv_bias,
                                  .post_norms = c.post_norms};
        snprintf(f->shape.arch, sizeof f->shape.arch, "%s", model_file_arch(m));
        f->work = work;
    }
    model_file_close(m);
    return code;
}

/* ---- rates ---- */

static struct predict_input run_of(const struct feedback *f, const struct device_rates *r,
                                   const struct predict_task *task) {
    return (struct predict_input){.shape = &f->shape,
                                  .mix = f->mix,
                                  .rates = r,
                                  .task = task,
                                  .context = f->context,
                                  .ubatch = f->ubatch,
                                  .kv_type = f->kv_type,
                                  .label_scoring = f->label_tokens > 0};
}

static const char *scaled_text(const struct feedback *f, const char *did, double measured, double expected,
                               const char *before, struct arena *a) {
    return arena_printf(a,
                        "measured on the device: %s %.3g tokens/s where %.3g were expected (%s), so all "
                        "rates of it times %.2f; "
                        "expected: %s",
                        did, measured, expected, f->source, measured / expected, before);
}

/* Tokens a second that the rates give for the measured run. */
static void expect(const struct feedback *f, const struct device_rates *r, double *read, double *written) {
    const struct predict_task task = {
        .prefix_tokens = f->tokens, .answer_tokens = 1, .label_tokens = f->label_tokens};
    const struct predict_input in = run_of(f, r, &task);
    struct plan_prediction p = {0};
    predict_on_device(&in, &f->work, NULL, &p);
    *read = p.prefill_tps.value;
    *written = p.decode_tps.value;
}

int feedback_reads(const struct feedback *f, struct device_rates *r, struct arena *a, struct err *e) {
    return rates_take_reads(r, f->reads_gmacs, f->source, a, e);
}

int feedback_rates(const struct feedback *f, struct device_rates *r, struct arena *a, struct err *e) {
    double expected_read, expected_written, read, written;
    bool reads = f->prefill_tps > 0 && f->tokens > 0, writes = f->decode_tps > 0;
    int code = feedback_reads(f, r, a, e);
    if (code < 0 || (!reads && !writes))
        return code;
    expect(f, r, &expected_read, &expected_written);
    /* again and again, since what a pass costs besides is not scaled */
    for (int k = 0; k < ROUNDS; k++) {
        expect(f, r, &read, &written);
        for (int t = 0; t < N_TENSOR_TYPES; t++) {
            r->s_per_mac[t] *= reads ? read / f->prefill_tps : 1;
            r->s_per_byte[t] *= writes ? written / f->decode_tps : 1;
        }
    }
    if (reads) {
        r->read_spread = RECEIPT_SPREAD;
        r->read_basis = scaled_text(f, "it read", f->prefill_tps, expected_read, r->read_basis, a);
    }
    if (writes) {
        r->write_spread = RECEIPT_SPREAD;
        r->write_basis = scaled_text(f, "it wrote", f->decode_tps, expected_written, r->write_basis, a);
    }
    return r->read_basis == NULL || r->write_basis == NULL
               ? err_set(e, ERR_NO_MEMORY, "feedback_rates", "out of memory")
               : 0;
}

/* ---- memory ---- */

bool feedback_is_of(const struct feedback *f, const struct predict_input *in) {
    const struct shape *x = &f->shape, *y = in->shape;
    return f->memory_bytes > 0 && f->mix == in->mix && f->kv_type == in->kv_type &&
           x->n_layer == y->n_layer && x->n_embd == y->n_embd && x->n_ff == y->n_ff &&
           x->n_head == y->n_head && x->n_head_kv == y->n_head_kv && x->tied == y->tied;
}

int feedback_memory(const struct feedback *f, const struct device_rates *r, struct estimate *x,
                    struct arena *a, struct err *e) {
    const struct predict_task task = {
        .prefix_tokens = f->tokens, .answer_tokens = 1, .label_tokens = f->label_tokens};
    const struct predict_input in = run_of(f, r, &task);
    struct memory_parts parts = memory_count(&in, &f->work);
    double counted = memory_sum(&parts), more = f->memory_bytes - counted;
    double wider = fmax(x->high - x->value, 0), own = MEMORY_OFF * f->memory_bytes;
    double value = fmax(x->value + more, 0.5 * f->memory_bytes);
    *x = (struct estimate){value, value - own, value + fmax(own, wider - fabs(more)),
                           a == NULL ? ""
                                     : arena_printf(a,
                                                    "%s; %+.1f MB, since a run measured on the device took "
                                                    "%.1f MB where %.1f were counted (%s)",
                                                    x->basis, more / 1e6, f->memory_bytes / 1e6,
                                                    counted / 1e6, f->source)};
    return x->basis == NULL ? err_set(e, ERR_NO_MEMORY, "feedback_memory", "out of memory") : 0;
}
