# What compress cannot use is refused with the reason, through the command line, before anything is computed or changed; and the
# form of the prompt chosen by the answers.
. "$(dirname "$0")/../lib.sh"

for model in base; do
    [ -f "$root/seed/$model.gguf" ] || { skip "compress" "seed/$model.gguf is not there" && exit 0; }
done
example=$root/examples/line-maintenance
expect 0 "rows of the example's world" "$build/edgestill-simulate" "$example/rule.yaml" --rows 60 --balanced --out rows.csv

project() { # $1 folder, $2 seed
    expect 0 "a project with own rows" "$EDGESTILL" init "$1" --task "Mark worn compressors." --device rpi5-8gb --base embedded \
        --data rows.csv --label label --teacher none --seed "$2" --quiet
    cat >"$1/task.yaml" <<'YAML'
format: edgestill.task/1
name: line
kind: classify
sentence: Mark worn compressors.
instruction: Mark the compressor as worn or healthy.
fields:
  - {name: vibration, type: number, decimals: 1, min: 0, max: 20}
  - {name: bearing temperature, type: integer, min: 20, max: 120}
  - {name: runtime, type: integer, min: 0, max: 8000}
  - {name: lubricant, type: category, values: [mineral, synthetic]}
labels:
  - {name: worn, definition: vibration and temperature are high}
  - {name: healthy, definition: otherwise}
YAML
    expect 0 "its task is accepted" "$EDGESTILL" task --accept -C "$1" --quiet
    expect 0 "its plan is accepted" "$EDGESTILL" plan --accept 1 -C "$1" --quiet
    expect 0 "its rows are taken in" "$EDGESTILL" generate -C "$1" --split 80/20/0 --quiet
}

project p 1
expect 2 "there is nothing to compress yet" "$EDGESTILL" compress -C p
has "and it says what to type" "$err" "edgestill train"

# ---- the form ----

expect 2 "a form that nobody knows" "$EDGESTILL" train -C p --form brief
has "is named, with those that there are" "$err" 'full, short or none, then labelled or compact: not "brief"'
expect 0 "the form is chosen by the answers" "$EDGESTILL" train -C p --form auto --epochs 1 --rank 4 --threads 1 --json
json "with its reason" "$out" '.forms | length == 6 and (map(select(.chosen)) | length == 1)'
json "the whole prompt was tried" "$out" '.forms[] | select(.form == "full-labelled") | .tried'
json "the list stands beside the student" p/train/forms.json '.format == "edgestill.forms/1" and (.reason | length > 0)'
chosen=$(jq -r .chosen p/train/forms.json)
if [ "$chosen" = full-labelled ]; then form=null; else form="\"$chosen\""; fi
json "the student is the chosen one" p/train/prompt.json ".form == $form"
expect 0 "all is up to date" "$EDGESTILL" status -C p --json
json "training as well" "$out" '.stages[] | select(.stage == "train" or .name == "train") | .state == "up to date"'
before=$(stat -c %Y.%i p/train/merged-f16.gguf)
expect 0 "choosing again" "$EDGESTILL" train -C p --form auto --epochs 1 --rank 4 --threads 1 --quiet
equal "trains nothing anew" "$(stat -c %Y.%i p/train/merged-f16.gguf)" "$before"
echo 'form: breif' >>p/edgestill.yaml
expect 2 "a wrong form in edgestill.yaml" "$EDGESTILL" status -C p
has "is named with its line" "$err" 'edgestill.yaml'
sed -i '$d' p/edgestill.yaml

expect 2 "more layers than there are" "$EDGESTILL" train -C p --layers 99
has "are refused with their number" "$err" "--layers 99: the base has"

# ---- compress ----

