#!/bin/bash
# Finds llama.cpp and the other libraries and writes what the build needs to know:
#
#   tools/configure.sh GENDIR [LLAMA_PREFIX]
#     GENDIR/host.mk           compiler and linker flags for make
#     GENDIR/config.h          paths and version for the programs of this machine
#     GENDIR/arm64/config.h    the same for the device's program
#     GENDIR/llama-ARCH.lock   versions and checksums of the llama.cpp packages in use
#
# llama.cpp is, in this order: LLAMA_PREFIX (built by hand), the system's (pkg-config llama), a private prefix
# (tools/llama-prefix.sh). The recipe for linking against the private prefix stands here and nowhere else.
# EDGESTILL_NO_ARM64=1 leaves the device's architecture out. A file is only touched when its content changes.
set -euo pipefail

gen=$1
hand_prefix=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
say() { printf 'configure: %s\n' "$*" >&2; }
die() { say "$1"; shift; for line in "$@"; do say "  $line"; done; exit 1; }

mkdir -p "$gen/arm64"
exec 8>"$gen/lock"
flock 8

put() { # write standard input to file $1 unless it says so already
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then rm -f "$1.new"; else mv -f "$1.new" "$1"; fi
}

first_dir_with() { # prints the first of the folders $2… that has a file matching $1
    local pattern=$1 d f
    shift
    for d in "$@"; do
        for f in "$d"/$pattern; do [ -e "$f" ] && { echo "$d"; return 0; }; done
    done
    return 1
}

machine=$(uname -m)
triplet=$machine-linux-gnu
case $machine in
x86_64) debian_arch=amd64 loader_name=ld-linux-x86-64.so.2 ;;
aarch64) debian_arch=arm64 loader_name=ld-linux-aarch64.so.1 ;;
*) debian_arch= loader_name= ;;
esac

# The C++ and OpenMP run time that libllama needs is named as well, and all of it regardless of use: libllama carries a
# RUNPATH of its own, and that switches the program's RPATH off for the libraries that only libllama asks for.
llama_libs='-Wl,--no-as-needed -lllama -lggml -lggml-base -l:libstdc++.so.6 -l:libgcc_s.so.1 -l:libgomp.so.1 -l:libm.so.6 -Wl,--as-needed'

use_hand_prefix() {
    kind=hand prefix=$(cd "$hand_prefix" 2>/dev/null && pwd) || die "LLAMA_PREFIX=$hand_prefix is not a folder"
    libdir=$(first_dir_with 'libllama.so' "$prefix/lib" "$prefix/lib64" "$prefix/lib/$triplet" "$prefix/usr/lib/$triplet" "$prefix/bin") ||
        die "no libllama.so under LLAMA_PREFIX=$prefix (looked in lib, lib64, lib/$triplet, bin)" \
            "build llama.cpp with -DBUILD_SHARED_LIBS=ON and install it there (docs/building.md)"
    local include
    include=$(first_dir_with 'llama.h' "$prefix/include" "$prefix/usr/include" "$prefix/include/llama") ||
        die "no llama.h under LLAMA_PREFIX=$prefix/include"
    backends=$(first_dir_with 'libggml-cpu*.so' "$libdir/ggml/backends0" "$libdir" "$prefix/bin" "$libdir/ggml") || backends=
    bindir=$(first_dir_with 'llama-server' "$prefix/bin" "$prefix/usr/bin") || bindir=
    cflags="-isystem $include"
    ldflags="-L$libdir -Wl,--disable-new-dtags -Wl,-rpath,$libdir"
    ldlibs='-lllama -lggml -lggml-base'
    tool_prefix=
}

use_system() {
    kind=system libdir=$(pkg-config --variable=libdir llama)
    backends=$(first_dir_with 'libggml-cpu*.so' "$libdir"/ggml/backends* "$libdir/ggml" "$libdir") || backends=
    bindir=$(dirname "$(command -v llama-server || echo /usr/bin/llama-server)")
    cflags=$(pkg-config --cflags llama ggml)
    ldflags=
    ldlibs=$(pkg-config --libs llama ggml)
    tool_prefix=
}

