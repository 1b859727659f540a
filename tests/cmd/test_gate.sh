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
