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
