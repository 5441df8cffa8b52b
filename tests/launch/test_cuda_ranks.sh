#!/bin/bash
# Several ranks on GPUs, on cuda-bench with its stand-in for NCCL: what they do together is right; runs
# train as on the CPU, with ranks on either axis; calls that do not match are found; each call that
# fails is told; each rank has a GPU of its own. Arguments: the program, the source directory.
# NOT_SANITIZED: threads of a block are fibers, which sanitizers do not follow.
set -euo pipefail
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$1"
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_cuda_ranks
export TTT_CUDA_PLUGIN=${ttt%/*}/tests/libttt_cuda_bench.so
export TTT_BENCH_ROWS=${TTT_BENCH_ROWS-cpu} TTT_CACHE=/dev/null TTT_TEST_DEVICE=cuda

for count in 2 3; do
    ranks $count "$tests_folder/test_comm" >log 2>&1 || fault "test_comm of $count: $(cat log)"
done

words=(./tiny.yaml train.precision=f64 train.steps=3 train.total_steps=30 train.batch=2 train.micro_batch=1)
"$ttt" train "${words[@]}" run.dir=one >log 2>&1 || fault "$(cat log)"
for tensor in 1 2; do
    ranks 2 "$ttt" train "${words[@]}" run.dir=of-$tensor train.device=cuda ranks.tensor=$tensor >log 2>&1 ||
        fault "$(cat log)"
    paste <(losses one) <(losses of-$tensor) | awk '
        { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > 1e-10) bad = 1 } END { exit bad || NR != 3 }' ||
        fault "two ranks with ranks.tensor=$tensor have other losses: $(losses of-$tensor)"
done

# A token is written by recordings that have the ranks' sums in them.
"$ttt" infer one --prompt "It was" --tokens 20 --seed 3 >here 2>log || fault "$(cat log)"
TTT_BENCH_CALLS=calls ranks 2 "$ttt" infer one --prompt "It was" --tokens 20 --seed 3 --device cuda >there 2>log ||
    fault "$(cat log)"
cmp here there || fault "two ranks write something else"
says calls "^cudaGraphLaunch [2-9][0-9]"
says calls "^ncclAllReduce [1-9]"

# What would wait for ever on a GPU ends the program here.
code=0
ranks 2 "$tests_folder/ranks_fail" count 1 300 >log 2>&1 || code=$?
[ $code != 0 ] || fault "counts that do not match are not found: $(cat log)"
says log 'bench: nccl[A-Z][a-zA-Z]* of (1000|999) on rank [01], ncclAllReduce of (1000|999) on rank [01]'

failing() { # CALL
    local code=0
    TTT_BENCH_FAIL=$1 ranks 2 "$ttt" train "${words[@]}" run.dir=failed train.device=cuda >log 2>&1 || code=$?
    [ $code != 0 ] || fault "$1 fails, but not the run: $(cat log)"
    says log "${1%:*} on cuda-bench 0: told to fail by TTT_BENCH_FAIL"
    [ "$(grep -c '^ttt' log)" = 1 ] || fault "not one message: $(cat log)"
    rm -rf failed
}
failing ncclCommInitRank:2
failing ncclReduceScatter:1

code=0
TTT_BENCH_COUNT=2 ranks 2 "$ttt" train "${words[@]}" run.dir=two train.device=cuda >log 2>&1 || code=$?
[ $code != 0 ] || fault "ranks on GPUs of two kinds train together"
says log "ranks differ: the device: cuda-bench 1 on rank 1 .*, but the device: cuda-bench 0 on rank 0"
echo "test_cuda_ranks: ranks on GPUs train as one does"
