/* What a project's report says, gathered into one JSON document; the page and the --json output are made from it.
 *
 *     json_t *document = NULL;
 *     report_gather(&project, &document, &e);
 *     report_html(document, &text, &e);
 *
 * Document (edgestill.report/1): project, stages, task, plan, records, training, compress, eval, abstain, receipts, runners,
 * comparison, versions; a
 * part is null where its stage has not run. `comparison` holds what was predicted beside what was measured, and where it was
 * measured: "here" (this machine), "emulated" (never stands as the device's) or "device". */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include "base/str.h"
#include "cmd/project.h"
#include <jansson.h>

#define REPORT_FORMAT         "edgestill.report/1"
#define REPORT_SUMMARY_FORMAT "edgestill.summary/1"

int report_gather(struct project *p, json_t **out, struct err *e);

/* {"predicted":..,"measured":..}: the comparison's rows, made from the gathered parts. Part of report_gather. */
json_t *report_comparison(const json_t *document);

/* The figures alone: base, teacher, student_f16, student_quant, records, model_bytes, seconds, device_selftest, versions.
 * `seconds` of a demonstration's steps come from the file of "name seconds" lines, where given. */
int report_summary(const json_t *document, const char *seconds_path, json_t **out, struct err *e);

/* One self-contained page. Appended. */
int report_html(const json_t *document, struct str *out, struct err *e);

/* Its drawings, as inline SVG. Appended. */
void report_svg_curve(struct str *out, const json_t *curve);
void report_svg_bars(struct str *out, const json_t *eval);

/* Its part on records that are left undecided: the risk-coverage curve. Appended; nothing where there is no threshold. */
void report_abstain(struct str *out, const json_t *abstain);

/* Its part on compression: the candidates' front over size and over time on the device, their table, and the loss ledger with the
 * runner's steps. Appended; nothing where nothing was compressed. */
void report_compression(struct str *out, const json_t *compress, const json_t *runners);

/* The ledger's steps on the device or an emulated one, of every receipt whose bundle is still there: {"step", "emulated", "rows",
 * "agreement"} with the file that ships, and over the `counted` rows that the ledger has as well {"accuracy", "change"} since that
 * file and {"difference", "low", "high", "p_value"} since the 16-bit one. */
json_t *report_runners(struct project *p, const json_t *document);

/* Text with & < > " escaped. Appended. */
void report_escape(struct str *out, const char *text);

#endif
