#!/bin/bash
# ttt train with several ranks over MPI: the losses of one rank, twice the same bits, one run
# directory, checkpoints that other numbers and shapes of ranks go on with, validation, a stop, a
# value that is not finite, and what is refused. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_ranks_train
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$ttt"
export OMPI_MCA_rmaps_base_oversubscribe=1

# ranks N COMMAND...: by so many ranks; what they say is left in log.
ranks() {
    timeout 300 mpirun -n "$1" "$ttt" "${@:2}" >log 2>&1
}

# close RUN OTHER: the losses of all steps differ by less than 1e-12, relatively.
close() {
    local run
    for run in "$1" "$2"; do losses "$run" >"losses.$run"; done
    paste "losses.$1" "losses.$2" | check '
        { demand(NF == 2, "a loss is missing"); demand(near($1, $2, 1e-12 * $1), $1 " and " $2) }
        END { demand(NR == 10, NR " steps") }' || fault "$1 and $2 have other losses"
}

long=(./tiny.yaml train.precision=f64 train.steps=10 train.micro_batch=0 data.valid=valid.h5 run.eval_every=5
    run.eval_windows=40 run.save_every=5)
part=("${long[@]}" train.steps=5 train.total_steps=10)
"$ttt" train "${long[@]}" run.dir=one >log 2>&1 || fault "$(cat log)"
for n in 2 4; do
    ranks $n train "${long[@]}" run.dir=of-$n || fault "$(cat log)"
    says log "^of-$n: 10 steps"
    [ "$(grep -c "^of-$n: 10 steps" log)" = 1 ] || fault "more than one rank speaks: $(cat log)"
    close one of-$n
    "$ttt" eval of-$n one --data valid.h5 --windows 2 >log 2>&1 || fault "$(cat log)"
done
valid() { json_get --numbers --has validation_loss . validation_loss <"$1/metrics.jsonl"; }
paste <(valid one) <(valid of-4) | check '{ demand(NF == 2 && near($1, $2, 1e-12), $0) } END { demand(NR == 2, NR) }' ||
    fault "validation differs"
ranks 2 train "${long[@]}" run.dir=again || fault "$(cat log)"
same of-2 again
same_metrics of-2 again

# On with other numbers and shapes of ranks.
ranks 2 train "${part[@]}" run.dir=on || fault "$(cat log)"
cp -r on alone
cp -r on mesh
cp -r on two
ranks 2 train --resume two train.steps=10 || fault "$(cat log)"
same of-2 two
"$ttt" train --resume alone train.steps=10 >log 2>&1 || fault "$(cat log)"
close one alone
ranks 4 train --resume on train.steps=10 || fault "$(cat log)"
close one on
ranks 4 train --resume mesh train.steps=7 ranks.tensor=2 train.device=check || fault "$(cat log)"
ranks 2 train --resume mesh train.steps=10 ranks.shard=none || fault "$(cat log)"
close one mesh

# In bf16 a rank has most weights as it multiplies with them: checkpoints have them as they are.
"$ttt" train "${long[@]}" train.precision=bf16 run.dir=bf16 >log 2>&1 || fault "$(cat log)"
ranks 4 train "${part[@]}" train.precision=bf16 run.dir=bf16-on || fault "$(cat log)"
ranks 4 train --resume bf16-on train.steps=7 ranks.tensor=2 train.device=check || fault "$(cat log)"
"$ttt" train --resume bf16-on train.steps=10 ranks.tensor=1 train.device=cpu >log 2>&1 || fault "$(cat log)"
paste <(losses bf16) <(losses bf16-on) | check '{ demand(near($1, $2, 0.02), $0) } END { demand(NR == 10, NR) }' ||
    fault "bf16: other losses"
paste <(valid bf16 | tail -n 1) <(valid bf16-on | tail -n 1) | check '{ demand(NF == 2 && near($1, $2, 0.02), $0) }' ||
    fault "bf16: other validation"

# A run begins from weights that one rank has saved.
ranks 2 train ./tiny.yaml run.dir=tuned train.init_from=one train.precision=f64 train.steps=5 || fault "$(cat log)"
says log "starting from the weights of one"

# A signal to any of them saves.
begin log log mpirun -n 2 "$ttt" train "${long[@]}" run.dir=stopped train.steps=100000 train.total_steps=100000 \
    run.eval_every=0 data.valid=
await "a step" test -s stopped/metrics.jsonl
kill -USR1 "$(pgrep -f "^$ttt train .*run.dir=stopped" | tail -n 1)"
ended
[ "$code" != 0 ] || fault "a run that was stopped ends well"
says log "stopped and saved at step"
[ -n "$(newest stopped)" ] || fault "nothing was saved"

# What is not finite is found by a rank that has it.
code=0
ranks 2 train ./tiny.yaml run.dir=hot model.init_std=100 model.post_norm=false model.pre_norm=false inner.lr=1e6 \
    inner.clip=1e30 inner.warmup_steps=0 || code=$?
[ $code != 0 ] || fault "values that are not finite"
says log 'rank [01]: outer step 1, sequence [0-3]: .*\(f32\[.*\) in [a-z]+\.block\.[01].* not finite; hot has no checkpoint yet'
[ "$(grep -c 'not finite' log)" = 1 ] || fault "more than one rank says it: $(cat log)"

code=0
ranks 3 train "${long[@]}" run.dir=three || code=$?
[ $code != 0 ] || fault "three ranks divide four sequences"
says log "train.batch=4 cannot be divided among 3 ranks.*begin 1, 2, 4 ranks"
[ ! -e three ] || fault "a refused run left a directory"
echo "test_ranks_train: several ranks train as one does"
