/* This machine, as far as training goes: its rate for a matrix product, measured in a fraction of a second. */
#ifndef PLAN_HOST_H
#define PLAN_HOST_H

#include "plan/predict.h"

int host_measure(struct predict_host *out, struct err *e);

#endif
