#!/bin/bash
# Searches on from a fuzz target's corpus with clang's fuzzer (libFuzzer, AddressSanitizer, UBSan):
#
#   tools/fuzz.sh NAME [SECONDS]     NAME: json, yaml, csv, …: tests/fuzz/test_fuzz_NAME.c; 60 seconds
#
# Inputs that reach new code go to build/fuzz/NAME/, an input that breaks something is left there as crash-…: copy it into
# tests/fuzz/corpus/NAME/ together with the correction.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:?which target? there is: $(basename -a -s .c tests/fuzz/test_fuzz_*.c | sed 's/test_fuzz_//' | tr '\n' ' ')}
seconds=${2:-60}
target=tests/fuzz/test_fuzz_$name.c
[ -f "$target" ] || { echo "fuzz: there is no $target" >&2; exit 2; }
command -v clang >/dev/null || { echo "fuzz: clang is needed (apt install clang libclang-rt-dev)" >&2; exit 1; }

out=build/fuzz/$name
mkdir -p "$out"
clang -std=c17 -D_GNU_SOURCE -DFUZZING -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Isrc \
    -o "build/fuzz/fuzz-$name" "$target" tests/support/fuzz.c src/base/*.c src/format/*.c \
    -ljansson -lyaml -lcsv -lcrypto -lcmocka -lm -pthread
exec "build/fuzz/fuzz-$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -artifact_prefix="$out/" \
    "$out" "tests/fuzz/corpus/$name"
