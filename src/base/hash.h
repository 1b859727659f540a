/* SHA-256 (libcrypto) for manifests, locks and prompts; a fast 64-bit hash for tables. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { SHA256_HEX = 65 }; /* 64 hexadecimal digits and NUL */

struct sha256; /* opaque running hash; NULL (out of memory) may be passed on, and finishes as "" */
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *h, const void *bytes, size_t n);
void sha256_add_text(struct sha256 *h,
                     const char *text); /* with its NUL, so that fields do not run together */
void sha256_finish(struct sha256 *h, char hex[SHA256_HEX]); /* frees h */

void sha256_bytes(const void *bytes, size_t n, char hex[SHA256_HEX]);
int sha256_file(const char *path, char hex[SHA256_HEX], struct err *e);

/* A large file recognised without reading all of it: its size, its beginning and end, and blocks spread evenly between (a small one
 * whole). Tells files apart that were made differently; SHA-256 is what finds damage. */
int hash_file_sampled(const char *path, uint64_t *out, struct err *e);

uint64_t hash64(const void *bytes, size_t n,
                uint64_t seed); /* not for adversaries; stable across runs and machines */

#endif
