#!/bin/bash
# Runs the test programs and the command-line tests, each in a process of its own with a time limit, two at a time.
#
#   tools/run-tests.sh BUILDDIR [WORD [FOLDER…]]     only those whose name contains WORD, only those in tests/FOLDER
#
# Quiet on success. The last line is always of the form
#   123 passed, 0 failed, 2 skipped
# and counts test cases: cmocka's (read as TAP) and what the shell tests report through tests/lib.sh. A program that dies,
# runs over its time or reports nothing counts as one failed case. Output of every test: BUILDDIR/test-results/.
# The limits are there for what hangs, and leave room for a busy machine.
# Settings: EDGESTILL_TEST_JOBS (2), EDGESTILL_TEST_TIMEOUT (seconds: programs 300, shell tests 900), EDGESTILL_TEST_SLOW
# (a factor on the limit, for sanitizer builds), EDGESTILL_SOAK=1 (set by make soak: long repetitions, no time limit).
set -euo pipefail
export LC_ALL=C

run_one() { # PATH of a program or shell test; writes NAME.log and NAME.rc into $results
    local path=$1 name limit rc=0
    name=$(name_of "$path")
    case $path in
    *.sh) limit=${EDGESTILL_TEST_TIMEOUT:-900} ;;
    *) limit=${EDGESTILL_TEST_TIMEOUT:-300} ;;
    esac
    limit=$((limit * ${EDGESTILL_TEST_SLOW:-1}))
    [ "${EDGESTILL_SOAK:-0}" = 1 ] && limit=0
    # Waiting OpenMP threads must not spin: on a busy machine that turned 5 seconds of llama.cpp into 170 (measured).
    export TMPDIR=$results/tmp.$$ CMOCKA_MESSAGE_OUTPUT=TAP OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
    mkdir -p "$TMPDIR"
    case $path in
    *.sh) set -- bash "$path" ;;
    *) set -- "$path" ;;
    esac
    { timeout -k 10 "$limit" "$@" </dev/null >"$results/$name.log" 2>&1 || rc=$?; } 2>/dev/null
    chmod -R u+rwX "$TMPDIR" 2>/dev/null || :
    rm -rf "$TMPDIR"
    case $rc in
    124 | 137) echo "not ok $name: ran over its limit of $limit s" >>"$results/$name.log" ;;
    esac
    echo "$rc" >"$results/$name.rc"
}

name_of() { # tests/cmd/test_x.sh -> cmd-test_x.sh; BUILD/tests/base/test_y -> base-test_y
    local n=${1#"$build"/}
    n=${n#tests/}
    echo "${n//\//-}"
}

# Prints "passed failed skipped" of one test's output.
count() {
    awk -v rc="$2" '
        /^(not )?ok [0-9]+ # SKIP/ || /^skip / { skipped++; next }
        /^ok / { passed++; next }
        /^not ok / { failed++ }
        END {
            if (!failed && (rc != 0 || passed + skipped == 0)) failed = 1
            print passed + 0, failed + 0, skipped + 0
        }' "$1"
}

if [ "$1" = --one ]; then
    build=$2 results=$3
    run_one "$4"
    exit 0
fi

build=$1
word=${2:-}
folders=("${@:3}")
results=$build/test-results
rm -rf "$results"
mkdir -p "$results"
results=$(cd "$results" && pwd)
build=$(cd "$build" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

list=$results/list
: >"$list"
# The sources say which tests there are; a program whose source is gone is not run. Shell tests first: they take longest.
where=(tests)
if [ ${#folders[@]} != 0 ]; then
    where=()
    for f in "${folders[@]}"; do if [ -d "tests/$f" ]; then where+=("tests/$f"); fi; done
    [ ${#where[@]} != 0 ] || { echo "0 passed, 0 failed, 0 skipped"; exit 0; }
fi
find "${where[@]}" -name '*.sh' ! -path 'tests/support/*' ! -name lib.sh | sort >>"$list"
find "${where[@]}" -name 'test_*.c' ! -path 'tests/support/*' | sort | sed "s|^\(.*\)\.c\$|$build/\1|" >>"$list"
if [ -n "$word" ]; then grep -F -- "$word" "$list" >"$list.some" || :; mv "$list.some" "$list"; fi

xargs -r -d '\n' -P "${EDGESTILL_TEST_JOBS:-2}" -n 1 "$0" --one "$build" "$results" <"$list"

passed=0 failed=0 skipped=0
while read -r path; do
    name=$(name_of "$path")
    rc=$(cat "$results/$name.rc" 2>/dev/null || echo 1)
    read -r p f s <<<"$(count "$results/$name.log" "$rc")"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$f" != 0 ]; then
        echo "---- FAILED: $name (exit status $rc), the end of $results/$name.log:"
        tail -n 40 "$results/$name.log"
    elif [ "$s" != 0 ]; then
        # A cmocka test says why in the line before it skips.
        awk -v name="$name" '
            /^skip / { print "skipped: " name ": " substr($0, 6) }
            /^(not )?ok [0-9]+ # SKIP/ { sub(/.*# SKIP /, ""); print "skipped: " name ": " $0 (why == "" ? "" : ": " why) }
            { why = /^(not )?ok |^skip |^[0-9]+\.\.[0-9]+$/ ? "" : $0 }' "$results/$name.log"
    fi
done <"$list"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
