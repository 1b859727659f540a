# Rows as spreadsheets save them: read with byte order mark, semicolons and CR LF; what is not clear in them is asked, not guessed; errors say
# where; splits by group and by time, with the test rows set apart.
. "$(dirname "$0")/../lib.sh"

{
    printf '\xef\xbb\xbfclaim;patient;filed;code;delay;note;outcome\r\n'
    for i in $(seq 0 119); do
        printf '%s;%d;%02d/%02d/2026;%d;%d;"a ""b""; c";%s\r\n' "C-$((4711 + 7 * i))" $((i % 24)) $((1 + i % 9)) $((1 + i / 12)) \
            $((100 * (1 + i % 3))) $((i / 2)) "$([ $((i % 5)) -lt 2 ] && echo bad || echo good)"
    done
} >rows.csv
project() { # project NAME OPTION…
    local name=$1
    shift
    expect 0 "$name: init" "$EDGESTILL" init "$name" --task "Say whether it is bad." --device rpi5-8gb --base embedded \
        --data rows.csv --label outcome --teacher none --quiet "$@"
}
records() { # records NAME: accepted task and plan, records made
    expect 0 "$1: the task is accepted" "$EDGESTILL" task --accept -C "$1" --quiet
    expect 0 "$1: the plan is accepted" "$EDGESTILL" plan --accept 1 -C "$1" --quiet
    expect 0 "$1: records" "$EDGESTILL" generate -C "$1" --json
}
values() { # values PROJECT SPLIT FIELD: its distinct values, sorted
    "$EDGESTILL" export -C "$1" --split "$2" "$work/$2.jsonl" --quiet && jq ".edgestill.record[\"$3\"]" "$2.jsonl" | sort -nu
}

# ---- what is not clear ----

project asked
expect 0 "a spreadsheet's rows" "$EDGESTILL" task -C asked --json
json "are all read" "$out" '.rows == 120 and (.task.labels | map(.name) | sort == ["bad", "good"])'
json "what looks like an identifier is pointed out, and left out" "$out" '(.findings | any(.column == "claim" and .what == "identifier"))
    and (.task.fields | any(.name == "claim") | not)'
json "questions have choices, and the one that is taken" "$out" '.findings | map(select(.choices)) | any(.column == "filed") and any(.column == "code")
    and all(.chosen as $c | .choices | index($c))'
equal "days come first where nobody says otherwise" "$(jq -r '.task.fields[] | select(.name == "filed") | .order' "$out")" dmy
has "what was taken stands in the file" asked/task.yaml "# "
if command -v script >"$out"; then
    project typed
    expect 0 "at a terminal they are asked" bash -c 'for i in $(seq 20); do echo 2; done | script -qec "$0" /dev/null' "$EDGESTILL task -C typed"
    has "one by one" "$out" "(default)"
    check "the answers count: months first" grep -q "order: mdy" typed/task.yaml
    check "and a field that looked like an identifier" grep -q "name: claim" typed/task.yaml
else
    skip "at a terminal" "there is no script(1)"
fi

# ---- encodings ----

{ printf 'note,outcome\n'; for i in $(seq 0 59); do
    printf 'naïve Größe %d – fünf €,%s\n' "$i" "$([ $((i % 2)) = 0 ] && echo schön || echo häßlich)"
done; } >utf8.csv
made() { # made PROJECT ROWS: the task that is inferred from them
    expect 0 "$1: init" "$EDGESTILL" init "$1" --task "Say whether it is pretty." --device rpi5-8gb --base embedded --data "$2" \
        --label outcome --teacher none --quiet
    expect 0 "$1: task" "$EDGESTILL" task -C "$1" --json
}
made utf8 utf8.csv
jq .task "$out" >utf8.json
json "UTF-8 is nothing to speak of" "$out" '.findings | any(.what == "encoding") | not'
for encoding in WINDOWS-1252 UTF-16; do # as spreadsheets save them
    iconv -f UTF-8 -t $encoding utf8.csv >$encoding.csv
    made $encoding $encoding.csv
    json "$encoding: it is said" "$out" ".findings | any(.what == \"encoding\" and (.text | test(\"$encoding\")))"
    check "$encoding: the task is the same" diff <(jq '.task | del(.name)' "$out") <(jq 'del(.name)' utf8.json)
done

# ---- splits ----

