#!/bin/bash
# Installs what building, testing and the quick start need, on Debian 12 and 13, Ubuntu 22.04 and
# newer. Touches neither the network nor any package when all is there.
#   --tests        also valgrind, by which a test counts instructions, and Open MPI, for several ranks
#   --clang        also Clang and its OpenMP, which launch/test.sh --clang needs
#   --no-install   only names what is missing; exit 1 if anything is
set -euo pipefail

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0"
}

install=yes
clang=no
tests=no
for word in "$@"; do
    case $word in
        --clang) clang=yes ;;
        --tests) tests=yes ;;
        --no-install) install=no ;;
        -h | --help) usage; exit 0 ;;
        *) echo "install.sh: no option '$word'; there are --tests, --clang and --no-install" >&2; exit 2 ;;
    esac
done

# What must exist, and the package that brings it. Commands are looked for on PATH, headers where a
# compiler finds them, so that a library built by hand counts too. Python unpacks the sample books
# (data/books.py); nothing else needs it.
commands="
gcc gcc
cmake cmake
pkg-config pkg-config
gnuplot gnuplot-nox
"
headers="
stdlib.h libc6-dev
dnnl.h libdnnl-dev
hdf5.h libhdf5-dev
libfyaml.h libfyaml-dev
jansson.h libjansson-dev
pcre2.h libpcre2-dev
utf8proc.h libutf8proc-dev
zlib.h zlib1g-dev
zstd.h libzstd-dev
cmocka.h libcmocka-dev
"

have_header() {
    local folder
    for folder in /usr/local/include /usr/include /usr/include/hdf5/serial \
                  "/usr/include/$(uname -m)-linux-gnu"; do
        [ -e "$folder/$1" ] && return 0
    done
    command -v gcc >/dev/null && echo "#include <$1>" | gcc -E -x c - >/dev/null 2>&1
}

missing_packages() {
    local thing package
    while read -r thing package; do
        [ -z "$thing" ] || command -v "$thing" >/dev/null || echo "$package"
    done <<<"$commands"
    while read -r thing package; do
        [ -z "$thing" ] || have_header "$thing" || echo "$package"
    done <<<"$headers"
    if [ $tests = yes ]; then
        command -v valgrind >/dev/null || echo valgrind
        command -v mpirun >/dev/null || echo openmpi-bin
        command -v mpicc >/dev/null || echo libopenmpi-dev
    fi
    if [ $clang = yes ]; then
        command -v clang >/dev/null || echo clang
        echo '#include <omp.h>' | clang -fopenmp -E -x c - >/dev/null 2>&1 || echo libomp-dev
    fi
    command -v ninja >/dev/null || command -v make >/dev/null || echo ninja-build
    python3 -c 'import gzip, struct, zlib' 2>/dev/null || echo python3
}

packages=$(missing_packages | sort -u | xargs)
if [ -z "$packages" ]; then
    echo "install: everything is there"
    exit 0
fi
echo "install: missing: $packages"
if [ $install = no ]; then
    echo "install: bash launch/install.sh$([ $clang = no ] || echo " --clang") installs them; by hand: apt-get install $packages"
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "install: no apt-get here; install the counterparts of these Debian packages" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install: needs root: become root, or install sudo, and run this again" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@"
}

# Lists that are missing, or older than a day, may name versions that the mirror has dropped. Their
# own times are the mirror's; the folder `partial` is touched by each apt-get update.
lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)" ] &&
        [ -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mmin -1440 2>/dev/null)" ]
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
    "$@" >"$log" 2>&1 && return
    cat "$log" >&2
    echo "install: apt-get failed; is the network there, and (on Ubuntu) universe enabled?" >&2
    exit 1
}
if ! lists_are_fresh; then
    echo "install: reading the package lists"
    run apt update
fi
echo "install: installing them with apt-get"
# shellcheck disable=SC2086  # one word a package
run apt install --no-install-recommends $packages

left=$(missing_packages | sort -u | xargs)
if [ -n "$left" ]; then
    echo "install: still missing after the installation: $left" >&2
    exit 1
fi
echo "install: done"