use_private_prefix() {
    [ -n "$debian_arch" ] || die "no private llama.cpp for $machine" "build it by hand and pass LLAMA_PREFIX=DIR (docs/building.md)"
    kind=private prefix=$("$here/llama-prefix.sh" "$debian_arch")
    libdir=$prefix/usr/lib/$triplet
    backends=$(first_dir_with 'libggml-cpu*.so' "$libdir"/ggml/backends*)
    bindir=$prefix/usr/bin
    cflags="-isystem $prefix/usr/include"
    # Program and libraries are loaded by the prefix's own C library, which is newer than the system's.
    ldflags="-L$libdir -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags -Wl,-rpath,$libdir -Wl,--dynamic-linker=$libdir/$loader_name"
    ldlibs=$llama_libs
    tool_prefix="\"$libdir/$loader_name\", \"--library-path\", \"$libdir:$libdir/llama\", "
    put "$gen/llama-$debian_arch.lock" <"$prefix/edgestill.lock"
}

if [ -n "$hand_prefix" ]; then use_hand_prefix
elif pkg-config --exists llama ggml 2>/dev/null; then use_system
else use_private_prefix
fi
case "$libdir$bindir$backends" in *[[:space:]]*)
    die "make cannot handle the blank in $libdir" "set EDGESTILL_CACHE (or LLAMA_PREFIX) to a folder without one" ;;
esac

arm64_prefix= arm64_lib=
if [ "${EDGESTILL_NO_ARM64:-0}" != 1 ] && command -v aarch64-linux-gnu-gcc >/dev/null 2>&1; then
    arm64_prefix=$("$here/llama-prefix.sh" arm64)
    arm64_lib=$arm64_prefix/usr/lib/aarch64-linux-gnu
    put "$gen/llama-arm64.lock" <"$arm64_prefix/edgestill.lock"
fi

qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || echo qemu-aarch64-static)

# Where libcsv and OpenBLAS have no pkg-config file they are in the default search path.
host_libs() {
    pkg-config --libs libcurl sqlite3 jansson yaml-0.1 libarchive libmicrohttpd libcrypto
    echo '-lcsv'
}
blas_libs() {
    if pkg-config --exists openblas 2>/dev/null; then pkg-config --libs openblas
    elif pkg-config --exists blas 2>/dev/null && pkg-config --exists cblas 2>/dev/null; then pkg-config --libs cblas blas
    else echo '-lopenblas'
    fi
}
blas_cflags() { pkg-config --cflags openblas 2>/dev/null || :; }

# What the device's program uses besides llama.cpp. Debian's libmicrohttpd was built with TLS and libcrypto is all of cryptography;
# the program serves plain HTTP and hashes. So where their archives are, the parts it needs are linked in, and each function of GnuTLS
# that libmicrohttpd names is bound to device/no_tls.c (docs/decisions/0016): 16 MB less in a bundle.
device_libs() { # NM LIBMICROHTTPD.a LIBCRYPTO.a
    echo '-ljansson'
    if ! [ -e "$2" ] || ! [ -e "$3" ] || ! command -v "$1" >/dev/null; then echo '-lmicrohttpd -lcrypto'; return; fi
    "$1" "$2" 2>/dev/null | sed -nE 's/^ *U (gnutls_[A-Za-z0-9_]+)$/\1/p' | sort -u | while read -r name; do
        case $name in
        gnutls_global_init | gnutls_global_deinit) echo "-Wl,--defsym=$name=no_tls_begin" ;;
        *) echo "-Wl,--defsym=$name=no_tls" ;;
        esac
    done
    echo "-Wl,-u,no_tls -Wl,-u,no_tls_begin $2 $3"
}
host_archive() { "${CC:-cc}" -print-file-name="$1" 2>/dev/null || echo "$1"; }

