#!/bin/bash
# However training ends - killed at any moment, asked to stop, twice, with a deaf terminal - what
# goes on from there gives the weights, moments and metrics of a run that nothing disturbed.
# Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_train_kill
RANDOM=20240607 # a seed: the same moments, as far as a clock allows

# Enough steps that a signal finds some left to do. Sanitized ones take long; then fewer, and fewer
# kills: when they come is nothing that a sanitizer looks for.
steps=120 most_kills=20 signals='INT TERM HUP USR1' many=64 # sequences make a step long
! grep -q __asan_init "$ttt" || steps=32 most_kills=4 signals='INT HUP' many=8
options=(train.steps=$steps run.save_every=4 data.valid=valid.h5 run.eval_every=6 run.eval_windows=2)
train whole "${options[@]}"

lines() { # of metrics.jsonl of the run $1
    if [ -f "$1/metrics.jsonl" ]; then wc -l <"$1/metrics.jsonl"; else echo 0; fi
}

start() { # the run $1, or on with it, in the background: its process is $pid
    if [ -f "$1/config.yaml" ]; then
        "$ttt" train --resume "$1" >>"$1.log" 2>&1 &
    else
        "$ttt" train ./tiny.yaml "run.dir=$1" "${options[@]}" >>"$1.log" 2>&1 &
    fi
    pid=$!
}

# Waits until the run $1 has more than $2 lines of metrics; false where its process ended before.
wait_for_lines() {
    await "a line of $1/metrics.jsonl" more_lines_or_gone "$@" && [ "$(lines "$1")" -gt "$2" ]
}
more_lines_or_gone() {
    [ "$(lines "$1")" -gt "$2" ] || gone "$pid"
}

pause() { # up to $1 thousandths of a second
    local moment=$((RANDOM % $1))
    sleep "0.$(printf %03d "$moment")"
}

# Kills: every fifth somewhere in the start, the others up to 60 ms after a line was written,
# among steps, evaluations and checkpoints. A run that is done before is compared and begun anew.
kills=0
finished=0
for ((start = 0; start < 200 && (kills < most_kills || finished == 0); start++)); do
    run=killed$finished
    before=$(lines $run)
    start $run
    if [ $kills -lt $most_kills ]; then
        if [ $((start % 5)) = 0 ]; then
            pause 500
        else
            wait_for_lines $run "$before" && pause 60
        fi
        kill -9 $pid 2>/dev/null || true
    fi
    ended
    case $code in
        137) kills=$((kills + 1)) ;;
        0)
            same whole $run
            same_metrics whole $run
            finished=$((finished + 1))
            ;;
        *) fault "after $kills kills: exit code $code: $(tail -n 3 $run.log)" ;;
    esac
    if [ -d $run/checkpoints ]; then
        for name in $(ls $run/checkpoints); do
            [[ $name != step-* || $name == *.* || -f $run/checkpoints/$name/state.json ]] ||
                fault "$run/checkpoints/$name is no whole checkpoint"
        done
    fi
done
[ $kills -ge $most_kills ] && [ $finished -ge 1 ] || fault "$kills kills, $finished runs done"
[ "$(ls whole/checkpoints | xargs)" = "$(ls killed0/checkpoints | xargs)" ] ||
    fault "checkpoints are left over: $(ls killed0/checkpoints | xargs)"

# Asked to stop: saved, 130, how to go on; the same as if nothing had happened.
for signal in $signals; do
    run=asked$signal
    start $run
    wait_for_lines $run 5 || fault "$(cat $run.log)"
    kill -$signal $pid
    ended
    [ $code = 130 ] || fault "SIG$signal: exit code $code: $(cat $run.log)"
    again='; a second Ctrl-C, SIGTERM or SIGQUIT ends at once'
    case $signal in HUP | USR1) again= ;; esac
    says $run.log "finishing this step, then saving$again\$"
    says $run.log "stopped and saved at step [0-9]+ of $steps; to go on: ttt train --resume $run$"
    step=$(sed -n 's/.*saved at step \([0-9]*\) of.*/\1/p' $run.log)
    [ "$(newest $run)" = "$run/checkpoints/step-$(printf %08d "$step")" ] ||
        fault "SIG$signal: the newest checkpoint is not of step $step"
    [ "$(sed '$!d; s/^{"step": \([0-9]*\),.*/\1/' $run/metrics.jsonl)" = "$step" ] ||
        fault "SIG$signal: the metrics end elsewhere than at step $step"
    eval "$(sed -n 's/.*to go on: ttt/"$ttt"/p' $run.log)" >log 2>&1 || fault "$(cat log)"
    same whole $run
    same_metrics whole $run
