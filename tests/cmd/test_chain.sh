# The whole chain through the command line: own rows from the project to the bundle, gates that hold, what is done is not done
# again, what changed is; then records from the real embedded teacher, killed in the middle and started again.
. "$(dirname "$0")/../lib.sh"

for model in base teacher; do
    [ -f "$root/seed/$model.gguf" ] || { skip "the chain" "seed/$model.gguf is not there" && exit 0; }
done
example=$root/examples/healthcare-claims
expect 0 "rows of the example's world" "$build/edgestill-simulate" "$example/rule.yaml" --rows 96 --balanced --out rows.csv

task_file() {
    cat >"$1/task.yaml" <<'YAML'
format: edgestill.task/1
name: claims
kind: classify
sentence: Triage healthcare claims.
instruction: Label the claim.
fields:
  - {name: delay, type: integer, min: 0, max: 60, unit: days}
  - {name: approved share, type: number, min: 0, max: 1, decimals: 2}
  - {name: claim amount, type: integer, min: 20, max: 5000, unit: dollars}
  - {name: holder age, type: integer, min: 0, max: 99, unit: years}
  - {name: visit type, type: category, values: [outpatient, inpatient, emergency]}
labels:
  - {name: suspicious, definition: the delay is under 2 days}
  - {name: normal, definition: otherwise}
YAML
}

# ---- own rows, every verb ----

expect 0 "init with own rows" "$EDGESTILL" init p --task "Triage healthcare claims." --device rpi5-8gb --base embedded \
    --data rows.csv --label label --teacher none --quiet
task_file p
expect 3 "generate waits for the task" "$EDGESTILL" generate -C p
expect 0 "the task is accepted" "$EDGESTILL" task --accept -C p --quiet
expect 3 "generate waits for the plan" "$EDGESTILL" generate -C p
expect 3 "train waits for the plan" "$EDGESTILL" train -C p
expect 0 "the plan is accepted" "$EDGESTILL" plan --accept 1 -C p --quiet
expect 2 "train has no records yet" "$EDGESTILL" train -C p
has "and says what to type" "$err" "edgestill generate"

cp rows.csv whole.csv
printf '5,0.5,100,30,"outpatient"\n' >>rows.csv
expect 2 "a row with a column too few" "$EDGESTILL" generate -C p
has "file and line are named" "$err" "rows.csv:98"
sed 's/label/class/' whole.csv >rows.csv
expect 2 "the label's column is missing" "$EDGESTILL" generate -C p
has "it is named" "$err" "label"
sed '5s/"normal"\|"suspicious"/"odd"/' whole.csv >rows.csv
expect 2 "a label that the task does not know" "$EDGESTILL" generate -C p
has "the value is named" "$err" "odd"
: >rows.csv
expect 2 "an empty file" "$EDGESTILL" generate -C p
cp whole.csv rows.csv
expect 0 "the rows are taken in" "$EDGESTILL" generate -C p --json
json "all of them, by split" "$out" '.ok and ([.. | numbers] | any(. == 48))'

expect 0 "training" "$EDGESTILL" train -C p --epochs 1 --rank 4 --quiet
expect 0 "compressing" "$EDGESTILL" compress -C p --quiet
expect 0 "evaluation" "$EDGESTILL" eval -C p --quiet
expect 0 "the bundle" "$EDGESTILL" bundle -C p --quiet
expect 0 "the report" "$EDGESTILL" report -C p --quiet
check "is a page" grep -q "</html>" p/report.html
expect 0 "all stages" "$EDGESTILL" status -C p --json
json "are up to date" "$out" '[.stages[].state] | all(. == "up to date")'

before=$(stat -c %Y.%s p/train/merged-f16.gguf p/model/student.gguf)
expect 0 "training again" "$EDGESTILL" train -C p --epochs 1 --rank 4 --quiet
expect 0 "compressing again" "$EDGESTILL" compress -C p --quiet
equal "made nothing anew" "$(stat -c %Y.%s p/train/merged-f16.gguf p/model/student.gguf)" "$before"

