# The embedded teacher drafts tasks of its documented family from sentences that it has not seen, and declines what is outside it.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/teacher.gguf" ] || { skip "drafts" "seed/teacher.gguf is not there" && exit 0; }
project() { rm -rf p && expect 0 "a project" "$EDGESTILL" init p --task "$1" --device rpi5-8gb --base embedded --quiet; }
drafts() { # drafts SENTENCE FILTER: of the task
    project "$1"
    expect 0 "${1:0:40}…" "$EDGESTILL" task -C p --json
    json "is the task that it states" "$out" ".task | $2"
}
declines() { # declines SENTENCE
    project "$1"
    expect 1 "${1:0:40}…" "$EDGESTILL" task -C p
    has "is declined" "$err" "outside the documented family"
    has "with a sentence that is not" "$err" "Check parcels."
    has "and a way on" "$err" "larger teacher"
    check "and no task is written" test ! -e p/task.yaml
}
drafts "Sort deliveries. Each delivery has a delay from 0 to 90 days, a parcel weight from 1 to 40 kg and a carrier (rail, road). Flag it as late when the delay is over 14 days; otherwise it is fine." \
    '(.fields | map([.name, .type, .min, .max, .unit, .values])) == [["delay", "integer", 0, 90, "days", null],
        ["parcel weight", "integer", 1, 40, "kg", null], ["carrier", "category", null, null, null, ["rail", "road"]]]
     and (.labels | map(.name)) == ["late", "fine"] and (.labels[0].definition | test("delay is over 14 days"))'
drafts "Inspect ponds. Each pond has a depth from 0.0 to 9.0 m and a colour (green or brown). Flag it as shallow when the depth is under 1.5 m; otherwise it is deep." \
    '(.fields | map([.name, .type, .min, .max, .decimals, .unit, .values])) == [["depth", "number", 0, 9, 1, "m", null],
        ["colour", "category", null, null, null, null, ["green", "brown"]]]
     and (.labels | map(.name)) == ["shallow", "deep"] and (.labels[0].definition | test("depth is under 1.5 m"))'
declines "Translate English sentences into French."
declines "Write a poem about the sea."
project "Sort crates. Each crate has a mass from 0 to 12000 grams and a colour (red or blue). Flag it as heavy when the mass is over 8000 grams; otherwise it is light."
expect 1 "numbers that it misreads" "$EDGESTILL" task -C p
has "are refused by name" "$err" "'mass' goes to 12000"
