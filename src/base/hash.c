/* SHA-256 through libcrypto's own functions for it, not its EVP interface: that brings all of libcrypto along where it is linked as
 * an archive (the device's program), 6 MB for a hash. See hash.h. */
#define OPENSSL_API_COMPAT 0x10101000L /* they are marked as deprecated since 3.0, in favour of EVP */
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sha256 {
    SHA256_CTX context;
};

struct sha256 *sha256_new(void) {
    struct sha256 *h = calloc(1, sizeof *h);
    if (h && SHA256_Init(&h->context) == 1)
        return h;
    free(h);
    return NULL;
}

void sha256_add(struct sha256 *h, const void *bytes, size_t n) {
    if (h && n > 0)
        SHA256_Update(&h->context, bytes, n);
}

void sha256_add_text(struct sha256 *h, const char *text) {
    sha256_add(h, text, strlen(text) + 1);
}

void sha256_finish(struct sha256 *h, char hex[SHA256_HEX]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[SHA256_DIGEST_LENGTH];
    hex[0] = '\0';
    if (!h)
        return;
    if (SHA256_Final(digest, &h->context) == 1) {
        for (size_t i = 0; i < sizeof digest; i++) {
            hex[2 * i] = digits[digest[i] >> 4];
            hex[2 * i + 1] = digits[digest[i] & 15];
        }
        hex[2 * sizeof digest] = '\0';
    }
    free(h);
}

void sha256_bytes(const void *bytes, size_t n, char hex[SHA256_HEX]) {
    struct sha256 *h = sha256_new();
    sha256_add(h, bytes, n);
    sha256_finish(h, hex);
}

static int add_file(struct sha256 *h, int fd, const char *path, struct err *e) {
    enum { CHUNK = 1 << 20 };
    char *buffer = malloc(CHUNK);
    if (!buffer)
        return err_set(e, ERR_NO_MEMORY, "sha256_file", "%s: out of memory", path);
    ssize_t n;
    while ((n = read(fd, buffer, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        sha256_add(h, buffer, (size_t)n);
    }
    int code = n < 0 ? err_set_errno(e, ERR_IO, "sha256_file", "%s: cannot read", path) : 0;
    free(buffer);
    return code;
}

int sha256_file(const char *path, char hex[SHA256_HEX], struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "sha256_file", "%s: cannot open",
                             path);
    struct sha256 *h = sha256_new();
    char result[SHA256_HEX];
    int code = h ? add_file(h, fd, path, e) : 0;
    sha256_finish(h, result);
    close(fd);
    if (code == 0 && result[0] == '\0')
        code = err_set(e, ERR_NO_MEMORY, "sha256_file", "%s: libcrypto cannot hash", path);
    if (code == 0)
        memcpy(hex, result, sizeof result);
    return code;
}

/* ---- sampled ---- */

enum { SAMPLE_BYTES = 1 << 14, N_SAMPLES = 64 };

/* n bytes at `at` into the running hash. */
static int sample(int fd, int64_t at, size_t n, const char *path, uint64_t *hash, struct err *e) {
    unsigned char block[SAMPLE_BYTES];
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, block + done, n - done, (off_t)at + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set_errno(e, ERR_IO, "hash_file_sampled", "%s: cannot read", path);
        done += (size_t)got;
    }
    *hash = hash64(block, n, *hash);
    return 0;
}

static int sample_all(int fd, const char *path, uint64_t *out, struct err *e) {
    int64_t size = lseek(fd, 0, SEEK_END), at = 0;
    uint64_t hash = hash64(&size, sizeof size, 0x46494E47);
    int64_t step = size / N_SAMPLES > SAMPLE_BYTES ? size / N_SAMPLES : SAMPLE_BYTES;
    int code = size < 0 ? err_set_errno(e, ERR_IO, "hash_file_sampled", "%s: cannot read", path) : 0;
    for (; code == 0 && at < size; at += step)
        code = sample(fd, at, (size_t)(size - at < SAMPLE_BYTES ? size - at : SAMPLE_BYTES), path, &hash, e);
    if (code == 0 && step > SAMPLE_BYTES)
        code = sample(fd, size - SAMPLE_BYTES, SAMPLE_BYTES, path, &hash, e);
    if (code == 0)
        *out = hash;
    return code;
}

int hash_file_sampled(const char *path, uint64_t *out, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "hash_file_sampled",
                             "%s: cannot open", path);
    int code = sample_all(fd, path, out, e);
    close(fd);
    return code;
}
