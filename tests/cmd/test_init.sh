# edgestill init: what it writes, and everything that it refuses before it writes anything.
. "$(dirname "$0")/../lib.sh"

sentence='Flag a claim: "suspicious" when the delay is under 2 days; # otherwise normal'
expect 0 "a project" "$EDGESTILL" init claims --task "$sentence" --device RPI5-8gb --base embedded --seed 7
has "the format" claims/edgestill.yaml "format: edgestill.project/1"
has "the catalogue's spelling of the device" claims/edgestill.yaml "device: rpi5-8gb"
has "the seed" claims/edgestill.yaml "seed: 7"
expect 0 "it can be opened" "$EDGESTILL" status -C claims --json
has "nothing is done yet" "$out" '"next": "edgestill task -C claims"'
check "the sentence comes back as typed" grep -qF 'task: "Flag a claim: \"suspicious\" when the delay is under 2 days; # otherwise normal"' claims/edgestill.yaml

cp claims/edgestill.yaml before
expect 2 "a project is not overwritten" "$EDGESTILL" init claims --task x --device rpi5-8gb
check "it is as it was" cmp before claims/edgestill.yaml

expect 2 "an unknown device" "$EDGESTILL" init p --task x --device rpi5-8bg
has "near names are given" "$err" "rpi5-8gb"
expect 2 "an unknown base" "$EDGESTILL" init p --task x --device rpi5-8gb --base qwen9-0.1b
expect 2 "no device" "$EDGESTILL" init p --task x
expect 2 "no sentence" "$EDGESTILL" init p --device rpi5-8gb
expect 2 "a blank sentence" "$EDGESTILL" init p --task '  ' --device rpi5-8gb
expect 2 "a sentence that is not UTF-8" "$EDGESTILL" init p --task $'x\xff' --device rpi5-8gb
expect 2 "no folder" "$EDGESTILL" init --task x --device rpi5-8gb
expect 2 "two folders" "$EDGESTILL" init p q --task x --device rpi5-8gb
expect 2 "no records" "$EDGESTILL" init p --task x --device rpi5-8gb --records 0
expect 2 "a negative seed" "$EDGESTILL" init p --task x --device rpi5-8gb --seed -1
expect 2 "a teacher that is nobody" "$EDGESTILL" init p --task x --device rpi5-8gb --teacher kimi
expect 2 "a URL without a model" "$EDGESTILL" init p --task x --device rpi5-8gb --teacher https://h/v1
expect 2 "no teacher and no data" "$EDGESTILL" init p --task x --device rpi5-8gb --teacher none
check "nothing was written" test ! -e p

printf 'id,delay,class\n1,5,ok\n' >rows.csv
expect 2 "data without a label column" "$EDGESTILL" init p --task x --device rpi5-8gb --data rows.csv
expect 2 "a label column that is not there" "$EDGESTILL" init p --task x --device rpi5-8gb --data rows.csv --label klass
has "the columns are named" "$err" "id, delay, class"
expect 2 "data that is not there" "$EDGESTILL" init p --task x --device rpi5-8gb --data none.csv --label class
printf 'id,class\n1\n' >ragged.csv
expect 2 "a row with too few fields" "$EDGESTILL" init p --task x --device rpi5-8gb --data ragged.csv --label class
has "file and line are named" "$err" "ragged.csv:2: 1 fields, but the header has 2"
printf 'id,class\n' >header.csv
expect 2 "a header without rows" "$EDGESTILL" init p --task x --device rpi5-8gb --data header.csv --label class
: >empty.csv
expect 2 "an empty file" "$EDGESTILL" init p --task x --device rpi5-8gb --data empty.csv --label class
head -c 3000 /dev/urandom >garbage.csv
expect 2 "garbage" "$EDGESTILL" init p --task x --device rpi5-8gb --data garbage.csv --label class
printf '{"delay":5}\n' >rows.jsonl
echo '[{"delay":1,"class":"a"}]' | tee list.jsonl >rows.json
for name in list.jsonl rows.json; do
    expect 2 "a JSON array" "$EDGESTILL" init p --task x --device rpi5-8gb --data $name --label class
    has "is told what rows look like" "$err" "one object a line"
