#!/bin/bash
# The newcomer's demonstration (make demo): one sentence and a device's name become a small model in a bundle for that device,
# with the verbs that a user would type, each shown and timed as it runs. Nothing here is special to the demonstration but
# the held-out rows, which a simulator of the sentence's world makes; what the student learns comes from the teacher alone.
# An example with phrases.yaml (extract, respond) brings its rows along, as a user without a teacher for it would.
#
#   tools/demo.sh                    the healthcare claims of examples/
#   DEMO=cold-chain tools/demo.sh    another folder of examples/
#   DEMO_ROWS, DEMO_RECORDS, DEMO_SEED   held-out rows (1000; with own rows 300), training records (1000), seed (1)
#
# Everything goes to build/demo/NAME and can be typed again: what is done is skipped, an interrupted step goes on. A changed
# sentence, device, number or seed starts anew. Figures: build/demo/summary.json.
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "$0")/.." && pwd)
name=${DEMO:-healthcare-claims}
records=${DEMO_RECORDS:-1000}
seed=${DEMO_SEED:-1}
device=rpi5-8gb
build=$root/build
demo=$build/demo
project=$demo/$name
example=$root/examples/$name
times=$demo/$name.seconds
if [ -f "$example/phrases.yaml" ]; then
    own=yes rows=${DEMO_ROWS:-300} held_out=$name.jsonl draft='made of the rows' data='training data: the rows'
else
    own='' rows=${DEMO_ROWS:-1000} held_out=$name.csv draft='drafted by the embedded teacher' data='training data from the teacher'
fi
PATH=$build:$PATH

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

fail() {
    printf 'demo: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# A command as the user would type it: quoted where the shell needs it.
typed() {
    local word text=''
    for word in "$@"; do
        case $word in
        '' | *[!A-Za-z0-9_./:=,+@%-]*) text+=" '${word//\'/\'\\\'\'}'" ;;
        *) text+=" $word" ;;
        esac
    done
    printf '%s$%s%s\n' "$bold" "$text" "$plain"
}

heading() { printf '\n%s== %s ==%s\n' "$bold" "$1" "$plain"; }

# run STEP COMMAND…: shown, run, timed. The time of a step's first full run is kept: repeating it only finds it done.
run() {
    local step=$1 start took rc=0
    shift
    typed "$@"
    start=$(now_ms)
    "$@" || rc=$?
    took=$(($(now_ms) - start))
    printf '%s(%d.%01d s)%s\n' "$dim" $((took / 1000)) $((took % 1000 / 100)) "$plain"
    [ "$rc" = 0 ] || fail "'$1 ${2:-}' ended with exit status $rc" "what is done stays done: make demo goes on from here"
    grep -q "^$step " "$times" 2>/dev/null || printf '%s %d.%03d\n' "$step" $((took / 1000)) $((took % 1000)) >>"$times"
}

# What the demonstration depends on; when it changes, the project of the earlier run is set aside.
inputs() {
    cat "$example/task.txt"
    [ -z "$own" ] || { cat "$example/phrases.yaml" && echo "$rows"; }
    printf '%s %s %s\n' "$device" "$records" "$seed"
    cksum <"$root/seed/base.gguf"
    cksum <"$root/seed/teacher.gguf"
}

[ -f "$example/task.txt" ] || fail "there is no example '$name'" "examples/ has: $(cd "$root/examples" && echo */ | tr -d /)"
for model in base teacher; do
    [ -f "$root/seed/$model.gguf" ] || fail "the embedded model seed/$model.gguf is not there" \
        "it belongs to the repository; make seed-models trains it anew (hours)"
done
command -v edgestill >/dev/null || fail "build/edgestill is not there" "type: make"

mkdir -p "$demo"
if [ -d "$project" ] && ! cmp -s <(inputs) "$demo/$name.inputs"; then
    rm -rf "$project" "$times" "$demo/$name.inputs" "$demo/$held_out" "$demo/$name-rows.jsonl"
fi
cd "$demo"
begin=$(now_ms)

heading "1 of 10: a sentence and a device"
if [ -f "$project/edgestill.yaml" ]; then
    typed edgestill init "$name" --task "$(cat "$example/task.txt")" --device "$device"
    echo "The project is there: $project"
