/* What the search rests on: importance and sensitivity by the trainer's passes, types for each matrix, training through the
 * rounding, the smaller vocabulary; each against something that computes it another way. */
#include "../support/compress_case.h"
#include "../support/scratch.h"
#include "../support/tiny_gguf.h"
#include "../support/tiny_rows.h"
#include "../support/tiny_task.h"
#include "base/file.h"
#include "compress/compress.h"
#include "format/json.h"
#include "llama/lm.h"
#include "train/host/weights.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct compress_case t;

static int setup(void **state) {
    (void)state;
    struct err e = {0};
    struct tiny_gguf shape = {.n_vocab = 700, .n_ff = 256, .tied = true, .seed = 4, .type = GGML_TYPE_F16};
    compress_case_begin(&t, 16);
    must(tiny_gguf_write("f16.gguf", &shape, &e), &e);
    shape.tied = false;
    shape.arch = "qwen3";
    must(tiny_gguf_write("untied.gguf", &shape, &e), &e);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    compress_case_end(&t);
    return 0;
}

static void collect(struct student *s, struct activity *a, const char *gguf,
                    const struct activity_options *o) {
    struct err e = {0};
    struct dataset d = {0};
    must(student_open(s, gguf, &t.task, 1, &e), &e);
    must(student_rows(s, &d, &t.training, 0, &e), &e);
    must(activity_collect(a, s, &d, o, NULL, &e), &e);
    dataset_release(&d);
}

/* Where both compute the same positions, the trainer's pass and llama.cpp's see the same inputs. */
static void test_importance_is_llama_cpps(void **state) {
    (void)state;
    struct err e = {0};
    struct student s;
    struct activity a;
    struct imatrix *own, *theirs;
    int64_t n;
    collect(&s, &a, "untied.gguf", &(struct activity_options){1, 1, true});
    must(activity_imatrix(&a, &own, &e), &e);
    must(calibrate(&theirs, "untied.gguf", &t.task, &t.training, &(struct calibrate_options){.n_threads = 1},
                   NULL, &n, &e),
         &e);
    static const char *const both[] = {
        "blk.0.attn_q.weight", "blk.0.attn_output.weight", "blk.0.ffn_gate.weight", "blk.0.ffn_down.weight",
        "blk.1.attn_k.weight", "blk.1.ffn_up.weight",      "blk.1.ffn_down.weight", "output.weight"};
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        struct imatrix_entry x = imatrix_entry_of(own, both[i]), y = imatrix_entry_of(theirs, both[i]);
        assert_int_equal(x.width, y.width);
        assert_true(x.count == y.count);
        double sum = 0, error = 0;
        for (int64_t k = 0; k < x.width; k++) {
            sum += y.sum2[k];
            error += fabs(x.sum2[k] - y.sum2[k]);
        }
        if (error > 0.01 * sum) /* measured: 0.002, from 16-bit activations */
            fail_msg("%s differs by %g", both[i], error / sum);
    }
    assert_int_equal(imatrix_count(own), imatrix_count(theirs));
    imatrix_free(own);
    imatrix_free(theirs);
    activity_release(&a);
    student_release(&s);
}

/* Kept and read again, it is the same up to the file's 32 bits; with another key it is refused. */
static void test_activity_is_kept(void **state) {
    (void)state;
    struct err e = {0};
    struct student s;
    struct activity a, b;
    collect(&s, &a, "f16.gguf", &(struct activity_options){0});
    must(activity_save(&a, "im.gguf", "se.gguf", "key", &e), &e);
    must(activity_load(&b, &s, "im.gguf", "se.gguf", "key", &e), &e);
    for (int i = 0; i < a.n_matrices; i++) {
        const struct activity_matrix *x = &a.matrices[i], *y = activity_find(&b, x->name);
        assert_non_null(y);
        for (int64_t k = 0; k < x->cols; k++)
            assert_true(fabs(x->square[k] - y->square[k]) <= 1e-6 * x->square[k]);
        for (int64_t k = 0; k < x->rows; k++)
            assert_true(fabs(x->gradient[k] - y->gradient[k]) <= 1e-6 * x->gradient[k]);
    }
    activity_release(&b);
    assert_int_equal(activity_load(&b, &s, "im.gguf", "se.gguf", "other", &e), ERR_MISMATCH);
    activity_release(&a);
    student_release(&s);
}

/* ---- sensitivity ---- */

