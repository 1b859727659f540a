/* `edgestill probe [HOST]`: what a device is and does, as an entry for devices.yaml that replaces the catalogue's figures. This
 * machine is measured; another one is asked over ssh, with a script that needs nothing there but a shell. */
#include "base/file.h"
#include "base/str.h"
#include "base/thread.h"
#include "cmd/cmd.h"
#include "cmd/probe.h"
#include "format/json.h"
#include "plan/probe.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct option_def options[] = {
    {"as", OPTION_STRING, "NAME", "name of the entry", "probed"},
    {"save", OPTION_FLAG, NULL, "write devices.yaml into the project's folder (never over an existing one)",
     NULL},
    {0},
};

enum { ASK_MS = 60000, WORD = 128 };

/* key=value lines about the fastest cores, memory, storage and temperature; what is not there stays empty. */
static const char script[] =
    "LC_ALL=C; export LC_ALL\n"
    "echo arch=$(uname -m)\n"
    "echo model=$(tr -d '\\0' </proc/device-tree/model 2>/dev/null || grep -m1 'model name' /proc/cpuinfo | "
    "cut -d: -f2)\n"
    "max=0; for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do\n"
    " [ -r \"$f\" ] && v=$(cat \"$f\") && [ \"$v\" -gt \"$max\" ] && max=$v; done\n"
    "n=0; for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do\n"
    " [ -r \"$f\" ] && [ \"$(cat \"$f\")\" = \"$max\" ] && n=$((n+1)); done\n"
    "[ $n -gt 0 ] || n=$(grep -c '^processor' /proc/cpuinfo)\n"
    "echo cores=$n\n"
    "[ $max -gt 0 ] && echo mhz=$((max/1000)) || echo mhz=$(grep -m1 'cpu MHz' /proc/cpuinfo | cut -d: -f2 | "
    "cut -d. -f1)\n"
    "echo part=$(grep 'CPU part' /proc/cpuinfo | tail -n1 | cut -d: -f2)\n"
    "echo flags=$(grep -m1 -E '^(Features|flags)' /proc/cpuinfo | cut -d: -f2)\n"
    "echo total_kb=$(awk '/^MemTotal/ {print $2}' /proc/meminfo)\n"
    "echo available_kb=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)\n"
    "echo temperature=$(cat /sys/class/thermal/thermal_zone0/temp 2>/dev/null)\n"
    "echo throttled=$(vcgencmd get_throttled 2>/dev/null | cut -d= -f2)\n"
    "t=${TMPDIR:-/tmp}/edgestill-probe.$$\n"
    "echo storage=$(dd if=/dev/zero of=$t bs=1M count=32 conv=fsync 2>&1 | tail -n1 | sed 's/.*, *//')\n"
    "rm -f $t\n";

struct facts {
    char arch[WORD], model[WORD], part[WORD], temperature[WORD], throttled[WORD], storage[WORD];
    char flags[2048];
    double cores, mhz, total_mb, available_mb;
};

/* The value of a line of the answer, without blanks at its ends. */
static const char *answer(const char *text, const char *key, char *out, size_t n) {
    char begin[32];
    snprintf(begin, sizeof begin, "\n%s=", key);
    const char *at = strstr(text, begin);
    out[0] = '\0';
    if (at == NULL)
        return out;
    at += strlen(begin);
    at += strspn(at, " \t");
    snprintf(out, n, "%.*s", (int)strcspn(at, "\r\n"), at);
    for (size_t k = strlen(out); k > 0 && isspace((unsigned char)out[k - 1]); k--)
        out[k - 1] = '\0';
    return out;
}

static int read_facts(const char *text, struct facts *f, struct err *e) {
    char number[WORD];
    *f = (struct facts){0};
    answer(text, "arch", f->arch, sizeof f->arch);
    answer(text, "model", f->model, sizeof f->model);
    answer(text, "part", f->part, sizeof f->part);
    answer(text, "flags", f->flags, sizeof f->flags);
    answer(text, "temperature", f->temperature, sizeof f->temperature);
    answer(text, "throttled", f->throttled, sizeof f->throttled);
    answer(text, "storage", f->storage, sizeof f->storage);
    f->cores = atof(answer(text, "cores", number, sizeof number));
    f->mhz = atof(answer(text, "mhz", number, sizeof number));
    f->total_mb = atof(answer(text, "total_kb", number, sizeof number)) / 1024;
    f->available_mb = atof(answer(text, "available_kb", number, sizeof number)) / 1024;
    if (f->arch[0] == '\0' || f->cores < 1 || f->total_mb < 1)
        return err_set(e, ERR_FORMAT, "probe",
                       "the device's answer cannot be read: no architecture, cores or memory in it");
    return 0;
}

