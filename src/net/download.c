/* A resumable download over one curl easy handle.
 *
 *   part of the same file there?  ──no──▶ ask for all ──▶ 200 ─▶ truncate, append
 *        │ yes                                              ▲
 *        └──▶ ask for the rest, If-Range ──▶ 206 ─▶ append   │ the file changed, or no ranges: 200
 *                                     └──────────────────────┘
 *
 * Invariants: PATH.part holds the first bytes of what PATH.part.json describes, and nothing else; what is hashed is what was
 * written; the notes are written before the first byte. */
#include "net/download.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/str.h"
#include "format/json.h"
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { CONNECT_MS = 20000, MOST_REDIRECTS = 8, COPY_BYTES = 1 << 16 };
static const double LONGEST_PAUSE_S = 30;

struct transfer {
    const struct net_download *d;
    char *part, *notes;
    CURL *easy;
    struct curl_slist *headers;
    int fd;
    struct sha256 *hash;
    int64_t have;  /* bytes in the part */
    int64_t total; /* of the file; -1: not known */
    int64_t received;
    char etag[128], stated_sha256[SHA256_HEX];
    char curl_says[CURL_ERROR_SIZE];
    int status;
    bool accepted; /* the status of this answer says that its body is the file's */
    struct err *e;
    int code; /* of what went wrong inside a callback */
};

/* ---- what is there already ---- */

int64_t net_download_part_bytes(const char *path) {
    struct str part = {0};
    str_addf(&part, "%s.part", path);
    int64_t n = part.failed ? -1 : file_size(str_text(&part));
    str_release(&part);
    return n > 0 ? n : 0;
}

static const char *text_of(const json_t *j, const char *key) {
    const char *text = json_string_value(json_object_get(j, key));
    return text != NULL ? text : "";
}

/* The part is worth keeping when it is of the same address and can be recognised again. */
static void read_notes(struct transfer *t) {
    json_t *j = NULL;
    t->have = 0;
    if (!file_exists(t->part) || !file_exists(t->notes) || json_file_read(t->notes, &j, NULL) < 0)
        return;
    if (str_equal(text_of(j, "url"), t->d->url) && text_of(j, "etag")[0] != '\0') {
        snprintf(t->etag, sizeof t->etag, "%s", text_of(j, "etag"));
        snprintf(t->stated_sha256, sizeof t->stated_sha256, "%s", text_of(j, "sha256"));
        t->total = json_integer_value(json_object_get(j, "bytes"));
        t->have = file_size(t->part);
    }
    json_decref(j);
}

static int write_notes(struct transfer *t) {
    json_t *j = json_pack("{s:s, s:s, s:s, s:I}", "url", t->d->url, "etag", t->etag, "sha256",
                          t->stated_sha256, "bytes", (json_int_t)t->total);
    int code = j != NULL ? json_file_write(t->notes, j, t->e)
                         : err_set(t->e, ERR_NO_MEMORY, "net_download", "out of memory");
    json_decref(j);
    return code;
}

/* Hashes what is there, so that the hash runs on. */
static int take_up(struct transfer *t) {
    char *buffer = malloc(COPY_BYTES);
    int64_t done = 0;
    sha256_finish(t->hash, (char[SHA256_HEX]){0});
    t->hash = sha256_new();
    int code =
        buffer != NULL && t->hash != NULL ? 0 : err_set(t->e, ERR_NO_MEMORY, "net_download", "out of memory");
    while (code == 0 && done < t->have) {
        ssize_t n = pread(t->fd, buffer, COPY_BYTES, done);
        if (n <= 0)
            code = err_set_errno(t->e, ERR_IO, "net_download", "cannot read %s", t->part);
        else
            sha256_add(t->hash, buffer, (size_t)n);
        done += n > 0 ? n : 0;
    }
    free(buffer);
    return code;
}

static int start_over(struct transfer *t) {
    t->have = 0;
    if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0)
        return err_set_errno(t->e, ERR_IO, "net_download", "cannot empty %s", t->part);
    return take_up(t);
}

/* ---- an answer ---- */

static bool is_sha256(const char *text) {
    return strlen(text) == SHA256_HEX - 1 && strspn(text, "0123456789abcdefABCDEF") == SHA256_HEX - 1;
}

