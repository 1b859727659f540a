# Records out of one project and into another, as CSV and as chat JSON Lines: the same records, labels, splits and weights.
. "$(dirname "$0")/../lib.sh"

{
    echo "delay,share,place,outcome"
    for i in $(seq 0 59); do
        echo "$((i % 31)),0.$((10 + i)),$([ $((i % 3)) = 0 ] && echo '"north, ""old"""' || echo süd),$([ $((i % 4)) = 0 ] && echo bad || echo good)"
    done
} >rows.csv
expect 0 "a project of own rows" "$EDGESTILL" init p --task "Say whether it is bad." --device rpi5-8gb --base embedded \
    --data rows.csv --label outcome --teacher none --quiet
expect 0 "its task" "$EDGESTILL" task -C p --quiet
expect 0 "is accepted" "$EDGESTILL" task -C p --accept --quiet
expect 0 "its plan, too" "$EDGESTILL" plan -C p --accept 1 --quiet
expect 0 "records with weights" "$EDGESTILL" generate -C p --balance --split 60/20/20 --quiet

other() { # a second project of the same task, without records
    rm -rf q && cp -r p q && rm -f q/records.*
}
for form in csv jsonl; do
    other
    expect 0 "$form: out" "$EDGESTILL" export -C p "$work/a.$form" --quiet
    expect 0 "$form: and in" "$EDGESTILL" import -C q "$work/a.$form" --json
    json "$form: all of them" "$out" '.records == 60 and .known == 0'
    expect 0 "$form: out again" "$EDGESTILL" export -C q "$work/b.$form" --quiet
    check "$form: records, labels, splits and weights are the same" cmp a.$form b.$form
    for split in train validation test; do
        expect 0 "$form: $split rows of the one" "$EDGESTILL" export -C p --split $split "$work/a-$split.$form" --json
        json "$form: of which there are some" "$out" '.records > 0'
        expect 0 "$form: $split rows of the other" "$EDGESTILL" export -C q --split $split "$work/b-$split.$form" --quiet
        check "$form: are the same" cmp a-$split.$form b-$split.$form
    done
done
check "the weights are not all one" grep -q ',train,0\.' a.csv
has "what has commas and quotes is quoted" a.csv '"north, ""old"""'
check "each line is a chat of two with the answer last" jq -e '(.messages | map(.role)) == ["user", "assistant"] and
    .messages[1].content == .edgestill.answer and (.messages[0].content | test("- place: (north, \"old\"|süd)\n"))' a.jsonl

other
jq -c 'del(.edgestill)' a.jsonl | head -n 40 >bare.jsonl
expect 0 "without what export says beside it, a chat" "$EDGESTILL" import -C q "$work/bare.jsonl" --json
json "is a record, too" "$out" '.records == 40'
expect 0 "out of it" "$EDGESTILL" export -C q --split test "$work/drawn.csv" --json
json "a tenth are test rows" "$out" '.records == 4'

other
head -n 1 a.jsonl | jq -c '.edgestill.probabilities = {bad: 0.25, good: 0.75}' >believed.jsonl
expect 0 "a teacher's probabilities" "$EDGESTILL" import -C q "$work/believed.jsonl" --quiet
expect 0 "come" "$EDGESTILL" export -C q "$work/back.jsonl" --quiet
check "and go" jq -e '.edgestill.probabilities == {bad: 0.25, good: 0.75}' back.jsonl
sed -i 's/0\.75/0.9/' believed.jsonl
other
expect 2 "those that do not sum to one do not" "$EDGESTILL" import -C q "$work/believed.jsonl"
has "and the line is named" "$err" "believed.jsonl:1"

sed '7s/,\(train\|validation\|test\),/,trial,/' a.csv >wrong.csv
other
expect 2 "a split that there is not" "$EDGESTILL" import -C q "$work/wrong.csv"
has "is named with line and column" "$err" "wrong.csv:7: column 5 (split): 'trial'"
expect 0 "and nothing was taken in" "$EDGESTILL" export -C q "$work/none.csv" --json
json "not the rows before it either" "$out" '.records == 0'
sed '7s/,[0-9.]*,own$/,-1,own/' a.csv >wrong.csv
expect 2 "a weight below nothing" "$EDGESTILL" import -C q "$work/wrong.csv"
has "is named, too" "$err" "wrong.csv:7: column 6 (weight)"

# A field that is called as one of export's columns.
{
    echo "weight,size,outcome"
    for i in $(seq 0 59); do echo "$((i * 37 % 91)).5,$((i % 7)),$([ $((i % 4)) = 0 ] && echo bad || echo good)"; done
} >parcels.csv
rm -rf p
expect 0 "parcels" "$EDGESTILL" init p --task "Say whether it is bad." --device rpi5-8gb --base embedded \
    --data parcels.csv --label outcome --teacher none --quiet
expect 0 "their task" "$EDGESTILL" task -C p --quiet
expect 0 "is accepted, too" "$EDGESTILL" task -C p --accept --quiet
expect 0 "their plan" "$EDGESTILL" plan -C p --accept 1 --quiet
expect 0 "their records" "$EDGESTILL" generate -C p --quiet
other
expect 0 "parcels out" "$EDGESTILL" export -C p "$work/a.csv" --quiet
equal "with another name for export's own weight" "$(head -n 1 a.csv)" "weight,size,answer,split,edgestill weight,source"
expect 0 "and in" "$EDGESTILL" import -C q "$work/a.csv" --quiet
expect 0 "and out again" "$EDGESTILL" export -C q "$work/b.csv" --quiet
check "are the same" cmp a.csv b.csv
