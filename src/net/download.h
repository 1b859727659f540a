/* Downloading one large file so that nothing received is lost.
 *
 *     struct net_download d = {.url = url, .path = "base.gguf", .sha256 = known_or_NULL};
 *     struct net_downloaded got;
 *     int code = net_download(&d, &got, &e);      // again after an interruption: goes on where it was
 *
 * Bytes go to PATH.part, with PATH.part.json beside it saying what they are of (address, entity tag, size). The next attempt,
 * of this call or of another day's, asks for the rest alone, and only if the file is still the same (If-Range); a server
 * that cannot do ranges sends the whole again. PATH appears, by renaming, when all bytes are there, are on disk and have the
 * right SHA-256: the one asked for, else the one that the hub states for the file (X-Linked-ETag), else none was known.
 *
 * Redirects are followed, to http and https alone, and the key never travels to another host. Broken connections and the
 * statuses that mean "later" are tried again. Returns 0 or ERR_NET, ERR_AUTH (401, 403), ERR_NOT_FOUND (404), ERR_INPUT (other
 * 4xx), ERR_MISMATCH (checksum; the part is removed), ERR_INTERRUPTED, ERR_IO. */
#ifndef NET_DOWNLOAD_H
#define NET_DOWNLOAD_H

#include "base/err.h"
#include "base/hash.h"
#include "base/progress.h"
#include <stdbool.h>
#include <stdint.h>

struct net_download {
    const char *url, *path;
    const char *sha256;        /* expected, hexadecimal; NULL: what the server states, if anything */
    const char *bearer;        /* key for the first host; NULL: none */
    struct progress *progress; /* counts bytes; NULL: none */
    int max_attempts;          /* without a byte of progress in between [6] */
    int64_t backoff_ms;        /* first pause [500], doubled each time */
    int64_t stall_ms;          /* a connection that brings nothing for so long is given up [60,000] */
};

struct net_downloaded {
    int64_t bytes;          /* of the file */
    int64_t received_bytes; /* by this call */
    char sha256[SHA256_HEX];
    bool checked; /* sha256 was compared with one from outside */
    int attempts;
};

int net_download(const struct net_download *d, struct net_downloaded *out, struct err *e);

/* How much of it is here already: bytes of PATH.part; 0: nothing. */
int64_t net_download_part_bytes(const char *path);

#endif
