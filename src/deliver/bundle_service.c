/* Unit, install scripts, other runtimes. */
#include "deliver/bundle_service.h"
#include "format/json.h"
#include "task/answer.h"
#include <string.h>

/* What a control group counts besides the process's own memory: page tables, sockets, file cache that cannot go at once. */
enum { GROUP_OVERHEAD_MB = 32, PORT = 8077 };

static int64_t limit_mb(const struct bundle_facts *f) {
    const struct estimate *m = &f->q->plan->predicted.memory_bytes;
    return m->basis && m->basis[0] && m->high > 0 ? (int64_t)(m->high / (1 << 20)) + 1 : 0;
}

/* ---- systemd ---- */

static const char sandbox[] =
    "\n# Nothing of the machine but reading this folder and answering on loopback.\n"
    "DynamicUser=yes\n"
    "ProtectSystem=strict\n"
    "ProtectHome=yes\n"
    "PrivateTmp=yes\n"
    "PrivateDevices=yes\n"
    "DevicePolicy=closed\n"
    "ProtectKernelTunables=yes\n"
    "ProtectKernelModules=yes\n"
    "ProtectKernelLogs=yes\n"
    "ProtectControlGroups=yes\n"
    "ProtectClock=yes\n"
    "ProtectHostname=yes\n"
    "RestrictNamespaces=yes\n"
    "RestrictRealtime=yes\n"
    "RestrictSUIDSGID=yes\n"
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n"
    "LockPersonality=yes\n"
    "MemoryDenyWriteExecute=yes\n"
    "NoNewPrivileges=yes\n"
    "CapabilityBoundingSet=\n"
    "SystemCallArchitectures=native\n"
    "SystemCallFilter=@system-service\n"
    "SystemCallErrorNumber=EPERM\n"
    "UMask=0077\n"
    "IPAddressDeny=any\n"
    "IPAddressAllow=localhost\n";

void bundle_text_unit(const struct bundle_facts *f, struct str *out) {
    int64_t mb = limit_mb(f);
    str_addf(
        out,
        "# Written by edgestill; `install` puts it into /etc/systemd/system. Change it with: systemctl edit "
        "edgestill-%s\n"
        "[Unit]\n"
        "Description=edgestill %s: decides records on 127.0.0.1:%d\n"
        "Documentation=file:///opt/edgestill/%s/README.md\n\n"
        "[Service]\n"
        "# It has started when it answers: the program says so itself.\n"
        "Type=notify\n"
        "TimeoutStartSec=300\n"
        "ExecStart=/opt/edgestill/%s/run --serve --lock --listen 127.0.0.1:%d\n"
        "Restart=on-failure\n"
        "RestartSec=5\n"
        "# SIGTERM finishes the record at hand.\n"
        "TimeoutStopSec=30\n"
        "LimitMEMLOCK=infinity\n",
        f->name, f->name, PORT, f->name, f->name, PORT);
    if (mb > 0)
        str_addf(
            out,
            "# The plan's %lld MB, and %d for what the kernel counts besides. No swap.\nMemoryMax=%lldM\n",
            (long long)mb, GROUP_OVERHEAD_MB, (long long)mb + GROUP_OVERHEAD_MB);
    str_add(out, "MemorySwapMax=0\n");
    str_add(out, sandbox);
    str_add(out, "\n[Install]\nWantedBy=multi-user.target\n");
}

/* What the program takes with --listen, as far as a shell can tell: a unit with another would start again and again. */
static const char address_check[] =
    "case ${listen##*:} in *[!0-9]*) bad=1 ;; *) bad= ;; esac\n"
    "case $listen in\n"
    "*[!][0-9A-Za-z.:]* | *:) bad=1 ;;\n"
    "'' | localhost:* | [0-9]*.*.*.[0-9]*:* | \\[*:*\\]:*) ;;\n"
    "*) bad=1 ;;\n"
    "esac\n"
    "if [ -n \"$bad\" ]; then\n"
    "    echo \"install: \\\"$listen\\\" is no address to listen on: a numeric one and a port, as in "
    "127.0.0.1:8078 or [::1]:8078\" >&2; exit 2\n"
    "fi\n";

