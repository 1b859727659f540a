/* `train --form auto`: students in several forms of prompt, each a training of its own under forms/, and the one that the device
 * reads fastest among those that answer as well. What was tried stands in train/forms.json. */
#ifndef CMD_TRAIN_FORMS_H
#define CMD_TRAIN_FORMS_H

#include "cmd/cmd.h"

/* Trains in one form into a folder below the project ("forms/none-compact"); does nothing when that is up to date. */
typedef int train_form_fn(struct cmd_ctx *c, const char *folder, const char *form);

int train_forms(struct cmd_ctx *c, train_form_fn *train);

#endif
