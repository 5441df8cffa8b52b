#!/bin/bash
# The commands on cuda-bench, the CUDA device with stand-ins for CUDA: training as on the CPU, a run
# that moves there and back, one that is killed and goes on, evaluating, reading; what is said where
# something is missing. Arguments: the program, the source directory.
# NOT_SANITIZED: threads of a block are fibers, which sanitizers do not follow.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_cuda_same
export TTT_CUDA_PLUGIN=${ttt%/*}/tests/libttt_cuda_bench.so
export TTT_BENCH_ROWS=${TTT_BENCH_ROWS-cpu} TTT_CACHE=/dev/null

# close RUN OTHER BOUND: the losses of their steps differ by at most so much of themselves.
close() {
    paste <(losses "$1") <(losses "$2") | awk -v bound="$3" '
        { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > most) most = d; lines++ }
        END { printf "%d losses, at most %.1e apart\n", lines, most; exit !(lines > 3 && most <= bound) }' ||
        fault "$1 and $2 differ by more than $3"
}

short=(train.steps=4 train.total_steps=30 data.valid=valid.h5 run.eval_every=2 run.eval_windows=2 run.save_every=2 run.keep_last=0)
# How far losses may be apart, of which the devices compute all but sums of products alike. In another
# order k summands differ by sqrt(k) u, u = 2^-24 of f32, as roundings go either way; n products one
# after another by sqrt(n) times that, and 4 standard deviations are allowed. With bf16 operands what
# counts is a number that is rounded the other way: two that are d apart are in d / 2^-8 of the cases, and
# then 2^-8 apart, so sqrt(d 2^-8) at the root of the mean square.
# n: a block 6, the head 1; each of 3 inner steps the last block's MLP, the head and back, 6.
bound_of() { # PRECISION K N
    awk -v precision="$1" -v k="$2" -v n="$3" 'BEGIN {
        d = sqrt(k) * 2 ^ -24
        print precision == "f64" ? 1e-10 : 4 * sqrt(n) * (precision == "f32" ? d : sqrt(d * 2 ^ -8)) }'
}
for precision in f64 f32 bf16; do
    train $precision "${short[@]}" train.precision=$precision
    train $precision-cuda "${short[@]}" train.precision=$precision train.device=cuda
    says log "^cuda is cuda-bench"
    close $precision $precision-cuda "$(bound_of $precision 48 31)"
done

# A run moves to the other device and back.
train moved "${short[@]}" train.precision=f64 train.steps=2 train.device=cuda
"$ttt" train --resume moved train.steps=3 train.device=cpu >log 2>&1 || fault "$(cat log)"
"$ttt" train --resume moved train.steps=4 train.device=cuda >log 2>&1 || fault "$(cat log)"
close f64 moved 1e-10

# One that is killed goes on bit for bit.
"$ttt" train ./tiny.yaml run.dir=killed "${short[@]}" train.device=cuda >killed.log 2>&1 &
pid=$!
await "a checkpoint" test -e killed/checkpoints/step-00000002
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$ttt" train --resume killed >log 2>&1 || fault "$(cat log)"
same f32-cuda killed
same_metrics f32-cuda killed

# A run that goes on takes the algorithms that it began with, unless the library is another one; and a
# damaged file of them is refused.
TTT_BENCH_ALGORITHM=1 train other "${short[@]}" train.device=cuda
! cmp -s "$(newest f32-cuda)/model.safetensors" "$(newest other)/model.safetensors" || fault "algorithms change nothing"
TTT_BENCH_ALGORITHM=1 train half "${short[@]}" train.steps=2 train.device=cuda
cp -r half newer
cp -r half torn
"$ttt" train --resume half train.steps=4 >log 2>&1 || fault "$(cat log)"
same other half
! grep -q "chosen anew" log || fault "algorithms are chosen anew: $(cat log)"
TTT_BENCH_CUBLAS=2 "$ttt" train --resume newer train.steps=4 >log 2>&1 || fault "$(cat log)"
says log "chosen anew, .*newer/algorithms has products of cuda-bench 0 .*cublasLt 1, and these are .*cublasLt 2"
! cmp -s "$(newest other)/model.safetensors" "$(newest newer)/model.safetensors" || fault "nothing was chosen anew"
sed -i '3s/ [0-9]*$//' torn/algorithms
refused 1 "line 3 of torn/algorithms is damaged; delete the file" --resume torn train.steps=4
sed -i '3s/$/ 192/; 3s/000000000000000[01] /0000000000000007 /' torn/algorithms
refused 1 "the algorithm that the run keeps for f32 .*cublasLtMatmulAlgoCheck" --resume torn train.steps=4

# TF32 is asked for.
train tf32 "${short[@]}" train.device=cuda+tf32
grep -q "^tf32 NN" tf32/algorithms || fault "no product is in TF32"
! grep -q "^tf32" f32-cuda/algorithms || fault "TF32 was not asked for"
! cmp -s "$(newest f32-cuda)/model.safetensors" "$(newest tf32)/model.safetensors" || fault "TF32 changes nothing"
close f32 tf32 2e-3

# cuDNN attends where there is no past: in training, and in evaluating. A run that goes on notes another
# version of it.
TTT_BENCH_CALLS=calls train cudnn "${short[@]}" train.precision=bf16 train.device=cuda+cudnn
says calls "^cudnnBackendExecute [1-9]"
close bf16 cudnn "$(bound_of bf16 48 31)"
! cmp -s "$(newest bf16-cuda)/model.safetensors" "$(newest cudnn)/model.safetensors" || fault "cuDNN changes nothing"
says cudnn/algorithms "cublasLt 1, cudnn 91600$"
TTT_BENCH_CALLS=calls "$ttt" eval cudnn --data valid.h5 --windows 2 --device cuda+cudnn >there 2>log || fault "$(cat log)"
says calls "^cudnnBackendExecute [1-9]"
TTT_BENCH_CUDNN=91900 "$ttt" train --resume cudnn train.steps=5 >log 2>&1 || fault "$(cat log)"
says log "chosen anew, .*cudnn 91600, and these are .*cudnn 91900"
TTT_BENCH_CUDNN=91500 refused 1 "cuDNN 91500 is too old, 91600 is needed" ./tiny.yaml run.dir=g train.device=cuda+cudnn
refused 1 "no device 'cuda.cudnn.tf32'.*cuda.tf32.cudnn does both" ./tiny.yaml run.dir=g train.device=cuda+cudnn+tf32

# The readers' words are those of the CPU.
on() { # COMMAND WORDS...
    "$ttt" "$@" >here 2>log || fault "ttt $*: $(cat log)"
    "$ttt" "$@" --device cuda >there 2>log || fault "ttt $* --device cuda: $(cat log)"
    [ -s here ] || fault "ttt $* prints nothing"
}
on infer f64 --prompt "It was" --tokens 20 --seed 3
cmp here there || fault "other words are written on cuda"
on eval f64-cuda --data valid.h5 --windows 2

# A token is written by recordings: two launches, and copies of what it reads and makes.
calls() { # TOKENS CALL
    TTT_BENCH_CALLS=calls "$ttt" infer f64 --prompt "It was" --tokens "$1" --seed 3 --device cuda >there 2>log || fault "$(cat log)"
    sed -n "s/^$2 //p" calls
}
for call in cudaLaunchKernel:2 cudaGraphLaunch:2 cudaMemcpyAsync:7 cublasLtMatmul:0 cudaStreamSynchronize:1; do
    each=$(($(calls 8 ${call%:*}) - $(calls 4 ${call%:*})))
    [ $each = $((4 * ${call#*:})) ] || fault "4 tokens take $each calls of ${call%:*}"
done

# What is missing is said.
TTT_CUDA_PLUGIN=none.so refused 1 "no plug-in for it .none.so.; -DTTT_CUDA=ON" ./tiny.yaml run.dir=g train.device=cuda
TTT_BENCH_DRIVER=0 refused 1 "no NVIDIA driver, or one too old .*nvidia-smi" ./tiny.yaml run.dir=g train.device=cuda
TTT_BENCH_COUNT=0 refused 1 "the driver sees no GPU" ./tiny.yaml run.dir=g train.device=cuda
TTT_BENCH_MAJOR=7 refused 1 "has compute capability 7.6; 8.0 or more" ./tiny.yaml run.dir=g train.device=cuda
LC_ALL=C sed 's/ttt sources [0-9a-f]\{16\}/ttt sources 0123456789abcdef/' "$TTT_CUDA_PLUGIN" >stale.so
TTT_CUDA_PLUGIN=./stale.so refused 1 "stale.so was built from other sources .*build both again" ./tiny.yaml run.dir=g train.device=cuda
refused 1 "cuda:7: there is 1 GPU, counted from 0" ./tiny.yaml run.dir=g train.device=cuda:7
TTT_BENCH_MEMORY=1000000 refused 1 "training needs at least .*what would be enough: free memory of" ./tiny.yaml run.dir=g train.device=cuda train.memory_limit=0
refused 1 "no device 'cuda.tf32'.*cuda.tf32 multiplies" ./tiny.yaml run.dir=g train.device=cuda/tf32
refused 1 "no device 'cuda:x'" ./tiny.yaml run.dir=g train.device=cuda:x
[ ! -e g ] || fault "a run without a device left a directory"


# A value that is not finite is named by op and scope; Ctrl-C saves, and the run goes on to the same bits.
refused 1 'outer step 1, sequence 0: .*\(f32\[.*\) in [a-z]+\.block\.[01].* not finite' ./tiny.yaml run.dir=hot train.device=cuda \
    model.init_std=100 model.post_norm=false model.pre_norm=false inner.lr=1e6 inner.clip=1e30 inner.warmup_steps=0
"$ttt" train ./tiny.yaml run.dir=stopped "${short[@]}" train.device=cuda >stopped.log 2>&1 &
pid=$!
await "a step" test -s stopped/metrics.jsonl
kill -INT $pid
code=0
wait $pid || code=$?
[ $code = 130 ] || fault "exit code $code after Ctrl-C: $(cat stopped.log)"
says stopped.log "stopped and saved at step [1-3] of 4; to go on: ttt train --resume stopped"
"$ttt" train --resume stopped >log 2>&1 || fault "$(cat log)"
same f32-cuda stopped

# Benchmarks compare the device with itself.
"$ttt" bench step ./tiny.yaml --device cuda --steps 1 >log 2>&1 || fault "$(cat log)"
says log "peak of products .*(f32, cuda-bench 0)"
says log "^planned memory "
"$ttt" bench infer ./tiny.yaml --device cuda --contexts 32 --tokens 4 >log 2>&1 || fault "$(cat log)"
says log "bandwidth, .*B/s with cuda-bench 0;"
"$ttt" bench ops --device cuda >log 2>&1 || fault "$(cat log)"
says log "^attention'' +bf16 .*FLOP/s +[0-9]"
says log "^bound of the others: a copy"
echo "test_cuda_same: the CUDA device trains and reads as it should"