project grouped --group patient
expect 0 "grouped: task" "$EDGESTILL" task -C grouped --quiet
sed -i 's/^fields:/fields:\n  - {name: patient, type: integer}/' grouped/task.yaml # to see where each went
records grouped
for split in train validation test; do values grouped $split patient >$split.txt; done
equal "no patient is in two splits" "$(cat train.txt validation.txt test.txt | sort | uniq -d)" ""
check "each split has some" test -s train.txt -a -s validation.txt -a -s test.txt
project timed --time delay
expect 0 "timed: task" "$EDGESTILL" task -C timed --quiet
records timed
json "the way and its reason are said" "$out" '.way.own_rows == "many" and .way.n == 120 and (.way.reason | test("all there is"))'
check "the latest rows are the test rows" test "$(values timed test delay | head -n 1)" -gt "$(values timed train delay | tail -n 1)"
check "and the ones before them validate" test "$(values timed validation delay | head -n 1)" -gt "$(values timed train delay | tail -n 1)"

# Dates that begin with the day: the latest ones are a year later, whatever their day.
{ printf 'when;delay;outcome\n'; for i in $(seq 0 119); do
    printf '%02d.%02d.%d;%d;%s\n' $((28 - i % 28)) $((1 + i % 12)) $((2020 + i / 20)) $((i / 20)) "$([ $((i % 5)) -lt 2 ] && echo bad || echo good)"
done; } >dated.csv
dated() { # dated NAME: a project of dated.csv, split by its dates
    expect 0 "$1: init" "$EDGESTILL" init "$1" --task "Say whether it is bad." --device rpi5-8gb --base embedded --data dated.csv \
        --label outcome --teacher none --quiet --time when
    expect 0 "$1: task" "$EDGESTILL" task -C "$1" --quiet
}
dated dated
records dated
equal "the latest dates are the test rows" "$(values dated test delay)" 5
equal "their rows do not train" "$(values dated train delay | tail -n 1)" 4
dated undeclared
sed -i '/- name: when/,/order:/d' undeclared/task.yaml
records undeclared
equal "also where the date is no field" "$(values undeclared test delay)" 5
sed -i 's/^[0-9][0-9]/07/' dated.csv
rm undeclared/records.*
expect 2 "days that may be months" "$EDGESTILL" generate -C undeclared
has "are not guessed" "$err" "cannot be told apart"

# Three groups of which none lies where the test rows' share does.
{ printf 'site,delay,outcome\n'; for i in $(seq 0 119); do
    printf '%s,%d,%s\n' "$([ $((i % 12)) = 0 ] && echo south || { [ $((i % 2)) = 0 ] && echo north || echo west; })" $((i / 2)) \
        "$([ $((i % 5)) -lt 2 ] && echo bad || echo good)"
done; } >sites.csv
for seed in 1 2 3 4; do
    rm -rf sites
    expect 0 "few groups: init" "$EDGESTILL" init sites --task "Say whether it is bad." --device rpi5-8gb --base embedded --data sites.csv \
        --label outcome --teacher none --quiet --group site --seed $seed
    expect 0 "few groups: task" "$EDGESTILL" task -C sites --quiet
    records sites
    json "each split has one" "$out" '.records.splits | .train > 0 and .validation > 0 and .test > 0'
done

# ---- mistakes ----

refused() { # refused NAME TEXT COMMAND…: rows.csv as the command writes it from whole.csv
    local name=$1 text=$2
    shift 2
    "$@" whole.csv >rows.csv
    rm -f grouped/records.*
    expect 2 "$name" "$EDGESTILL" generate -C grouped
    has "$name: is told with its place" "$err" "$text"
}
cp rows.csv whole.csv
refused "a number that is none" "rows.csv:7: field 'delay': 'soon' is not a number" sed '7s/;2;"a/;soon;"a/'
refused "a quote that is never closed" "rows.csv:10:28: a quote in the wrong place" sed '9s/"a ""b""; c"/"a/'
refused "a row with a field too many" "rows.csv:5: 8 fields, but the header has 7" sed '5s/;good/;x;good/; 5s/;bad/;x;bad/'
refused "another encoding" "rows.csv:3: column 6 (note): byte 0xe4 is not UTF-8" sed $'3s/a ""b/\xe4 ""b/'
has "with what to do" "$err" "iconv"
refused "a label that is none of the task's" "rows.csv:4: 'ugly' is no label" sed '4s/;\(good\|bad\)/;ugly/'
