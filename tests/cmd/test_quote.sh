# What generation is expected to take: a range, and for a model file by its size and this machine's rate, not by a guess.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/teacher.gguf" ] || { skip "quote" "seed/teacher.gguf is not there" && exit 0; }
late_task 30 60 >task.yaml
project() { # $1 folder, then options of the teacher
    expect 0 "a project" "$EDGESTILL" init "$1" --task "Flag late claims." --device rpi5-8gb --base embedded --quiet "${@:2}"
    cp task.yaml "$1/"
    expect 0 "its task is accepted" "$EDGESTILL" task --accept -C "$1" --quiet
    expect 0 "its plan is accepted" "$EDGESTILL" plan --base embedded --accept 1 -C "$1" --quiet
}

project file --teacher "$root/seed/teacher.gguf"
expect 0 "the quote for a model file" "$EDGESTILL" generate --quote -C file --json
json "has a range of time" "$out" '.quote | .seconds > 0 and .seconds_low < .seconds and .seconds < .seconds_high'
cp "$out" file.json
expect 0 "for twice the records" "$EDGESTILL" generate --quote --records 4000 -C file --json
json "it takes longer" "$out" ".quote.calls > $(jq .quote.calls file.json)"
expect 0 "and says so" "$EDGESTILL" generate --quote -C file
has "with what it rests on" "$err" "by the model's size and this machine's rate"
equal_quotes() { # $1 a project: plan and generate reckon by the same code
    expect 0 "$1: what the plan says of the teacher" "$EDGESTILL" plan --base embedded -C "$1" --json
    cp "$out" plan.json
    expect 0 "$1: what generate quotes" "$EDGESTILL" generate --quote -C "$1" --json
    equal "$1: as many calls" "$(jq ".teacher.calls.value" plan.json)" "$(jq ".quote.calls" "$out")"
    equal "$1: as many tokens" "$(jq ".teacher.tokens.value" plan.json)" "$(jq ".quote | .tokens_in + .tokens_out" "$out")"
    json "$1: as much money" "$out" ".quote.money == $(jq ".teacher.money.value // 0" plan.json)"
}
equal_quotes file
json "its time by its size, not by a guess" plan.json ".teacher.seconds.basis | test(\"machine.s rate\")"
project small
equal_quotes small
project endpoint --teacher http://127.0.0.1:9/v1 --teacher-model some
expect 0 "the quote for an endpoint that was not asked yet" "$EDGESTILL" generate --quote -C endpoint
has "is an assumption" "$err" "assumed)"
equal_quotes endpoint
json "of a time that is assumed" plan.json '.teacher.seconds.basis == "assumed" and .teacher.seconds.value > 0'