else
    rm -rf "$project" "$times"
    with=()
    if [ -n "$own" ]; then
        world=../../examples/$name/phrases.yaml
        run simulate-rows edgestill-simulate "$world" --rows "$records" --seed "$seed" --out "$name-rows.jsonl"
        run simulate edgestill-simulate "$world" --rows "$rows" --seed $((seed + 1000)) --out "$held_out"
        with=(--base embedded --teacher none --data "$name-rows.jsonl" --eval-data "$held_out"
            --label "$(sed -n 's/^output: *//p' "$example/phrases.yaml")")
    fi
    run init edgestill init "$name" --task "$(cat "$example/task.txt")" --device "$device" --records "$records" --seed "$seed" \
        "${with[@]}"
    inputs >"$demo/$name.inputs"
fi
typed cd "$name"
cd "$name"

heading "2 of 10: the task, $draft"
run task edgestill task
run task-accept edgestill task --accept

heading "3 of 10: what fits the device"
run plan edgestill plan --base embedded --accept 1

heading "4 of 10: $data"
run generate edgestill generate

heading "5 of 10: fine-tuning"
run train edgestill train

heading "6 of 10: compressing"
run compress edgestill compress

heading "7 of 10: how good is it?"
if [ -z "$own" ] && { [ ! -f "../$held_out" ] || [ "$(($(wc -l <"../$held_out") - 1))" -lt "$rows" ]; }; then
    run simulate edgestill-simulate "../../../examples/$name/rule.yaml" --rows "$rows" --balanced --out "../$held_out"
fi
run eval edgestill eval --rows "../$held_out"

heading "8 of 10: the bundle for the device, and its self-test on two emulated processors"
run bundle edgestill bundle
bundle=$(echo dist/*-arm64)
hash=$(sha256sum "$bundle/bundle.json" | cut -d' ' -f1)
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || :)
[ "$(uname -m)" != aarch64 ] || emulator=here
if [ -z "$emulator" ]; then
    echo "No emulator for arm64 is here (qemu-user-static), so the self-test is left out. On the device: ./selftest"
else
    for core in cortex-a76:32 cortex-a35:8; do # a Raspberry Pi 5's, and one without dot products
        rows=${core#*:} core=${core%:*}
        receipt=receipts/$(basename "$bundle")-emulated-$core.json
        if grep -qs "$hash" "$receipt"; then
            echo "The receipt of $core for this bundle is there: $receipt"
        else
            run "self-test-$core" edgestill bundle --selftest --core "$core" --rows "$rows" --threads 2
        fi
        [ "$emulator" != here ] || break
    done
fi

# Records of the bundle's golden rows, which training did not see.
records() { sed -n -E "1,$2"'s/^\{"record":(\{.*\}),"(label|answer)":.*/\1/p' "$1/golden.jsonl"; }

heading "9 of 10: the runner decides"
if [ -z "$emulator" ]; then
    echo "Left out without an emulator. On the device: ./run FIELD=VALUE..., ./run < records.jsonl, ./run --serve"
else
    if [ "$emulator" != here ]; then
        export EDGESTILL_EMULATOR="$(basename "$emulator") -cpu cortex-a76"
        typed export "EDGESTILL_EMULATOR=$EDGESTILL_EMULATOR"
    fi
    run run-one "$bundle/run" "$(records "$bundle" 1)"
    records "$bundle" 6 >../records.jsonl
    printf '%s$ %s/run < ../records.jsonl%s\n' "$bold" "$bundle" "$plain"
    "$bundle/run" <../records.jsonl >../answers.jsonl || fail "the pipe ended with an error" "see build/demo/answers.jsonl"
    cat ../answers.jsonl
    unset EDGESTILL_EMULATOR
fi

heading "10 of 10: predicted beside measured"
run report edgestill report --summary ../summary.json --seconds "$times"

total=$((($(now_ms) - begin) / 1000))
printf '\n%sThe figures: build/demo/summary.json. The page: build/demo/%s/report.html. %d min %02d s in all.%s\n' "$bold" "$name" \
    $((total / 60)) $((total % 60)) "$plain"
echo "Try it: cd build/demo/$name && edgestill status     (with build/ in the PATH)"
