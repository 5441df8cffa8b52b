#!/bin/bash
# ttt plan on every shipped configuration, and training that cannot fit; ttt bench from outside.
# Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/plan_common.sh
. "$(dirname "$0")/plan_common.sh" "$1" test_plan_command

# plan_holds NAME: `out` has all numbers of a plan, and they are likely.
plan_holds() {
    tail -n 1 out | awk '
        function fault(what) { print "plan " what; failed = 1 }
        function number(key) {
            if (match($0, "\"" key "\":-?[0-9.e+-]+"))
                return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0
            fault("has no " key)
            return -1
        }
        {
            count = split("tokens_per_step model_flops_per_step total fast executed_flops_per_step " \
                "weights gradient optimiser history activations workspace", keys, " ")
            for (i = 1; i <= count; i++)
                if (number(keys[i]) < 0) fault(keys[i] " is " number(keys[i]))
            if (number("total") <= 1e4) fault("has " number("total") " parameters")
            ratio = number("executed_ratio")
            if (ratio <= 0.5 || ratio >= 4) fault("executes " ratio " times the work of the model")
            if (number("compile_seconds") <= 0) fault("took " number("compile_seconds") " s")
        }
        END { exit failed }' || fault "plan $1: $(tail -n 1 out)"
}

# Shipped configurations: plan says what they need; the program itself stays small meanwhile. Those
# of one method differ in numbers alone: of the paper's, each method at its smallest, and the largest.
# A sanitizer reserves more and is slower: then without these limits, and every sixth.
"$ttt" configs | awk 'NR > 1 { print $1 }' >all
[ "$(wc -l <all)" -ge 103 ] || fault "only $(wc -l <all) configurations"
grep -vE '^(125m|350m|760m|1b|3b)-' all >names
grep -E '^(125m-.*-8k|3b-(e2e|full)-128k)$' all >>names
[ "$(wc -l <names)" -ge 14 ] || fault "only $(wc -l <names) configurations are planned"
most=4000000 longest=60 # kB; seconds of a processor
if grep -q __asan_init "$ttt"; then
    most=unlimited longest=unlimited
    export TTT_BRIEF_PEAK=1 # how fast sanitized code is says nothing
    awk 'NR % 6 == 1' names >some && mv some names
fi
while read -r name; do
    (ulimit -v $most && ulimit -t $longest && "$ttt" plan "$name" train.memory_limit=1000TB --json) >out 2>err ||
        fault "plan $name: $(cat err)"
    plan_holds "$name"
done <names

# Between the least memory and all kept: training takes what fits, and executes less for more.
ways() { # WORDS...: total bytes and executed work here, with least memory, with all kept
    "$ttt" plan quickstart "$@" --json >out
    for way in here least_memory all_kept; do
        tail -n 1 out | grep -oE "\"$way\":\{[^}]*\}" | sed -E 's/.*"executed_flops_per_step":([^,]*).*"total":([0-9]*).*/\2 \1/'
    done | xargs
}
read -r _ _ least _ kept _ <<<"$(ways)"
limit=$(((least + kept) / 2))
read -r here work _ most_work _ least_work <<<"$(ways train.memory_limit=$limit)"
holds "$least < $here && $here <= $limit && $least_work <= $work && $work < $most_work" ||
    fault "between $least and $kept bytes, within $limit, training takes $here, work $work of $least_work to $most_work"

# The paper's sizes have about the parameters that they are called by.
while read -r name least most; do
    "$ttt" plan "$name" --json >out
    holds "$(number total) > $least && $(number total) < $most" ||
        fault "$name has $(number total) parameters"
done <<'SIZES'
125m-full-8k 1.0e8 2.0e8
3b-full-8k 2.4e9 3.4e9
SIZES

# Longer contexts need more; without inner steps there is less work.
"$ttt" plan quickstart --json >out
tokens=$(number tokens_per_step) work=$(number model_flops_per_step) memory=$(number limit_bytes)
[ "$tokens" = 4096 ] || fault "quickstart: $tokens tokens a step, not 4096"
holds "$memory > 1e8" || fault "quickstart: limit $memory"
"$ttt" plan quickstart inner.mode=off --json >out
holds "$(number model_flops_per_step) < 0.8 * $work" || fault "inner.mode=off works no less"
"$ttt" plan quickstart train.memory_limit=1e6 --json >out
grep -q '^does not fit: train.memory_limit is 1.00 MB, the least that is needed' out ||
    fault "plan does not say that 1 MB is too little: $(cat out)"
grep -q '"fits":false' out || fault "JSON says that 1 MB is enough"

# refused CODE PART WORDS...: must fail so, saying PART.
refused() {
    local code=$1 part=$2 got=0
    shift 2
    "$ttt" "$@" >out 2>err || got=$?
    [ $got = "$code" ] || fault "$*: exit code $got, not $code"
    grep -qF -- "$part" err || fault "$*: no '$part' in: $(cat err)"
}

