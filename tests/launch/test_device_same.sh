#!/bin/bash
# What the commands compute is the same, bit for bit, on the check device, whose memory the program
# cannot touch: training and its checkpoints, a run that moves there and back, evaluating, asking for
# needles, reading, states, benchmarks. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_device_same

# Sanitized, two precisions: what the check device forbids, it sees by itself.
precisions='f32 bf16 f64'
! grep -q __asan_init "$ttt" || precisions='f32 bf16'
short=(train.steps=4 train.total_steps=30 data.valid=valid.h5 run.eval_every=2 run.eval_windows=2 run.save_every=2 run.keep_last=0)
for precision in $precisions; do
    train $precision "${short[@]}" train.precision=$precision
    train $precision-check "${short[@]}" train.precision=$precision train.device=check
    same $precision $precision-check
    same_metrics $precision $precision-check
done
train parts "${short[@]}" train.batch=4 train.micro_batch=1 inner.suffix=2 model.blocks=3
train parts-check "${short[@]}" train.batch=4 train.micro_batch=1 inner.suffix=2 model.blocks=3 train.device=check
same parts parts-check

# A run moves to another device and back.
train moved "${short[@]}" train.steps=2 train.device=check
"$ttt" train --resume moved train.steps=3 train.device=cpu >log 2>&1 || fault "$(cat log)"
"$ttt" train --resume moved train.steps=4 train.device=check >log 2>&1 || fault "$(cat log)"
same f32 moved

# Readers compute on the CPU, whatever trained, unless they are told.
on() { # COMMAND WORDS...: its standard output on both devices is the same
    local command=$1
    shift
    "$ttt" "$command" "$@" >here 2>log || fault "ttt $command $*: $(cat log)"
    "$ttt" "$command" "$@" --device check >there 2>log || fault "ttt $command $* --device check: $(cat log)"
    [ -s here ] || fault "ttt $command $* prints nothing"
    cmp here there || fault "ttt $command $* differs on the check device"
}
for run in f32-check ${precisions#* }; do
    on eval $run --data valid.h5 --windows 2 --by-position
    on eval $run --text train.txt --sum
    on infer $run --prompt "It was" --tokens 40 --seed 3
done
head -c 40 train.txt >first.txt
for device in cpu check; do
    "$ttt" infer bf16 --prompt-file first.txt --tokens 0 --save-state $device.state --device $device 2>log ||
        fault "$(cat log)"
done
cmp cpu.state check.state || fault "states of the same text differ"
on infer bf16 --load-state check.state --prompt "so" --tokens 20 --seed 1
on niah f32 --lengths 440 --samples 1 --answer-tokens 8

for words in "step ./tiny.yaml data.train= --steps 1" "infer ./tiny.yaml --contexts 33 --tokens 4"; do
    # shellcheck disable=SC2086  # several words
    "$ttt" bench $words --device check >log 2>&1 || fault "bench $words: $(cat log)"
done
refused 1 "no device 'gpu'; there are cpu, check and cuda" ./tiny.yaml run.dir=g train.device=gpu
[ ! -e g ] || fault "a run without a device left a directory"
"$ttt" eval f32 --data valid.h5 --device gpu >log 2>&1 && fault "eval on no device"
says log "no device 'gpu'"
echo "test_device_same: the check device gives the same bits"
