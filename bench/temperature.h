/* A model's loss once its confidence has been set right: every probability p_k becomes p_k^(1/T) / sum_j p_j^(1/T), with the one
 * temperature T under which labelled rows lose least (Guo et al., ICML 2017).
 *
 *     double loss[n], t = temperature_losses(&scores, loss);
 *
 * A student whose rows carry some noise in their labels is too sure of itself, and a file that blurs its answers gains loss by
 * that alone. With T fitted to each file what is left is how well its answers are ordered. No row has a say in its own
 * temperature: that of the even rows is fitted on the odd ones, and the other way round. */
#ifndef BENCH_TEMPERATURE_H
#define BENCH_TEMPERATURE_H

#include "eval/score.h"

/* -log P(right label) of every row, in nats, into loss[s->n]; returns the geometric mean of both temperatures. */
double temperature_losses(const struct scores *s, double *loss);

#endif
