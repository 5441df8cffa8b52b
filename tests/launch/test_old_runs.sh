#!/bin/bash
# A run, a state and a shard in tests/old were written by an early version of the program: they are
# read, gone on with and numbered as now. And a copied checkpoint is read alone, an edited config.yaml
# by nobody, and every refusal's advice works when it is followed. Arguments: the program, the source
# directory.
# shellcheck disable=SC2016  # awk has a $ of its own
set -euo pipefail
old=$(realpath "$2/tests/old")
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_old_runs
cp "$old/train.h5" . # the shard that it was trained on

reads() { # COMMAND WORDS...: ttt COMMAND WORDS succeeds
    "$ttt" "$@" >log 2>&1 || fault "ttt $*: $(cat log)"
}
unread() { # PATTERN COMMAND WORDS...: it fails and says the pattern
    local pattern=$1 code=0
    shift
    "$ttt" "$@" >log 2>&1 || code=$?
    [ $code = 1 ] || [ $code = 2 ] || fault "ttt $*: exit code $code: $(cat log)"
    grep -qE -- "$pattern" log || fault "ttt $*: no '$pattern' in: $(cat log)"
}
near() { # VALUE EXPECTED TOLERANCE
    echo "$1 $2" | check '{ demand(near($1, $2, tolerance), $1 " is not " $2) }' tolerance="$3" ||
        fault "$1 is not $2"
}

# ---- what the early version measured and wrote, and what it would have written on ----
cp -r "$old/run" run
"$ttt" eval run --data train.h5 --json 2>log >out || fault "$(cat log)"
near "$(tail -n 1 out | json_get . contexts/0/models/0/mean)" 5.2796152339627342 1e-4
reads state show "$old/old.state"
says log '^tokens +23, of which 7 wait'
"$ttt" infer run --load-state "$old/old.state" --prompt ' 77' --tokens 6 --greedy --json >out 2>log || fault "$(cat log)"
near "$(json_get . first_chunk_loss <out)" 5.299525260925293 1e-4
near "$(json_get . last_chunk_loss <out)" 5.2317957878112793 1e-4
[ "$(json_get . position inner_steps <out | xargs)" = "32 3" ] || fault "$(cat out)"

cp -r run on
refused 0 '^going on from on/checkpoints/step-00000008$' --resume on train.steps=12
[ "$(json_get . step <on/metrics.jsonl | xargs)" = "1 3 4 5 7 8 8 10 12 12" ] || fault "steps: $(json_get . step <on/metrics.jsonl | xargs)"
near "$(losses on | tail -n 1)" 5.242035984992981 1e-4
near "$(json_get --numbers --has validation_loss . validation_loss <on/metrics.jsonl | tail -n 1)" 5.2483097165822983 1e-4
reads eval on --data train.h5
[ "$(newest on)" = on/checkpoints/step-00000012 ] || fault "$(ls on/checkpoints)"
# Nothing is left to do, and nothing is done; what is asked for is measured once.
cp -r run done
before=$(contents done)
refused 0 'nothing is left' --resume done
[ "$(contents done)" = "$before" ] || fault "nothing was left but files changed"
reads train run/config.yaml run.dir=tuned train.init_from=run
says log '^starting from the weights of run/checkpoints/step-00000008$'

# ---- a checkpoint alone ----
cp -r "$(newest on)" alone
refused 2 'alone is a checkpoint; choose another run.dir .*train.init_from=alone' ./tiny.yaml run.dir=alone
reads infer alone --prompt '1 2 3' --tokens 3 --save-state alone.state
reads infer alone --prompt ' 4' --tokens 3 --load-state alone.state
reads infer on --prompt ' 4' --tokens 3 --load-state alone.state
reads eval alone --data train.h5
reads niah alone --text train.txt --lengths 400 --samples 1 --depths 1
reads train alone/config.yaml run.dir=from-alone train.init_from=alone
unread 'lies in no run; --json and --csv' eval alone --data train.h5 --save
unread 'lies in no run .*ttt train CONFIG train.init_from=alone' train --resume alone
flip alone/config.yaml 200
unread 'alone/config.yaml' infer alone --prompt 1
for edit in 's/ lr: 0.01$/ lr: 0.02/' 's/ lr: 0.01$/ lr: 0.0123/'; do
    cp "$(newest on)/config.yaml" alone
    sed -i "$edit" alone/config.yaml
    unread 'alone/config.yaml .*undo the change, or copy the checkpoint anew' infer alone --prompt 1
