/* The texts with which a bundle becomes a service, or runs under somebody else's runtime. Each is appended to `out`. */
#ifndef DELIVER_BUNDLE_SERVICE_H
#define DELIVER_BUNDLE_SERVICE_H

#include "deliver/bundle_text.h"

/* A unit for systemd: a user of its own that exists while it runs, a read-only system, loopback alone, the plan's memory. */
void bundle_text_unit(const struct bundle_facts *f, struct str *out);

/* POSIX shell. With EDGESTILL_ROOT set they work below that folder and leave systemd alone (images, tests). */
void bundle_text_install(const struct bundle_facts *f, struct str *out);
void bundle_text_uninstall(const struct bundle_facts *f, struct str *out);

/* For Ollama, and a start script for llama.cpp's own server. */
void bundle_text_modelfile(const struct bundle_facts *f, struct str *out);
/* What an answer may be, for llama.cpp; nothing for a free text. */
void bundle_text_grammar(const struct bundle_facts *f, struct str *out);
void bundle_text_llama_server(const struct bundle_facts *f, struct str *out);

/* The README's sections on all of these. */
void bundle_text_service_help(const struct bundle_facts *f, struct str *out);

#endif