void bundle_text_install(const struct bundle_facts *f, struct str *out) {
    str_addf(out,
             "#!/bin/sh\n"
             "# Installs this folder as the service edgestill-%s: copies it to /opt/edgestill/%s (the "
             "version before is kept\n"
             "# beside it), and starts it now and at every boot. As root.\n"
             "#   ./install [--listen HOST:PORT]     another address than 127.0.0.1:%d; one that is not "
             "loopback opens it\n"
             "#                                      to the network. Installing again keeps it\n"
             "set -eu\n"
             "name=%s\n",
             f->name, f->name, PORT, f->name);
    str_add(out, "here=$(dirname -- \"$(readlink -f -- \"$0\")\")\n"
                 "root=${EDGESTILL_ROOT:-}\n"
                 "listen=\n"
                 "while [ $# -gt 0 ]; do\n"
                 "    case $1 in\n"
                 "    --listen) [ $# -ge 2 ] || { echo 'install: --listen takes HOST:PORT' >&2; exit 2; }; "
                 "listen=$2; shift 2 ;;\n"
                 "    *) sed -n '2,6s/^# \\{0,1\\}//p' \"$0\" >&2; exit 2 ;;\n"
                 "    esac\n"
                 "done\n");
    str_add(out, address_check);
    str_add(out, "if [ -z \"$root\" ] && [ \"$(id -u)\" != 0 ]; then "
                 "echo \"install: as root, please: sudo $here/install\" >&2; exit 1; fi\n"
                 "if [ -z \"$root\" ] && [ ! -d /run/systemd/system ]; then\n"
                 "    echo \"install: there is no systemd here; have this machine's init start: $here/run "
                 "--serve --lock\" >&2; exit 1\n"
                 "fi\n"
                 "\"$here/run\" --version >/dev/null || { echo 'install: this machine cannot run the "
                 "program' >&2; exit 1; "
                 "}\n"
                 "to=$root/opt/edgestill/$name units=$root/etc/systemd/system unit=edgestill-$name.service\n"
                 "mkdir -p \"$root/opt/edgestill\" \"$units\"\n"
                 "if [ \"$here\" != \"$to\" ]; then\n"
                 "    rm -rf \"$to.new\"\n"
                 "    cp -R \"$here\" \"$to.new\" || { rm -rf \"$to.new\"; echo 'install: is the disk full?' "
                 ">&2; exit 1; "
                 "}\n"
                 "    [ -n \"$root\" ] || chown -R 0:0 \"$to.new\"\n"
                 "    chmod -R go-w,a+rX \"$to.new\"\n"
                 "    rm -rf \"$to.old\"\n"
                 "    if [ -e \"$to\" ]; then mv \"$to\" \"$to.old\"; fi\n"
                 "    mv \"$to.new\" \"$to\"\n"
                 "fi\n"
                 "cp \"$to/edgestill.service\" \"$units/$unit\"\n"
                 "if [ -n \"$listen\" ]; then\n"
                 "    mkdir -p \"$units/$unit.d\"\n"
                 "    {\n"
                 "        echo '[Service]'\n"
                 "        echo 'ExecStart='\n"
                 "        echo \"ExecStart=/opt/edgestill/$name/run --serve --lock --listen $listen\"\n"
                 "        case $listen in\n"
                 "        127.* | \\[::1\\]:* | localhost:*) ;;\n"
                 "        *) echo 'IPAddressDeny=' && echo 'IPAddressAllow=' ;;\n"
                 "        esac\n"
                 "    } >\"$units/$unit.d/listen.conf\"\n"
                 "fi\n"
                 "[ -z \"$root\" ] || exit 0\n"
                 "systemctl daemon-reload\n"
                 "systemctl enable \"$unit\"\n"
                 "if ! systemctl restart \"$unit\"; then\n"
                 "    echo \"install: the service does not start; see: journalctl -u $unit\" >&2\n"
                 "    exit 1\n"
                 "fi\n"
                 "listen=$(sed -n 's/^ExecStart=.* --listen //p' \"$units/$unit.d/listen.conf\" 2>/dev/null) "
                 "|| :\n"
                 "echo \"$unit runs; try: curl -s http://${listen:-127.0.0.1:");
    str_addf(out, "%d}/health\"\n", PORT);
}