refused 1 'train.memory_limit is 30.0 MB' bench step quickstart train.memory_limit=30e6
for part in 'training needs at least' 'weights' 'workspace' 'what would be enough: train.memory_limit of'; do
    grep -qF "$part" err || fault "the refusal lacks '$part': $(cat err)"
done
refused 2 'bench step needs a configuration' bench step
refused 2 "not 'steps'" bench steps
refused 2 '--steps takes at least 1' bench step quickstart --steps 0
refused 1 "did you mean" plan quickstrat

# A step is timed, and its phases add up to it. A machine that does other things meanwhile is asked
# again.
step_likely() { # the numbers in `out`
    sum=$(tail -n 1 out | grep -oE '"phase_seconds":\{[^}]*' | grep -oE ':[0-9.e-]+' | tr -d ':' |
        awk '{ s += $1 } END { print s }')
    holds "$(number peak_fraction) < 2 && $sum > 0.7 * $(number seconds_per_step)"
}
for try in 1 2 3; do
    "$ttt" bench step quickstart train.context=128 train.batch=2 --steps 2 --profile --json >out
    ! step_likely || break
    [ $try -lt 3 ] || fault "bench step: phases add up to $sum s: $(tail -n 1 out)"
done
holds "$(number tokens_per_second) > 0 && $(number peak_fraction) > 0" ||
    fault "bench step: $(tail -n 1 out)"
holds "$(number peak_memory_bytes) > 1e6" || fault "bench step: no memory"
holds "$sum < 1.001 * $(number seconds_per_step)" ||
    fault "phases add up to $sum s of $(number seconds_per_step)"
# Of sanitized code the kernels take so long that no product may be among those that are shown.
product=matmul
[ -z "${TTT_BRIEF_PEAK-}" ] || product='(matmul|rows)'
grep -qE "suffix backward $product .*fast" out || fault "the profile names no product: $(cat out)"

# Where each token ends a chunk, its time is with its step.
"$ttt" bench infer toy-e2e-1 --contexts 16,32 --tokens 4 --json >out 2>/dev/null
[ "$(grep -cE '^ttt +(16|32) .* in token ' out)" = 2 ] || fault "bench infer: $(cat out)"
! grep -q 'inf %' out || fault "bench infer: $(cat out)"
for context in 16 32; do
    tail -n 1 out | grep -qE '"model":"ttt","context":'$context',[^}]*"token_seconds":[0-9.e-]+,"step_seconds":null,"weights_fraction":[0-9.e-]+' ||
        fault "bench infer: $(tail -n 1 out)"
done
"$ttt" bench infer toy-e2e-16 --contexts 32 --tokens 8 --json >out 2>/dev/null
tail -n 1 out | grep -qE '"model":"ttt",[^}]*"step_seconds":0\.[0-9]' || tail -n 1 out | grep -qE '"model":"ttt",[^}]*"step_seconds":[0-9.]+e-' ||
    fault "bench infer: no step: $(tail -n 1 out)"
# A mixer without inner steps is measured itself, and not only what stands in its place.
"$ttt" bench infer bench-mamba2 model.{dim=32,heads=2,mlp=32,vocab=64,blocks=2} mamba.{head_size=16,state=8} \
    --contexts 16 --tokens 4 >out 2>/dev/null
[ "$(awk '$2 == 16 || $3 == 16 { print $1 }' out | paste -sd ' ')" = "as swa full" ] || fault "bench infer: $(cat out)"
refused 1 'no-folder/x.png: cannot be written' bench infer toy-e2e-16 --contexts 32 --tokens 8 --png no-folder/x.png
echo mine >notes.txt
refused 2 'notes.txt: is there and is not a PNG' bench infer toy-e2e-16 --contexts 32 --tokens 8 --png notes.txt
[ ! -s out ] && ! grep -q 'tokens read' err || fault "bench infer refuses late: $(cat out err)"

# Each operation by itself; sanitized, test_docs does that.
bench_ops() {
    "$ttt" bench ops --threads 1 --json >out
    for op in matmul attention "attention''" rms_norm swiglu cross_entropy adamw gather scatter_add \
        transpose; do
        for type in f32 bf16; do
            tail -n 1 out | grep -qF "{\"op\":\"$op\",\"dtype\":\"$type\"" || fault "bench ops: no $op in $type"
        done
    done
    # A machine that does other things meanwhile is asked again.
    for try in 1 2 3; do
        ! likely || break
        [ $try -lt 3 ] || fault "bench ops: $(cat fractions)"
        "$ttt" bench ops --threads 1 --json >out
    done
}
# Gather reads a few rows of its table, not all of it; a row's product reads its matrix from memory.
likely() { # the fractions in `out`
    tail -n 1 out | grep -oE '"op":"(gather|matmul row|matmul row NT)"[^}]*"fraction":[0-9.]+' >fractions
    [ "$(grep -c . fractions)" = 6 ] && awk -F: '!($NF > 0.02 && $NF < 4) { exit 1 }' fractions
}
[ -n "${TTT_BRIEF_PEAK-}" ] || bench_ops

[ $faults = 0 ] || exit 1
echo "test_plan_command: fine"