/* Core classes of the catalogue by the number that the processor gives of itself. */
static const char *core_class(const struct facts *f) {
    static const struct {
        const char *part, *core;
    } parts[] = {{"0xd03", "cortex-a53"},
                 {"0xd04", "cortex-a35"},
                 {"0xd05", "cortex-a55"},
                 {"0xd07", "cortex-a57"},
                 {"0xd08", "cortex-a72"},
                 {"0xd0b", "cortex-a76"},
                 {"0xd41", "cortex-a78"},
                 {"0xd42", "cortex-a78"},
                 {"0xd44", "cortex-x1"},
                 {"0xd81", "cortex-a720"},
                 /* of no class of their own: the nearest, in order or not as they are (A73; A510, A520) */
                 {"0xd09", "cortex-a72"},
                 {"0xd46", "cortex-a55"},
                 {"0xd80", "cortex-a55"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcasecmp(parts[i].part, f->part) == 0)
            return parts[i].core;
    if (str_equal(f->arch, "x86_64"))
        return strstr(f->model, "N100") != NULL || strstr(f->model, "N150") != NULL ? "gracemont"
               : strstr(f->flags, "avx2") != NULL                                   ? "x86-avx2"
                                                                                    : "x86-before-avx2";
    if (str_starts(f->arch, "riscv"))
        return "sifive-p550";
    return strstr(f->flags, "asimddp") != NULL ? "cortex-a76" : "cortex-a53";
}

static const char *has(const struct facts *f, const char *flag) {
    if (str_equal(f->arch, "x86_64"))
        return "n/a";
    return strstr(f->flags, flag) != NULL ? "yes" : "no";
}

/* How fast prompts are read with weights of each type, where it was measured. */
static void add_reads(struct str *s, const struct probe_rates *r) {
    const char *between = "";
    str_add(s, "    reads: {");
    for (int i = 0; i < N_TYPE_RATES; i++)
        if (r->reads_gmacs[i] > 0) {
            str_addf(s, "%s%s: [%.4g, probe]", between, type_rate_name((enum type_rate)i), r->reads_gmacs[i]);
            between = ", ";
        }
    str_add(s, "}\n");
}

static void add_entry(struct str *s, const char *name, const struct facts *f, const struct probe_rates *r) {
    str_addf(s, "format: edgestill.devices/1\nsources: {probe: \"edgestill probe\"}\nfamilies:\n");
    str_addf(s, "  - family: %s\n    title: ", name);
    json_text_string(s, f->model[0] != '\0' ? f->model : name); /* a string of JSON is one of YAML */
    str_addf(s, "\n    soc: unknown\n    arch: %s\n    core: %s\n", f->arch, core_class(f));
    str_addf(s, "    dotprod: %s\n    i8mm: %s\n    sve: %s\n    cores: [%.0f, probe]\n", has(f, "asimddp"),
             has(f, "i8mm"), has(f, "sve"), f->cores);
    if (f->mhz > 0)
        str_addf(s, "    clock_mhz: [%.0f, probe]\n", f->mhz);
    else
        str_add(s, "    clock_mhz: unknown\n");
    str_add(s, "    theoretical_gbps: unknown\n");
    if (r != NULL)
        str_addf(s,
                 "    read_peak_gbps: [%.2f, probe]\n    memcpy_mbps: [%.0f, probe]\n    memset_mbps: [%.0f, "
                 "probe]\n",
                 r->read_gbps[r->n_threads], r->memcpy_mbps, r->memset_mbps);
    else
        str_add(s, "    read_peak_gbps: unknown\n    memcpy_mbps: unknown\n    memset_mbps: unknown\n");
    if (r != NULL)
        add_reads(s, r);
    str_addf(s, "    decode_gbps: unknown\n    os_reserved_mb: [%.0f, probe]\n    devices:\n",
             f->total_mb - f->available_mb > 1 ? f->total_mb - f->available_mb : 1);
    str_addf(s, "      - {name: %s, memory_mb: [%.0f, probe]}\n", name, f->total_mb);
}

static void show(struct cmd_ctx *c, const struct facts *f, const struct probe_rates *r) {
    cmd_print(c, "%s, %s, %.0f cores at %.0f MHz, %.0f MB of memory, %.0f MB free, storage writes %s\n",
              f->model[0] != '\0' ? f->model : "a device", f->arch, f->cores, f->mhz, f->total_mb,
              f->available_mb, f->storage[0] != '\0' ? f->storage : "unknown");
    if (f->temperature[0] != '\0')
        cmd_print(c, "%.1f degrees\n", atof(f->temperature) / 1000);
    if (f->throttled[0] != '\0' && strcmp(f->throttled, "0x0") != 0)
        cmd_print(c,
                  "It has been throttled (%s): cooling or its power supply is too weak, and it will be "
                  "slower than planned.\n",
                  f->throttled);
    if (r == NULL) {
        cmd_print(c, "Its memory and arithmetic were not measured: run the probe on it, or deploy and bring "
                     "a receipt back.\n");
        return;
    }
    for (int n = 1; n <= r->n_threads; n++)
        cmd_print(c, "memory read by %d thread%s: %.1f GB/s\n", n, n > 1 ? "s" : "", r->read_gbps[n]);
    cmd_print(c, "memcpy %.0f MB/s, memset %.0f MB/s by one thread\n", r->memcpy_mbps, r->memset_mbps);
    cmd_print(c, "reads prompts, in GMAC/s of %.0f thread%s:", f->cores, f->cores > 1 ? "s" : "");
    for (int i = 0; i < N_TYPE_RATES; i++)
        cmd_print(c, " %s %.1f", type_rate_name((enum type_rate)i), r->reads_gmacs[i]);
    cmd_print(c, "\n");
    cmd_print(c, "multiplies %.1f GMAC/s in 32-bit floats on all cores, %.1f GMAC/s in bytes on one\n",
              r->f32_gmacs, r->int8_gmacs);
}

static void fill_result(struct cmd_ctx *c, const struct facts *f, const struct probe_rates *r,
                        const char *entry) {
    json_object_set_new(c->result, "arch", json_string(f->arch));
    json_object_set_new(c->result, "core", json_string(core_class(f)));
    json_object_set_new(c->result, "cores", json_real(f->cores));
    json_object_set_new(c->result, "memory_mb", json_real(f->total_mb));
    json_object_set_new(c->result, "available_mb", json_real(f->available_mb));
    json_object_set_new(c->result, "entry", json_string(entry));
    json_object_set_new(c->result, "read_gbps",
                        r != NULL ? json_real(r->read_gbps[r->n_threads]) : json_null());
    json_t *reads = r != NULL ? json_object() : json_null();
    for (int i = 0; i < N_TYPE_RATES && r != NULL; i++)
        json_object_set_new(reads, type_rate_name((enum type_rate)i), json_real(r->reads_gmacs[i]));
    json_object_set_new(c->result, "reads_gmacs", reads);
    json_object_set_new(c->result, "f32_gmacs", r != NULL ? json_real(r->f32_gmacs) : json_null());
    json_object_set_new(c->result, "int8_gmacs", r != NULL ? json_real(r->int8_gmacs) : json_null());
}

/* The entry goes where plan finds it; what somebody wrote there is never touched. */
static int keep(struct cmd_ctx *c, const char *entry) {
    char *path = file_join(c->project_dir, "devices.yaml");
    if (path == NULL)
        return err_set(&c->err, ERR_NO_MEMORY, "probe", "out of memory");
    int code = 0;
    if (file_exists(path)) {
        code = err_set(&c->err, ERR_USAGE, "probe", "%s exists and is yours", path);
        err_hint(&c->err, "add the family that probe prints to it");
    } else if ((code = file_write(path, entry, strlen(entry), &c->err)) == 0) {
        cmd_print(c, "%s is written: plan finds the device as %s.\n", path, cmd_string(c, "as"));
    }
    free(path);
    return code;
}

static int ask(struct cmd_ctx *c, const char *host, struct str *text) {
    const char *const here[] = {"/bin/sh", "-s", NULL},
                      *const there[] = {"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15",
                                        "--",  host, "sh -s",         NULL};
    str_add(text, "\n");
    int code = probe_script(host != NULL ? there : here, script, ASK_MS, text, &c->err);
    if (code < 0 && host != NULL)
        err_hint(&c->err, "try: ssh %s true (a key without a question is needed)", host);
    return code;
}

static int run_probe(struct cmd_ctx *c) {
    const char *host = c->n_args > 0 ? c->args[0] : NULL, *name = cmd_string(c, "as");
    struct facts f;
    struct probe_rates rates;
    struct str text = {0}, entry = {0};
    if (c->n_args > 1 || (host != NULL && host[0] == '-') || name[0] == '\0' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != strlen(name))
        return err_set(&c->err, ERR_USAGE, "probe",
                       "one host, and a name of small letters, digits, dots and dashes");
    int code = ask(c, host, &text);
    if (code == 0)
        code = read_facts(str_text(&text), &f, &c->err);
    if (code == 0 && host == NULL) {
        struct progress p;
        int usable = thread_core_count(); /* a container may have fewer than the machine */
        f.cores = f.cores < usable ? f.cores : usable;
        progress_begin(&p, "measure", "type", 0);
        code = probe_rates_measure(&rates, (int)f.cores, &p, &c->err);
        progress_end(&p);
    }
    if (code == 0) {
        const struct probe_rates *r = host == NULL ? &rates : NULL;
        show(c, &f, r);
        add_entry(&entry, name, &f, r);
        fill_result(c, &f, r, str_text(&entry));
        cmd_print(c, "\n%s\n", str_text(&entry));
        if (cmd_flag(c, "save"))
            code = keep(c, str_text(&entry));
    }
    str_release(&text);
    str_release(&entry);
    return code;
}

const struct verb verb_probe = {"probe", "measure a device, this one or over ssh, for the planner", "[HOST]",
                                options, run_probe};
