#!/bin/bash
# The examples' worlds: rows as asked for, balanced, seeded, with the stated noise, and bad calls refused.
. "$(dirname "$0")/../lib.sh"

simulate=$build/edgestill-simulate
for name in healthcare-claims cold-chain line-maintenance; do
    rule=$root/examples/$name/rule.yaml
    expect 0 "$name: rows are made" "$simulate" "$rule" --rows 2000 --balanced --out rows.csv
    equal "$name: as many rows as asked for" "$(wc -l <rows.csv)" 2001
    equal "$name: labels are balanced" "$(tail -n +2 rows.csv | sed 's/.*,//' | sort | uniq -c | awk '{print $1}' | tr '\n' ' ')" \
        "1000 1000 "
    has "$name: the Bayes rate is told" "$err" "Bayes rate 99.00%"
    expect 0 "$name: without noise" "$simulate" "$rule" --rows 500 --noise 0
    has "$name: a perfect reader then makes no mistake" "$err" "Bayes rate 100.00%"
    cp "$out" first.csv
    "$simulate" "$rule" --rows 500 --noise 0 >again.csv 2>/dev/null
    check "$name: the same seed gives the same rows" cmp first.csv again.csv
    "$simulate" "$rule" --rows 500 --noise 0 --seed 2 >again.csv 2>/dev/null
    check "$name: another seed gives others" test "$(cmp -s first.csv again.csv; echo $?)" = 1
    for field in $(head -1 rows.csv | tr ',' '\n' | tr -d '"' | tr ' ' '_' | grep -v '^label$'); do
        has "$name: the sentence names $field" "$root/examples/$name/task.txt" "${field//_/ }"
    done
done

# The rule itself, read out of the rows by another program.
"$simulate" "$root/examples/healthcare-claims/rule.yaml" --rows 3000 --noise 0 --out rows.csv 2>/dev/null
equal "claims: every label is the sentence's" "$(awk -F, 'NR > 1 {
    want = ($1 < 2 || ($1 < 7 && $2 < 0.80)) ? "\"suspicious\"" : "\"normal\""
    wrong += $6 != want } END { print wrong + 0 }' rows.csv)" 0

expect 2 "no rows asked for is refused" "$simulate" "$rule"
expect 2 "a missing world is refused" "$simulate" nowhere.yaml --rows 5
has "and named" "$err" "nowhere.yaml"
expect 2 "half of the labels wrong is refused" "$simulate" "$rule" --rows 5 --noise 0.5
printf 'format: edgestill.rule/1\nnoise: 0\nfields:\n  - {name: a, type: integer, min: 0, max: 9, draw: {shape: cube}}\n' >bad.yaml
expect 2 "a broken world is refused" "$simulate" bad.yaml --rows 5
has "with its place" "$err" "bad.yaml:4"
