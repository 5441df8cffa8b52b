#!/bin/bash
# The CUDA kernels as compilers make them: PTX of Clang's, and of nvcc's and NVRTC's where they are, runs
# instruction by instruction on cuda-bench (tests/kernels/cuda/ptx.h), one small problem of each family.
# All of the device's tests, and models: docs/gpu.md. Arguments: the program, the source directory.
# NOT_SANITIZED: cuda-bench is not built there.
set -euo pipefail
build=$(realpath "$(dirname "$1")")
source=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TTT_TEST_DEVICE=cuda TTT_CUDA_PLUGIN=$build/tests/libttt_cuda_bench.so TTT_CACHE=/dev/null
export OMP_WAIT_POLICY=passive

check() { # WHAT PROGRAM TEST...
    "$build/tests/$2" "${@:3}" >"$folder/log" 2>&1 || { echo "test_cuda_ptx: $1: $(cat "$folder/log")" >&2; exit 1; }
}
kernels() { # WHAT: those of the folder of this name
    export TTT_BENCH_PTX=$folder/$1
    check "$1" test_device_attention 'test_tiles*'
    check "$1" test_device_move
}

did=
if command -v clang >/dev/null; then
    bash "$source/tests/kernels/cuda/ptx.sh" clang "$folder/clang" attention_plain attention_mma_64 matmul_few move
    kernels clang
    check clang test_device_matmul test_shared_b
    did=1
else
    echo "test_cuda_ptx: left out: there is no Clang"
fi
if [ -n "$did" ] && command -v nvcc >/dev/null; then
    cp -r "$folder/clang" "$folder/nvcc"
    bash "$source/tests/kernels/cuda/ptx.sh" nvcc:80 "$folder/nvcc" attention_mma_64 move
    kernels nvcc
fi
nvrtc=$(dirname "$(command -v nvcc || echo none)")/../lib64/libnvrtc.so
if [ -e "$nvrtc" ]; then
    TTT_BENCH_ROWS=$nvrtc check NVRTC test_device_rows
    did=1
fi
[ -n "$did" ] || exit 77