void bundle_text_uninstall(const struct bundle_facts *f, struct str *out) {
    str_addf(out,
             "#!/bin/sh\n"
             "# Takes the service edgestill-%s and /opt/edgestill/%s away again. As root.\n"
             "set -eu\n"
             "name=%s\n",
             f->name, f->name, f->name);
    str_add(out, "root=${EDGESTILL_ROOT:-}\n"
                 "if [ -z \"$root\" ] && [ \"$(id -u)\" != 0 ]; then echo 'uninstall: as root, please' >&2; "
                 "exit 1; fi\n"
                 "unit=edgestill-$name.service\n"
                 "if [ -z \"$root\" ]; then systemctl disable --now \"$unit\" || :; fi\n"
                 "rm -rf \"$root/etc/systemd/system/$unit\" \"$root/etc/systemd/system/$unit.d\"\n"
                 "cd /\n"
                 "for d in '' .old .new; do rm -rf \"$root/opt/edgestill/$name$d\"; done\n"
                 "rmdir \"$root/opt/edgestill\" 2>/dev/null || :\n"
                 "if [ -z \"$root\" ]; then systemctl daemon-reload || :; fi\n");
}

/* ---- other runtimes ---- */

/* Text inside a Go template between triple quotes. */
static void add_template_text(struct str *out, const char *text) {
    for (; *text; text++) {
        if (strncmp(text, "{{", 2) == 0) {
            str_add(out, "{{ \"{{\" }}");
            text++;
        } else if (strncmp(text, "\"\"\"", 3) == 0) {
            str_add(out, "{{ \"\\\"\\\"\\\"\" }}");
            text += 2;
        } else {
            str_add_char(out, *text);
        }
    }
}

void bundle_text_modelfile(const struct bundle_facts *f, struct str *out) {
    str_addf(out,
             "# For Ollama: ollama create %s -f Modelfile; the message is the record's lines, \"- name: "
             "value\" each.\n"
             "FROM ./model/student.gguf\nTEMPLATE \"\"\"",
             f->name);
    add_template_text(out, f->prompt->head);
    str_add(out, "{{ .Prompt }}\n");
    add_template_text(out, f->prompt->tail);
    str_add(out, "\"\"\"\nPARAMETER stop ");
    json_text_string(out, f->prompt->end_of_turn);
    str_addf(out, "\nPARAMETER temperature 0\nPARAMETER num_ctx %lld\nPARAMETER num_predict %d\n",
             (long long)f->n_ctx, (int)(f->q->plan->answer_tokens > 0 ? f->q->plan->answer_tokens + 4 : 16));
    if (f->q->plan->threads > 0)
        str_addf(out, "PARAMETER num_thread %d\n", f->q->plan->threads);
}

static void add_grammar(const struct task *t, struct str *out) {
    str_add(out, "root ::= ");
    for (int i = 0; i < t->n_labels; i++) {
        str_add(out, i ? " | " : "");
        json_text_string(out, t->labels[i].name);
    }
}

static void add_threads(const struct bundle_facts *f, struct str *out) {
    if (f->q->plan->threads > 0)
        str_addf(out, " --threads %d", f->q->plan->threads);
}

void bundle_text_grammar(const struct bundle_facts *f, struct str *out) {
    const struct task *t = f->q->task;
    if (t->kind == TASK_CLASSIFY) {
        add_grammar(t, out);
        str_add_char(out, '\n');
    } else {
        answer_grammar(t, out);
    }
}

void bundle_text_llama_server(const struct bundle_facts *f, struct str *out) {
    str_add(out, "#!/bin/sh\n"
                 "# Serves the model with llama.cpp's own server, where that is installed. See README.md.\n"
                 "here=$(dirname -- \"$(readlink -f -- \"$0\")\") || exit 1\n"
                 "exec llama-server --model \"$here/model/student.gguf\"");
    str_addf(out, " --ctx-size %lld", (long long)f->n_ctx);
    add_threads(f, out);
    if (f->q->task->kind != TASK_RESPOND)
        str_add(out, " \\\n    --grammar-file \"$here/grammar.gbnf\"");
    str_add(out, " --parallel 1 \\\n    --host 127.0.0.1 --port 8080 \"$@\"\n");
}

/* ---- README ---- */

