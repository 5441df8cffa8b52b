#!/bin/bash
# A rank killed at any moment of training ends the job, which says which it was, and the run goes on
# with the same bits. TTT_KILLS=50 kills so often. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$1"
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_ranks_kill

kills=${TTT_KILLS:-2}
words=(train.steps=$((30 + 20 * kills)) train.total_steps=9000 train.batch=4 train.micro_batch=1 run.save_every=4)
count=2
ranks $count "$ttt" train ./tiny.yaml run.dir=whole "${words[@]}" >log 2>&1 || fault "$(cat log)"

killed=0
for ((i = 0; i < 4 * kills && killed < kills; i++)); do
    if [ -n "$(newest torn 2>/dev/null)" ]; then begun=(--resume torn); else begun=(./tiny.yaml run.dir=torn "${words[@]}"); fi
    [ ${#begun[@]} = 2 ] || rm -rf torn
    begin log log mpirun --oversubscribe -n $count "$ttt" train "${begun[@]}"
    victim=
    found() { gone "$pid" || { victim=$(process_of_rank $((i % count)) "$pid") && [ -n "$victim" ]; }; }
    await "rank $((i % count))" found
    sleep "$((RANDOM % 2)).$((RANDOM % 10))"
    start=$SECONDS
    kill -9 "$victim" 2>/dev/null || true
    ended
    [ $((SECONDS - start)) -lt 30 ] || fault "the job ended $((SECONDS - start)) s after rank $((i % count))"
    if [ $code = 0 ]; then break; fi
    # One that dies before it has joined the others is mpirun's to tell.
    grep -q '^ttt' log || { grep -q "process rank $((i % count)) with" log && continue; }
    killed=$((killed + 1))
    [ "$(grep -c '^ttt' log)" = 1 ] || fault "not one message: $(cat log)"
    says log "^ttt.* rank $((i % count)) on $(hostname).*: it has died"
done
[ $killed -gt 0 ] || fault "no rank was killed in time"
if [ -n "$(newest torn)" ]; then begun=(--resume torn); else begun=(./tiny.yaml run.dir=torn "${words[@]}"); fi
ranks $count "$ttt" train "${begun[@]}" >log 2>&1 || fault "$(cat log)"
same whole torn
same_metrics whole torn
echo "test_ranks_kill: $killed kills, and no bit is lost"
