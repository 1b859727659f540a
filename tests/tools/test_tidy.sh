# The style checker sees what it is there to see: a small tree with one fault of each kind, and one without any.
. "$(dirname "$0")/../lib.sh"

tidy="$root/tools/tidy.sh"
mkdir -p src/base src/task src/store device
cp "$root/.clang-format" .

printf '/* Fine. */\n#include <stdio.h>\n\n#include "base/err.h"\n\nint one(void) {\n    return 1;\n}\n' >src/task/one.c
expect 0 "a clean tree passes" "$tidy" .

printf '/* Wrong way. */\n#include "task/task.h"\n' >src/base/up.c
printf '/* Not its own. */\n#include <sqlite3.h>\n' >src/task/sql.c
printf '/* Too much for a device. */\n#include "store/store.h"\n' >device/main.c
printf 'int none;\n' >src/task/silent.c
printf '/* Left over. */\n/* %s: later */\n' "TO""DO" >src/task/later.c
printf '/* Blanks. */  \n' >src/task/blanks.c
printf '/* Mine. */\nextern const char *path; /* %s */\n' "/ho""me/me/x" >src/task/path.c
printf '/* Broken. */\nstruct s {\n    bool\n        it; /* long */\n};\n' >src/task/broken.c
{ echo '/* Long function. */'; echo 'int f(int a) {'; yes '    a++;' | head -n 69; printf '    return a;\n}\n'; } >src/task/long.c
{ echo '/* Long file. */'; yes 'extern int x;' | head -n 1000; } >src/task/longer.c
{ echo '/* Long header. */'; yes 'extern int x;' | head -n 200; } >src/task/longer.h
head -c 1048577 /dev/zero >big.bin
mkdir src/odd && echo '/* Where? */' >src/odd/x.c

expect 1 "a tree with faults does not" "$tidy" .
cp "$out" "$work.tidy"
for want in "src/base/up.c:2: src/base must not include task/task.h" "src/task/sql.c:2: sqlite3.h is known only to src/store" \
    "device/main.c:2: the device program must not include store/store.h" "src/task/silent.c:1: no comment" \
    "src/task/later.c:2: a marker" "src/task/blanks.c:1: trailing blanks" "src/task/path.c:2: a path of one machine" \
    "src/task/broken.c:3: a type without its name" \
    "src/task/long.c:2: f() has 72 lines" "src/task/longer.c:1001: 1001 lines" "src/task/longer.h:201: 201 lines" \
    "big.bin:1: over 1 MiB" "src/odd/x.c:1: the folder src/odd is not"; do
    has "tidy says: $want" "$work.tidy" "$want"
done
equal "and blames nothing else" "$(grep -c 'src/task/one.c' "$work.tidy")" 0

if clang-format --version 2>/dev/null | grep -q 'version 14'; then
    printf '/* Crooked. */\nint  two( void ){return 2;}\n' >src/task/two.c
    "$tidy" . >"$work.tidy" 2>&1
    has "tidy sees crooked formatting" "$work.tidy" "src/task/two.c:2: not formatted"
else
    skip "tidy sees crooked formatting" "clang-format 14 is not here"
fi
rm -f "$work.tidy"