static void add_http(const struct bundle_facts *f, struct str *out) {
    const struct task *t = f->q->task;
    struct str record = {0};
    str_addf(out,
             "## Over HTTP\n\n```\n./run --serve &\ncurl -s http://127.0.0.1:%d/v1/decide -H 'Content-Type: "
             "application/json' "
             "-d ",
             PORT);
    str_add_char(&record, '{');
    for (int i = 0; i < t->n_declared; i++) {
        const struct task_field *x = &t->fields[i];
        str_add(&record, i ? ", " : "");
        json_text_string(&record, x->name);
        str_add(&record, ": ");
        if (x->type == FIELD_CATEGORY && x->n_values > 0)
            json_text_string(&record, x->values[0]);
        else if (x->type == FIELD_NUMBER || x->type == FIELD_INTEGER)
            str_addf(&record, "%.*f", x->type == FIELD_NUMBER ? x->decimals : 0, x->has_range ? x->min : 1.0);
        else
            str_add(&record, x->type == FIELD_DATE ? "\"2026-01-31\"" : "\"...\"");
    }
    str_add_char(&record, '}');
    str_add_quoted(out, str_text(&record));
    str_release(&record);
    str_add(out, "\n```\n\nAlso `/v1/chat/completions` as OpenAI's clients speak it (the last user message "
                 "is the record, as JSON or "
                 "as `name: value` lines), `/v1/models`, `/health`, and `/metrics` for Prometheus. It "
                 "listens on loopback alone "
                 "unless `--listen` names another address. Bad input is answered with 400, 404, 405, 413 or "
                 "415 and what is wrong; a "
                 "full queue with 503.\n\n");
}

static void add_undecided(const struct bundle_facts *f, struct str *out) {
    if (!f->abstain)
        return;
    if (f->abstain->threshold <= 0) {
        str_addf(out,
                 "## Records left undecided\n\nNone: on %lld rows that the training had not seen, leaving "
                 "the least "
                 "sure ones to somebody else would have cost more than their %.1f%% of wrong answers.\n\n",
                 (long long)f->abstain->n_rows, 100 * f->abstain->risk_all);
        return;
    }
    str_addf(out,
             "## Records left undecided\n\nA record whose best label is less probable than %.3f is marked "
             "`\"abstained\": true`. On "
             "%lld rows that the training had not seen, %.1f%% were decided and %.1f%% of those wrongly "
             "(deciding all: %.1f%%). "
             "`--on-abstain COMMAND` calls a command for each: it gets `{\"record\": ..., \"answer\": ...}` "
             "on its standard input, "
             "and the first line that it prints becomes `other` in the answer.\n\n",
             f->abstain->threshold, (long long)f->abstain->n_rows, 100 * f->abstain->coverage,
             100 * f->abstain->risk, 100 * f->abstain->risk_all);
}

static void add_other_runtimes(const struct bundle_facts *f, struct str *out) {
    static const char *const how[] = {
        [TASK_CLASSIFY] =
            "write the label out instead of scoring all labels, read the whole prompt again, and give no "
            "probability; a grammar keeps llama.cpp's server to the labels",
        [TASK_EXTRACT] =
            "read the whole prompt again for each record; the grammar keeps llama.cpp's server to the "
            "answer's fields",
        [TASK_RESPOND] = "read the whole prompt again for each record"};
    enum task_kind kind = f->q->task->kind;
    struct str prompt = {0}, grammar = {0}, request = {0};
    str_addf(out,
             "## With another runtime\n\n`ollama create %s -f Modelfile`, or `./with-llama-server`, where "
             "those are installed. They %s:\n\n```\ncurl -s http://127.0.0.1:8080/completion -d ",
             f->name, how[kind]);
    str_add(&request, "{\"prompt\": ");
    str_addf(&prompt, "%s- ...: ...\n%s", f->prompt->head, f->prompt->tail);
    json_text_string(&request, str_text(&prompt));
    if (kind == TASK_CLASSIFY) {
        add_grammar(f->q->task, &grammar);
        str_add(&request, ", \"grammar\": ");
        json_text_string(&request, str_text(&grammar));
    }
    str_add(&request, ", \"temperature\": 0}");
    str_add_quoted(out, str_text(&request));
    str_add(out, "\n```\n\n");
    str_release(&prompt);
    str_release(&grammar);
    str_release(&request);
}

void bundle_text_service_help(const struct bundle_facts *f, struct str *out) {
    add_http(f, out);
    str_addf(out,
             "## As a service\n\n```\nsudo ./install                 # now and at every boot; --listen "
             "HOST:PORT for another address\n"
             "systemctl status edgestill-%s\nsudo ./uninstall\n```\n\n"
             "The unit gives it a user of its own, a read-only system, loopback and nothing else of the "
             "network, no swap, and the "
             "plan's memory as its limit. `run` refuses to start where less memory is free than planned.\n\n",
             f->name);
    add_undecided(f, out);
    add_other_runtimes(f, out);
}
