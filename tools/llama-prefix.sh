#!/bin/bash
# Puts llama.cpp and ggml for ARCH (amd64 or arm64) into a private prefix and prints the prefix's path.
#
#   tools/llama-prefix.sh amd64|arm64
#
# Debian's testing suite carries llama.cpp, the stable releases do not, and installing it from testing would upgrade the
# system's C library. So a private apt configuration (own sources, lists, cache and package state, signatures checked with
# Debian's archive keyring) downloads the packages with all they depend on, and dpkg -x unpacks them. The system is not
# touched. docs/building.md says how programs are linked against it.
#
# Everything lives outside the tree, so that the next clone needs no download:
#   $cache/llama/ARCH/debs/                 packages as downloaded
#   $cache/llama/ARCH/prefix-KEY/           unpacked; KEY is a hash of the packages' checksums and of the layout's number
#   $cache/llama/ARCH/prefix-KEY/edgestill.lock   one line per package: name version sha256 file
#   $cache/llama/ARCH/current-LAYOUT -> prefix-KEY
# with cache = ${EDGESTILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edgestill}.
#
# An existing prefix is used as it is; EDGESTILL_LLAMA_UPDATE=1 looks for newer packages. Other settings:
# EDGESTILL_DEBIAN_MIRROR (default: the system's own Debian mirror) and EDGESTILL_DEBIAN_SUITE (default: the first of
# testing, forky, unstable that carries the library).
set -euo pipefail

layout=3         # raise it when the packages below, unpack() or tidy_prefix() change what a prefix holds
soname=libllama0 # the package is named after the soname; src/llama is written for this one
arch=${1:-}
case $arch in
amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
arm64) triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 ;;
*) echo "usage: $0 amd64|arm64" >&2; exit 2 ;;
esac

# Libraries that are fetched with everything they depend on, and packages that are fetched alone (headers, programs).
libraries="$soname libggml0 libjansson4" # what edgestill-run links, so that a bundle can carry all of it
alone='libllama-dev libggml-dev'
case $arch in
amd64) alone="$alone libggml0-backend-blas llama.cpp-tools llama.cpp-tools-extra" ;;
arm64) libraries="$libraries libmicrohttpd12t64 libssl3t64"
       alone="$alone libjansson-dev libmicrohttpd-dev libssl-dev" ;;
esac

cache=${EDGESTILL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/edgestill}/llama/$arch
current=$cache/current-$layout
relaxed= # further options for apt
say() { printf 'llama-prefix: %s\n' "$*" >&2; }

die() {
    say "$1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 1
}

complete() { # is DIR a whole prefix? (the lock file is written last)
    [ -s "$1/edgestill.lock" ] && [ -e "$1/usr/lib/$triplet/libllama.so" ] && [ -e "$1/usr/lib/$triplet/$loader" ]
}

# The mirror the system itself uses for its Debian packages, or the public one.
default_mirror() {
    local uri=
    if [ "$(. /etc/os-release 2>/dev/null; echo "${ID:-}")" = debian ]; then
        uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
              sed -nE 's/^deb +(\[[^]]*\] +)?(https?:[^ ]+).*/\2/p; s/^URIs: *(https?:[^ ]+).*/\1/p' |
              grep -E '/debian/?$' | head -n 1 || :)
    fi
    echo "${uri:-http://deb.debian.org/debian}"
}

keyring() {
    local k
    for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        [ -r "$k" ] && { echo "$k"; return; }
    done
    die "Debian's archive keyring is missing" "install the package debian-archive-keyring, or build llama.cpp by hand" \
        "and pass LLAMA_PREFIX=DIR to make (docs/building.md)"
}

# private_apt TOOL ARGS: apt-get or apt-cache with our own configuration under $apt.
private_apt() {
    local tool=$1
    shift
    "$tool" -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o Dir::Cache::archives="$cache/debs" -o Dir::Log="$apt" \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::http::Timeout=30 \
        -o APT::Install-Recommends=false -o APT::Default-Release= -o Debug::NoLocking=1 \
        -o APT::Update::Post-Invoke-Success::= -o DPkg::Post-Invoke::= $relaxed "$@"
}

