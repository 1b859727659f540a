# From a sentence through a large teacher, played by a script over the real protocol: a task of kind extract and one of kind respond are
# drafted (the first draft is useless and repaired), quoted, agreed to, written, answered, exported; and the check that a user
# runs against a teacher of their own.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/base.gguf" ] || { skip "drafting" "seed/base.gguf is not there" && exit 0; }
"$build/tests/teacher/serve_written" >port &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null; test_finish' EXIT
for _ in $(seq 100); do [ -s port ] && break || sleep 0.1; done
url=http://127.0.0.1:$(cat port)/v1

project() { # project NAME SENTENCE
    expect 0 "$1: init" "$EDGESTILL" init "$1" --task "$2" --device rpi5-8gb --base embedded --records 24 --teacher "$url" \
        --teacher-model scripted --quiet
    expect 3 "$1: a draft costs something and waits for a yes" "$EDGESTILL" task -C "$1"
    has "$1: after its quote" "$err" "drafting the task: about 1 questions"
    expect 2 "$1: a cap on an unknown price cannot be kept" "$EDGESTILL" task --yes --budget 1 -C "$1"
    has "$1: with what lacks" "$err" "--price-in and --price-out"
    expect 0 "$1: with it the task is drafted" "$EDGESTILL" task --yes --price-in 1 --price-out 4 --budget 1 -C "$1" --json
}

project wishes "Turn what a person says at home into a room and a level in percent."
json "wishes: at the second attempt" "$out" '.attempts == 2 and .task.kind == "extract" and (.task.answer | length) == 2'
project beds "Tell the gardener in one sentence what a bed needs."
json "beds: as a text" "$out" '.attempts == 1 and .task.kind == "respond"'

cp -r wishes free && rm -f free/task.yaml free/records.*
expect 0 "a teacher that costs nothing may be told so" "$EDGESTILL" run --yes --budget 0 --price-in 0 --price-out 0 --until task -C free
has "and costs nothing" "$err" "about \$0.00"

for name in wishes beds; do
    expect 0 "$name: the task is accepted" "$EDGESTILL" task --accept -C $name --quiet
    expect 0 "$name: the plan is accepted" "$EDGESTILL" plan --accept 1 -C $name --quiet
    expect 3 "$name: generation waits for a yes" "$EDGESTILL" generate -C $name
    expect 4 "$name: a budget is not passed" "$EDGESTILL" generate --yes --price-in 1 --price-out 4 --budget 0.00001 -C $name
    expect 0 "$name: records" "$EDGESTILL" generate --yes --price-in 1 --price-out 4 --budget 5 -C $name --json
    json "$name: as many as asked for" "$out" '.records.accepted.records == 24'
    json "$name: with what each cost" "$out" '.ledger.money > 0 and .ledger.money_per_record > 0'
    expect 0 "$name: and out they go" "$EDGESTILL" export -C $name $name.jsonl
    equal "$name: every one" "$(wc -l <$name.jsonl)" 24
    cp -r $name other-$name && rm -f other-$name/records.*
    expect 0 "$name: as CSV, too" "$EDGESTILL" export -C $name $name.csv --quiet
    expect 0 "$name: which another project takes in" "$EDGESTILL" import -C other-$name $name.csv --quiet
    expect 0 "$name: and gives out" "$EDGESTILL" export -C other-$name again.csv --quiet
    equal "$name: as it was" "$(cat again.csv)" "$(sed 's/,teacher$/,own/' $name.csv)"
    expect 0 "$name: more of them" "$EDGESTILL" generate --yes --price-in 1 --price-out 4 --budget 5 --records 72 -C $name --json
    json "$name: all of them" "$out" '.records.accepted.records == 72'
    check "$name: asked for beside some that were there" grep -aq "Some that are there already" $name/records.sqlite
done
check "wishes: a level is the one that was said" jq -se 'all(.messages as $m | ($m[1].content | fromjson | .level | tostring) as $l
    | $m[0].content | test(" to " + $l + "\n"))' wishes.jsonl

expect 0 "verify-teacher" env TEACHER_URL="$url" TEACHER_MODEL=scripted TEACHER_PRICE_IN=0 TEACHER_PRICE_OUT=0 "$root/tools/verify-teacher.sh"
has "says what was verified" "$out" "verified"
expect 2 "without a teacher it says what it wants" "$root/tools/verify-teacher.sh"
has "by name" "$err" "TEACHER_URL"
