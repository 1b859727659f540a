#!/bin/bash
# The two examples whose answers are written, in a small version: from the sentence and rows that are brought along to a trained,
# compressed, evaluated and bundled student, with the verbs of examples/*/README.md.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/base.gguf" ] || { skip "the examples" "seed/base.gguf is not there" && exit 0; }

# small NAME LABEL EPOCHS: the chain on 100 rows, few passes.
small() {
    local name=$1 example=$root/examples/$1
    local world=$example/phrases.yaml
    expect 0 "$name: rows" "$build/edgestill-simulate" "$world" --rows 100 --out "$name.jsonl"
    expect 0 "$name: held-out rows" "$build/edgestill-simulate" "$world" --rows 16 --seed 2 --out "$name-held.jsonl"
    expect 0 "$name: init" "$EDGESTILL" init "$name" --task "$(cat "$example/task.txt")" --device rpi5-8gb --base embedded \
        --teacher none --data "$name.jsonl" --eval-data "$name-held.jsonl" --label "$2" --quiet
    expect 0 "$name: as far as the records" "$EDGESTILL" run -C "$name" --yes --until generate --quiet
    expect 0 "$name: training" "$EDGESTILL" train -C "$name" --epochs "$3" --rank 4 --quiet
    expect 0 "$name: the rest of the chain" "$EDGESTILL" run -C "$name" --yes --quiet
    check "$name: is bundled" ls "$name"/dist/"$name"-arm64/bundle.json
}

small home-wishes answer 5
has "wishes: the task is inferred" home-wishes/task.yaml "kind: extract"
json "wishes: every answer keeps to its grammar" home-wishes/eval/summary.json '.student_quant.invalid_rate == 0'
json "wishes: the student hears most actions" home-wishes/eval/student-quant.json '.answers.fields.action.value > 0.5'

small greenhouse-replies reply 5
has "replies: the task is inferred" greenhouse-replies/task.yaml "kind: respond"
json "replies: the student beats its base" greenhouse-replies/eval/summary.json '.student_quant.accuracy > .base.accuracy'
check "replies: the bundle has answers to try" grep -q '"answer":".*east' greenhouse-replies/dist/greenhouse-replies-arm64/golden.jsonl
