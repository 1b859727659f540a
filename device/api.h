/* What the server answers, apart from HTTP: a body in, a status and a body out. */
#ifndef DEVICE_API_H
#define DEVICE_API_H

#include "runner.h"

enum api_kind { API_NONE, API_DECIDE, API_CHAT, API_MODELS, API_HEALTH, API_METRICS };

struct reply {
    int status;
    const char *type;  /* content type */
    const char *allow; /* 405: the method that is allowed; else NULL */
    struct str body;
    bool decided, abstained, missing, outside; /* for the metrics; the last two as in struct decision */
    int label;
    double seconds;
};
void reply_release(struct reply *r);

/* The place that a path names, and the method it takes ("GET", "POST"). API_NONE: there is no such place. */
enum api_kind api_route(const char *path, const char **method);

/* {"error":{...}} with that status. */
void api_error(struct reply *out, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Decides a record: API_DECIDE or API_CHAT. A fault of the record is a 400, one of the model a 500. */
void api_decide(struct runner *r, enum api_kind kind, const char *body, size_t n, struct reply *out);

void api_models(const struct bundle *b, struct reply *out);

/* "name: value" lines or pairs with ";" between them, or a JSON object as it is, to a JSON object, appended. A ";" in a text field's value
 * stays there unless another field of the task follows. ERR_INPUT when it is neither. For its test. */
int api_record_text(const struct task *t, const char *text, struct str *json, struct err *e);

#endif
