#!/bin/bash
# Ranks that are processes: what they do together is right, on one machine and as if they were on
# several; one that dies, stops, fails or does not come ends the job and is named; what cannot work
# is refused. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$1"
ttt=$(realpath "$1")
host=$(hostname)
folder=$(mktemp -d)
cd "$folder"
trap 'rm -rf "$folder"' EXIT

fault() {
    echo "test_processes: $*" >&2
    exit 1
}

# ---- one that does not do its part ----

# odd LOG WHAT RANK PATIENCE: a job of three whose rank RANK is odd (tests/tools/ranks_fail.c). far: the
# same, as if each were on a machine of its own.
odd() {
    local start=$SECONDS code=0
    ranks 3 "$tests_folder/ranks_fail" "$2" "$3" "$4" >"$1" 2>&1 || code=$?
    echo "code $code" >>"$1"
    echo "seconds $((SECONDS - start))" >>"$1"
}

far() {
    TTT_RANKS_NODE=1 odd "$@"
}

# ends LOG SECONDS PATTERN: the job has failed in so many seconds and says that, once.
ends() {
    local seconds
    seconds=$(sed -n 's/^seconds //p' "$1")
    ! grep -q '^code 0$' "$1" || fault "$1: the job has not failed: $(cat "$1")"
    [ "$seconds" -le "$2" ] || fault "$1: it took $seconds s: $(cat "$1")"
    [ "$(grep -cE '^ttt( ranks)?: ' "$1")" = 1 ] || fault "$1: not one message: $(cat "$1")"
    grep -qE "$3" "$1" || fault "$1: no '$3' in: $(cat "$1")"
}

# Those who stand still are noticed after 15 s, and others wait for some time, too: beside the rest.
odd stops.0 stops 0 300 &
far stops.1 stops 1 300 &
odd sleeps.0 sleeps 0 1 &
far sleeps.1 sleeps 1 1 &
odd works works 1 1 &

odd dies.0 dies 0 300
far dies.2 dies 2 300
for rank in 0 2; do ends dies.$rank 20 "rank $rank on $host, step 1[67]: it has died"; done
odd computes computes 1 300
ends computes 9 "rank 1 on $host, step 1[67]: it has died" # the others were to be busy for 10 s
odd fails fails 1 300
ends fails 20 "rank 1 on $host, step 17: the loss is not finite"
odd fails fails 0 300
ends fails 20 "ttt ranks: the loss is not finite"
odd other other 2 300
ends other 20 "rank 0 calls reduce max of 1000 f32 and rank 2 reduce max of 1 i64"
far other other 2 300
ends other 20 "rank [01] calls reduce max of 1000 f32 and rank 2 reduce max of 1 i64"

# ---- what they do together ----

together() { # COUNT VARIABLES...
    env "${@:2}" timeout 120 mpirun --oversubscribe -n "$1" "$tests_folder/test_comm" >log 2>&1 ||
        fault "test_comm with $*: $(cat log)"
}
together 2
together 4
together 4 TTT_TEST_DEVICE=check
together 3 TTT_RANKS_NODE=2 # two nodes, one of them with one rank
together 4 TTT_RANKS_NODE=2
together 3 TTT_RANKS_NODE=1

# ---- what is refused ----

# refused PATTERN COMMAND...
refused() {
    local code=0
    "${@:2}" >log 2>&1 || code=$?
    [ $code != 0 ] || fault "not refused: ${*:2}"
    [ "$(grep -c '^ttt' log)" = 1 ] || fault "not one message of ${*:2}: $(cat log)"
    grep -qE "$1" log || fault "no '$1' in what ${*:2} says: $(cat log)"
}
for variable in OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_STEP_NUM_TASKS; do
    refused "3 ranks were started \($variable=3\), but MPI knows of 1.*start them with mpirun -n 3" \
        env $variable=3 "$ttt" train quickstart
    refused "3 ranks were started \($variable=3\), which need MPI.*none.so.*-DTTT_MPI=ON" \
        env $variable=3 TTT_MPI_PLUGIN=none.so "$ttt" train quickstart
done
refused "2 ranks were started \(SLURM_NTASKS=2\)" \
    env SLURM_STEP_ID=0 SLURM_NTASKS=2 TTT_MPI_PLUGIN=none.so "$ttt" train quickstart
env SLURM_NTASKS=2 TTT_MPI_PLUGIN=none.so "$ttt" configs >log # a script of a queue, not a step of it
env OMPI_COMM_WORLD_SIZE=1 TTT_MPI_PLUGIN=none.so "$ttt" configs >log
refused "ttt configs: 2 ranks were started, and this command is for one" ranks 2 "$ttt" configs
refused "ranks.tensor=3 does not divide the 2 ranks" ranks 2 "$ttt" train quickstart ranks.tensor=3
refused "ranks.tensor=2 does not divide the 1 rank that there" "$ttt" train quickstart ranks.tensor=2
# differ PATTERN WORDS-OF-RANK-0 : WORDS-OF-RANK-1: two ranks that were not started alike.
differ() {
    local pattern=$1 first=()
    shift
    while [ "$1" != : ]; do first+=("$1"); shift; done
    refused "ranks differ: $pattern" timeout 120 mpirun --oversubscribe -n 1 "${first[@]}" : -n 1 "${@:2}"
}
quickstart=("$ttt" train quickstart)
differ "train.lr: 0.5 on rank 1 \($host\), but train.lr: 0.003 on rank 0 \($host\)" "${quickstart[@]}" : \
    "${quickstart[@]}" train.lr=0.5
differ "train.precision: bf16 on rank 1" "${quickstart[@]}" : "${quickstart[@]}" train.precision=bf16
differ "threads \(train.threads\): 3 on rank 1" "${quickstart[@]}" train.threads=1 : "${quickstart[@]}" train.threads=3
differ "the instruction set: x86-64-v2 on rank 1" env TTT_ISA=v3 "${quickstart[@]}" : \
    env TTT_ISA=v2 "${quickstart[@]}"
cp "$ttt" other
chmod 755 other
echo >>other
TTT_MPI_PLUGIN=${ttt%/*}/libttt_mpi.so differ "the program \(checksum\): [0-9a-f]* on rank 1" "${quickstart[@]}" : \
    "$PWD/other" train quickstart
[ ! -e runs ] || fault "a refused run has left something"

wait
for rank in 0 1; do
    ends stops.$rank 30 "rank $rank on $host, step 1[67]: it does not answer"
    ends sleeps.$rank 30 "rank $rank on $host, step 17: it lives, but does not come to reduce max of 1000 f32, for which rank [0-2] waits since [0-9]+ s"
done
grep -q '^code 0$' works || fault "long work is taken for a fault: $(cat works)"
[ "$(grep -c 'all is well' works)" = 1 ] || fault "not one rank has the screen: $(cat works)"
echo "test_processes: all ranks do the same, or the job ends"
