#!/bin/bash
# What must not change a training, bit for bit: threads and the memory it may take; and what must
# not beyond rounding: how a batch is cut. Then every variant of the model and of its inner loop
# trains. Arguments: the program, the source directory.
# shellcheck disable=SC2016  # awk has a $ of its own
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_train_same

# Threads: of the option, and of what the environment says.
short=(train.steps=6 train.total_steps=30 run.save_every=0 data.valid=valid.h5 run.eval_every=3 run.eval_windows=2)
for precision in f32 bf16 f64; do
    for threads in 1 2 3; do
        OMP_NUM_THREADS=$((4 - threads)) \
            train $precision$threads "${short[@]}" train.precision=$precision train.threads=$threads
        same ${precision}1 $precision$threads
        same_metrics ${precision}1 $precision$threads
    done
done
OMP_NUM_THREADS=1 train all "${short[@]}" train.threads=0
same f321 all
OMP_THREAD_LIMIT=1 train fewer "${short[@]}" train.threads=3
same f321 fewer

# Memory: everything kept; the least, where chunks are computed again from every k-th carry; between.
large=(train.context=512 train.batch=2 train.micro_batch=1 inner.suffix=2 model.blocks=3 train.steps=3
    train.total_steps=30 run.save_every=0)
plan() { # LIMIT: total bytes, carry interval and kept share there; and the least total
    "$ttt" plan ./tiny.yaml "${large[@]}" "train.memory_limit=$1" --json | tail -n 1 |
        json_get --numbers . here/memory_bytes/total here/carry_every here/kept_fraction \
            least_memory/memory_bytes/total
}
read -r most every kept least < <(plan 1GB)
[ "$every" = 1 ] && [ "$kept" = 1 ] || fault "1 GB is not enough to keep everything: $every $kept"
train everything "${large[@]}" train.memory_limit=1GB
tried=
for limit in $((least + least / 50)) $(((least + most) / 2)); do
    read -r _ every kept _ < <(plan $limit)
    tried="$tried $every/$kept"
    train limit$limit "${large[@]}" train.memory_limit=$limit
    same everything limit$limit
    same_metrics everything limit$limit
done
case "$tried " in
    *' 1/1 '*) fault "the limits drop nothing: $tried" ;;
esac

# How a batch is cut: the same sums in another order.
near() { # TOLERANCE RUN OTHER: losses and gradient norms agree, relative to them
    local run
    for run in "$2" "$3"; do
        json_get --numbers . step loss outer_grad_norm inner_grad_norm <"$run/metrics.jsonl" >"near.$run" ||
            fault "the metrics of $run"
    done
    paste "near.$2" "near.$3" | check '
        {
            demand(NF == 8 && $1 == NR && $5 == $1, "steps " $1 " and " $5)
            for (i = 2; i <= 4; i++) {
                demand($i > 0 && $(i + 4) > 0, "a norm is " $i " or " $(i + 4))
                far = $i / $(i + 4) - 1
                worst = most(worst, far < 0 ? -far : far)
            }
        }
        END {
            printf "%s: %.1e\n", runs, worst
            demand(NR == 4 && worst <= tolerance, NR " steps differ by up to " worst)
        }' runs="$2 and $3" tolerance="$1" || fault "$2 and $3 differ by more than $1"
}
cut=(train.batch=4 train.steps=4 train.total_steps=30 run.save_every=0 train.warmup_steps=0 train.lr=1e-3)
for micro in 1 2 4; do
    for precision in f32 f64; do
        train cut$micro-$precision "${cut[@]}" train.micro_batch=$micro train.precision=$precision
    done
done
for micro in 1 2; do
    near 1e-5 cut4-f32 cut$micro-f32
    near 1e-12 cut4-f64 cut$micro-f64
done
near 1e-3 cut4-f64 cut4-f32

# Variants. Each learns: its loss ends lower than it began, and is finite (or training stops).
# Sanitizers watch gradients of all variants in test_gradient, and here two steps of every third.
steps=10 variants=0
! grep -q __asan_init "$ttt" || steps=2
variant() { # NAME OVERRIDES...
    variants=$((variants + 1))
    [ $steps = 10 ] || [ $((variants % 3)) = 1 ] || return 0
    train "variant-$1" train.steps=$steps train.total_steps=30 run.save_every=0 inner.warmup_steps=0 \
        data.valid=valid.h5 run.eval_every=$steps run.eval_windows=1 "${@:2}"
    [ $steps = 10 ] || return 0
    losses "variant-$1" | check '
        NR == 1 { first = $1 }
        END { demand(NR == 10 && $1 < first - 0.5, "from " first " to " $1) }' ||
        fault "variant $1 does not learn: $(losses "variant-$1" | xargs)"
}
variant first-order inner.mode=first_order
variant naive inner.mode=naive
variant off inner.mode=off inner.suffix=0
variant off-with-fast inner.mode=off
variant full model.attention=full
variant hybrid model.attention=hybrid model.full_every=2
variant none model.attention=none
variant grouped model.kv_heads=1
variant fast-blocks model.blocks=3 inner.suffix=2 inner.fast_blocks=2
variant one-mlp inner.separate_mlp=false
variant untied model.tied=false
variant bare model.pre_norm=true model.post_norm=false model.qk_norm=false
variant bf16 train.precision=bf16
variant f64 train.precision=f64
variant all-suffix inner.suffix=2
variant across data.across_documents=true
variant one-chunk inner.chunk=64
variant naive-long inner.mode=naive inner.chunk=32 inner.separate_mlp=false model.attention=full
echo "test_train_same: threads, memory and cuts change nothing that they must not; variants learn"
