#!/bin/sh
# Installs the Debian packages that edgestill needs, and only those that are missing.
#
#   tools/setup.sh            install what is missing (as root, or with sudo)
#   tools/setup.sh --check    only say what is missing; exit 1 if anything is
#   tools/setup.sh --list     print the package names
#
# Ordinary packages of the system's own release, nothing else: llama.cpp, which older releases do not carry, goes into a
# private prefix instead (tools/llama-prefix.sh). On a system without dpkg it checks for the commands and libraries and
# says what it misses. Set EDGESTILL_NO_SETUP=1 to leave the system alone altogether.
set -eu

packages='
gcc libc6-dev make pkg-config ca-certificates
libcurl4-openssl-dev libsqlite3-dev libjansson-dev libyaml-dev libcsv-dev libarchive-dev libmicrohttpd-dev libssl-dev
libopenblas-pthread-dev libcmocka-dev
zstd openssh-client jq
gcc-aarch64-linux-gnu libc6-dev-arm64-cross
clang-format
'

say() { printf '%s\n' "setup: $*" >&2; }

known() { apt-cache show "$1" 2>/dev/null | grep -q '^Package'; }

# What differs between releases: newer ones have the static emulator in qemu-user, and carry llama.cpp themselves.
release_packages() {
    if known qemu-user-static; then echo qemu-user-static; else echo qemu-user; fi
    # The tests of `deploy` need a real sshd. Where systemd runs, installing one would open the machine to the network: there it
    # is the user's to install, and those tests are skipped without.
    if [ ! -d /run/systemd/system ]; then echo openssh-server; fi
    if known libllama-dev; then
        echo libllama-dev libggml-dev libggml0-backend-blas llama.cpp-tools
    fi
}

missing_packages() {
    for p in $packages $(release_packages); do
        s=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || :)
        [ "$s" = installed ] || printf '%s ' "$p"
    done
}

# Without dpkg: name what is not there; the user knows the names of the own system's packages.
missing_elsewhere() {
    for c in gcc make pkg-config zstd ssh; do
        command -v "$c" >/dev/null 2>&1 || printf '%s ' "$c"
    done
    for l in libcurl sqlite3 jansson yaml-0.1 libarchive libmicrohttpd libcrypto cmocka; do
        pkg-config --exists "$l" 2>/dev/null || printf '%s ' "$l"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo -E "$@"
    else
        say "need to be root, or sudo, to run: $*"
        say "ask an administrator to install the packages above, then run make again"
        exit 1
    fi
}

[ "${1:-}" = --list ] && { echo $packages $(release_packages); exit 0; }
[ "${EDGESTILL_NO_SETUP:-}" = 1 ] && { say "EDGESTILL_NO_SETUP=1: nothing installed or checked"; exit 0; }

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    need=$(missing_elsewhere)
    [ -z "$need" ] && exit 0
    say "not a Debian system, and these are missing: $need"
    say "install them with the system's package manager (see docs/building.md), then run make again"
    exit 1
fi

need=$(missing_packages)
[ -z "$need" ] && exit 0
if [ "${1:-}" = --check ]; then
    say "missing: $need"
    exit 1
fi

DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
log=$(mktemp "${TMPDIR:-/tmp}/edgestill-setup.XXXXXX")
trap 'rm -f "$log"' EXIT
lock='-o DPkg::Lock::Timeout=300'

# The package lists may be old or absent: refresh them once, then see again what there is. If they cannot be refreshed, the
# ones that are there may still do.
say "missing: $need"
as_root apt-get $lock update -q </dev/null >"$log" 2>&1 || say "apt-get update failed; trying with the lists that are here"
need=$(missing_packages)
say "installing $need"
if ! as_root apt-get $lock install -y -q --no-install-recommends $need </dev/null >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    say "apt-get failed (its last lines are above). Check the network and /etc/apt/sources.list,"
    say "or install by hand: apt-get install $need"
    exit 1
fi
say "done"