/* The value of a header line without quotes, "W/" and line end; false: another header. */
static bool header_is(const char *line, size_t n, const char *name, char *value, size_t size) {
    size_t length = strlen(name);
    if (n <= length || strncasecmp(line, name, length) != 0 || line[length] != ':')
        return false;
    const char *at = line + length + 1, *end = line + n;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    snprintf(value, size, "%.*s", (int)(end - at), at);
    return true;
}

static void strip_quotes(char *text) {
    size_t n = strlen(text);
    if (n >= 2 && text[0] == '"' && text[n - 1] == '"') {
        memmove(text, text + 1, n - 2);
        text[n - 2] = '\0';
    }
}

static size_t take_header(char *line, size_t size, size_t count, void *context) {
    struct transfer *t = context;
    size_t n = size * count;
    char value[160];
    if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0) { /* each hop begins anew */
        t->status = 0;
        t->accepted = false;
    } else if (header_is(line, n, "X-Linked-ETag", value, sizeof value)) {
        strip_quotes(value);
        if (is_sha256(value))
            snprintf(t->stated_sha256, sizeof t->stated_sha256, "%.64s", value);
    }
    return n;
}

static bool response_header(struct transfer *t, const char *name, char *value, size_t size) {
    struct curl_header *h = NULL;
    if (curl_easy_header(t->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return false;
    snprintf(value, size, "%s", h->value);
    return true;
}

static int64_t content_length(struct transfer *t) {
    curl_off_t n = -1;
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n);
    return (int64_t)n;
}

/* Weak tags promise no equality of bytes. */
static void keep_etag(struct transfer *t) {
    char value[sizeof t->etag] = "";
    bool strong = response_header(t, "ETag", value, sizeof value) && value[0] == '"';
    snprintf(t->etag, sizeof t->etag, "%s", strong ? value : "");
}

static int check_room(struct transfer *t) {
    int64_t free_bytes = file_free_bytes(t->part), need = t->total - t->have;
    char a[32], b[32];
    if (t->total < 0 || free_bytes < 0 || need <= free_bytes)
        return 0;
    err_set(t->e, ERR_NO_SPACE, "net_download", "%s more are needed for %s, %s are free there",
            str_bytes(a, sizeof a, need), t->d->path, str_bytes(b, sizeof b, free_bytes));
    return err_hint(t->e, "make room, or choose another folder with EDGESTILL_MODELS; what is there is kept");
}

/* "bytes 100-199/1000": begins where the part ends? */
static bool range_fits(struct transfer *t) {
    char value[96] = "";
    long long from = -1, to = -1, total = -1;
    if (!response_header(t, "Content-Range", value, sizeof value) ||
        sscanf(value, "bytes %lld-%lld/%lld", &from, &to, &total) < 2 || from != t->have)
        return false;
    if (total >= 0)
        t->total = total;
    return true;
}

/* At the first byte of a body: which status, and so where do the bytes go? */
static int begin_body(struct transfer *t) {
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->status = (int)status;
    if (t->status == 206 && range_fits(t)) {
        t->accepted = true;
        return check_room(t);
    }
    if (t->status != 200)
        return t->status == 206 ? start_over(t) : 0;
    t->accepted = true;
    t->total = content_length(t);
    keep_etag(t);
    int code = start_over(t);
    if (code == 0)
        code = check_room(t);
    return code == 0 ? write_notes(t) : code;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context) {
    struct transfer *t = context;
    size_t n = size * count;
    if (t->status == 0 && (t->code = begin_body(t)) < 0)
        return CURL_WRITEFUNC_ERROR;
    if (!t->accepted)
        return t->status == 206 ? CURL_WRITEFUNC_ERROR : n; /* an error page */
    for (size_t done = 0; done < n;) {
        ssize_t written = pwrite(t->fd, bytes + done, n - done, t->have + (int64_t)done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            t->code = err_set_errno(t->e, ERR_IO, "net_download", "cannot write %s", t->part);
            return CURL_WRITEFUNC_ERROR;
        }
        done += (size_t)written;
    }
    sha256_add(t->hash, bytes, n);
    t->have += (int64_t)n;
    t->received += (int64_t)n;
    if (t->d->progress != NULL) {
        t->d->progress->total = t->total > 0 ? t->total : 0;
        progress_update(t->d->progress, t->have);
    }
    return n;
}

static int watch(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)context, (void)a, (void)b, (void)c, (void)d;
    return interrupt_requested() ? 1 : 0;
}