static double divergence_of(struct student *s, const struct dataset *d, const double *truth, double *now) {
    struct err e = {0};
    int n = d->form->n_labels;
    double sum = 0;
    must(student_score(s, d, now, &e), &e);
    for (int64_t i = 0; i < d->n_rows; i++) {
        double p = 1 / (1 + exp(truth[i * n + 1] - truth[i * n])),
               q = 1 / (1 + exp(now[i * n + 1] - now[i * n]));
        sum += p * log(p / q) + (1 - p) * log((1 - p) / (1 - q));
    }
    return sum / (double)d->n_rows;
}

/* Rounding one matrix costs about what was predicted. The prediction takes tokens and channels as independent, and counts what
 * the answer's tokens lose against all others too, not against the other label alone. */
static void test_sensitivity_predicts(void **state) {
    (void)state;
    struct err e = {0};
    struct student s;
    struct activity a;
    struct dataset d = {0};
    struct bits_table table;
    double truth[64], now[64], worst = 0, least = INFINITY;
    collect(&s, &a, "f16.gguf", &(struct activity_options){0});
    must(bits_measure(&table, &s, &a, &(struct bits_device){0}, NULL, &e), &e);
    must(student_rows(&s, &d, &t.training, 0, &e), &e);
    must(student_score(&s, &d, truth, &e), &e);
    for (int i = 0; i < table.n_matrices; i++) {
        const struct bits_matrix *m = &table.matrices[i];
        const struct nn_tensor *w = nn_set_find(&s.model.base, m->name);
        size_t bytes = (size_t)(w->rows * w->cols) * sizeof(float);
        float *copy = malloc(bytes);
        memcpy(copy, s.model.base.value + w->offset, bytes);
        struct rounding r = {.names = &m->name, .types = (const char *const[]){"q2_K"}, .n = 1};
        must(rounding_apply(&s.model, &r, &e), &e);
        double is = divergence_of(&s, &d, truth, now);
        memcpy(s.model.base.value + w->offset, copy, bytes);
        free(copy);
        for (int k = 1; k < table.n_types; k++) /* more bits never cost more, within a family */
            if (table.types[k].name[0] == 'q' && strstr(table.types[k].name, "_K") &&
                strstr(table.types[0].name, "_K"))
                assert_true(m->loss[k] <= m->loss[0]);
        worst = fmax(worst, is / m->loss[0]);
        least = fmin(least, is / m->loss[0]);
    }
    print_message("divergence over prediction: %.3g to %.3g\n", least, worst);
    assert_true(worst < 10 && least > 1e-3);
    dataset_release(&d);
    bits_release(&table);
    activity_release(&a);
    student_release(&s);
}

/* Twelve labels of one letter each. */
static void many_labels(struct task *task) {
    struct err e = {0};
    struct arena a;
    struct node *root;
    struct str json = {0};
    str_add(&json, "{\"format\":\"edgestill.task/1\",\"kind\":\"classify\",\"name\":\"letters\",\"sentence\":"
                   "\"Sort claims.\",\"instruction\":\"Sort the claim.\",\"fields\":["
                   "{\"name\":\"delay\",\"type\":\"integer\",\"min\":0,\"max\":20,\"unit\":\"days\"},"
                   "{\"name\":\"approved share\",\"type\":\"number\",\"min\":0,\"max\":1,\"decimals\":2},"
                   "{\"name\":\"visit type\",\"type\":\"category\",\"values\":[\"emergency\",\"routine\"]}],"
                   "\"labels\":[");
    for (int i = 0; i < 12; i++)
        str_addf(&json, "%s{\"name\":\"%c\",\"definition\":\"sort %c\"}", i ? "," : "", 'A' + i, 'A' + i);
    str_add(&json, "]}");
    arena_init(&a);
    must(json_node_parse(&a, "letters", 0, json.data, json.len, &root, &e), &e);
    must(task_from_node(task, root, &e), &e);
    arena_release(&a);
    str_release(&json);
}

