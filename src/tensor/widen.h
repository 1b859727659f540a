/* Rows of numbers as files store them, to floats: what struct packed_matrix points to for types that need no table of their own. */
#ifndef TENSOR_WIDEN_H
#define TENSOR_WIDEN_H

#include <stdint.h>

void widen_f32(const void *packed, float *to, int64_t n);
void widen_bf16(const void *packed, float *to, int64_t n); /* a float's upper 16 bits */
/* The other way: to the nearest, of two as near to the even one. NaN stays NaN. */
void narrow_bf16(const float *from, void *packed, int64_t n);

#endif