/* ---- attempts ---- */

static int64_t or_default(int64_t value, int64_t fallback) {
    return value > 0 ? value : fallback;
}

static int add_header(struct transfer *t, const char *text) {
    struct curl_slist *list = curl_slist_append(t->headers, text);
    if (list == NULL)
        return err_set(t->e, ERR_NO_MEMORY, "net_download", "out of memory");
    t->headers = list;
    return 0;
}

static int set_request(struct transfer *t) {
    char line[sizeof t->etag + 32];
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    int code = add_header(t, "Accept-Encoding: identity"); /* a checksum is of the bytes as they are */
    if (code == 0 && t->have > 0) {
        snprintf(line, sizeof line, "Range: bytes=%lld-", (long long)t->have);
        code = add_header(t, line);
        snprintf(line, sizeof line, "If-Range: %s", t->etag);
        code = code == 0 ? add_header(t, line) : code;
    }
    if (code == 0 && t->d->bearer != NULL) {
        struct str key = {0};
        str_addf(&key, "Authorization: Bearer %s", t->d->bearer); /* libcurl drops it at another host */
        code = key.failed ? err_set(t->e, ERR_NO_MEMORY, "net_download", "out of memory")
                          : add_header(t, str_text(&key));
        str_release(&key);
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    return code;
}

static void configure(struct transfer *t) {
    CURL *c = t->easy;
    int64_t stall_ms = or_default(t->d->stall_ms, 60000);
    curl_easy_setopt(c, CURLOPT_URL, t->d->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR,
                     strncasecmp(t->d->url, "https", 5) == 0 ? "https" : "http,https");
#endif
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)MOST_REDIRECTS);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "edgestill");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)((stall_ms + 999) / 1000));
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->curl_says);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, watch);
}

static bool is_later(int status) {
    return status == 0 || status == 408 || status == 425 || status == 429 || status >= 500;
}

static int status_error(struct transfer *t) {
    const char *url = t->d->url;
    switch (t->status) {
    case 401:
    case 403:
        err_set(t->e, ERR_AUTH, "net_download", "%s: HTTP %d, access refused", url, t->status);
        return err_hint(t->e,
                        "accept the model's licence on its page, then export the hub's token as HF_TOKEN");
    case 404:
        err_set(t->e, ERR_NOT_FOUND, "net_download", "%s: HTTP 404, there is no such file", url);
        return err_hint(t->e, "edgestill models NAME shows where its files are");
    default:
        return err_set(t->e, t->status >= 400 && t->status < 500 ? ERR_INPUT : ERR_NET, "net_download",
                       "%s: HTTP %d", url, t->status);
    }
}

enum outcome { WHOLE, AGAIN, FAILED };

/* One request. AGAIN leaves in `e` what happened, to be kept if it was the last attempt. */
static enum outcome attempt(struct transfer *t) {
    t->curl_says[0] = '\0';
    t->code = 0;
    t->status = 0;
    if ((t->code = set_request(t)) < 0)
        return FAILED;
    CURLcode rc = curl_easy_perform(t->easy);
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->code < 0)
        return FAILED;
    if (interrupt_requested()) {
        t->code = err_set(t->e, ERR_INTERRUPTED, "net_download", "stopped; the part that is here is kept");
        return FAILED;
    }
    if (rc == CURLE_OK && status == 416 && t->have == t->total)
        return WHOLE;
    if (rc == CURLE_OK && (status == 200 || status == 206) && (t->accepted || t->total == 0))
        return t->total < 0 || t->have == t->total ? WHOLE : AGAIN;
    t->status = (int)status;
    if (status == 416 || (status == 206 && !t->accepted)) /* what is here is not of this file */
        return (t->code = start_over(t)) < 0 ? FAILED : AGAIN;
    if (rc == CURLE_OK && !is_later(t->status)) {
        t->code = status_error(t);
        return FAILED;
    }
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL ||
        rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_TOO_MANY_REDIRECTS) {
        t->code = err_set(t->e, ERR_INPUT, "net_download", "%s: %s", t->d->url,
                          t->curl_says[0] ? t->curl_says : curl_easy_strerror(rc));
        return FAILED;
    }
    return AGAIN;
}

