# edgestill plan with own rows: training is planned for as many as there are, not for as many as a teacher would be asked for.
. "$(dirname "$0")/../lib.sh"

{
    echo "delay,class"
    for i in $(seq 60); do echo "$((i % 30)),$([ $((i % 30)) -lt 10 ] && echo late || echo fine)"; done
} >rows.csv
"$EDGESTILL" init p --task "flag late claims" --device rpi5-8gb --base embedded --teacher none --data rows.csv --label class --quiet
"$EDGESTILL" task -C p --quiet
"$EDGESTILL" task -C p --accept --quiet
expect 0 "rows and no teacher" "$EDGESTILL" plan -C p --json
json "all of the rows, no more" "$out" '.records == 60'
sed -i 's/^  kind: none/  kind: embedded/' p/edgestill.yaml
expect 0 "rows and a teacher" "$EDGESTILL" plan -C p --json
json "the teacher fills up" "$out" '.records == 1000'
sed -i "2s/.*/\"12/" rows.csv
expect 0 "rows that cannot be read" "$EDGESTILL" plan -C p
has "are named" "$err" "rows.csv"
