#!/bin/bash
# What compilers make of the CUDA kernels. Clang makes PTX of each, with no toolkit. Where nvcc built
# them (launch/cuda.cmake; a kernel that spills registers does not build), registers of each and blocks
# that a multiprocessor has at once are as tests/kernels/cuda/code.txt says for nvcc of that version
# (TTT_RENEW=1 writes it); and where there is cuobjdump, tensor cores work in the loops.
# NOT_SANITIZED: no program of ours runs.
set -euo pipefail
program=$1
source=$2
build=$(dirname "$program")
pinned=$source/tests/kernels/cuda/code.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$source"
did=

if command -v clang >/dev/null; then
    for file in kernels/cuda/*.cu; do
        clang -x cuda -nocudainc -nocudalib --cuda-device-only --cuda-gpu-arch=sm_80 \
            --cuda-path=/nonexistent -ffp-contract=off -Wall -Wextra -Wno-unused-function -Werror \
            -O0 -S -o "$folder/code.ptx" -I . "$file"
        grep -q '^.visible .entry ' "$folder/code.ptx" || { echo "no kernel in PTX of $file" >&2; exit 1; }
    done
    did=1
else
    echo "test_cuda_code: left out: there is no Clang"
fi

# kernel architecture registers
registers() {
    sed -n "s/.*Compiling entry function '\(.*\)' for 'sm_\(.*\)'.*/\1 \2/p; s/.*Used \([0-9]*\) registers.*/\1/p" \
        "$build"/cuda/*.o.txt | paste -d ' ' - - | sort -u
}

# kernel, registers, blocks; each for all architectures
table() {
    awk -v list="80 86 90 100 120" '
        BEGIN {
            count = split(list, sm, " ")
            split("64 48 64 64 48", warps, " ") # of a multiprocessor
            split("164 100 228 228 100", kilobytes, " ")
            split("32 16 32 32 24", most, " ")
        }
        FNR == NR { if (!/^#/) { threads[$1] = $2; shared[$1] = $3 } next }
        { registers[$1, $2] = $3; seen[$1] = 1 }
        function blocks(kernel, i,    n, each, by) {
            each = threads[kernel] / 32
            n = most[i] < int(warps[i] / each) ? most[i] : int(warps[i] / each)
            by = int(65536 / (int((registers[kernel, sm[i]] * 32 + 255) / 256) * 256) / each)
            if (by < n) n = by
            by = int(kilobytes[i] * 1024 / (shared[kernel] + 1024))
            return by < n ? by : n
        }
        END {
            for (kernel in seen) {
                if (!(kernel in threads)) { print kernel " is not in accesses.txt"; continue }
                line = kernel
                for (i = 1; i <= count; i++) line = line " " registers[kernel, sm[i]]
                line = line " |"
                for (i = 1; i <= count; i++) line = line " " blocks(kernel, i)
                print line
            }
        }' tests/kernels/cuda/watched/accesses.txt - | LC_ALL=C sort
}

nvcc=$(sed -n 's/^CUDAToolkit_NVCC_EXECUTABLE:FILEPATH=//p' "$build/CMakeCache.txt")
whole= # whether there is code for all architectures
if compgen -G "$build/cuda/*.o.txt" >/dev/null && [ -x "$nvcc" ]; then
    [ "$(registers | cut -d ' ' -f 2 | sort -nu | xargs)" = "80 86 90 100 120" ] && whole=1
fi
if [ -n "$whole" ]; then
    version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/nvcc \1/p')
    { echo "# $version: kernel, registers | blocks of a multiprocessor; sm_80 86 90 100 120"
      registers | table; } >"$folder/code.txt"
    if [ -n "${TTT_RENEW-}" ]; then
        cp "$folder/code.txt" "$pinned"
    elif ! grep -q "^# $version:" "$pinned"; then
        echo "test_cuda_code: left out: $pinned is of another version than $version"
    else
        diff "$pinned" "$folder/code.txt" || { echo "not as $pinned says; TTT_RENEW=1 writes it" >&2; exit 1; }
    fi
    did=1
else
    echo "test_cuda_code: left out: nvcc has not built for all architectures here"
fi

# Kernels whose loops (from a backward branch's target to it) hold a product of tensor cores.
in_loops() {
    awk '/Function :/ { kernel = $3; count = 0; split("", place) }
         match($0, /\/\*[0-9a-f]+\*\//) {
             at = substr($0, RSTART + 2, RLENGTH - 4)
             while (length(at) < 8) at = "0" at
             if (/HMMA/) place[++count] = at
             if (match($0, /BRA.* 0x[0-9a-f]+/)) {
                 to = $0; sub(/.*BRA.* 0x/, "", to); sub(/[^0-9a-f].*/, "", to)
                 while (length(to) < 8) to = "0" to
                 for (i = 1; i <= count; i++) if (place[i] >= to && to < at) { print kernel; next }
             }
         }' | sort -u
}
if [ -n "$(command -v cuobjdump)" ] && [ -n "$whole" ]; then
    for object in "$build"/cuda/attention_mma_*.o; do
        [ "$(cuobjdump -sass -arch sm_80 "$object" | in_loops | wc -l)" = 6 ] ||
            { echo "not all loops of $object use tensor cores" >&2; exit 1; }
    done
else
    echo "test_cuda_code: left out: tensor cores in loops, which need cuobjdump"
fi
[ -n "$did" ] || exit 77