static void pause_for(double seconds) {
    for (double end = clock_seconds() + seconds; clock_seconds() < end && !interrupt_requested();)
        usleep(20000);
}

static int receive_all(struct transfer *t, int *attempts) {
    int most = (int)or_default(t->d->max_attempts, 6), idle = 0;
    double pause = (double)or_default(t->d->backoff_ms, 500) / 1000;
    for (;;) {
        int64_t before = t->received;
        enum outcome o = attempt(t);
        ++*attempts;
        if (o == WHOLE)
            return 0;
        if (o == FAILED)
            return t->code;
        idle = t->received > before ? 0 : idle + 1;
        if (t->etag[0] == '\0' && t->have > 0 &&
            (t->code = start_over(t)) < 0) /* cannot be recognised again */
            return t->code;
        if (idle >= most) {
            err_set(t->e, ERR_NET, "net_download", "%s: %s after %d attempts", t->d->url,
                    t->curl_says[0]    ? t->curl_says
                    : t->status >= 400 ? "the server is not available"
                                       : "the connection broke",
                    *attempts);
            return err_hint(t->e, "run the same command again: it goes on where it was");
        }
        double wait = pause * (double)(1 << (idle < 6 ? idle : 6));
        pause_for(wait < LONGEST_PAUSE_S ? wait : LONGEST_PAUSE_S);
    }
}

/* ---- the end ---- */

static int check_sum(struct transfer *t, struct net_downloaded *out) {
    const char *expected = t->d->sha256 != NULL ? t->d->sha256 : t->stated_sha256;
    sha256_finish(t->hash, out->sha256);
    t->hash = NULL;
    out->checked = expected[0] != '\0';
    if (!out->checked || strcasecmp(expected, out->sha256) == 0)
        return 0;
    unlink(t->part);
    unlink(t->notes);
    err_set(t->e, ERR_MISMATCH, "net_download", "%s has the SHA-256 %s, expected is %s", t->d->url,
            out->sha256, expected);
    return err_hint(t->e, "it was removed; either the file has changed there or it was damaged under way");
}

static int finish(struct transfer *t) {
    if (fsync(t->fd) != 0 || rename(t->part, t->d->path) != 0)
        return err_set_errno(t->e, ERR_IO, "net_download", "cannot finish %s", t->d->path);
    unlink(t->notes);
    return 0;
}

static int prepare(struct transfer *t) {
    struct str part = {0}, notes = {0};
    str_addf(&part, "%s.part", t->d->path);
    str_addf(&notes, "%s.part.json", t->d->path);
    t->part = part.failed ? NULL : strdup(str_text(&part));
    t->notes = notes.failed ? NULL : strdup(str_text(&notes));
    str_release(&part);
    str_release(&notes);
    t->easy = curl_easy_init();
    if (t->part == NULL || t->notes == NULL || t->easy == NULL)
        return err_set(t->e, ERR_NO_MEMORY, "net_download", "out of memory");
    read_notes(t);
    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t->fd < 0)
        return err_set_errno(t->e, ERR_IO, "net_download", "cannot open %s", t->part);
    configure(t);
    return t->have > 0 ? take_up(t) : start_over(t);
}

int net_download(const struct net_download *d, struct net_downloaded *out, struct err *e) {
    struct err own = {0};
    struct transfer t = {.d = d, .fd = -1, .total = -1, .e = e != NULL ? e : &own};
    struct net_downloaded got = {0};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return err_set(t.e, ERR_NET, "net_download", "libcurl cannot be initialised");
    int code = prepare(&t);
    if (code == 0)
        code = receive_all(&t, &got.attempts);
    if (code == 0)
        code = check_sum(&t, &got);
    if (code == 0)
        code = finish(&t);
    got.bytes = t.have;
    got.received_bytes = t.received;
    if (t.fd >= 0)
        close(t.fd);
    if (code < 0 && t.part != NULL && file_size(t.part) == 0)
        unlink(t.part); /* nothing came: leave nothing behind */
    sha256_finish(t.hash, (char[SHA256_HEX]){0});
    curl_slist_free_all(t.headers);
    curl_easy_cleanup(t.easy);
    curl_global_cleanup();
    free(t.part);
    free(t.notes);
    if (code == 0)
        *out = got;
    return code;
}
