#!/bin/bash
# Each kind of call of the CUDA libraries fails in turn, on cuda-bench: the run ends with an error that
# names the call and what was computed, loses nothing that it had saved, and goes on to the bits of a
# run that nothing interrupted. Arguments: the program, the source directory.
# NOT_SANITIZED: threads of a block are fibers, which sanitizers do not follow.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_cuda_faults
export TTT_CUDA_PLUGIN=${ttt%/*}/tests/libttt_cuda_bench.so
export TTT_BENCH_ROWS=${TTT_BENCH_ROWS-cpu} TTT_CACHE=/dev/null

sed -i 's/dim: 32, heads: 2, mlp: 48, window: 32/dim: 16, heads: 1, mlp: 16, window: 8/; s/chunk: 16/chunk: 8/; s/context: 64, batch: 4, micro_batch: 2, steps: 30/context: 16, batch: 2, micro_batch: 1, steps: 4, total_steps: 30, device: cuda/; s/save_every: 5/save_every: 2, keep_last: 0/' tiny.yaml
TTT_BENCH_CALLS=calls train whole
says calls '^cudaGraphLaunch [1-9]'

# What a failed call can say of itself: of allocations what was asked for, of what a plan runs the
# operation and its scope.
words_of() {
    case $1 in
        cudaMalloc) echo "MiB do not fit on cuda-bench" ;;
        cublasLtMatmul | cublasLtMatmulAlgoGetHeuristic) echo "matmul in [a-z].*: $1 on .*told to fail" ;;
        nvrtc[CG]* | cudaLibrary*) echo "rows in [a-z].*: $1 on .*told to fail" ;;
        cudaGraphLaunch | cudaGraphInstantiate | cudaStream*Capture)
            echo "[a-z_]+ in [a-z].*: $1 on .*told to fail" ;;
        cudaLaunchKernel) echo "kernel [a-z].*: $1 on .*told to fail" ;;
        *) echo "$1 on .*told to fail" ;;
    esac
}

# What gives back, and the last waiting for that: nothing depends on it.
gives_back() {
    case $1 in
        cudaFree | cudaGraphDestroy | cudaGraphExecDestroy) true ;;
        cudaStreamSynchronize) [ "$2" = "$3" ] ;;
        *) false ;;
    esac
}

tried=0 resumed=0
while read -r call count; do
    for n in $(printf '%d\n' $(((count + 1) / 2)) "$count" | sort -u); do
        code=0
        TTT_BENCH_FAIL=$call:$n "$ttt" train ./tiny.yaml run.dir=failed >log 2>&1 || code=$?
        tried=$((tried + 1))
        if [ $code != 0 ]; then
            [ $code = 1 ] || fault "exit code $code where call $n of $call fails: $(cat log)"
            says log "$(words_of "$call")"
        elif ! gives_back "$call" "$n" "$count"; then
            fault "nothing is said where call $n of $call fails"
        fi
        if [ -e failed/config.yaml ]; then
            resumed=$((resumed + 1))
            says log 'failed has no checkpoint yet|to go on from step [0-9]*: ttt train --resume failed$|failed: 4 steps'
            "$ttt" train --resume failed >log 2>&1 || fault "after call $n of $call: $(cat log)"
            (same whole failed) || fault "where call $n of $call had failed"
        fi
        rm -rf failed
    done
done <calls

# cuDNN's, where it attends: while plans are made, and in the second step, which is recorded.
for call in cudnnCreate:1 cudnnBackendFinalize:40 cudnnBackendGetAttribute:2 cudnnBackendExecute:3; do
    code=0
    TTT_BENCH_FAIL=$call "$ttt" train ./tiny.yaml run.dir=failed train.device=cuda+cudnn train.precision=bf16 >log 2>&1 || code=$?
    [ $code = 1 ] || fault "exit code $code where $call fails: $(cat log)"
    says log "${call%:*}: told to fail"
    [ $call = cudnnCreate:1 ] || says log "attention.* in [a-z]"
    rm -rf failed
done

# Damaged tokens, met while the device computes the step before, cost no step.
cp valid.h5 flipped.h5
flip flipped.h5 "$(($(stat -c %s flipped.h5) - 3000))"
rest=(train.seed=4 run.save_every=4)
train sound "${rest[@]}" data.train=train.h5,valid.h5
refused 1 'flipped.h5: tokens .* are damaged .checksum.; to go on from step 2: ' ./tiny.yaml run.dir=healed "${rest[@]}" data.train=train.h5,flipped.h5
"$ttt" train --resume healed data.train=train.h5,valid.h5 >log 2>&1 || fault "$(cat log)"
same sound healed

# What was read when a call failed is not saved as a state.
for call in cudaGraphLaunch:3 cudaStreamSynchronize:8; do
    code=0
    TTT_BENCH_FAIL=$call "$ttt" infer whole --prompt "It was" --tokens 9 --device cuda --save-state state >log 2>&1 || code=$?
    [ $code = 1 ] && [ ! -e state ] || fault "exit code $code, or a state, where $call fails: $(cat log)"
    says log "${call%:*} on .*told to fail"
done
[ $resumed -gt 20 ] || fault "only $resumed of $tried runs came to their first step"
echo "test_cuda_faults: $tried failures are told, $resumed runs went on to the same bits"