# Reads the suite's package lists. A mirror that stands still (a snapshot, a local one) has signed lists whose date of
# expiry is past: they are used with a note, the signatures are checked all the same.
update_lists() {
    private_apt apt-get update -o APT::Update::Error-Mode=any >"$cache/apt.log" 2>&1 && return 0
    grep -q 'is expired' "$cache/apt.log" || return 1
    say "$(sed -nE 's/^E: (Release file for [^ ]+ is expired).*/\1/p' "$cache/apt.log" | head -n 1): an old mirror; using it as it is"
    relaxed='-o Acquire::Check-Valid-Until=false'
    private_apt apt-get update -o APT::Update::Error-Mode=any >"$cache/apt.log" 2>&1
}

# Sets up the private apt on the first suite that carries our soname; says what is wrong if none does. Fails only where
# there is a prefix to fall back to.
open_apt() {
    local mirror keys suite found=
    mirror=${EDGESTILL_DEBIAN_MIRROR:-$(default_mirror)}
    keys=$(keyring)
    apt=$cache/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/none/partial" "$cache/debs/partial"
    : >"$apt/status"
    for suite in ${EDGESTILL_DEBIAN_SUITE:-testing forky unstable}; do
        echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
        if ! update_lists; then
            if complete "$current"; then
                say "cannot read the suite $suite from $mirror; keeping the prefix that is here"
                return 1
            fi
            tail -n 5 "$cache/apt.log" >&2
            die "cannot read the suite $suite from $mirror (apt's last lines are above)" \
                "nothing is cached yet in $cache, so the network is needed this once" \
                "another mirror: EDGESTILL_DEBIAN_MIRROR=http://…/debian; own build of llama.cpp: LLAMA_PREFIX=DIR"
        fi
        [ -n "$(private_apt apt-cache madison "$soname" 2>/dev/null)" ] && return 0
        found="$found$(private_apt apt-cache search --names-only '^libllama[0-9]+$' | cut -d' ' -f1 | tr '\n' ' ')"
    done
    die "no suite of $mirror carries $soname; there is: ${found:-nothing}" \
        "edgestill's src/llama/ was written for the interface of $soname" \
        "either pass LLAMA_PREFIX=DIR with a llama.cpp of that interface, or adapt src/llama/compat.h and" \
        "the line soname= in tools/llama-prefix.sh to the new one"
}

