#!/bin/bash
# PTX of the CUDA kernels, for TTT_BENCH_PTX (tests/kernels/cuda/bench.h):
#   bash tests/kernels/cuda/ptx.sh COMPILER FOLDER [NAME...]
# COMPILER: clang, which needs no toolkit, or nvcc:90 for that compute capability, as the plug-in is built.
# NAME: files of kernels/cuda, without .cu; all of them otherwise.
set -euo pipefail
compiler=$1
folder=$(realpath -m "$2")
cd "$(dirname "$0")/../../.."
mkdir -p "$folder"
names=("${@:3}")
if [ $# = 2 ]; then
    for file in kernels/cuda/*.cu; do names+=("$(basename "$file" .cu)"); done
fi

compile() { # NAME
    case $compiler in
        clang) clang -x cuda -nocudainc -nocudalib --cuda-device-only --cuda-gpu-arch=sm_80 \
            --cuda-path=/nonexistent -ffp-contract=off -Wno-unused-function -O1 -S \
            -o "$folder/$1.ptx" -I . "kernels/cuda/$1.cu" ;;
        nvcc:*) nvcc -ptx "-arch=compute_${compiler#nvcc:}" -O3 --fmad=false -o "$folder/$1.ptx" -I . \
            "kernels/cuda/$1.cu" ;;
        *) echo "ptx.sh: clang or nvcc:90, not $compiler" >&2; exit 1 ;;
    esac
}

# Two at a time.
for ((i = 0; i < ${#names[@]}; i += 2)); do
    compile "${names[i]}" &
    [ $((i + 1)) = ${#names[@]} ] || compile "${names[i + 1]}"
    wait $!
done
