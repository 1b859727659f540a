/* Deciding a stream of records. */
#include "pipe.h"
#include "base/log.h"
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
    str_add(out, "{\"error\":");
    struct str text = {0};
    str_addf(&text, "%s%s%s", e->message, e->hint[0] ? "; " : "", e->hint);
    json_text_string(out, str_text(&text));
    str_release(&text);
    str_addf(out, ",\"line\":%lld}", (long long)line);
}

/* A record's own fault becomes an answer of its own, and the pipe goes on; anything else ends it. */
bool pipe_is_records_fault(int code) {
    return code == ERR_INPUT || code == ERR_FORMAT;
}

struct counts {
    int64_t lines, bad, decided, lacking, outside; /* lines: blank ones, too */
};

static int report(const struct counts *seen, struct err *e) {
    if (seen->lacking)
        log_warn(
            "%lld of %lld records lack a field that the task needs: their answers name it in \"missing\"",
            (long long)seen->lacking, (long long)seen->decided);
    if (seen->outside)
        log_warn("%lld of %lld records have values that the task does not declare: their answers name the "
                 "fields in \"outside\"",
                 (long long)seen->outside, (long long)seen->decided);
    return seen->bad ? err_set(e, ERR_INPUT, "edgestill-run", "%lld of %lld lines could not be used",
                               (long long)seen->bad, (long long)seen->lines)
                     : 0;
}

static int decide_line(struct runner *r, const char *line, size_t n, struct counts *seen, struct str *out,
                       struct err *e) {
    struct decision d;
    int rc = runner_decide(r, line, n, (int)(seen->lines & 0x3FFFFFFF), &d, e);
    seen->decided += rc == 0;
    seen->lacking += rc == 0 && d.missing;
    seen->outside += rc == 0 && d.outside;
    return rc < 0 ? rc : runner_write(r, &d, out, e);
}

int pipe_run(struct runner *r, int input_fd, FILE *output, struct err *e) {
    struct lines lines;
    struct str out = {0};
    struct counts seen = {0};
    int rc;
    lines_init(&lines, input_fd);
    while (true) {
        char *line = NULL;
        size_t n = 0;
        struct err one = {0};
        rc = lines_next(&lines, &line, &n, &one);
        if (rc == 0 || rc == ERR_INTERRUPTED)
            break; /* a signal between two records is a clean end */
        seen.lines++;
        if (rc > 0 && is_blank(line, n))
            continue;
        str_clear(&out);
        rc = rc > 0 ? decide_line(r, line, n, &seen, &out, &one) : rc;
        if (pipe_is_records_fault(rc)) {
            str_clear(&out);
            write_problem(&out, seen.lines, &one);
            seen.bad++;
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
    return report(&seen, e);
}
