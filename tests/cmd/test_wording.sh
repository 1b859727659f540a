# Sentences as people write them, not as the embedded teacher was taught: it drafts the task that they state, from the sentence in its own
# words (src/synth/wording.h). Nothing of them was used when the table of wordings was written but their kinds of phrases.
. "$(dirname "$0")/../lib.sh"

[ -f "$root/seed/teacher.gguf" ] || { skip "wording" "seed/teacher.gguf is not there" && exit 0; }

drafted() { # drafted NAME SENTENCE FILTER
    expect 0 "$1: init" "$EDGESTILL" init "$1" --device rpi5-8gb --task "$2" --quiet
    expect 0 "$1: a task is drafted" "$EDGESTILL" task -C "$1" --json
    json "$1: it is the one that the sentence states" "$out" "$3"
    has "$1: it says as what the sentence was read" "$err" "the sentence was read as: "
    expect 0 "$1: it is accepted" "$EDGESTILL" task --accept -C "$1"
    check "$1: as a task of the project's sentence" sh -c "! grep -q 'another sentence' '$err'"
}

drafted compressor "Watch a compressor. Each reading has a discharge pressure from 0.0 to 16.0 bar, an oil temperature from 20 to 120 C and a \
load that is idle, partial or full. Flag it as alarm if its oil temperature exceeds 105, or when the discharge pressure is > 12.5 and the load \
is idle. Otherwise it is ok." '
    (.task.fields | map({key: .name, value: .}) | from_entries) as $f
    | ($f | keys) == ["discharge pressure", "load", "oil temperature"] and $f.load.values == ["idle", "partial", "full"] and (.task.labels | map(.name)) == ["alarm", "ok"]
    and (.task.labels[0].definition | test("over 105.*over 12.5 and the load is idle"))'

drafted greenhouse "Check greenhouse sensors. For each sample we know a soil moisture between 0% and 100%, an air temperature (-10 to 45 °C) and a \
season: spring, summer, autumn, or winter. Classify it as dry if the soil moisture is less than or equal to 25 percent and the season isn't \
winter; in all other cases it is fine." '
    (.task.fields | map({key: .name, value: .}) | from_entries) as $f
    | $f["soil moisture"].unit == "percent" and $f["air temperature"].min == -10 and ($f.season.values | length) == 4
    and .task.labels[0].definition == "the soil moisture is at most 25 percent and the season is not winter"'

drafted loans "Judge loan requests. Each request contains an income from 0 to 9,000, a debt ratio from 0.00 to 1.00 and a history (good/poor). A request \
is risky if the debt ratio >= 0.45, or the income < 1500 and its history equals poor. Everything else is sound." '
    (.task.fields | map({key: .name, value: .}) | from_entries) as $f
    | $f.income.max == 9000 and $f["debt ratio"].decimals == 2 and (.task.labels | map(.name)) == ["risky", "sound"]
    and .task.labels[0].definition == "the debt ratio is at least 0.45, or the income is under 1500 and the history is poor"'

# In the order that the sentence has them the teacher loses the load; with the fields turned round it does not.
drafted freezers "Check freezers. Each freezer has a temperature from -20.0 to 8.0 C, a load from 0 to 90 percent and a door (open or shut). Flag it as \
spoiled when the temperature is above -5.0 C or the door is open; otherwise it is safe." '
    .attempts > 1 and (.task.fields | map(.name) | sort) == ["door", "load", "temperature"] and (.task.labels | map(.name)) == ["spoiled", "safe"]'

# Fields without their articles: the teacher took the second condition for one of the field before.
drafted apples "Grade apples. An apple has a diameter from 40 to 110 mm, a brix from 8.0 to 18.0 and bruises from 0 to 9. Accept it if \
diameter is at least 70 and bruises is under 2; otherwise reject it." '
    (.task.labels | map(.name)) == ["accept", "reject"] and .task.labels[0].definition == "the diameter is at least 70 and the bruises is under 2"'

sed -i 's/definition: the diameter .*/definition: diameter >= 70 and bruises is under 2/' apples/task.yaml
expect 0 "a definition in other words is taken as it stands" "$EDGESTILL" task --accept -C apples
has "but what it should be is said" "$err" 'in its words it is "the diameter is at least 70 and the bruises is under 2"'

expect 0 "and with or: init" "$EDGESTILL" init parcels --device rpi5-8gb --quiet --task "Sort parcels. Each parcel has a weight from 0 to 30 kg, a \
distance from 1 to 900 km and a service (economy or express). Flag it as urgent when the weight is over 20 kg or the service is express and the \
distance is over 500 km; otherwise it is standard."
expect 0 "and with or: drafted" "$EDGESTILL" task -C parcels --json
json "and with or: it says how it was read" "$out" '.reading == "either \"the weight is over 20 kg\", or \"the service is express and the distance is over 500 km\""'
has "and with or: and what to do" "$err" "say it with a comma"

expect 0 "what it cannot know: init" "$EDGESTILL" init poem --device rpi5-8gb --task "Write a poem about the weather of each day." --quiet
expect 1 "is refused" "$EDGESTILL" task -C poem
has "with a sentence of the kind it knows" "$err" "Check parcels. Each parcel has a weight"
has "and the ways out, to the last word" "$err" "task.yaml that you write yourself (docs/formats.md)"