/* Of more labels than are used the most probable ones are, wherever they stand. */
static void test_sensitivity_takes_the_most_probable_labels(void **state) {
    (void)state;
    enum { LABELS = 12, ROWS = 4 };
    struct err e = {0};
    struct task task;
    struct rows rows;
    struct student s;
    struct activity a[2];
    double p[LABELS * ROWS];
    int n_probable = 0;
    many_labels(&task);
    tiny_rows(&rows, &task, ROWS, 5);
    must(student_open(&s, "f16.gguf", &task, 1, &e), &e);
    for (int way = 0; way < 2; way++) {
        struct dataset d = {0};
        for (int i = 0; way == 1 && i < LABELS / 2; i++) { /* the other way round */
            struct token_span kept = s.spans[i];
            s.spans[i] = s.spans[LABELS - 1 - i];
            s.spans[LABELS - 1 - i] = kept;
        }
        must(student_rows(&s, &d, &rows, 0, &e), &e);
        if (way == 0) {
            must(student_score(&s, &d, p, &e), &e);
            student_probabilities(p, ROWS, LABELS);
        }
        must(activity_collect(&a[way], &s, &d, &(struct activity_options){0}, NULL, &e), &e);
        dataset_release(&d);
    }
    for (int i = 0; i < LABELS * ROWS; i++)
        n_probable += p[i] > 1e-3;
    assert_true(n_probable > 8 * ROWS); /* more than are used */
    for (int i = 0; i < a[0].n_matrices; i++) {
        double sum[2] = {0};
        for (int64_t k = 0; k < a[0].matrices[i].rows; k++)
            for (int way = 0; way < 2; way++)
                sum[way] += a[way].matrices[i].gradient[k];
        if (!(fabs(sum[0] / sum[1] - 1) < 1e-4)) /* the same passes in another order */
            fail_msg("%s: %g and %g", a[0].matrices[i].name, sum[0], sum[1]);
    }
    activity_release(&a[0]);
    activity_release(&a[1]);
    student_release(&s);
    tiny_rows_release(&rows);
    task_release(&task);
}

/* A table whose rows are multiplied by 16 once looked up, and one that holds sixteen times as much: a change of the one counts as
 * one of 16 times its size does in the other. */
static void test_a_scaled_embedding(void **state) {
    (void)state;
    struct err e = {0};
    struct tiny_gguf shape = {
        .n_vocab = 700, .n_ff = 256, .arch = "gemma3", .seed = 6, .type = GGML_TYPE_F16};
    struct student s;
    struct activity a, b;
    struct dataset d = {0};
    must(tiny_gguf_write("gemma.gguf", &shape, &e), &e);
    collect(&s, &a, "gemma.gguf", &(struct activity_options){0});
    assert_true(s.model.config.embed_scale == 16 && !s.model.config.tied_head);
    const struct nn_tensor *table = nn_set_find(&s.model.base, "token_embd.weight");
    for (int64_t i = 0; i < table->rows * table->cols; i++)
        s.model.base.value[table->offset + i] *= 16;
    s.model.config.embed_scale = 0;
    must(student_rows(&s, &d, &t.training, 0, &e), &e);
    must(activity_collect(&b, &s, &d, &(struct activity_options){0}, NULL, &e), &e);
    for (int64_t i = 0; i < a.d_model; i++)
        assert_true(a.embedded[i] > 0 &&
                    fabs(a.embedded[i] / (256 * b.embedded[i]) - 1) < 1e-9); /* powers of two */
    dataset_release(&d);
    activity_release(&a);
    activity_release(&b);
    student_release(&s);
}

/* Where hardly anything would be gained there is no smaller file, nor one of before. */
static void test_no_trim_leaves_no_file(void **state) {
    (void)state;
    struct err e = {0};
    struct vocabulary_trim r;
    must(file_write("trimmed.gguf", "old", 3, &e), &e);
    must(vocabulary_trim(&r, "f16.gguf", "trimmed.gguf", &t.task, &t.training, &t.validation,
                         &(struct vocabulary_options){.least_gain = 0.99}, &e),
         &e);
    assert_false(r.trimmed);
    assert_int_equal(r.n_after, r.n_before);
    assert_false(file_exists("trimmed.gguf"));
}

/* More rows than a batch holds: what they share leaves room for more of them, and for more targets. */
static void test_many_rows_are_scored(void **state) {
    (void)state;
    enum { MANY = 200 };
    struct err e = {0};
    struct student s;
    struct dataset d = {0}, one = {0};
    struct rows rows, first;
    static double all[2 * MANY], alone[2];
    tiny_rows(&rows, &t.task, MANY, 3);
    must(student_open(&s, "f16.gguf", &t.task, 1, &e), &e);
    must(student_rows(&s, &d, &rows, 0, &e), &e);
    must(student_score(&s, &d, all, &e), &e);
    first = rows;
    first.n = 1;
    must(student_rows(&s, &one, &first, 0, &e), &e);
    must(student_score(&s, &one, alone, &e), &e);
    for (int k = 0; k < 2; k++) /* sums in another order: measured 1e-5 */
        assert_true(fabs(all[k] - alone[k]) < 1e-3);
    dataset_release(&d);
    dataset_release(&one);
    student_release(&s);
    tiny_rows_release(&rows);
}

