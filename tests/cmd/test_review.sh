#!/bin/bash
# Records are shown, corrected, dropped and restored with their history, and go out and come in again, as a user types it.
. "$(dirname "$0")/../lib.sh"

{
    echo "delay,share,outcome"
    for i in $(seq 0 59); do echo "$((i % 31)),0.$((10 + i)),$([ $((i % 4)) = 0 ] && echo bad || echo good)"; done
} >rows.csv
expect 0 "a project of own rows" "$EDGESTILL" init p --task "Say whether it is bad." --device rpi5-8gb --base embedded \
    --data rows.csv --label outcome --teacher none
expect 0 "the task is inferred" "$EDGESTILL" task -C p
expect 0 "and accepted" "$EDGESTILL" task -C p --accept
expect 0 "a plan" "$EDGESTILL" plan -C p --accept 1
expect 0 "records" "$EDGESTILL" generate -C p
cp -r p alike
expect 0 "they are listed" "$EDGESTILL" review -C p --label bad --all --json
has "each with its label" "$out" '"label": "bad"'
expect 2 "a change without a choice is refused" "$EDGESTILL" review -C p --drop
expect 2 "an unknown label is refused" "$EDGESTILL" review -C p --id 1 --set-label ugly
expect 0 "one is corrected" "$EDGESTILL" review -C p --id 1 --set-label good
expect 0 "one is dropped" "$EDGESTILL" review -C p --id 2 --drop
expect 0 "who changed what is kept" "$EDGESTILL" review -C p --history --json
has "the correction" "$out" '"before": "bad"'
has "the drop" "$out" "dropped in review"
expect 0 "59 are left" "$EDGESTILL" export -C p "$work/all.csv"
has "and written" "$out" "59 records"
expect 0 "it comes back" "$EDGESTILL" review -C p --id 2 --restore
expect 0 "chat JSON Lines" "$EDGESTILL" export -C p "$work/chat.jsonl"
has "as other trainers read it" chat.jsonl '"role":"assistant","content":"good"'
expect 0 "known records are not taken twice" "$EDGESTILL" import -C p "$work/chat.jsonl"
has "all were there" "$out" "0 records are taken in, 60 were there already"
printf '%s\n' '{"messages":[{"role":"user","content":"Label it.\n- delay: 3\n- share: 0.99\n"},{"role":"assistant","content":"bad"}]}' >new.jsonl
expect 2 "values out of the task's range are refused" "$EDGESTILL" import -C p "$work/new.jsonl"
sed -i 's/0\.99/0.51/' new.jsonl
expect 0 "a chat of one's own" "$EDGESTILL" import -C p "$work/new.jsonl"
has "is a new record" "$out" "1 records are taken in"
printf '%s\n' '{"messages":[{"role":"user","content":"- delay: x\n- share: 1\n"},{"role":"assistant","content":"bad"}]}' >wrong.jsonl
expect 2 "a line that cannot be used is named" "$EDGESTILL" import -C p "$work/wrong.jsonl"
has "with its number" "$err" "wrong.jsonl:1"

# ---- all like this one ----

labels() { # how many accepted records have each label
    "$EDGESTILL" export -C alike "$work/alike.jsonl" --quiet && jq -r .edgestill.answer alike.jsonl | sort | uniq -c | xargs
}
typed() { # typed NAME USER LINES OPTION…: a person at a terminal pages through the records
    local name=$1 user=$2 lines=$3
    shift 3
    expect 0 "$name" env USER="$user" bash -c 'printf "%b" "$0" | script -qec "$1" /dev/null' "$lines" "$EDGESTILL review -C alike $*"
}
changes() { # changes NAME FILTER: of the history
    expect 0 "$1" "$EDGESTILL" review -C alike --history --json
    json "$1 is kept" "$out" "$2"
}
if command -v script >"$out"; then
    typed "of the bad ones all like the first are dropped" ada 'a d\nq\n' --label bad
    has "all fifteen" "$out" "15 records changed"
    equal "the others are left" "$(labels)" "45 good"
    changes "who dropped which" '.history | length == 15 and all(.who == "ada" and .what == "drop" and .before == "accepted")
        and (map(.record) | unique | length == 15)'
    typed "one comes back as it was, and all like the second with another label" bo 'x\nr\na l good\n' --status rejected
    has "what is no command is said, and asked again" "$out" "'x' is none of"
    has "all are there again" "$out" "15 records changed"
    equal "the fourteen as good ones" "$(labels)" "1 bad 59 good"
    changes "who corrected which, beside what came before" '.history | length == 30 and (map(select(.who == "bo" and .what == "label"
        and .before == "bad" and .after == "good")) | length == 14) and (map(select(.what == "restore")) | length == 1)'
else
    skip "at a terminal" "there is no script(1)"
    "$EDGESTILL" review -C alike --label bad --status accepted --all --set-label good --quiet && "$EDGESTILL" review -C alike --id 1 --set-label bad --quiet
fi
expect 0 "without a terminal, too" env USER=cy "$EDGESTILL" review -C alike --like 2 --drop
has "however many there are" "$out" "59 records changed"
equal "and no other" "$(labels)" "1 bad"
expect 0 "some come back" "$EDGESTILL" review -C alike --status rejected --restore --json
json "and it says that there are more" "$out" '.changed == 20 and .more == 39'
expect 0 "all like one of the rest" "$EDGESTILL" review -C alike --like "$("$EDGESTILL" review -C alike --status rejected --limit 1 --json | jq '.records[0].id')" --restore
equal "do, too" "$(labels)" "1 bad 59 good"
expect 2 "like a record that there is not" "$EDGESTILL" review -C alike --like 999 --drop
has "that is said" "$err" "no record 999"
expect 2 "a status that there is not" "$EDGESTILL" review -C alike --status good
has "is told with those there are" "$err" "accepted, spare, rejected or pending"
expect 2 "a record that there is not" "$EDGESTILL" review -C alike --id 999
has "is said" "$err" "no record 999"
expect 0 "a reason that no record has" "$EDGESTILL" review -C alike --reason droped
has "is said" "$out" "no record is like that"
expect 0 "nobody's name is needed" env -u USER "$EDGESTILL" review -C alike --id 1 --drop
has "and one is one" "$out" "1 record changed"
changes "the system knows who" ".history[-1].who == \"$(id -un)\""
