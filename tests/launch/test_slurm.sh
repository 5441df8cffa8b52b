#!/bin/bash
# launch/slurm.sbatch on a real Slurm of one node: a job that is told to stop saves and queues again, one
# goes on to the end with the same bits; a step without PMIx is refused. Skipped where there is no
# Slurm (Debian and Ubuntu: slurm-wlm). Arguments: the program, the source directory.
# NOT_SANITIZED: it is the script that is tested; what ranks do, test_ranks_train and _kill show.
set -euo pipefail
for program in slurmctld slurmd sbatch; do
    command -v $program >/dev/null || { echo "there is no $program"; exit 77; }
done
sbatch=$(realpath "$2")/launch/slurm.sbatch
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$1"
common=$(realpath "$(dirname "$0")")
# shellcheck source=tests/launch/train_common.sh
. "$common/train_common.sh" "$1" test_slurm
# shellcheck source=tests/launch/slurm_node.sh
. "$common/slurm_node.sh"
trap 'slurm_end; cleanup' EXIT
slurm_begin

words=(train.steps=300 train.batch=4 train.micro_batch=1 run.save_every=150)
ranks 2 "$ttt" train ./tiny.yaml run.dir=whole "${words[@]}" >log 2>&1 || fault "$(cat log)"

submit() { # RUN WORDS...
    TTT=$ttt sbatch --parsable --ntasks-per-node 2 --overcommit --output job.log "$sbatch" "$@"
}
is_over() {
    scontrol show job "$job" | grep -qE 'JobState=(COMPLETED|FAILED|CANCELLED|NODE_FAIL)'
}
# Slurm takes longer for a signal than these steps take, where others use the machine: they stand still
# until it is there. Where they were faster even so, once more.
begin_torn() {
    rm -rf torn
    job=$(submit torn ./tiny.yaml "${words[@]}")
    await "the first steps of the job" grep -qs '"step": 3,' torn/metrics.jsonl
    mapfile -t ranks < <(pgrep -f "^$ttt train ./tiny.yaml run.dir=torn")
    [ ${#ranks[@]} = 2 ] && kill -STOP "${ranks[@]}"
}
for ((try = 1; ; try++)); do
    ! begin_torn || break
    [ $try -lt 3 ] || fault "three jobs were over before they stood still: $(cat job.log)"
    await "the end of the job" is_over
done
scancel --signal=USR1 "$job"
are_told() {
    local rank
    for rank in "${ranks[@]}"; do grep -qE '^(Sig|Shd)Pnd:.*[2367abef]..$' "/proc/$rank/status" || return 1; done
}
await "the signal" are_told
kill -CONT "${ranks[@]}"
has_ended() { grep -qs 'queues again' job.log || is_over; }
await "the job to have saved" has_ended
grep -qs 'queues again' job.log || fault "it was over before it was told to stop: $(cat job.log)"
saved=$(basename "$(newest torn)")
[ "$saved" != step-00000300 ] || fault "the job was at its end before it was told to stop"
queues() { scontrol show job "$job" | grep -q JobState=PENDING; }
await "the job to queue again" queues
# Slurm lets two minutes pass before it begins the job again. With TTT_SLURM_WAIT=1 that is seen; else
# another job does what it would do.
if [ "${TTT_SLURM_WAIT:-}" ]; then
    for ((waited = 0; waited < 300; waited++)); do
        queues || break
        sleep 1
    done
else
    scancel "$job"
    job=$(submit torn ./tiny.yaml "${words[@]}")
fi
await "the end of the job" is_over
scontrol show job "$job" >state
grep -q JobState=COMPLETED state || fault "the job: $(cat state job.log)"
[ ! "${TTT_SLURM_WAIT:-}" ] || says state Restarts=1
[ "$(grep -c 'stopped and saved at step' job.log)" = 1 ] || fault "not one stop: $(cat job.log)"
same whole torn
same_metrics whole torn

code=0
timeout 60 srun -n 2 --overcommit --mpi=none "$ttt" train ./tiny.yaml run.dir=alone >log 2>&1 || code=$?
[ $code != 0 ] || fault "two tasks that do not know each other have trained"
says log "srun --mpi=pmix"
[ ! -e alone ] || fault "what was refused has left something"
echo "test_slurm: the job saved at $saved, queued again, and went on with the same bits"
