/* One run of `edgestill train`, and its parts: what is to be done (training_choose.c), the base and its rows (training_model.c), what
 * comes out (training_export.c). cmd_train.c puts them in order. Functions return 0 or a negative code, with the reason in t->e. */
#ifndef CMD_TRAINING_H
#define CMD_TRAINING_H

#include "cmd/cmd.h"
#include "cmd/manifest.h"
#include "cmd/project.h"
#include "plan/plan.h"
#include "task/prompt.h"
#include "train/host/rows.h"
#include "train/host/weights.h"
#include "train/loop.h"
#include "train/rate.h"

struct training {
    struct cmd_ctx *c;
    struct err *e;
    const char *folder; /* of what is made, below the project: "train" */
    const char *form_name;
    struct project project;
    struct task task;
    struct plan plan;
    struct str base_path;
    struct store *store;
    struct manifest manifest;
    struct lm *lm; /* the base's vocabulary */
    struct prompt prompt;
    struct prompt_form form;
    const char *start; /* best weights of another form, below the project; NULL: new adapters */
    struct model_file *base;
    struct train_rows rows;
    float rationale; /* weight of the reasons; 0: none */
    struct ops ops;
    struct nn_model model;
    struct nn_lora lora;
    int wished; /* enum train_base, how the base is to be kept; -1: as memory allows */
    enum train_base kept;
    float usual_warmup; /* the default */
    struct train_products products;
    struct ops_count count;
    struct train_settings settings;
    char reasons[TRAIN_N_REASONS][160];
    struct train_memory memory;
    struct train_result result;
    double export_error; /* largest difference of a probability between trainer and export */
};

/* The whole prompt's student, which those of all other forms begin with, and its folder below the project. */
#define TRAINING_WHOLE_FORM   "full-labelled"
#define TRAINING_WHOLE_FOLDER "forms/" TRAINING_WHOLE_FORM

/* A path of the project; a name of the stage's own folder below the project, and its path. NULL: no memory. */
const char *training_path(struct training *t, const char *name);
const char *training_name(struct training *t, const char *name);
const char *training_file(struct training *t, const char *name);

/* ---- what is to be done ---- */

/* Defaults from data and model, then the plan, edgestill.yaml and the command line. The store and the base are open. */
int training_choose(struct training *t);
bool training_wants_bf16(const struct training *t);
/* All that the student depends on goes into the manifest. */
int training_describe(struct training *t);
/* Each setting with its reason, for people. */
void training_print(struct training *t);

/* ---- the model and its rows ---- */

/* The base's path, without regard to the working folder: manifests take relative names as the project's. */
int training_set_base(struct training *t, const char *path);
/* Vocabulary, rows and the memory that the run will take; refuses what does not fit before anything large is taken. */
int training_read(struct training *t);
int training_make_model(struct training *t);

/* ---- what comes out ---- */

int training_export(struct training *t);
void training_report(struct training *t);

#endif