done

# In an evaluation: what it would have measured is made up for.
half=$((steps / 2))
evaluation=("${options[@]}" run.eval_windows=0 run.eval_every=$half train.steps=$half train.total_steps=$steps)
for k in 1 2 3 4; do cp valid.h5 valid$k.h5; done
long=$(printf 'valid%d.h5,' 1 2 3 4)
train evaluated "${evaluation[@]}" "data.valid=${long%,}"
begin stopped.log stopped.log "$ttt" train ./tiny.yaml run.dir=stopped "${evaluation[@]}" "data.valid=${long%,}"
wait_for_lines stopped $((half - 1)) || fault "$(cat stopped.log)"
kill -INT $pid
ended
if [ $code = 130 ]; then
    says stopped.log "stopped and saved at step $half of $half, in the last evaluation; to go on: ttt train --resume stopped"
    [ "$(lines stopped)" = $half ] || fault "an evaluation that was stopped left a line"
    "$ttt" train --resume stopped >log 2>&1 || fault "$(cat log)"
else # the machine was faster than the signal
    [ $code = 0 ] || fault "exit code $code: $(cat stopped.log)"
fi
same evaluated stopped
same_metrics evaluated stopped

# A second signal ends at once and saves nothing.
begin twice.log twice.log "$ttt" train ./tiny.yaml run.dir=twice train.batch=$many train.context=512 train.threads=1 run.save_every=0
wait_for_lines twice 0 || fault "$(cat twice.log)"
kill -INT $pid
await "the first signal to be seen" says_or_gone twice.log 'finishing this step' # two that wait together would be one
kill -INT $pid 2>/dev/null || fault "after one signal: $(cat twice.log)"
ended
[ $code = 130 ] || fault "after two signals: exit code $code: $(cat twice.log)"
if grep -q 'stopped and saved' twice.log; then fault "the second signal waited for the step"; fi
[ -z "$(newest twice)" ] || fault "the second signal saved"

# Ctrl-C in `ttt train ... | tee log` ends tee first: its reader gone, the run still saves; only its
# last words find SIGPIPE (141).
mkfifo pipe
"$ttt" train ./tiny.yaml run.dir=deaf "${options[@]}" run.save_every=0 >pipe 2>&1 &
pid=$!
timeout 120 head -n 1 <pipe >log
wait_for_lines deaf 5 || fault "$(cat log)"
kill -INT $pid
ended
[ $code = 141 ] || fault "with its reader gone: exit code $code"
[ -n "$(newest deaf)" ] || fault "with its reader gone nothing was saved"
"$ttt" train --resume deaf >log 2>&1 || fault "$(cat log)"
same whole deaf
same_metrics whole deaf

# One process at a time; it may open as many files as the machine allows, whatever its shell says,
# and under nohup a terminal that closes is nothing.
begin busy.log busy.log bash -c 'ulimit -Sn 100 && trap "" HUP && exec "$@"' - \
    "$ttt" train ./tiny.yaml run.dir=busy train.steps=100000 train.total_steps=100000 run.save_every=0
wait_for_lines busy 0 || fault "$(cat busy.log)"
kill -HUP $pid
files=$(sed -n 's/^Max open files *//p' /proc/$pid/limits)
[ "$(cut -d ' ' -f 1 <<<"$files")" = "$(ulimit -Hn)" ] || fault "may open $files, not $(ulimit -Hn)"
refused 1 "busy is being trained by another process \(process $pid on .*kill -INT" --resume busy \
    train.steps=1 train.total_steps=100000
refused 2 'busy holds a run already; go on with it by .ttt train --resume busy.' ./tiny.yaml run.dir=busy
rm busy/lock # with its whole directory, and another process begins one of that name
touch busy/lock
kill -INT $pid
ended
[ $code = 1 ] || fault "exit code $code: $(cat busy.log)"
grep -q 'busy was removed while it was trained, and another run has that name' busy.log || fault "$(cat busy.log)"
[ -z "$(newest busy)" ] || fault "it saved into another's run"
echo "test_train_kill: $kills kills, $finished of these runs done; stopped, deaf and busy runs behave"