/* ---- choosing ---- */

enum { MATRICES = 6, TYPES = 4 };

static void random_table(struct bits_table *b, struct bits_matrix *m, struct rng *r) {
    *b = (struct bits_table){.n_types = TYPES, .n_matrices = MATRICES, .matrices = m};
    for (int i = 0; i < MATRICES; i++) {
        double scale = pow(10, 3 * rng_double(r)), size = (double)rng_range(r, 1, 20);
        m[i] = (struct bits_matrix){.name = "m"};
        for (int k = 0; k < TYPES; k++) {
            m[i].fits[k] = k == 0 || rng_chance(r, 0.9);
            m[i].loss[k] = scale * pow(4, -k) * (0.5 + rng_double(r));
            m[i].bytes[k] = (int64_t)(size * 10 * (k + 2));
            m[i].seconds[k] = size * (k == TYPES - 1 ? 1 : 3 - 0.5 * k); /* the largest is the fastest */
        }
    }
}

static double best_by_trying(const struct bits_table *b, const struct bits_budget *limit) {
    double best = INFINITY;
    for (int code = 0; code < 4096; code++) {
        double loss = 0, seconds = 0;
        int64_t bytes = 0;
        bool fits = true;
        for (int i = 0, c = code; i < MATRICES; i++, c /= TYPES) {
            const struct bits_matrix *m = &b->matrices[i];
            fits = fits && m->fits[c % TYPES];
            loss += m->loss[c % TYPES];
            bytes += m->bytes[c % TYPES];
            seconds += m->seconds[c % TYPES];
        }
        if (fits && (limit->bytes == 0 || bytes <= limit->bytes) &&
            (!(limit->seconds > 0) || seconds <= limit->seconds) && loss < best)
            best = loss;
    }
    return best;
}

static void test_choice_is_nearly_the_best(void **state) {
    (void)state;
    struct rng r;
    struct bits_matrix m[MATRICES];
    struct bits_table b;
    double excess = 0;
    int tried = 0;
    rng_seed(&r, 5);
    for (int trial = 0; trial < 200; trial++) {
        random_table(&b, m, &r);
        int types[MATRICES];
        struct bits_outcome o;
        struct bits_budget limit = {.bytes = trial % 3 == 1 ? 0 : rng_range(&r, 1500, 4000),
                                    .seconds = trial % 3 == 0 ? 0 : 60 + 100 * rng_double(&r)};
        double best = best_by_trying(&b, &limit);
        int rc = bits_choose(&b, &limit, types, &o, NULL);
        if (rc < 0)
            continue; /* the budget is too small, or only a mixture of both prices keeps it */
        assert_true(limit.bytes == 0 || o.bytes <= limit.bytes);
        assert_true(!(limit.seconds > 0) || o.seconds <= limit.seconds * (1 + 1e-6));
        assert_true(o.loss >= best * (1 - 1e-9));
        excess += o.loss / best - 1;
        tried++;
    }
    assert_true(tried > 100);
    assert_true(excess / tried <
                0.15); /* measured 0.05: six matrices are few, the rest of the budget is large */
    int types[MATRICES];
    struct bits_outcome o;
    struct err e = {0};
    assert_int_equal(bits_choose(&b, &(struct bits_budget){.bytes = 10}, types, &o, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "smallest weighs"));
}

/* ---- rounding ---- */

static void round_like(const char *quantised, struct student *s, const struct imatrix *im) {
    struct err e = {0};
    struct model_file *f;
    must(model_file_open(&f, quantised, &e), &e);
    for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
        struct model_tensor x = model_file_tensor(f, i);
        struct rounding r = {.names = &x.name, .types = &x.type, .n = 1, .importance = im};
        must(rounding_apply(&s->model, &r, &e), &e);
        const struct nn_tensor *w = nn_set_find(&s->model.base, x.name);
        size_t n = (size_t)(x.rows * x.cols);
        float *values = malloc(n * sizeof *values);
        must(model_file_read(f, x.name, values, (int64_t)n, &e), &e);
        if (memcmp(values, s->model.base.value + w->offset, n * sizeof *values) != 0)
            fail_msg("%s: %s holds other values than training rounds to (%s)", quantised, x.name, x.type);
        free(values);
    }
    model_file_close(f);
}

