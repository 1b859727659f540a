# Numbers that the embedded teacher does not compare reliably: a task written or edited by hand is refused by generate, too, with what to do;
# another teacher takes it.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/teacher.gguf" ] || { skip "numbers" "seed/teacher.gguf is not there" && exit 0; }
expect 0 "a project with the embedded teacher" "$EDGESTILL" init p --task "Flag late claims." --device rpi5-8gb --base embedded --quiet
with() { # with PROJECT FIELD: its task has that field, accepted with a plan
    late_task 30 60 | sed "s/^  - {name: delay.*/  - {name: delay, $2}/" >"$1/task.yaml"
    "$EDGESTILL" task --accept -C "$1" --quiet && "$EDGESTILL" plan --base embedded --accept 1 -C "$1" --quiet
}
refused() { # refused NAME FIELD TEXT
    with p "$2" || not_ok "$1: the task"
    expect 1 "$1" "$EDGESTILL" generate -C p
    has "$1: names field and numbers" "$err" "'delay' goes to $3"
    has "$1: says another unit" "$err" "state 'delay' in a larger or smaller unit"
    has "$1: or rows of one's own" "$err" "--data"
    has "$1: or another teacher" "$err" "--teacher"
}
refused "beyond 9999" "type: integer, min: 0, max: 10000" "10000 with 0 decimals"
refused "below -9999" "type: integer, min: -12000, max: 10" "-12000 with 0 decimals"
refused "beyond 999 with decimals" "type: number, min: 0, max: 1000, decimals: 1" "1000.0 with 1 decimals"
refused "three decimals" "type: number, min: 0, max: 1, decimals: 3" "1.000 with 3 decimals"
expect 1 "nor is there a quote" "$EDGESTILL" generate --quote -C p
for field in "type: integer, min: 0, max: 9999" "type: number, min: -999, max: 999, decimals: 2"; do
    with p "$field" || not_ok "$field: the task"
    expect 0 "within what it knows ($field)" "$EDGESTILL" generate --quote -C p --json
    json "there is one" "$out" '.quote.calls > 0'
done
expect 0 "a project with another teacher" "$EDGESTILL" init q --task "Flag late claims." --device rpi5-8gb --base embedded \
    --teacher http://127.0.0.1:9/v1 --teacher-model some --quiet
with q "type: number, min: 0, max: 50000, decimals: 3" || not_ok "its task"
expect 0 "takes what the embedded one does not" "$EDGESTILL" generate --quote -C q
