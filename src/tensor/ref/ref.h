/* Pieces of the reference table that stand in files of their own. */
#ifndef TENSOR_REF_REF_H
#define TENSOR_REF_REF_H

#include "tensor/ops.h"

void ref_attention(const struct ops *o, float *out, float *lse, const float *q, const float *k,
                   const float *v, const struct attention_shape *s);
void ref_attention_backward(const struct ops *o, float *dq, float *dk, float *dv, const float *dout,
                            const float *out, const float *lse, const float *q, const float *k,
                            const float *v, const struct attention_shape *s);

#endif
