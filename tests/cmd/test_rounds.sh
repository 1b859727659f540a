# After training, more records from where the student is wrong: asked for, filled, judged by what they brought; taken back when they
# are not to be paid for.
. "$(dirname "$0")/../lib.sh"

for model in base teacher; do
    [ -f "$root/seed/$model.gguf" ] || { skip "rounds" "seed/$model.gguf is not there" && exit 0; }
done

expect 0 "init" "$EDGESTILL" init p --task "Triage claims." --device rpi5-8gb --base embedded --records 24 --quiet
cat >p/task.yaml <<'YAML'
format: edgestill.task/1
name: claims
kind: classify
sentence: Triage claims.
instruction: Label the claim.
fields:
  - {name: delay, type: integer, min: 0, max: 60, unit: days}
  - {name: visit type, type: category, values: [outpatient, inpatient, emergency]}
labels:
  - {name: suspicious, definition: the delay is under 7 days}
  - {name: normal, definition: otherwise}
YAML
expect 0 "the task is accepted" "$EDGESTILL" task --accept -C p --quiet
expect 0 "the plan is accepted" "$EDGESTILL" plan --accept 1 -C p --quiet
expect 0 "records, half of them to validate with" "$EDGESTILL" generate --split 40/50/10 -C p --quiet
expect 2 "without a student there is no round" "$EDGESTILL" generate --where-wrong --split 40/50/10 -C p
has "but a hint" "$err" "edgestill train"
expect 0 "a student that has hardly learned" "$EDGESTILL" train --epochs 1 --rank 2 -C p --quiet

round() { "$EDGESTILL" generate --where-wrong --split 40/50/10 -C p --json "$@"; }
expect 0 "a round's quote" round --round-records 8 --quote
json "says what it would be" "$out" '.round.number == 1 and .round.records == 4 and .quote.calls > 0'
expect 0 "nothing was planned by it" "$EDGESTILL" generate --split 40/50/10 -C p --json
json "the records are up to date" "$out" '.up_to_date'
expect 0 "a round" round --round-records 8
json "brings as many of every label" "$out" '.records.accepted.suspicious == 16 and .records.accepted.normal == 16'
json "all of them to train on" "$out" '.records.splits.validation == 12'
expect 0 "status" "$EDGESTILL" status -C p --json
json "wants the student trained again" "$out" '.stages[] | select(.stage == "train") | .state == "stale"'
expect 2 "no round before that" round
expect 0 "training" "$EDGESTILL" train --epochs 1 --rank 2 -C p --quiet
expect 0 "a round that asks for more than the last one brought" round --least-gain 1e9
json "is not begun" "$out" '.round.stopped and .round.last.number == 1 and .round.done == 1'
expect 0 "nor more than allowed" round --rounds 1 --least-gain -1e9
json "and that is said" "$out" '.round.stopped | test("--rounds|right")'
expect 0 "generate by itself" "$EDGESTILL" generate --split 40/50/10 -C p --json
json "keeps the round's records" "$out" '.up_to_date'

sed -i 's/^  kind: .*/  kind: none/' p/edgestill.yaml
expect 2 "without a teacher there is no round" "$EDGESTILL" generate --where-wrong -C p
has "and it says so" "$err" "needs a teacher"