expect 2 "an unknown type" "$EDGESTILL" compress -C p --type Q4
has "is named, with some that there are" "$err" '"Q4" is not a quantisation'
expect 2 "a budget below zero" "$EDGESTILL" compress -C p --bits -1
expect 2 "a preference for neither size nor speed" "$EDGESTILL" compress -C p --prefer taste
expect 2 "more layers than there are" "$EDGESTILL" compress -C p --depth 99 --full-vocabulary
has "cannot be kept" "$err" "99 layers cannot be kept of"
rm -rf p/model
expect 2 "no layer at all" "$EDGESTILL" compress -C p --depth 0
expect 2 "recovery at no known time" "$EDGESTILL" compress -C p --recover sometimes
expect 2 "an importance matrix that is not there" "$EDGESTILL" compress -C p --imatrix none.gguf
has "is named" "$err" "none.gguf"
expect 2 "a model for an importance matrix" "$EDGESTILL" compress -C p --imatrix p/train/merged-f16.gguf
has "is told from one" "$err" "is not an importance matrix"
equal "nothing was made so far" "$(ls p/model 2>/dev/null)" ""

expect 0 "compressing" "$EDGESTILL" compress -C p --calibration 8 --bits 5 --recover never --threads 1 --json
json "keeps the budget of bits" "$out" '.candidates | length == 1 and .[0].bits_per_weight <= 5'
json "the ledger goes from the base to the file that ships" "$out" \
    '[.steps[].step][0:4] == ["base", "adapter", "merged", "16-bit"] and .steps[-1].step == "budget searched"'
json "what the trainer merges answers as llama.cpp with the adapter" "$out" \
    '[.steps[] | select(.step == "merged" or .step == "adapter") | .divergence] | max < 0.001'
json "both caches are measured" "$out" '[.caches[].type] == ["f16", "q8_0"] and (.caches | map(select(.chosen)) | length == 1)'
equal "every row of the ledger has each step's answer" "$(head -1 p/model/ledger.csv | cut -d, -f1-6)" "row,truth,base,adapter,merged,16-bit"
check "the matrix is of this student" "$EDGESTILL" compress -C p --calibration 8 --recover never --threads 1 --no-search \
    --imatrix p/model/imatrix.gguf --quiet
fastest() { "$EDGESTILL" compress -C p --prefer speed --calibration 8 --recover never --threads 1 --json; }
expect 0 "the fastest for the device" fastest
expect 0 "again" fastest
json "nothing has changed" "$out" '.up_to_date'
mkdir -p p/receipts
printf '{"emulated":false,"device":"rpi5-4gb","measured_at":"2026-03-04","bundle_sha256":"gone","machine":{},"measured":{"reads_gmacs":{"Q8_0":900,"Q4_K":9,"Q6_K":9,"Q5_K":9,"Q4_0":9}}}' >p/receipts/pi.json
expect 0 "a board of its kind has measured itself since" fastest
json "and what was chosen before is void: another type is fastest" "$out" \
    '(.up_to_date | not) and (.rates | contains("receipts/pi.json"))'
json "the file that ships has it" "$out" '.candidates[] | select(.chosen) | .bits_per_weight > 8'
rm p/receipts/pi.json
cp p/model/imatrix.gguf other.gguf
cp p/model/student.gguf shipped.gguf
cp p/train/merged-f16.gguf whole.gguf
printf 'a' | dd of=whole.gguf bs=1 seek=$(($(stat -c %s whole.gguf) - 1)) conv=notrunc 2>/dev/null
rm p/train/merged-f16.gguf && cp whole.gguf p/train/merged-f16.gguf
expect 1 "an importance matrix of another model" "$EDGESTILL" compress -C p --imatrix other.gguf
has "is told by the file that it was collected with" "$err" "is of another model"
cp shipped.gguf p/train/merged-f16.gguf
expect 2 "a source that is quantised already" "$EDGESTILL" compress -C p
has "is told from the 16-bit file" "$err" "quantised already"
head -c 5000 whole.gguf >p/train/merged-f16.gguf
expect 2 "a source that is cut off" "$EDGESTILL" compress -C p
check "the file that ships is as it was" cmp p/model/student.gguf shipped.gguf
