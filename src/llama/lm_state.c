/* A sequence's KV cache on disk: what every prompt of a task begins with, computed once.
 *
 *     file = header (below, little-endian) ++ llama.cpp's bytes of the sequence
 *
 * The header carries the caller's tag, the versions of llama.cpp, the number of tokens and a hash of the bytes. Anything
 * that differs makes the file useless, never harmful: ERR_MISMATCH, and the caller computes the prefix again. */
#include "base/file.h"
#include "base/hash.h"
#include "llama/lm_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct state_header {
    char magic[8];
    uint32_t version;
    uint32_t n_tokens;
    uint64_t n_bytes;
    uint64_t hash;
    char tag[256];
    char runtime[96];
};
_Static_assert(sizeof(struct state_header) == 384, "the header's layout is on disk");
_Static_assert(offsetof(struct state_header, tag) == 32, "the header's layout is on disk");

static const char state_magic[8] = {'E', 'D', 'G', 'S', 'T', 'A', 'T', 'E'};
enum { STATE_VERSION = 1 };
static const uint64_t state_seed = 0x45444753;

static int check_sequence(const struct lm *m, int seq, const char *origin, struct err *e) {
    if (!m->ctx || seq < 0 || seq >= m->n_seq)
        return err_set(e, ERR_USAGE, origin, "there is no sequence %d", seq);
    return 0;
}

int lm_state_save(struct lm *m, int seq, const char *path, const char *tag, struct err *e) {
    int rc = check_sequence(m, seq, "lm_state_save", e);
    if (rc < 0)
        return rc;
    struct state_header h = {.version = STATE_VERSION, .n_tokens = (uint32_t)lm_position(m, seq)};
    if (strlen(tag) >= sizeof h.tag)
        return err_set(e, ERR_USAGE, "lm_state_save", "a tag of %zu bytes is too long", strlen(tag));
    memcpy(h.magic, state_magic, sizeof h.magic);
    memcpy(h.tag, tag, strlen(tag));
    snprintf(h.runtime, sizeof h.runtime, "%s", lm_version());
    size_t n_bytes = llama_state_seq_get_size(m->ctx, seq);
    unsigned char *file = malloc(sizeof h + n_bytes);
    if (!file)
        return err_set(e, ERR_NO_MEMORY, "lm_state_save", "no memory for a state of %zu bytes", n_bytes);
    h.n_bytes = llama_state_seq_get_data(m->ctx, file + sizeof h, n_bytes, seq);
    if (h.n_bytes == 0 || h.n_bytes > n_bytes)
        rc = err_set(e, ERR_LLAMA, "lm_state_save", "llama.cpp could not give the state of %u tokens",
                     h.n_tokens);
    if (rc == 0) {
        h.hash = hash64(file + sizeof h, h.n_bytes, state_seed);
        memcpy(file, &h, sizeof h);
        rc = file_write(path, file, sizeof h + h.n_bytes, e);
    }
    free(file);
    return rc;
}

/* The file as it lies in the page cache: a state of 20 MB is neither copied nor grown into. */
struct mapped {
    const unsigned char *bytes;
    size_t n;
};

static int map_file(struct mapped *out, const char *path, struct err *e) {
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "lm_state_load", "cannot open %s",
                             path);
    int rc = fstat(fd, &s) == 0 ? 0 : err_set_errno(e, ERR_IO, "lm_state_load", "cannot read %s", path);
    if (rc == 0 && s.st_size < (off_t)sizeof(struct state_header))
        rc = err_set(e, ERR_MISMATCH, "lm_state_load", "%s is cut short", path);
    void *bytes =
        rc == 0 ? mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0) : NULL;
    if (rc == 0 && bytes == MAP_FAILED)
        rc = err_set_errno(e, ERR_IO, "lm_state_load", "cannot map %s", path);
    close(fd);
    if (rc == 0)
        *out = (struct mapped){bytes, (size_t)s.st_size};
    return rc;
}

static int check_header(const struct state_header *h, const struct mapped *file, const char *path,
                        const char *tag, struct err *e) {
    const char *reason = NULL;
    if (memcmp(h->magic, state_magic, sizeof h->magic) != 0 || h->version != STATE_VERSION)
        reason = "is not a prefix state of this version";
    else if (h->n_bytes != file->n - sizeof *h)
        reason = "is cut short";
    else if (memchr(h->tag, 0, sizeof h->tag) == NULL || strcmp(h->tag, tag) != 0)
        reason = "belongs to another model or prompt";
    else if (strncmp(h->runtime, lm_version(), sizeof h->runtime) != 0)
        reason = "was saved by another version of llama.cpp";
    else if (hash64(file->bytes + sizeof *h, h->n_bytes, state_seed) != h->hash)
        reason = "is damaged";
    return reason ? err_set(e, ERR_MISMATCH, "lm_state_load", "%s %s", path, reason) : 0;
}

static int restore(struct lm *m, int seq, const struct state_header *h, const struct mapped *file,
                   const char *path, struct err *e) {
    struct lm_log_listener log = {0};
    lm_clear(m, seq);
    lm_log_begin(&log);
    size_t n = llama_state_seq_set_data(m->ctx, file->bytes + sizeof *h, h->n_bytes, seq);
    lm_log_end(&log);
    if (n > 0 && lm_position(m, seq) == (int32_t)h->n_tokens)
        return 0;
    lm_clear(m, seq);
    return err_set(e, ERR_MISMATCH, "lm_state_load", "llama.cpp does not accept the state in %s: %s", path,
                   log.errors[0] ? log.errors : "it holds another number of tokens");
}

int lm_state_load(struct lm *m, int seq, const char *path, const char *tag, struct err *e) {
    int rc = check_sequence(m, seq, "lm_state_load", e);
    if (rc < 0)
        return rc;
    struct mapped file = {0};
    struct state_header h;
    rc = map_file(&file, path, e);
    if (rc < 0)
        return rc;
    memcpy(&h, file.bytes, sizeof h);
    rc = check_header(&h, &file, path, tag, e);
    if (rc == 0)
        rc = restore(m, seq, &h, &file, path, e);
    munmap((void *)(uintptr_t)file.bytes, file.n);
    return rc;
}
