# edgestill status and run: states, gates and broken projects, without running any expensive stage.
. "$(dirname "$0")/../lib.sh"

"$EDGESTILL" init p --task "flag late claims" --device rpi5-8gb --base embedded --quiet
expect 0 "a fresh project" "$EDGESTILL" status -C p
has "nothing is there" "$out" "task       absent"
expect 0 "as JSON" "$EDGESTILL" status -C p --json
json "seven stages in order" "$out" \
    '.ok == true and [.stages[].stage] == ["task", "plan", "generate", "train", "compress", "eval", "bundle"]'
expect 0 "quiet says nothing" "$EDGESTILL" status -C p --quiet
equal "nothing on either stream" "$(cat "$out" "$err")" ""

cat >p/task.yaml <<'YAML'
format: edgestill.task/1
name: claims
kind: classify
sentence: flag late claims
instruction: Say whether the claim is late.
fields:
  - {name: delay, type: integer, min: 0, max: 60, unit: days}
labels:
  - {name: late, definition: the delay is over 30 days}
  - {name: fine, definition: otherwise}
YAML
expect 0 "a task that nobody accepted" "$EDGESTILL" status -C p
has "it waits" "$out" "task       waiting for acceptance"
has "what to type" "$out" "edgestill task --accept -C p"
expect 3 "run stops there" "$EDGESTILL" run -C p
has "and says so" "$err" "waits for your acceptance"
expect 3 "plan does not go on without it" "$EDGESTILL" plan -C p
expect 0 "acceptance" "$EDGESTILL" task --accept -C p --quiet
expect 0 "accepted" "$EDGESTILL" status -C p
has "it is up to date" "$out" "task       up to date"
if [ -f "$root/seed/base.gguf" ]; then
    expect 3 "run stops at the plan" "$EDGESTILL" run -C p --until plan
    has "what to type there" "$err" "edgestill plan --accept 1 -C p"
else
    skip "run stops at the plan" "the embedded base is not there"
fi
expect 2 "an unknown stage" "$EDGESTILL" run -C p --until trian
has "the near one is named" "$err" "train"

sed -i 's/late claims/claims that are late/' p/edgestill.yaml
expect 0 "another sentence" "$EDGESTILL" status -C p
has "voids the acceptance" "$out" "edgestill.yaml#task changed"

for broken in 'device: [' 'format: edgestill.project/9' $'\x00\x01\x02' ''; do
    printf '%s\n' "$broken" >p/edgestill.yaml
    expect 2 "a broken edgestill.yaml: $(printf %q "$broken")" "$EDGESTILL" status -C p
    has "the file is named" "$err" "p/edgestill.yaml"
done
mkdir q && mkdir q/edgestill.yaml
expect 1 "a folder in its place" "$EDGESTILL" status -C q
expect 0 "doctor in a folder without a project" "$EDGESTILL" doctor
has "doctor names the operations and their threads" "$out" "matrix products  cpu, $(nproc) threads, "
expect 1 "doctor finds a broken project" "$EDGESTILL" doctor -C p
