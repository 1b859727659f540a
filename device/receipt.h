/* The receipt: what a self-test found on one machine, for the report and for the planner.
 *
 *   {"format":"edgestill.receipt/1","name":"claims","arch":"arm64","device":"rpi5-8gb","bundle_sha256":"...",
 *    "measured_at":"2026-01-31T09:15:00Z","emulated":false,
 *    "machine":{"arch":"aarch64","model":"Raspberry Pi 5 Model B Rev 1.0","kernel":"Linux 6.6.31","cores":4,
 *               "memory_bytes":8454000640,"kernels":"armv8.2_1","threads":3},
 *    "versions":{"edgestill":"0.1.0","runtime":"llama 0.7.0, ggml 0.27.0"},
 *    "selftest":{"rows":64,"agreeing_rows":64,"largest_difference":0.0012,"tolerance":0.05,"passed":true,"prefix_restored":true,
 *                "prefix_tokens_computed":0,"memory_kept":true,
 *                "disagreements":[{"row":3,"host":"normal","here":"suspicious","host_p":0.61,"here_p":0.44}]},
 *    "measured":{"memory_bytes":...,"load_s":...,"prefix_s":...,"cold_s":...,"decision_s":...,"decision_p95_s":...,
 *                "prefill_tps":...,"decode_tps":...,"tokens_per_decision":...,"swapped_bytes":0,"major_faults":12,
 *                "temperature_c":48.5,"throttled":false,"reads_gmacs":{"F16":21.4,"Q8_0":44.6,...}},
 *    "predicted":{as in bundle.json}}
 *
 * What is not known is null. "device" is what the bundle was planned for; "reads_gmacs" is what the processor multiplies a second by type of the
 * weights, in 10^9, with "threads" (llama/type_rate.h; null after a short test). With "emulated":true the measured figures are the emulator's: they say that it runs, not
 * how fast the device is, and "machine" has no model. */
#ifndef DEVICE_RECEIPT_H
#define DEVICE_RECEIPT_H

#include "selftest.h"

#define RECEIPT_FORMAT "edgestill.receipt/1"

int receipt_write(const struct selftest *s, const char *path, struct err *e);

/* The same for people, appended. */
void receipt_print(const struct selftest *s, struct str *out);

#endif
