#!/bin/bash
# A rank killed at any moment of training ends the job, which says which it was, and the run goes on
# with the same bits; a job of launch/ranks.sh that is asked to stop saves. TTT_KILLS=50 kills so often,
# in a run that is long enough. Arguments: the program, the source directory.
set -euo pipefail
source=$(realpath "$2")
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$1"
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_ranks_kill

kills=${TTT_KILLS:-2}
words=(train.steps=$((30 + 14 * kills)) train.total_steps=9000 train.batch=4 train.micro_batch=1 run.save_every=4)
count=2
ranks() { # COUNT COMMAND...
    timeout $((120 + 10 * kills)) mpirun --oversubscribe -n "$@"
}
ranks $count "$ttt" train ./tiny.yaml run.dir=whole "${words[@]}" >log 2>&1 || fault "$(cat log)"

find_begin() { # on from a checkpoint, where there is one
    local newest
    newest=$(newest torn 2>/dev/null || true)
    begun=(--resume torn)
    from=$((10#0${newest#torn/checkpoints/step-} + 0))
    [ -z "$newest" ] || return 0
    rm -rf torn
    begun=(./tiny.yaml run.dir=torn "${words[@]}")
}

# Some time in the first second; or in one of the next steps, so that each kill takes little of the run.
wait_a_moment() {
    if [ $((RANDOM % 4)) = 0 ]; then
        sleep "0.$((RANDOM % 1000))"
        return
    fi
    step=$((from + 1 + RANDOM % 12))
    await "step $step" says_or_gone torn/metrics.jsonl "\"step\": $step,"
    sleep "0.0$((RANDOM % 3))"
}

killed=0
for ((i = 0; i < 4 * kills && killed < kills; i++)); do
    find_begin
    begin log log mpirun --oversubscribe -n $count "$ttt" train "${begun[@]}"
    victim=
    found() { gone "$pid" || { victim=$(process_of_rank $((i % count)) "$pid") && [ -n "$victim" ]; }; }
    await "rank $((i % count))" found
    wait_a_moment
    start=$SECONDS
    kill -9 "$victim" 2>/dev/null || true
    reap "$pid" >/dev/null 2>&1 &
    ended
    [ $((SECONDS - start)) -lt 30 ] || fault "the job ended $((SECONDS - start)) s after rank $((i % count))"
    [ $code != 0 ] || fault "the run is done after $killed kills of $kills"
    # One that dies before it has joined the others is mpirun's to tell.
    grep -q '^ttt' log || { grep -q "process rank $((i % count)) with" log && continue; }
    killed=$((killed + 1))
    [ "$(grep -c '^ttt' log)" = 1 ] || fault "not one message: $(cat log)"
    says log "^ttt.* rank $((i % count)) on $(hostname).*: it has died"
done
[ $killed = "$kills" ] || fault "$killed ranks were killed in time, of $kills"
find_begin
ranks $count "$ttt" train "${begun[@]}" >log 2>&1 || fault "$(cat log)"
same whole torn
same_metrics whole torn

# launch/ranks.sh hands on what asks to stop.
begin log log bash "$source/launch/ranks.sh" -n $count "$ttt" train ./tiny.yaml run.dir=asked train.batch=4 train.steps=9000
await "a step" test -s asked/metrics.jsonl
kill -TERM "$pid"
ended
[ "$code" = 130 ] || fault "exit code $code of what was asked to stop: $(cat log)"
[ "$(grep -c 'stopped and saved at step' log)" = 1 ] || fault "not one says that it has saved: $(cat log)"
[ -n "$(newest asked)" ] || fault "nothing was saved"
echo "test_ranks_kill: $killed kills, and no bit is lost"
