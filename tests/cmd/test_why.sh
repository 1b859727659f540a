# edgestill plan --why: every figure on the screen has its source beside it.
. "$(dirname "$0")/../lib.sh"

"$EDGESTILL" init p --task "flag late claims" --device rpi5-8gb --base embedded --quiet
late_task 30 60 >p/task.yaml
"$EDGESTILL" task -C p --accept --quiet
expect 0 "the document" "$EDGESTILL" plan -C p --json
json "every figure of every option has a source" "$out" \
    '[.options[].predicted[] | select(.value > 0)] | length > 0 and all(.[]; (.basis // "") != "")'
json "so has what stands above them" "$out" '.sources | length > 0 and all(.[]; . != "")'
options=$(jq '.options | length' "$out")
expect 0 "the screen" "$EDGESTILL" plan -C p --all --why
# A line of a figure ("       what: value (low to high)") is followed by one of its source, further in.
equal "each figure's line has its source below" \
    "$(awk '/^       [a-z].*: .*\(.* to .*\)$/ { figure = 1; n++; next } figure { if ($0 !~ /^         [^ ]/) bad++; figure = 0 } END { print (n > 8) ":" bad + 0 }' "$out")" "1:0"
equal "and each option says its settings" "$(grep -c '^       settings: ' "$out")" "$options"
