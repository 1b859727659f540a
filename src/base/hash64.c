/* The 64-bit hash for tables: eight bytes at a time, multiplied and folded, with the finaliser of splitmix64.
 * Apart from hash.c so that programs without libcrypto can use it. */
#include "base/hash.h"

#include <string.h>

static uint64_t load_le(const unsigned char *p, size_t n) {
    uint64_t x = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (n == 8) { /* one load: compilers make eight of the loop */
        memcpy(&x, p, 8);
        return x;
    }
#endif
    for (size_t i = 0; i < n; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static uint64_t fold(uint64_t h, uint64_t x) {
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

uint64_t hash64(const void *bytes, size_t n, uint64_t seed) {
    const unsigned char *p = bytes;
    uint64_t h = seed ^ (UINT64_C(0xd1b54a32d192ed03) * (n + 1));
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        h = fold(h, load_le(p + i, 8));
    if (i < n)
        h = fold(h, load_le(p + i, n - i));
    h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
    return h ^ (h >> 31);
}
