#!/bin/bash
# Mamba 2, Gated DeltaNet and TTT-KVB below a fast MLP, and above one, from the command line: a run
# learns, goes on from its checkpoint with the same bits, finds needles, and reads a text that is cut
# anywhere, through files, as at once; ranks share it, where there are such. Arguments: the program.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_recurrent_commands
cat >>tiny.yaml <<'END'
mamba: {head_size: 16, state: 8, chunk: 16}
gdn: {heads: 2, key_size: 12, value_size: 20, chunk: 16}
kvb: {heads: 2, chunk: 8}
END
# In f64, where rounding does not choose between two tokens that are nearly alike.
sed -i 's/blocks: 2/blocks: 4, pattern: mgks/; s/suffix: 1/suffix: 3/; s/lr: 0.5/lr: 0.1/; s/steps: 30/steps: 30, precision: f64/' tiny.yaml

learns_and_goes_on

# Cut anywhere.
seq -s ' ' 300 400 >text.txt
bytes=$(stat -c %s text.txt)
for way in "" --no-ttt; do
    # shellcheck disable=SC2086  # no word or one
    infer whole.out $way --prompt-file text.txt --greedy --tokens 20
    for _ in 1 2; do
        cut=$((1 + RANDOM % (bytes - 1)))
        head -c $cut text.txt >head.txt
        tail -c +$((cut + 1)) text.txt >tail.txt
        # shellcheck disable=SC2086
        infer a.out $way --prompt-file head.txt --tokens 0 --save-state head.state --force
        # shellcheck disable=SC2086
        infer b.out $way --load-state head.state --prompt-file tail.txt --greedy --tokens 20
        cmp b.out whole.out || fault "cut at $cut $way: another text"
    done
done
"$ttt" state show head.state >out 2>log || fault "state show: $(cat log)"
says out "^tokens +$((cut + 1))$" # with the one that begins a text
"$ttt" bench infer whole/config.yaml inner.mode=off inner.suffix=0 --contexts 32 --tokens 4 >out 2>log || fault "$(cat log)"
says out '^as given +32 .*%'
"$ttt" niah whole --lengths 300 --depths 2 --samples 1 --answer-tokens 8 --csv one.csv >log 2>&1 || fault "$(cat log)"

# What cannot be is refused with what can.
refused 1 'inner.chunk 12 is not a multiple of kvb.chunk 8, .* kvb.chunk=6 would do' ./tiny.yaml run.dir=x inner.chunk=12 train.context=48
refused 1 'kvb.heads 3 does not divide model.dim 32; choose a divisor' ./tiny.yaml run.dir=x kvb.heads=3
refused 1 'mamba.head_size 24 does not divide the inner width 64' ./tiny.yaml run.dir=x mamba.head_size=24
refused 1 'mamba.groups 3 does not divide the 4 heads' ./tiny.yaml run.dir=x mamba.groups=3
[ ! -e x ] || fault "a run was begun"

# Two ranks share the work; one goes on with their checkpoint, and they with its own.
if command -v mpirun >/dev/null && [ -e "$(dirname "$ttt")/libttt_mpi.so" ]; then
    # shellcheck source=tests/launch/ranks_common.sh
    . "$(dirname "$0")/ranks_common.sh" "$ttt"
    exact=(./tiny.yaml train.precision=f64 train.micro_batch=0 train.total_steps=30)
    both() { ranks 2 "$ttt" train "$@" ranks.tensor=2 >log 2>&1 || fault "two ranks: $(cat log)"; }
    refused 0 '.' "${exact[@]}" train.steps=9 run.dir=alone
    both "${exact[@]}" train.steps=3 run.dir=shared
    refused 0 '.' --resume shared train.steps=6 ranks.tensor=1
    both --resume shared train.steps=9
    paste <(losses alone) <(losses shared) | check '
        { demand(NF == 2 && near($1, $2, 1e-12 * $1), $1 " and " $2) } END { demand(NR == 9, NR " steps") }' ||
        fault "two ranks have other losses"
    says log "^shared: 9 steps"
fi
echo "test_recurrent_commands: trained, gone on with, cut, and read with"
