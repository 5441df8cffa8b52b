#!/bin/bash
# ttt sweep from outside: a study to its end, through kills and failures, by several at once; what it
# prints; what it refuses; the shipped studies. Arguments: the program, the source directory, and the
# seeds of the study that is killed: with 4, 12 of its points come to their end, without, 3.
set -euo pipefail
seeds=${3-}
source=$(realpath "$2")
# shellcheck source=tests/launch/train_common.sh
. "$source/tests/launch/train_common.sh" "$1" test_sweep

# sweep CODE WORDS...: ends with that code; what it prints is in out.txt and err.txt.
sweep() {
    local expected=$1 got=0
    shift
    timeout $((120 * ${seeds:-1})) "$ttt" sweep "$@" >out.txt 2>err.txt || got=$?
    [ $got = "$expected" ] || fault "exit code $got, not $expected: ttt sweep $*: $(cat out.txt err.txt)"
}

refuse() { # CODE PATTERN WORDS...
    local code=$1 pattern=$2
    shift 2
    sweep "$code" "$@"
    says err.txt "$pattern"
}

"$ttt" pack --out test.h5 --split test valid.txt >log
sed -i 's/steps: 30/steps: 40/; s/save_every: 5/save_every: 4/; s/train: train.h5/train: train.h5, test: test.h5/' tiny.yaml
study() { # DIR
    cat <<END
base: ./tiny.yaml
dir: $1
match: parameters
axes:
  inner.chunk: [16, 32]
  method:
    e2e: {inner.mode: e2e}
    plain: {inner.mode: "off", inner.suffix: 0}
    ruined: {train.lr: 1000, train.clip: 1e20, train.warmup_steps: 0}
leave_out:
  - {inner.mode: "off", inner.chunk: "> 16", because: "without steps, chunks mean nothing"}
evaluate:
  loss: {windows: 3, context: [32, 64]}
END
}
study whole >whole.yaml
study killed >killed.yaml

# What it would do: every point with its parameters, matched; those left out with the reason.
sweep 0 whole.yaml --dry-run --rate 1e9 --json
says out.txt '^ *1  chunk-16_e2e +[0-9.]+ k +\+0 +48 .* MB +[0-9]+ s$'
says out.txt '^left out: chunk-32_plain: without steps, chunks mean nothing$'
says out.txt '^5 points in whole: .* at 1.00 GFLOP/s$'
[ ! -e whole ] || fault "a dry run made a directory"
tail -n 1 out.txt | json_get --numbers "points/*" parameters_off >off
check '{ demand($1 < 200 && $1 > -200, "parameters are not matched: " $1) }' off
tail -n 1 out.txt | json_get --numbers "points/*" mlp | sort -u | tr '\n' ' ' >widths
[ "$(cat widths)" = "48 72 " ] || fault "solved widths: $(cat widths)"

# To its end; the ruined points fail by themselves, and the exit code tells.
sweep 1 whole.yaml
says err.txt '^chunk-16_ruined failed: ttt train: outer step .* not finite'
says err.txt '2 points failed: chunk-16_ruined, chunk-32_ruined'
sweep 0 status whole --json
says out.txt 'chunk-16_e2e +finished +40/40$'
says out.txt 'chunk-32_ruined +failed +[0-9]/40  ttt train: outer step'
says out.txt 'chunk-32_plain +left out'
says out.txt '^whole in whole: 3 finished, 2 failed, 1 left out$'

# A point is an ordinary run, measured as ttt eval would; finished ones are not done again.
"$ttt" eval whole/chunk-16_e2e --windows 3 --context 32,64 --json 2>/dev/null | tail -n 1 |
    json_get --numbers "contexts/*/models/*" mean >by-hand
json_get --numbers "contexts/*/models/*" mean <whole/chunk-16_e2e/eval/step-00000040.json >saved
cmp by-hand saved || fault "a point's numbers are not those of ttt eval"
contents whole/chunk-16_e2e >before
sweep 1 whole --only 'chunk-*'
contents whole/chunk-16_e2e | cmp - before || fault "a finished point was touched"
grep -q 'e2e' err.txt && fault "a finished point was taken up again: $(cat err.txt)"
sweep 0 whole --only 1

# Killed twenty times (sanitized, which is slow, six), with its children or alone, it ends with the
# same numbers.
kills=20
! grep -q __asan_init "$ttt" || kills=6
through=whole
if [ -n "$seeds" ]; then
    through=through
    for name in through killed; do
        study $name >$name.yaml
        echo "seeds: [$(seq -s , "$seeds")]" >>$name.yaml
    done
    sweep 1 through.yaml
fi
for kill in $(seq $kills); do
    begin out.txt err.txt "$ttt" sweep killed.yaml
    [ "$kill" != 1 ] || await "a first step" grep -qs step -r killed --include=metrics.jsonl
    [ "$kill" = 1 ] || sleep "0.$(printf %02d $((kill * 37 % 30)))"
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true)
    kill -9 "$pid" 2>/dev/null || true
    # shellcheck disable=SC2086  # process numbers
    [ $((kill % 2)) = 0 ] || [ -z "$children" ] || kill -9 $children 2>/dev/null || true
    ended 2>/dev/null
