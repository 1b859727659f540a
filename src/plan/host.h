/* This machine, as far as training goes: its rate for a matrix product, measured in a fraction of a second. */
#ifndef PLAN_HOST_H
#define PLAN_HOST_H

#include "plan/predict.h"
#include "tensor/ops.h"

int host_measure(struct predict_host *out, struct err *e);

/* The second half: *h has the product's rate. Fills h->step. */
int host_measure_steps(const struct ops *o, struct predict_host *h, struct err *e);

#endif
