# The program around the verbs: help, unknown words, --json, exit codes, a standard output that cannot be written.
. "$(dirname "$0")/../lib.sh"

expect 0 "help" "$EDGESTILL" --help
for verb in init task plan generate train compress eval bundle run status report devices models doctor; do
    has "help names $verb" "$out" "  $verb "
done
expect 0 "help of a verb" "$EDGESTILL" init --help
has "help shows the options" "$out" "--device NAME"
cp "$out" one
expect 0 "the other way to ask" "$EDGESTILL" help init
check "both are the same" cmp one "$out"
expect 0 "help wins over mistakes" "$EDGESTILL" init --nonsense -h
expect 0 "version" "$EDGESTILL" --version
has "version is named" "$out" "edgestill 0."

expect 2 "no verb" "$EDGESTILL"
expect 2 "an unknown verb" "$EDGESTILL" statsu
has "the near one is named" "$err" 'did you mean "status"?'
expect 2 "help of an unknown verb" "$EDGESTILL" help nonsense
expect 2 "an unknown option" "$EDGESTILL" status --devcie x
has "it is named" "$err" "there is no option --devcie"
expect 2 "no project" "$EDGESTILL" status
has "what to do is said" "$err" "edgestill init"

expect 2 "an error as JSON" "$EDGESTILL" status --json
json "it is one document" "$out" \
    '.ok == false and .error.code == "NOT_FOUND" and (.error.hint | length) > 0 and .verb == "status"'

expect 2 "an error that quotes bytes that are no text" "$EDGESTILL" status --json -C $'no\xffsuch'
json "is a JSON document all the same" "$out" '.error.message | contains("no\ufffdsuch")'

if [ -w /dev/full ]; then
    full() { "$EDGESTILL" --help >/dev/full; }
    expect 1 "standard output is full" full
    has "it is said" "$err" "cannot write to standard output"
else
    skip "standard output is full" "there is no /dev/full"
fi
gone() { "$EDGESTILL" doctor --json | true; return "${PIPESTATUS[0]}"; }
expect 1 "a reader that goes away is an error, not a signal" gone
