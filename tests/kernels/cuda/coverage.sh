#!/bin/bash
# Which lines and branches of the CUDA kernels the tests of the device's tables never come to. By hand,
# where kernels have changed:
#   bash tests/kernels/cuda/coverage.sh BUILD     BUILD: a folder built with the tests
# Prints each, and exits 1 where there are any; what runs is told on stderr.
set -euo pipefail
build=$(realpath "$1")
cd "$(dirname "$0")/../../.."
source=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
for file in "$source"/kernels/cuda/*.cu; do
    cc -x c -std=c11 -D_GNU_SOURCE -O0 -fPIC -ffp-contract=off --coverage -fprofile-update=atomic \
        -I "$source" -c "$file" -o "$(basename "$file" .cu).o"
done
# shellcheck disable=SC2046  # words
cc -shared -fopenmp --coverage -o bench.so ./*.o \
    $(find "$build/tests/CMakeFiles/ttt_cuda_bench.dir" -name '*.o' ! -name '*.cu.o') -lm
run() { # device, family, words
    echo "coverage.sh: $*" >&2
    TTT_TEST_DEVICE=$1 TTT_CUDA_PLUGIN=$work/bench.so TTT_CACHE=/dev/null \
        "$build/tests/test_device_$2" "${@:3}" >log 2>&1 || { cat log >&2; exit 1; }
}
for family in attention matmul move; do run cuda $family; done
run cuda+cudnn attention test_no_past
gcov -b -c ./*.gcda >/dev/null
# A line is good where any type of elements or size of heads has come to it.
awk -F: '
    /^branch/ { if (line != "") { n[line]++; if (/taken [1-9]/) taken[line, n[line]] = 1
                                  if (n[line] > most[line]) most[line] = n[line] } next }
    /^ *[-#=0-9*]+\**: *[0-9]+:/ {
        count = $1; gsub(/[ *]/, "", count); number = $2 + 0
        line = FILENAME ":" number; n[line] = 0; text[line] = $0; sub(/^[^:]*:[^:]*:/, "", text[line])
        if (count ~ /^[#=]+$/) missed[line] = 1; else if (count != "-") ran[line] = 1
        next
    }
    END {
        for (line in text) {
            if (missed[line] && !ran[line]) print line ": never run: " text[line]
            for (i = 1; i <= most[line]; i++)
                if (ran[line] && !taken[line, i]) print line ": branch " i " never taken: " text[line]
        }
    }' ./*.h.gcov ./*.cu.gcov | grep -v 'device_host\|vector_math' | sort -t: -k1,1 -k2,2n >missing || true
cat missing
[ ! -s missing ]
