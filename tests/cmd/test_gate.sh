# The teacher answers one's own rows first, where it may see them: below the bar nothing is asked for, and without leave it says so.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/teacher.gguf" ] || { skip "gate" "seed/teacher.gguf is not there" && exit 0; }
echo "delay,label" >wrong.csv # every label the other way round
for i in $(seq 1 24); do echo "$((40 * i)),$([ "$i" -gt 12 ] && echo fine || echo late)"; done >>wrong.csv
late_task 480 999 >task.yaml
expect 0 "a project with rows and the embedded teacher" "$EDGESTILL" init p --task "Flag late claims." --device rpi5-8gb \
    --base embedded --records 32 --data wrong.csv --label label --quiet
cp task.yaml p/
expect 0 "its task" "$EDGESTILL" task --accept -C p --quiet
expect 0 "its plan" "$EDGESTILL" plan --base embedded --accept 1 -C p --quiet
cp -r p shared
sed -i 's/share_rows: false/share_rows: true/' shared/edgestill.yaml
expect 1 "a teacher that answers otherwise is stopped at the gate" "$EDGESTILL" generate -C shared
has "with what it got right and the bar" "$err" "of your own rows as you did, below the bar of 80%"
expect 0 "the records are the rows alone" "$EDGESTILL" export -C shared shared.csv
equal "nothing was written by it" "$(grep -c teacher shared.csv)" 0
expect 0 "rows that may not be shared are not" "$EDGESTILL" generate -C p --json
json "and the gate says that it was skipped, and why" "$out" '.gate.skipped | test("share_rows")'

# What it cannot label it is not asked for.
cp -r p third
rm third/records.*
sed -i 's/^labels:/labels:\n  - {name: early, definition: the delay is under 10}/' third/task.yaml
expect 0 "a third label: the task is accepted" "$EDGESTILL" task --accept -C third --quiet
expect 0 "a third label: the plan is accepted" "$EDGESTILL" plan --base embedded --accept 1 -C third --quiet
expect 1 "a third label is refused before anything is asked" "$EDGESTILL" generate -C third
has "with the number of labels" "$err" "two labels apart, and this task has 3"
cp -r p vague
rm vague/records.* vague/task.*
expect 0 "no rule: the task that own rows give" "$EDGESTILL" task -C vague --quiet
expect 0 "no rule: is accepted" "$EDGESTILL" task --accept -C vague --quiet
expect 0 "no rule: the plan is accepted" "$EDGESTILL" plan --base embedded --accept 1 -C vague --quiet
expect 1 "labels without a rule are refused" "$EDGESTILL" generate -C vague
has "with what to write" "$err" "state the rule there"
sed -i 's/kind: embedded/kind: none/' vague/edgestill.yaml
expect 0 "the rows alone are taken, as the hint says" "$EDGESTILL" generate -C vague
