/* xoshiro256** 1.0 and splitmix64, written from their description: Blackman and Vigna, "Scrambled linear
 * pseudorandom number generators", 2018. */
#include "base/rng.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int n) {
    return (x << n) | (x >> (64 - n));
}

void rng_seed(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

struct rng rng_fork(const struct rng *r, uint64_t stream) {
    uint64_t seed = stream;
    for (int i = 0; i < 4; i++) {
        seed ^= r->s[i];
        seed = splitmix64(&seed);
    }
    struct rng out;
    rng_seed(&out, seed);
    return out;
}

uint64_t rng_u64(struct rng *r) {
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double rng_double(struct rng *r) {
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

int64_t rng_range(struct rng *r, int64_t low, int64_t high) {
    uint64_t span = (uint64_t)high - (uint64_t)low + 1; /* 0: all 2^64 values */
    uint64_t x = rng_u64(r);
    if (span != 0) {
        /* the values below `bias` would make the low remainders likelier */
        uint64_t bias = (0 - span) % span;
        while (x < bias)
            x = rng_u64(r);
        x %= span;
    }
    return (int64_t)((uint64_t)low + x);
}

bool rng_chance(struct rng *r, double p) {
    return rng_double(r) < p;
}

double rng_normal(struct rng *r) {
    double radius, x, y;
    do { /* the polar method (Marsaglia and Bray, 1964); the second value is dropped: the state stays plain */
        x = 2 * rng_double(r) - 1;
        y = 2 * rng_double(r) - 1;
        radius = x * x + y * y;
    } while (radius >= 1 || radius == 0);
    return x * sqrt(-2 * log(radius) / radius);
}

void rng_shuffle(struct rng *r, int64_t *items, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = rng_range(r, 0, i);
        int64_t kept = items[i];
        items[i] = items[j];
        items[j] = kept;
    }
}