/* What training computes with is what the file will hold, bit for bit. */
static void test_rounding_is_the_files(void **state) {
    (void)state;
    static const char *const mixes[] = {"Q2_K", "Q4_K_M", "IQ4_XS"};
    static const char *const models[] = {"f16.gguf", "untied.gguf"};
    struct err e = {0};
    for (int k = 0; k < 2; k++) {
        struct student s;
        struct activity a;
        struct imatrix *im;
        collect(&s, &a, models[k], &(struct activity_options){.forward_only = true});
        must(activity_imatrix(&a, &im, &e), &e);
        must(imatrix_save(im, "im.gguf", "x", 1, &e), &e);
        imatrix_free(im);
        must(imatrix_load(&im, "im.gguf", &e), &e);
        for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
            struct student fresh;
            must(quantize_file(models[k], "q.gguf",
                               &(struct quantize_options){.type = mixes[i], .imatrix = im, .n_threads = 1},
                               &e),
                 &e);
            must(student_open(&fresh, models[k], &t.task, 1, &e), &e);
            round_like("q.gguf", &fresh, im);
            student_release(&fresh);
        }
        imatrix_free(im);
        activity_release(&a);
        student_release(&s);
    }
}

static void test_recovery_recovers(void **state) {
    (void)state;
    struct err e = {0};
    struct student s;
    struct dataset d = {0}, v = {0};
    struct recover_result r;
    must(student_open(&s, "f16.gguf", &t.task, 1, &e), &e);
    must(student_rows(&s, &d, &t.training, 0, &e), &e);
    must(student_rows(&s, &v, &t.validation, 0, &e), &e);
    const char *names[32], *types[32];
    struct rounding rounding = {.names = names, .types = types};
    for (int i = 0; i < s.model.base.n_tensors; i++)
        if (s.model.base.tensors[i].rows > 1) {
            names[rounding.n] = s.model.base.tensors[i].name;
            types[rounding.n++] = "q2_K";
        }
    must(recover_run(&r, &s, &rounding, &d, &v, &(struct recover_options){.epochs = 4, .batch_rows = 8}, NULL,
                     &e),
         &e);
    assert_int_equal(r.steps, 8);
    assert_true(r.before > 0);
    assert_true(r.after < 0.8 * r.before); /* measured: a third */
    assert_true(r.best_step > 0);
    dataset_release(&d);
    dataset_release(&v);
    student_release(&s);
}

/* ---- the whole ---- */

static struct compress_request request(const char *const *types, int n_types) {
    return (struct compress_request){.source = "f16.gguf",
                                     .folder = "model",
                                     .task = &t.task,
                                     .training = &t.training,
                                     .validation = &t.validation,
                                     .types = types,
                                     .n_types = n_types,
                                     .n_threads = 1};
}

static void test_a_whole_run(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *type = "Q3_K_M";
    struct compress_request q = request(&type, 1);
    q.recovery = COMPRESS_RECOVER_ALWAYS;
    q.recover = (struct recover_options){.epochs = 2, .batch_rows = 8};
    q.tolerance = 1;
    must(compress_run(&r, &q, &e), &e);
    assert_true(r.vocabulary.trimmed);
    assert_true(r.vocabulary.n_after < 700);
    assert_true(r.vocabulary.rise <= 0.02);
    assert_true(r.searched);
    assert_true(r.n_candidates >= 2);
    const struct compress_candidate *stock = &r.candidates[0], *searched = &r.candidates[1];
    assert_true(searched->searched && !stock->searched);
    assert_true(searched->predicted_loss <= stock->predicted_loss);
    assert_true(searched->file_bytes <= stock->file_bytes + 512); /* metadata's padding */
    assert_int_equal(r.n_steps, 3);
    /* A random model finds every token probable: without those that are gone a label of several tokens gains more than a shorter
     * one. A trained model loses next to nothing. */
    print_message("trimmed: divergence %g, agreement %g\n", r.steps[1].divergence, r.steps[1].agreement);
    assert_true(r.steps[1].divergence < 0.05);
    assert_int_equal(file_size("model/student.gguf"), r.candidates[r.chosen].file_bytes);
    assert_false(file_exists("model/trimmed-f16.gguf"));
    assert_false(file_exists("model/recovered-f32.gguf"));
    assert_false(file_exists("model/candidate-1.gguf"));
    compress_release(&r);
}