# Prints "name version sha256 file" of every package needed, sorted by name.
resolve() {
    # With an archive folder that stays empty: apt prints no address for a package it has already.
    private_apt apt-get install -y --print-uris -o Dir::Cache::archives="$apt/cache/none" $libraries |
        sed -nE "s/^'[^']*' ([^_ ]+)_([^_ ]+)_[^ ]* .*/\1=\2/p" | sed 's/%3a/:/g' >"$apt/closure"
    local p
    for p in $alone; do
        echo "$p=$(private_apt apt-cache madison "$p" | awk -F'[ |]+' 'NR == 1 { print $1 == "" ? $3 : $2 }')"
    done >>"$apt/closure"
    # shellcheck disable=SC2046
    private_apt apt-cache show $(cat "$apt/closure") | awk '
        /^Package:/ { name = $2 } /^Version:/ { version = $2 } /^Filename:/ { file = $2 } /^SHA256:/ { sum = $2 }
        /^$/ && name { sub(/.*\//, "", file); print name, version, sum, file; name = "" }
        END { if (name) { sub(/.*\//, "", file); print name, version, sum, file } }' | sort -u
}

fetch() { # downloads what the lock file $1 names and debs/ does not have yet
    local name version sum file want=
    while read -r name version sum file; do
        if ! echo "$sum  $cache/debs/$file" | sha256sum -c --status 2>/dev/null; then
            rm -f "$cache/debs/$file"
            want="$want $name=$version"
        fi
    done <"$1"
    [ -z "$want" ] && return 0
    say "downloading$(echo "$want" | sed 's/=[^ ]*//g')"
    # apt-get download writes NAME_VERSION with an escaped epoch; it checks the signature's chain.
    (cd "$cache/debs" && private_apt apt-get download $want) >"$cache/apt.log" 2>&1 || {
        tail -n 5 "$cache/apt.log" >&2
        die "download failed (apt's last lines are above)"
    }
    for file in "$cache"/debs/*_%3a*.deb "$cache"/debs/*%3a*.deb; do
        [ -e "$file" ] && mv -f "$file" "$(echo "$file" | sed 's/_[0-9]*%3a/_/')"
    done
    return 0
}

unpack() { # lock file $1 into a new prefix; atomic by rename
    local key tmp target name version sum file
    key=$(cat - "$1" <<<"layout $layout" | sha256sum | cut -c1-16)
    target=$cache/prefix-$key
    if ! complete "$target"; then
        tmp=$(mktemp -d "$cache/unpack.XXXXXX")
        chmod 755 "$tmp"
        while read -r name version sum file; do
            echo "$sum  $cache/debs/$file" | sha256sum -c --status ||
                die "$cache/debs/$file does not have the checksum that apt announced; delete it and try again"
            dpkg-deb -x "$cache/debs/$file" "$tmp" || die "cannot unpack $file; is the disk full? (df -h $cache)"
        done <"$1"
        tidy_prefix "$tmp"
        cp "$1" "$tmp/edgestill.lock"
        complete "$tmp" || die "the packages do not hold what was expected of them; they are unpacked in $tmp"
        rm -rf "$target"
        mv "$tmp" "$target"
    fi
    ln -sfn "prefix-$key" "$current.new"
    mv -Tf "$current.new" "$current"
}

# Newer releases keep the libraries in usr/lib only; make sure that the loader is where we link it. Drops what nobody needs
# but keeps the licences: a bundle for a device carries these libraries, and so their licences too.
tidy_prefix() {
    local lib=$1/usr/lib/$triplet f
    for f in "$1"/lib/"$triplet"/* "$1"/lib64/* "$1"/usr/lib64/* "$1"/lib/ld-linux-*; do
        [ -e "$f" ] && [ ! -e "$lib/$(basename "$f")" ] && cp -a "$f" "$lib/"
    done
    [ -e "$lib/$loader" ] || die "the C library's package carries no $loader"
    # ggml looks for its kernels in the system's folder and beside the running program, which is the loader when a tool
    # such as llama-server is started through it.
    for f in "$lib"/ggml/backends*/*.so; do ln -s "${f#"$lib"/}" "$lib/"; done
    find "$1/usr/share" -type f ! -name copyright -delete
    find "$1/usr/share" -type l -delete
    find "$1/usr/share" -depth -type d -empty -delete
    rm -rf "$1/etc" "$1/var" "$lib/gconv"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ "${EDGESTILL_LLAMA_UPDATE:-0}" = 1 ] || ! complete "$current"; then
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 ||
        die "this system has neither a llama.cpp that pkg-config knows nor apt-get to fetch one" \
            "install llama.cpp (docs/building.md says which release) and pass LLAMA_PREFIX=DIR to make"
    rm -rf "$cache"/unpack.*
    if open_apt; then
        resolve >"$cache/lock.new"
        grep -q "^$soname " "$cache/lock.new" || die "apt could not resolve $soname for $arch; see $cache/apt.log"
        fetch "$cache/lock.new"
        unpack "$cache/lock.new"
        rm -rf "$cache/lock.new" "$apt/lists" "$apt/cache"
        say "$(awk -v s=$soname '$1 == s { print $1, $2 }' "$current/edgestill.lock") for $arch ready in $(readlink -f "$current")"
    fi
fi
readlink -f "$current"
