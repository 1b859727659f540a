# The private prefix of llama.cpp without a network: what is there is used, what is missing is named.
. "$(dirname "$0")/../lib.sh"

prefix="$root/tools/llama-prefix.sh"
nowhere=http://127.0.0.1:1/debian # nothing listens there

expect 2 "an unknown architecture is refused" "$prefix" sparc

if ! command -v apt-get >/dev/null 2>&1; then
    skip "the rest" "there is no apt-get here"
    exit 0
fi

expect 1 "no cache and no mirror fails" env EDGESTILL_CACHE="$work/empty" EDGESTILL_DEBIAN_MIRROR=$nowhere "$prefix" amd64
has "and names the mirror" "$err" "$nowhere"
has "and another way" "$err" "LLAMA_PREFIX"

# A prefix as the set-up leaves it, in miniature.
here=$work/full/llama/amd64
lib=$here/prefix-x/usr/lib/x86_64-linux-gnu
layout=$(sed -nE 's/^layout=([0-9]+).*/\1/p' "$prefix")
mkdir -p "$lib" && touch "$lib/libllama.so" "$lib/ld-linux-x86-64.so.2"
echo "libllama0 1 0 x.deb" >"$here/prefix-x/edgestill.lock"
ln -s prefix-x "$here/current-$layout"
with_cache() { env EDGESTILL_CACHE="$work/full" EDGESTILL_DEBIAN_MIRROR=$nowhere "$@"; }
expect 0 "a cached prefix needs no mirror" with_cache "$prefix" amd64
has "and is the one printed" "$out" "$here/prefix-x"
expect 0 "an update without a mirror keeps what is there" with_cache env EDGESTILL_LLAMA_UPDATE=1 "$prefix" amd64
has "and says so" "$err" "keeping the prefix"
rm "$here/prefix-x/edgestill.lock"
expect 1 "a half-unpacked prefix is not used" with_cache "$prefix" amd64
