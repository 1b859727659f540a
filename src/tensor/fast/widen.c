/* Plain loops that the compiler makes vectors of. */
#include "tensor/widen.h"
#include <stdbool.h>
#include <string.h>

void widen_f32(const void *packed, float *to, int64_t n) {
    memcpy(to, packed, (size_t)n * sizeof *to);
}

void widen_bf16(const void *packed, float *restrict to, int64_t n) {
    const uint16_t *restrict from = packed;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

void narrow_bf16(const float *restrict from, void *restrict packed, int64_t n) {
    uint16_t *restrict to = packed;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        to[i] = (uint16_t)(nan ? bits >> 16 | 0x40u : rounded);
    }
}
