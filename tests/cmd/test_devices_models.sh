# The verbs devices and models: lists, explanations with sources, near names, entries of one's own.
. "$(dirname "$0")/../lib.sh"
export HOME=$work XDG_CONFIG_HOME=$work/config EDGESTILL_MODELS=$work/models

expect 0 "devices are listed" "$EDGESTILL" devices
has "the demonstration's device is there" "$out" "rpi5-8gb"
has "the paper's second device is there" "$out" "stm32mp257f-ev1"
expect 0 "a device is explained" "$EDGESTILL" devices rpi4-4gb
has "with the source of a figure" "$out" "[ThomasKaiser/sbc-bench"
has "and what is not known" "$out" "unknown"
expect 2 "an unknown device is refused" "$EDGESTILL" devices rpi5-8bg
has "with the nearest name" "$err" "rpi5-8gb"
expect 2 "two devices are one too many" "$EDGESTILL" devices rpi5-8gb rpi4-4gb
expect 0 "devices as JSON" "$EDGESTILL" devices --arch x86_64 --json
has "one document" "$out" '"n100-8gb"'
if grep -q rpi5 "$out"; then not_ok "other architectures are left out"; else ok "other architectures are left out"; fi

expect 0 "models are listed" "$EDGESTILL" models
has "one that can be trained" "$out" "tinyllama-1.1b-chat"
has "one that cannot, with the reason" "$out" "linear-attention layers"
expect 0 "trainable models alone" "$EDGESTILL" models --trainable
if grep -q qwen3.5 "$out"; then not_ok "others are left out"; else ok "others are left out"; fi
expect 0 "a model is explained" "$EDGESTILL" models qwen3-0.6b
has "with its shape" "$out" "28 layers"
has "and where its file goes" "$out" "$work/models/qwen3-0.6b.gguf"
expect 2 "an unknown model is refused" "$EDGESTILL" models gpt-7
mkdir -p models && : >models/smollm2-135m-instruct.gguf
expect 0 "a model that is here" "$EDGESTILL" models --trainable
has "is said to be ready" "$out" "ready"

mkdir -p config/edgestill
cat >config/edgestill/devices.yaml <<'YAML'
format: edgestill.devices/1
sources: {me: "measured on my desk"}
families:
  - family: mine
    title: My board
    arch: aarch64
    core: cortex-a55
    cores: [4, me]
    clock_mhz: [1800, me]
    theoretical_gbps: unknown
    read_peak_gbps: unknown
    memcpy_mbps: [3000, me]
    memset_mbps: unknown
    decode_gbps: [4.4, me]
    os_reserved_mb: unknown
    devices: [{name: my-board, memory_mb: [2048, me]}]
YAML
expect 0 "an entry of one's own" "$EDGESTILL" devices my-board
has "with its source" "$out" "measured on my desk"
sed -i 's/decode_gbps: .*/decode_gbps: 4.4/' config/edgestill/devices.yaml
expect 2 "a figure without a source is refused" "$EDGESTILL" devices
has "with its place" "$err" "devices.yaml:14:"