done
cp "$(newest on)/config.yaml" alone
reads infer alone --prompt ' 4' --tokens 3
# Early ones have no config.yaml; the advice is to copy it.
cp -r run/checkpoints/step-00000008 early
unread "early lies in no run .* copy its run's config.yaml into it" infer early --prompt 1
cp run/config.yaml early
reads infer early --prompt '1 2 3' --tokens 3
sed -i 's/seed: 0$/seed: 1/' early/config.yaml
unread 'early was trained with other options than early/config.yaml says; undo' infer early --prompt 1

# ---- an edited config.yaml: refused by all that read the run, until the advice is followed ----
edited() { # RUN EDIT: the run, edited
    rm -rf edited
    cp -r "$1" edited
    sed -i "$2" edited/config.yaml
    if cmp -s "$1/config.yaml" edited/config.yaml; then fault "$2 changed nothing"; fi
}
pattern='edited/checkpoints/step-.* was trained with other options than .*edited/config.yaml says'
for edit in 's/window: 16$/window: 8/' 's/total_steps: 12$/total_steps: 13/' 's/precision: f32$/precision: bf16/'; do
    edited on "$edit"
    unread "$pattern" infer edited --prompt 1
done
for run in run on; do
    edited $run 's/ lr: 0.01$/ lr: 0.02/'
    unread "$pattern" infer edited --prompt 1
    unread "$pattern" eval edited --data train.h5
    unread "$pattern" eval "$(newest edited)" --data train.h5
    unread "$pattern" niah edited --text train.txt --lengths 400
    unread "$pattern" train run/config.yaml run.dir=never train.init_from=edited
    # The weights of a checkpoint that is named are taken, whatever its run says now.
    reads train run/config.yaml run.dir=weights-$run train.init_from="$(newest edited)" train.steps=1
    if command -v gnuplot >gnuplot.path; then
        reads report edited --out edited.html
        says edited.html "$pattern"
    fi
    unread "$pattern" train --resume edited
done
advice=$(sed -n 's/.*to put it back: \(cp [^ ]* [^ ]*\) (.*/\1/p' log)
[ -n "$advice" ] || fault "no advice in: $(cat log)"
$advice
reads infer edited --prompt '1 2' --tokens 2
refused 0 'nothing is left' --resume edited
[ ! -e never ] || fault "a run that was refused left a directory"
# What a run consists of is not written, whatever else it is called.
ln "$(newest on)/model.safetensors" hard.state
unread 'hard.state: writing it would destroy on/.*/model.safetensors' infer on --prompt 1 --save-state hard.state --force
unread 'would destroy on/.*/model.safetensors' eval on --data train.h5 --by-position --csv hard.state --force
unread 'would destroy on/.*/model.safetensors' niah "$(newest on)" --lengths 400 --write hard.state --force
# What may change may be edited.
sed -i 's/eval_every: 4$/eval_every: 0/; s/threads: 1$/threads: 2/' on/config.yaml
reads eval on --data train.h5

# ---- a run that is read while it trains, and deletes its checkpoints at once ----
"$ttt" train ./tiny.yaml run.dir=busy train.steps=100000 train.total_steps=100000 run.save_every=1 \
    run.keep_last=1 run.log_every=1000 >busy.log 2>&1 &
pid=$!
for ((i = 0; i < 600; i++)); do
    [ -z "$(newest busy 2>/dev/null)" ] || break
    sleep 0.05
done
trained=$(newest busy)
for ((i = 0; i < 6; i++)); do
    reads infer busy --prompt '1 2 3' --tokens 1
    reads eval busy --data valid.h5 --windows 1 --save
    reads train ./tiny.yaml run.dir=busy-$i train.init_from=busy train.steps=1 train.total_steps=30
done
kill -0 $pid 2>/dev/null || fault "the run that was to be read while it trains has ended: $(cat busy.log)"
[ "$(newest busy)" != "$trained" ] || fault "no checkpoint came or went"
kill -9 $pid
wait $pid 2>/dev/null || true
echo "test_old_runs: old runs go on, copies are read alone, edits are refused, advice works"
