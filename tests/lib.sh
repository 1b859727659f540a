# What a command-line test (tests/**/*.sh, run by bash) sources first:
#
#   . "$(dirname "$0")/../lib.sh"          (or "$(dirname "$0")/lib.sh" for a test in tests/ itself)
#   expect 0 "help is shown" "$EDGESTILL" --help
#   has "help names the verbs" "$out" "generate"
#   expect 2 "an unknown verb is refused" "$EDGESTILL" frobnicate
#
# Every case prints one line, which tools/run-tests.sh counts:
#   ok NAME | not ok NAME | skip NAME: REASON
# The test runs in an empty folder of its own ($work) that is removed at the end. $EDGESTILL and $EDGESTILL_RUN are the
# programs of the build under test, $root the source tree, $build its build folder. After `expect` the command's standard
# output is in the file $out and its standard error in $err.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${EDGESTILL_BUILD:-$root/build}
EDGESTILL=$build/edgestill
EDGESTILL_RUN=$build/edgestill-run
work=$(mktemp -d "${TMPDIR:-/tmp}/edgestill-test.XXXXXX")
out=$work.out
err=$work.err
test_failures=0

test_finish() {
    local rc=$?
    cd /
    chmod -R u+rwX "$work" 2>/dev/null
    rm -rf "$work" "$out" "$err"
    [ "$rc" = 0 ] || [ "$test_failures" != 0 ] || echo "not ok $0 stopped with exit status $rc"
    [ "$test_failures" = 0 ] || exit 1
}
trap test_finish EXIT
cd "$work" || exit 1

ok() { printf 'ok %s\n' "$1"; }
not_ok() {
    printf 'not ok %s\n' "$1"
    test_failures=$((test_failures + 1))
}
skip() { printf 'skip %s: %s\n' "$1" "$2"; }

# expect CODE NAME COMMAND…: the exit status is CODE; output goes to $out and $err.
expect() {
    local want=$1 name=$2 got=0
    shift 2
    "$@" >"$out" 2>"$err" </dev/null || got=$?
    if [ "$got" = "$want" ]; then
        ok "$name"
    else
        not_ok "$name"
        echo "# $*: exit status $got instead of $want"
        sed 's/^/# out: /' "$out" | tail -n 15
        sed 's/^/# err: /' "$err" | tail -n 15
        return 1
    fi
}

# check NAME COMMAND…: the command succeeds; its output is shown only if it does not.
check() {
    local name=$1
    shift
    if "$@" >"$work.check" 2>&1 </dev/null; then ok "$name"; else
        not_ok "$name"
        sed 's/^/# /' "$work.check" | tail -n 15
    fi
    rm -f "$work.check"
}

# has NAME FILE TEXT: the file contains the text (no pattern).
has() {
    if grep -qF -- "$3" "$2"; then ok "$1"; else
        not_ok "$1"
        echo "# '$3' is not in:"
        sed 's/^/# /' "$2" | tail -n 15
    fi
}

# json NAME FILE FILTER: the file is one JSON document, and jq's filter says true of it.
json() {
    if [ "$(jq -s 'length == 1 and (.[0] | '"$3"')' "$2" 2>"$work.jq")" = true ]; then ok "$1"; else
        not_ok "$1"
        echo "# '$3' is not true of:"
        sed 's/^/# /' "$2" "$work.jq" | tail -n 25
    fi
    rm -f "$work.jq"
}

# equal NAME GOT WANT: two strings are the same.
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else
        not_ok "$1"
        echo "# got:  $2"
        echo "# want: $3"
    fi
}

# A task for task.yaml on standard output: late where the delay, from 0 to $2, is over $1.
late_task() {
    cat <<YAML
format: edgestill.task/1
name: late
kind: classify
sentence: Flag late claims.
instruction: Mark the claim as late or fine.
fields:
  - {name: delay, type: integer, min: 0, max: $2}
labels:
  - {name: late, definition: the delay is over $1}
  - {name: fine, definition: otherwise}
YAML
}
