/* Deciding a stream of records. */
#include "pipe.h"
#include "format/json.h"
#include "lines.h"

static bool is_blank(const char *line, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (line[i] != ' ' && line[i] != '\t')
            return false;
    }
    return true;
}

static void write_problem(struct str *out, int64_t line, const struct err *e) {
    str_addf(out, "{\"error\":");
    json_text_string(out, e->message);
    str_addf(out, ",\"line\":%lld}", (long long)line);
}

/* A record's own fault becomes an answer of its own, and the pipe goes on; anything else ends it. */
bool pipe_is_records_fault(int code) {
    return code == ERR_INPUT || code == ERR_FORMAT;
}

static int decide_line(struct runner *r, const char *line, size_t n, int64_t number, struct str *out,
                       struct err *e) {
    struct decision d;
    int rc = runner_decide(r, line, n, (int)(number & 0x3FFFFFFF), &d, e);
    return rc < 0 ? rc : runner_write(r, &d, out, e);
}

int pipe_run(struct runner *r, int input_fd, FILE *output, struct err *e) {
    struct lines lines;
    struct str out = {0};
    int64_t number = 0, n_bad = 0;
    int rc;
    lines_init(&lines, input_fd);
    while (true) {
        char *line = NULL;
        size_t n = 0;
        struct err one = {0};
        rc = lines_next(&lines, &line, &n, &one);
        if (rc == 0 || rc == ERR_INTERRUPTED)
            break; /* a signal between two records is a clean end */
        number++;
        if (rc > 0 && is_blank(line, n))
            continue;
        str_clear(&out);
        rc = rc > 0 ? decide_line(r, line, n, number, &out, &one) : rc;
        if (pipe_is_records_fault(rc)) {
            str_clear(&out);
            write_problem(&out, number, &one);
            n_bad++;
        } else if (rc < 0) {
            *e = one;
            break;
        }
        rc = fputs(str_text(&out), output) < 0 || putc('\n', output) < 0 || fflush(output) != 0
                 ? err_set_errno(e, ERR_IO, "edgestill-run", "cannot write")
                 : 0;
        if (rc < 0)
            break;
    }
    lines_release(&lines);
    str_release(&out);
    if (rc < 0 && rc != ERR_INTERRUPTED)
        return rc;
    return n_bad ? err_set(e, ERR_INPUT, "edgestill-run", "%lld of %lld lines could not be used",
                           (long long)n_bad, (long long)number)
                 : 0;
}