version=$(sed -nE 's/^VERSION *:?= *//p' "$root/Makefile" | head -n 1)

put "$gen/config.h" <<EOT
/* Written by tools/configure.sh: where things are on this machine. Environment variables of the same names override. */
#ifndef EDGESTILL_CONFIG_H
#define EDGESTILL_CONFIG_H
#define EDGESTILL_VERSION          "$version"
#define EDGESTILL_LLAMA_KIND       "$kind"
#define EDGESTILL_LLAMA_LIBDIR     "$libdir"
/* Folder of ggml's kernel modules; empty: built into the library. */
#define EDGESTILL_LLAMA_BACKENDS   "$backends"
/* Beginnings of an argument vector, comma-separated strings: the program, started through the right loader. */
#define EDGESTILL_LLAMA_SERVER     $tool_prefix"${bindir:+$bindir/}llama-server"
#define EDGESTILL_LLAMA_QUANTIZE   $tool_prefix"${bindir:+$bindir/}llama-quantize"
#define EDGESTILL_LLAMA_BENCH      $tool_prefix"${bindir:+$bindir/}llama-bench"
/* The device's architecture: llama.cpp's prefix and its libraries; empty where it was left out. */
#define EDGESTILL_ARM64_PREFIX     "$arm64_prefix"
#define EDGESTILL_ARM64_LIBDIR     "$arm64_lib"
/* Runs arm64 programs on this machine, emulated. */
#define EDGESTILL_QEMU_ARM64       "$qemu"
/* The source tree, which holds catalog/ and seed/ until the program is installed. */
#define EDGESTILL_SOURCE_DIR       "$root"
#endif
EOT

put "$gen/arm64/config.h" <<EOT
/* Written by tools/configure.sh for the device's program: a bundle finds its own libraries, nothing is fixed here. */
#ifndef EDGESTILL_CONFIG_H
#define EDGESTILL_CONFIG_H
#define EDGESTILL_VERSION          "$version"
#define EDGESTILL_LLAMA_KIND       "bundle"
#define EDGESTILL_LLAMA_LIBDIR     ""
#define EDGESTILL_LLAMA_BACKENDS   ""
#endif
EOT

put "$gen/host.mk" <<EOT
# Written by tools/configure.sh.
CONFIGURED_PREFIX := $hand_prefix
LLAMA_KIND     := $kind
LLAMA_LIBDIR   := $libdir
LLAMA_CFLAGS   := $cflags
LLAMA_LDFLAGS  := $ldflags
LLAMA_LDLIBS   := $ldlibs
HOST_CFLAGS    := $(pkg-config --cflags libcurl sqlite3 jansson yaml-0.1 libarchive libmicrohttpd libcrypto)
HOST_LDLIBS    := $(host_libs | tr '\n' ' ')
RUN_LDLIBS     := $(device_libs nm "$(host_archive libmicrohttpd.a)" "$(host_archive libcrypto.a)" | tr '\n' ' ')
CMOCKA_LDLIBS  := $(pkg-config --libs cmocka)
BLAS_CFLAGS    := $(blas_cflags)
BLAS_LDLIBS    := $(blas_libs)
ARM64_PREFIX   := $arm64_prefix
ARM64_LIBDIR   := $arm64_lib
ARM64_CFLAGS   := ${arm64_prefix:+-isystem $arm64_prefix/usr/include -isystem $arm64_prefix/usr/include/aarch64-linux-gnu}
ARM64_LDFLAGS  := ${arm64_prefix:+-L$arm64_lib -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags -Wl,-rpath,'\$\$ORIGIN/../lib'}
ARM64_LDLIBS   := $llama_libs $(device_libs aarch64-linux-gnu-nm "$arm64_lib/libmicrohttpd.a" "$arm64_lib/libcrypto.a" | tr '\n' ' ')${arm64_prefix:+-l:libc.so.6}
EOT
touch "$gen/host.mk"
