/* Adapter, merged model and prompt, compared with llama.cpp before they count; the result. */
#include "base/file.h"
#include "cmd/training.h"
#include "train/host/verify.h"
#include <stdlib.h>
#include <unistd.h>

enum { VERIFIED_ROWS = 16 };

static int write_prompt(struct training *t) {
    struct str json = {0};
    const char *path = training_file(t, "prompt.json");
    int rc = path ? prompt_to_json(&t->prompt, &json, t->e) : ERR_NO_MEMORY;
    if (rc == 0)
        rc = file_write(path, json.data, json.len, t->e);
    str_release(&json);
    return rc;
}

/* The trainer's answers to some validation rows, against those of llama.cpp with what was written. */
static int verify_export(struct training *t, const char *adapter, const char *merged) {
    struct dataset some = t->rows.validation.n_rows > 0 ? t->rows.validation : t->rows.train; /* a view */
    struct packer packer = {0};
    struct nn_run run = {0};
    ops_round_products(&t->ops, false, NULL); /* llama.cpp does not round so */
    int64_t longest = dataset_longest(&some);
    some.n_rows = some.n_rows < VERIFIED_ROWS ? some.n_rows : VERIFIED_ROWS;
    double *log_prob = calloc((size_t)(some.n_rows * train_scores_of(&some)), sizeof *log_prob), worst = 0;
    int rc = log_prob ? packer_init(&packer, longest, t->e)
                      : err_set(t->e, ERR_NO_MEMORY, "train", "no room to compare answers");
    struct nn_limits limits = {
        .n_tokens = longest, .n_prefix = dataset_scored_prefix(&some), .forward_only = true};
    if (rc == 0)
        rc = nn_run_init(&run, &t->model, &limits, t->e);
    if (rc == 0)
        rc = train_score(&t->model, &run, &packer, &some, &(struct train_scores){.log_prob = log_prob}, t->e);
    /* Measured: below 0.01 for 16-bit weights. A quantised base runs with activations of 8 bits. */
    struct verify v = {.model = merged,
                       .task = &t->task,
                       .rows = &some,
                       .log_prob = log_prob,
                       .n_rows = some.n_rows,
                       .tolerance = 0.05,
                       .n_threads = (int)cmd_int(t->c, "threads", 0)};
    if (rc == 0)
        rc = verify_run(&v, &t->export_error, t->e);
    v.model = str_text(&t->base_path);
    v.lora = adapter;
    v.tolerance = 0.2;
    if (rc == 0 && adapter)
        rc = verify_run(&v, &worst, t->e);
    free(log_prob);
    packer_release(&packer);
    nn_run_release(&run);
    return rc;
}

/* The adapter comes last: full training has none. */
static const char *const train_outputs[] = {"merged-f16.gguf", "prompt.json", "log.jsonl", "adapter.gguf"};

int training_export(struct training *t) {
    bool lora = t->plan.method == PLAN_LORA;
    const char *adapter = training_file(t, "adapter.gguf"), *merged = training_file(t, "merged-f16.gguf");
    if (!adapter || !merged)
        return ERR_NO_MEMORY;
    int rc = write_prompt(t);
    if (rc == 0 && lora)
        rc = weights_write_adapter(&t->model, t->base, adapter, t->prompt.tag, t->e);
    if (rc == 0 && !lora)
        unlink(adapter);
    if (rc == 0)
        rc = weights_write_merged(&t->model, t->base, merged, MODEL_F16, t->prompt.tag, t->e);
    if (rc == 0)
        rc = verify_export(t, lora ? adapter : NULL, merged);
    for (int i = 0; i < (lora ? 4 : 3) && rc == 0; i++) {
        const char *name = training_name(t, train_outputs[i]);
        rc = name ? manifest_output(&t->manifest, name, t->e) : ERR_NO_MEMORY;
    }
    return rc == 0 ? manifest_write(&t->manifest, t->e) : rc;
}

void training_report(struct training *t) {
    struct cmd_ctx *c = t->c;
    const struct train_result *r = &t->result;
    char memory[32], duration[32];
    json_object_set_new(c->result, "rows",
                        json_pack("{s:I, s:I, s:I}", "train", (json_int_t)t->rows.train.n_rows, "validation",
                                  (json_int_t)t->rows.validation.n_rows, "rationales",
                                  (json_int_t)t->rows.n_rationales));
    json_object_set_new(c->result, "steps", json_integer(r->steps));
    json_object_set_new(c->result, "best_step", json_integer(r->best_step));
    json_object_set_new(c->result, "stopped_early", json_boolean(r->stopped_early));
    json_object_set_new(c->result, "seconds", json_real(r->seconds));
    json_object_set_new(c->result, "samples_per_s", json_real(r->samples_per_s));
    json_object_set_new(c->result, "tokens_per_s", json_real(r->tokens_per_s));
    json_object_set_new(c->result, "memory_bytes", json_integer(r->memory_bytes));
    json_object_set_new(c->result, "products", json_string(t->products.bf16 ? "bf16" : "f32"));
    json_object_set_new(c->result, "base_kept", json_string(train_base_name(t->kept)));
    json_object_set_new(c->result, "product_share", json_real(r->product_share));
    json_object_set_new(c->result, "export_error", json_real(t->export_error));
    cmd_print(c, "%lld steps in %s, %.0f records/s, %.0f tokens/s, %s of memory%s\n", (long long)r->steps,
              str_duration(duration, sizeof duration, r->seconds), r->samples_per_s, r->tokens_per_s,
              str_bytes(memory, sizeof memory, r->memory_bytes), r->stopped_early ? "; stopped early" : "");
    if (t->rows.validation.n_rows > 0) {
        json_object_set_new(c->result, "validation_accuracy", json_real(r->best_accuracy));
        json_object_set_new(c->result, "validation_loss", json_real(r->best_loss));
        cmd_print(c, "validation accuracy %.1f%%, loss %.3f, at step %lld; llama.cpp agrees to %.2g\n",
                  100 * r->best_accuracy, r->best_loss, (long long)r->best_step, t->export_error);
    } else {
        cmd_print(c, "no validation records: the last weights were taken\n");
    }
    cmd_print(c, "wrote %s/merged-f16.gguf%s\n", t->folder,
              t->plan.method == PLAN_LORA ? " and adapter.gguf" : "");
}