done
sweep 1 killed.yaml
[ "$(cat killed/points/*.log | grep -c '^\$.* train ')" -gt $((kills / 4)) ] || fault "no kill came while a point was trained"
points=$(cd $through && find . -path '*/eval/step-00000040.json' | cut -d / -f 2)
[ "$(wc -w <<<"$points")" = $((3 * ${seeds:-1})) ] || fault "points with losses: $points"
for point in $points; do
    same "$through/$point" "killed/$point"
    same_metrics "$through/$point" "killed/$point"
    for run in $through killed; do
        json_get --numbers "contexts/*/models/*" mean <"$run/$point/eval/step-00000040.json" >"mean-$run"
    done
    cmp "mean-$through" mean-killed || fault "$point: killed, it has other losses"
done

# Two at once: what one works on, the other leaves alone, and waits for.
study both >both.yaml
mkdir -p both/points
cp both.yaml both/study.yaml
exec 7>both/points/chunk-16_e2e.lock
flock -x 7
begin out.txt err.txt "$ttt" sweep both.yaml 7>&-
await "the points that are free" test -e both/chunk-32_e2e/eval/step-00000040.json
sweep 0 status both
says out.txt 'chunk-16_e2e +runs +0/40$'
[ ! -e both/chunk-16_e2e ] || fault "a point was worked on that another process has"
gone "$pid" && fault "it did not wait for the point that another process has"
exec 7>&-
ended
[ $code = 1 ] || fault "one of two ends with $code: $(cat err.txt)"
for point in chunk-16_e2e chunk-16_plain chunk-32_e2e; do same "whole/$point" "both/$point"; done

# Ctrl-C stops children, which save, and says how to go on.
sed -i 's/steps: 40/steps: 100000/' tiny.yaml
study stopped >stopped.yaml
begin out.txt err.txt "$ttt" sweep stopped.yaml --only 'chunk-16_e2e'
await "the first steps" test -s stopped/chunk-16_e2e/metrics.jsonl
kill -INT "$pid"
ended
[ $code = 130 ] || fault "stopped, it ended with $code: $(cat err.txt)"
says err.txt 'ttt sweep: stopped; .* ttt sweep stopped$'
says stopped/points/chunk-16_e2e.log 'ttt train --resume stopped/chunk-16_e2e'
sweep 0 status stopped
says out.txt 'chunk-16_e2e +begun +[1-9]'

# An edited study does not go on with what another point began.
sed -i 's/inner.mode: e2e}/inner.mode: e2e, train.batch: 8}/' stopped/study.yaml
refuse 1 'holds a run that the study.s point is not: train.batch' stopped --only 'chunk-16_e2e'
sed -i 's/steps: 100000/steps: 40/' tiny.yaml

# A point that is trained further is measured again.
cat >further.yaml <<'END'
base: ./tiny.yaml
dir: further
train: {steps: 4, total_steps: 8}
axes: {inner.chunk: [16]}
evaluate: {loss: {windows: 3, context: 64}}
END
sweep 0 further.yaml
sed -i 's/steps: 4/steps: 8/' further/study.yaml
sweep 0 further
[ -e further/chunk-16/eval/step-00000008.json ] || fault "trained further, it was not measured again"

# Refusals, before anything is done.
sed 's/chunk: \[16, 32\]/chunk: [16]/' whole.yaml >other.yaml
refuse 2 'whole holds another study than other' other.yaml
mkdir foreign && echo >foreign/thing
refuse 2 'foreign is not empty .it holds thing. and holds no study' <(study foreign)
refuse 2 'is neither|holds no study' foreign
for words in "" "--dry-run" "status"; do
    # shellcheck disable=SC2086  # words
    refuse 2 "no point of study whole is called 'nothing'" $words whole --only nothing
done
refuse 2 'more than the [0-9]+ core' whole.yaml --jobs 4000
refuse 1 "no study 'nowhere'; there are those of configs/sweeps" nowhere
sed 's/plain: {/plain: {model.mlp: 8, /' whole.yaml >mlp.yaml
refuse 1 'solves model.mlp' mlp.yaml --dry-run
sed 's/mlp: 48/mlp: 8/' tiny.yaml >narrow.yaml
sed 's/tiny/narrow/; s/whole/narrow/; s/plain: {/plain: {inner.separate_mlp: false, model.dim: 96, /' \
    whole.yaml >far.yaml
refuse 1 'point chunk-16_plain would have .* more than 0.5 %' far.yaml --dry-run

# Shipped studies: the small ones as they would run, those of the paper's form read.
mkdir elsewhere && cd elsewhere
for file in "$source"/configs/sweeps/*.yaml; do
    name=$(basename "$file" .yaml)
    if [[ $name = *-paper ]]; then
        sweep 0 status "$name"
    else
        sweep 0 "$name" --dry-run --rate 1e11
        grep -q 'does not fit' out.txt && fault "$name: $(cat out.txt)"
    fi
    [ -z "$(ls | grep -v txt)" ] || fault "looking at $name made files"
done
cd ..

# On a cluster: the task's number picks the point, a signal is handed on.
bash -n "$source/launch/sweep.sbatch"
TTT=$ttt SLURM_ARRAY_TASK_ID=1 bash "$source/launch/sweep.sbatch" whole >out.txt 2>&1 ||
    fault "sweep.sbatch: $(cat out.txt)"
code=0
TTT=$ttt bash "$source/launch/sweep.sbatch" whole >out.txt 2>&1 || code=$?
[ $code = 2 ] || fault "sweep.sbatch without a task's number ends with $code"