static void test_a_budget_is_kept(void **state) {
    (void)state;
    struct err e = {0};
    struct compress_result r;
    const char *type = "Q4_K_M";
    struct compress_request q = request(&type, 1);
    q.recovery = COMPRESS_RECOVER_NEVER;
    q.whole_vocabulary = true;
    q.budget.bytes = 500000;
    must(compress_run(&r, &q, &e), &e);
    assert_int_equal(r.n_candidates, 1);
    assert_true(r.candidates[0].file_bytes <
                500000 + 100000); /* the budget is the tensors'; the vocabulary is beside */
    compress_release(&r);
    q.budget.bytes = 1000;
    assert_int_equal(compress_run(&r, &q, &e), ERR_UNSUPPORTED);
}

/* A device that reads large weights sooner than small ones, as boards with dot products do in prompts. */
static void test_speed_is_preferred(void **state) {
    (void)state;
    static const struct bits_speed speeds[] = {
        {"q4_K", 3e-9, 0}, {"q6_K", 4e-9, 0}, {"q5_K", 3.5e-9, 0}, {"q8_0", 1e-9, 0}};
    struct err e = {0};
    struct compress_result r;
    const char *type = "Q4_K_M";
    struct compress_request q = request(&type, 1);
    q.recovery = COMPRESS_RECOVER_NEVER;
    q.whole_vocabulary = q.prefer_speed = true;
    q.tolerance = 1;
    assert_int_equal(compress_run(&r, &q, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.message, "not known"));
    q.device = (struct bits_device){.speeds = speeds, .n_speeds = 4, .tokens_read = 50, .head_rows = 2};
    q.kv_type = "q8_0";
    must(compress_run(&r, &q, &e), &e);
    const struct compress_candidate *c = &r.candidates[r.chosen];
    assert_string_equal(c->name, "fastest searched");
    assert_non_null(strstr(r.reason, "fastest on the device"));
    assert_true(c->device_s <= 1.06 * r.least_seconds);
    assert_true(c->device_s < 0.5 * r.candidates[0].device_s && c->file_bytes > r.candidates[0].file_bytes);
    assert_int_equal(r.n_steps, 3); /* 16-bit, chosen, and with the device's cache */
    assert_string_equal(r.steps[2].name, "cache at q8_0");
    assert_true(r.steps[2].agreement >= 0.8);
    compress_release(&r);
}

static void test_wrong_input_is_refused(void **state) {
    (void)state;
    struct err e = {0};
    const char *type = "Q4_K_M";
    struct compress_request q = request(&type, 1);
    must(quantize_file("f16.gguf", "q8.gguf", &(struct quantize_options){.type = "Q8_0"}, &e), &e);
    q.source = "q8.gguf";
    expect_refused(&q, ERR_INPUT, "quantised already");

    struct imatrix *im;
    double sums[64] = {1};
    must(imatrix_new(&im, &e), &e);
    assert_true(imatrix_add(im, "blk.9.attn_q.weight", sums, 64, 1));
    must(imatrix_save(im, "foreign.gguf", "elsewhere", 1, &e), &e);
    imatrix_free(im);
    q = request(&type, 1);
    q.recovery = COMPRESS_RECOVER_NEVER;
    q.imatrix = "foreign.gguf";
    expect_refused(&q, ERR_MISMATCH, "another model");
    q.imatrix = "q8.gguf";
    expect_refused(&q, ERR_FORMAT, "not an importance matrix");
}

int main(void) {
    scratch_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_importance_is_llama_cpps),
        cmocka_unit_test(test_activity_is_kept),
        cmocka_unit_test(test_sensitivity_predicts),
        cmocka_unit_test(test_many_rows_are_scored),
        cmocka_unit_test(test_choice_is_nearly_the_best),
        cmocka_unit_test(test_rounding_is_the_files),
        cmocka_unit_test(test_recovery_recovers),
        cmocka_unit_test(test_a_whole_run),
        cmocka_unit_test(test_speed_is_preferred),
        cmocka_unit_test(test_a_budget_is_kept),
        cmocka_unit_test(test_sensitivity_takes_the_most_probable_labels),
        cmocka_unit_test(test_a_scaled_embedding),
        cmocka_unit_test(test_no_trim_leaves_no_file),
        cmocka_unit_test(test_wrong_input_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
