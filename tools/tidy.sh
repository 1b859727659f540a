#!/bin/bash
# Style as a test: what STYLE.md and the layers ask for, checked over the files that git knows or would add.
#
#   tools/tidy.sh [ROOT]      prints FILE:LINE: what is wrong; exit 1 if anything is
#
# Layers: a folder of src/ includes only folders above it; each foreign library has one folder that knows it. Sizes:
# functions 70 lines, files 1,000, headers 200 (a _template.h, code that is included once for each variant, counts as
# code). Formatting: clang-format 14 (other versions format differently: skipped with a note). Also: no left-over markers,
# no trailing blanks, no files over 1 MiB, an opening comment in every C file, no declaration broken after
# its type, no path of somebody's machine.
set -euo pipefail
export LC_ALL=C
cd "${1:-$(dirname "$0")/..}"

found=$(mktemp)
trap 'rm -f "$found"' EXIT

list() { # every file of the tree, one a line
    if [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$PWD" ]; then git ls-files -co --exclude-standard | sort -u
    else find . -type f ! -path './build/*' ! -path './.git/*' | sed 's|^\./||' | sort
    fi | while IFS= read -r f; do if [ -f "$f" ] && [ ! -L "$f" ]; then printf '%s\n' "$f"; fi; done
}
mapfile -t files < <(list)
mapfile -t c_files < <(printf '%s\n' "${files[@]}" | grep -E '\.(c|h|cu)$')
# Text that people write; test corpora and transcripts may hold anything.
mapfile -t texts < <(printf '%s\n' "${files[@]}" | grep -vE '/(corpus|transcripts|golden)/' |
    grep -E '(^|/)(Makefile|LICENSE)$|\.(c|h|cu|mk|sh|md|yaml|sql|css|js|html)$|^\.ci/')
[ ${#c_files[@]} != 0 ] && [ ${#texts[@]} != 0 ] || { echo "tidy: no source here" >&2; exit 0; }

# Layers from top to bottom, and who may include what of other people's libraries.
layers='base format store net llama model task eval tensor nn train compress catalog plan teacher synth deliver ui cmd'
check_layers() {
    awk -v layers="$layers" '
        BEGIN {
            n = split(layers, l, " ")
            for (i = 1; i <= n; i++) rank[l[i]] = i
            only["sqlite3.h"] = "src/store"; only["curl/"] = "src/net"; only["llama.h"] = "src/llama"
            only["ggml"] = "src/llama src/model"; only["gguf.h"] = "src/llama src/model"
            only["yaml.h"] = only["csv.h"] = "src/format"
            only["archive"] = "src/deliver"; only["microhttpd.h"] = "src/ui device"; only["openssl/"] = "src/base"
            only["cblas.h"] = "src/tensor"; only["cmocka.h"] = ""
            only["config.h"] = "src/llama src/catalog src/teacher src/deliver src/cmd device"
            device = "base format llama task"
        }
        FNR == 1 {
            split(FILENAME, part, "/")
            inside = part[1] == "src" || part[1] == "device" || part[1] == "seed"
            folder = part[1] == "src" ? part[1] "/" part[2] : part[1]
            layer = part[1] == "src" ? part[2] : ""
            if (part[1] == "src" && !(layer in rank)) print FILENAME ":1: the folder src/" layer " is not in the list of layers"
        }
        inside && /^#[ \t]*include[ \t]*[<"]/ {
            name = $0; sub(/^[^<"]*[<"]/, "", name); sub(/[>"].*/, "", name)
            split(name, path, "/")
            if (/"/ && path[1] in rank && name ~ /\//) {
                if (layer != "" && rank[path[1]] > rank[layer])
                    print FILENAME ":" FNR ": src/" layer " must not include " name " (a layer below it)"
                if (part[1] == "device" && index(" " device " ", " " path[1] " ") == 0)
                    print FILENAME ":" FNR ": the device program must not include " name
            }
            beside = FILENAME; sub(/[^\/]*$/, name, beside)
            if (/"/ && (getline line <beside) >= 0) { close(beside); next }
            for (o in only)
                if (index(name, o) == 1 && index(" " only[o] " ", " " folder " ") == 0)
                    print FILENAME ":" FNR ": " name " is known only to " (only[o] == "" ? "tests" : only[o])
        }' "$@"
}

# A function runs from the line in column 0 that declares it to the closing brace in column 0 (clang-formatted code).
check_sizes() {
    awk '
        function file_done() {
            if (name && lines > (name ~ /\.h$/ && name !~ /_template\.h$/ ? 200 : 1000)) print name ":" lines ": " lines " lines are too many"
        }
        FNR == 1 { file_done(); name = FILENAME; inside = 0
            if ($0 !~ /^(\/\*|\/\/)/) print FILENAME ":1: no comment that says what this file is for" }
        { lines = FNR }
        !inside && /^[A-Za-z_]/ { start = FNR; title = $0 }
        !inside && /\) \{$/ { inside = start > 0 }
        /^}/ {
            if (inside && FNR - start + 1 > 70) {
                sub(/\(.*/, "", title); sub(/.*[ *]/, "", title)
                print FILENAME ":" start ": " title "() has " FNR - start + 1 " lines, 70 is the limit"
            }
            inside = 0; start = 0
        }
        END { file_done() }' "$@"
}

check_format() {
    local version
    version=$(clang-format --version 2>/dev/null | sed -nE 's/.*version ([0-9]+).*/\1/p') || version=
    if [ "$version" != 14 ]; then
        echo "tidy: formatting not checked: needs clang-format 14, found ${version:-none}" >&2
        return 0
    fi
    clang-format --dry-run "${c_files[@]}" 2>&1 |
        sed -nE 's/^([^:]+:[0-9]+):[0-9]+: .*\[-Wclang-format-violations\]$/\1: not formatted; run make format/p' |
        sort -u -t: -k1,1
}

# clang-format breaks a declaration after its type where the comment behind it is too long: the comment belongs above.
check_broken() {
    grep -HnE '^ +(const )?(unsigned|struct [a-z_0-9]+|u?int([0-9]+_t)?|size_t|bool|float|double|char)( ?\*)?$' "${c_files[@]}" |
        sed -E 's/^([^:]+:[0-9]+):.*/\1: a type without its name; put the long comment above/' || :
}

report() { # report MESSAGE PATTERN: the lines of text that match
    grep -HnE "$2" "${texts[@]}" | sed -E "s/^([^:]+:[0-9]+):.*/\1: $1/" || :
}

check_big() {
    local f
    for f in "${files[@]}"; do
        case $f in seed/*.gguf) continue ;; esac
        [ "$(stat -c %s "$f")" -le 1048576 ] || echo "$f:1: over 1 MiB"
    done
}

{
    check_layers "${c_files[@]}"
    check_sizes "${c_files[@]}"
    check_format
    check_big
    check_broken
    report 'a marker of unfinished work' '\<(TO[D]O|FIX[M]E|X[X]X)\>'
    report 'trailing blanks' '[[:blank:]]+$'
    report 'a path of one machine' '/wor[k]/|/hom[e]/[a-z]+/|/roo[t]/'
} >"$found"

sort -u "$found"
n=$(wc -l <"$found")
[ "$n" = 0 ] || { echo "tidy: $n things to mend" >&2; exit 1; }
