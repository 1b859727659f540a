/* Random numbers: xoshiro256** seeded through splitmix64 (Blackman and Vigna, 2018). The state is plain data,
 * so a checkpoint can carry it; the same seed gives the same stream on every machine. Not for secrets. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
struct rng rng_fork(const struct rng *r,
                    uint64_t stream); /* an independent stream named by a number; r stays */
uint64_t rng_u64(struct rng *r);
double rng_double(struct rng *r);                            /* [0, 1) */
int64_t rng_range(struct rng *r, int64_t low, int64_t high); /* [low, high], both included, unbiased */
bool rng_chance(struct rng *r, double p);
double rng_normal(struct rng *r); /* mean 0, variance 1; across machines equal to libm's last bit */
void rng_shuffle(struct rng *r, int64_t *items, int64_t n); /* Fisher-Yates */

#endif