sed -i 's/^seed: 1/seed: 2/' p/edgestill.yaml
expect 0 "another seed" "$EDGESTILL" status -C p
has "makes the records stale" "$out" "edgestill.yaml#seed changed"
sed -i 's/^seed: 2/seed: 1/' p/edgestill.yaml

head -c 100000 p/train/merged-f16.gguf >cut.gguf && cp p/train/merged-f16.gguf whole.gguf && cp cut.gguf p/train/merged-f16.gguf
expect 0 "a model cut off on disk" "$EDGESTILL" status -C p
has "is noticed" "$out" "merged-f16.gguf was changed afterwards"
cp whole.gguf p/train/merged-f16.gguf
mv p/eval eval.aside && echo "a file" >p/eval
expect 1 "a folder that cannot be written to" "$EDGESTILL" eval -C p --rows whole.csv
has "is named" "$err" "p/eval"
rm p/eval && mv eval.aside p/eval

head -c 5000 "$root/seed/base.gguf" >broken.gguf
expect 0 "a base that is broken" "$EDGESTILL" init broken --task "Triage." --device rpi5-8gb --base "$PWD/broken.gguf" \
    --data whole.csv --label label --teacher none --quiet
task_file broken
expect 0 "its task" "$EDGESTILL" task --accept -C broken --quiet
expect 2 "its plan is refused" "$EDGESTILL" plan -C broken
has "with the file's name" "$err" "broken.gguf"

# ---- records from the teacher, killed and started again ----

mkdir t && cd t || exit 1
expect 0 "init with the embedded teacher" "$EDGESTILL" init p --task "$(cat "$example/task.txt")" --device rpi5-8gb --base embedded \
    --records 40 --quiet
task_file p
expect 0 "its task" "$EDGESTILL" task --accept -C p --quiet
expect 0 "its plan" "$EDGESTILL" plan --accept 1 -C p --quiet
for seconds in 0.5 1 1.5; do
    "$EDGESTILL" generate -C p --quiet >/dev/null 2>&1 &
    sleep "$seconds"
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
done
expect 0 "killed three times, generate goes on" "$EDGESTILL" generate -C p --json
expect 0 "what came of it" "$EDGESTILL" export records.csv -C p --quiet
check "is in exact balance" test "$(grep -c '"*suspicious"*,' records.csv) $(grep -c '"*normal"*,' records.csv)" = "20 20"
expect 0 "and is done" "$EDGESTILL" generate -C p --json
expect 0 "as status says" "$EDGESTILL" status -C p --json
json "too" "$out" '.stages[] | select(.stage == "generate") | .state == "up to date"'

# ---- teachers that cannot answer ----

expect 0 "a project with a server that is not there" "$EDGESTILL" init down --task "Triage." --device rpi5-8gb --base embedded \
    --teacher http://127.0.0.1:9/v1 --teacher-model m --quiet
expect 1 "asking it" "$EDGESTILL" task -C down --yes
has "names the address" "$err" "127.0.0.1:9"

read -ra server < <(sed -n 's/^#define EDGESTILL_LLAMA_SERVER *//p' "${EDGESTILL_CONFIG:-$root/build/gen/config.h}" | tr -d '",')
port=$((20000 + $$ % 20000))
"${server[@]}" -m "$root/seed/teacher.gguf" --host 127.0.0.1 --port "$port" --api-key right -c 2048 -np 1 -t 1 --offline >server.log 2>&1 &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null; test_finish' EXIT
for _ in $(seq 100); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break || sleep 0.2; done
expect 0 "a project whose server wants a key" "$EDGESTILL" init locked --task "$(cat "$example/task.txt")" --device rpi5-8gb \
    --base embedded --teacher "http://127.0.0.1:$port/v1" --teacher-model m --teacher-key-env KEY --quiet
expect 1 "without the key" env -u KEY "$EDGESTILL" task -C locked --yes
has "the variable is named" "$err" "KEY"
expect 1 "with a wrong one" env KEY=wrong "$EDGESTILL" task -C locked --yes
has "it says so" "$err" "401"
