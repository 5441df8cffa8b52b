# What tests of ranks that are processes share: how they are started, here. Sourced with the program;
# skips the test (77) where there is no MPI.
# shellcheck shell=bash
command -v mpirun >/dev/null || { echo "there is no mpirun"; exit 77; }
[ -e "$(dirname "$1")/libttt_mpi.so" ] || { echo "built without MPI"; exit 77; }
tests_folder=$(realpath "$(dirname "$1")")/tests
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMP_WAIT_POLICY=passive
# MPI's own memory is not freed in the end, and it is none of ours.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}${ASAN_OPTIONS:+:}detect_leaks=0

# reap MPIRUN: ends it where all its ranks have been gone for ten seconds. After a rank has died Open MPI
# 4.1 now and then waits in its own end for a lock of its own (pmix_rte_finalize), for ever.
reap() {
    local alone=0
    while kill -0 "$1" 2>/dev/null && [ $alone -lt 10 ]; do
        alone=$((alone + 1))
        [ -z "$(pgrep -P "$1")" ] || alone=0
        sleep 1
    done
    [ $alone -lt 10 ] || kill -9 "$1" 2>/dev/null || true # else it has ended
}

ranks() { # COUNT COMMAND...
    local code=0 job
    timeout 120 mpirun --oversubscribe -n "$@" &
    job=$!
    reap_child "$job" >/dev/null 2>&1 &
    wait "$job" || code=$?
    return $code
}

# The same of an mpirun that is another process's only child.
reap_child() {
    local child=
    while kill -0 "$1" 2>/dev/null && [ -z "$child" ]; do
        child=$(pgrep -P "$1")
        sleep 0.2
    done
    [ -z "$child" ] || reap "$child"
}

# The process of rank $1 among those that process $2 has started; "" where there is none yet.
process_of_rank() {
    local child
    for child in $(pgrep -P "$2"); do
        if grep -qz "^OMPI_COMM_WORLD_RANK=$1\$" "/proc/$child/environ" 2>/dev/null; then echo "$child"; fi
    done
}