done
expect 2 "a JSON row without the label" "$EDGESTILL" init p --task x --device rpi5-8gb --data rows.jsonl --label class
has "its keys are named" "$err" "delay"
check "still nothing was written" test ! -e p

mkdir -p inside && cp rows.csv inside/
expect 0 "data inside and outside of the project" "$EDGESTILL" init inside --task x --device rpi5-8gb \
    --data inside/rows.csv --label class --eval-data rows.csv --teacher https://api.example.com/v1 --teacher-model m \
    --teacher-key-env KEY
has "inside: relative" inside/edgestill.yaml "path: rows.csv"
has "outside: absolute" inside/edgestill.yaml "eval: $work/rows.csv"
has "the key's variable" inside/edgestill.yaml "key_env: KEY"
has "rows are not shared" inside/edgestill.yaml "share_rows: false"

: >file
expect 2 "a file where the folder should be" "$EDGESTILL" init file --task x --device rpi5-8gb
expect 1 "a folder below a file" "$EDGESTILL" init file/below --task x --device rpi5-8gb
if [ "$(id -u)" != 0 ]; then
    mkdir closed && chmod 555 closed
    expect 1 "a folder that may not be written" "$EDGESTILL" init closed/p --task x --device rpi5-8gb
    has "it is named" "$err" "closed"
else
    skip "a folder that may not be written" "permissions do not bind root"
fi
if mkdir tiny && mount -t tmpfs -o size=4k none tiny 2>/dev/null; then
    head -c 4096 /dev/zero >tiny/full
    expect 1 "a full disk" "$EDGESTILL" init tiny/p --task x --device rpi5-8gb
    has "it is said" "$err" "No space left"
    check "no half project is left" test ! -e tiny/p/edgestill.yaml
    umount tiny
else
    skip "a full disk" "a tmpfs cannot be mounted here"
fi

# a model file as teacher: run here, and asked like any other
expect 2 "a teacher's file of another kind" "$EDGESTILL" init p --task x --device rpi5-8gb --teacher ./kimi.txt
expect 2 "a teacher's file that is not there" "$EDGESTILL" init p --task x --device rpi5-8gb --teacher ./kimi.gguf
if [ -f "$root/seed/teacher.gguf" ]; then
    cp "$root/seed/teacher.gguf" mine.gguf
    expect 2 "a file has no endpoint's options" "$EDGESTILL" init p --task x --device rpi5-8gb --teacher mine.gguf --teacher-model x
    expect 0 "a file as teacher" "$EDGESTILL" init own --task "$(cat "$root/examples/healthcare-claims/task.txt")" \
        --device rpi5-8gb --teacher ./mine.gguf
    has "its kind" own/edgestill.yaml "kind: gguf"
    expect 0 "it drafts the task" "$EDGESTILL" task -C own
    has "a label of the sentence" own/task.yaml "name: suspicious"
    expect 0 "the task" "$EDGESTILL" task -C own --accept
    expect 0 "the plan" "$EDGESTILL" plan -C own --base embedded --accept 1
    expect 0 "it writes and labels, without a server" env EDGESTILL_LLAMA_SERVER=/none "$EDGESTILL" generate -C own --records 8 --yes
    has "at no price" "$err" "no money: it runs on this machine"
    expect 0 "the records" "$EDGESTILL" export -C own records.jsonl
    equal "all of them" "$(wc -l <records.jsonl)" 8
    equal "each with the exact probabilities of its labels" \
        "$(grep -c '"probabilities":{"suspicious":[0-9.e-]*,"normal":[0-9.e-]*}' records.jsonl)" 8
    expect 0 "and the student learns from them" "$EDGESTILL" train -C own --soft 0.5 --epochs 2 --json
    json "as a whole student" "$out" '.rows.train > 0 and .export_error < 0.05'
    first_loss() { jq -s 'map(select(.event == "step"))[0].loss' own/train/log.jsonl; }
    soft=$(first_loss)
    expect 0 "beside hard labels alone" "$EDGESTILL" train -C own --soft 0 --epochs 2 --json
    check "a teacher that has reasoned is certain to a millionth: both teach the same" jq -en \
        "$soft > 0 and ($soft - $(first_loss) | fabs) < 1e-4" # other probabilities: tests/train/test_train_verb.c
else
    skip "a file as teacher" "seed/teacher.gguf is not there"
fi
