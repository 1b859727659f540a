#!/bin/bash
# make verify-teacher: does a teacher of yours, with your own key, do what generation asks of it? It is probed, drafts a task, writes and
# labels a few records; all of it costs a few thousand tokens, capped by a budget.
#
#   TEACHER_URL=https://api.moonshot.ai/v1 TEACHER_MODEL=kimi-k2.6 TEACHER_KEY_ENV=MOONSHOT_API_KEY make verify-teacher
#   TEACHER_BUDGET=0.50            US dollars at most (0.50)
#   TEACHER_PRICE_IN, TEACHER_PRICE_OUT   per million tokens, where the price is not known here; 0: it costs nothing
#   TEACHER_TASK="…"               another sentence than the one below
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
edgestill=${EDGESTILL_BUILD:-$root/build}/edgestill
[ -n "${TEACHER_URL:-}" ] && [ -n "${TEACHER_MODEL:-}" ] || {
    echo "verify-teacher: say which: TEACHER_URL=https://…/v1 TEACHER_MODEL=NAME [TEACHER_KEY_ENV=VARIABLE] make verify-teacher" >&2
    exit 2
}
sentence=${TEACHER_TASK:-"Turn what a person says at home into a command: the room it is about (hall, kitchen or attic) and the level in percent."}
work=$(mktemp -d "${TMPDIR:-/tmp}/edgestill-verify.XXXXXX")
trap 'rm -rf "$work"' EXIT

step() { printf '\n== %s ==\n' "$1"; }
spend=(--yes --budget "${TEACHER_BUDGET:-0.50}")
[ -z "${TEACHER_PRICE_IN:-}" ] || spend+=(--price-in "$TEACHER_PRICE_IN")
[ -z "${TEACHER_PRICE_OUT:-}" ] || spend+=(--price-out "$TEACHER_PRICE_OUT")
key=()
[ -z "${TEACHER_KEY_ENV:-}" ] || key=(--teacher-key-env "$TEACHER_KEY_ENV")

"$edgestill" init "$work/project" --task "$sentence" --device rpi5-8gb --base embedded --records 8 --teacher "$TEACHER_URL" \
    --teacher-model "$TEACHER_MODEL" "${key[@]}" --quiet
step "probe and draft"
"$edgestill" task -C "$work/project" "${spend[@]}" || {
    status=$?
    [ $status != 2 ] || echo "verify-teacher: say what it costs with TEACHER_PRICE_IN and TEACHER_PRICE_OUT" >&2
    exit $status
}
"$edgestill" task --accept -C "$work/project" --quiet
"$edgestill" plan --accept 1 -C "$work/project" --quiet
step "eight records, written and answered"
"$edgestill" generate -C "$work/project" "${spend[@]}"
"$edgestill" export -C "$work/project" "$work/records.jsonl" --quiet
step "what they are"
head -n 4 "$work/records.jsonl"
printf '\n%s %s: verified: drafting, writing and answering work.\n' "$TEACHER_URL" "$TEACHER_MODEL"
