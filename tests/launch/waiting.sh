# How tests that are scripts wait: for a process in the background, at most so long, and never for a
# file that an earlier command left. Sourced by tests that have a function `fault`.
# shellcheck shell=bash

# begin OUT ERR COMMAND...: the command in the background, as process $pid; its output goes to OUT
# and ERR (which may be the same file), where nothing was written before. It reads what the caller
# reads.
begin() {
    local out=$1 err=$2
    shift 2
    rm -f "$out" "$err"
    "$@" <&0 >>"$out" 2>>"$err" &
    pid=$!
}

# await WHAT COMMAND...: until the command succeeds; a fault where it does not within two minutes.
await() {
    local what=$1 end=$((SECONDS + 120))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fault "waited two minutes for $what"
        sleep 0.01
    done
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

# ended [PID]: waits for that child ($pid); leaves its exit code in $code.
ended() {
    await "the end of process ${1:-$pid}" gone "${1:-$pid}"
    code=0
    wait "${1:-$pid}" 2>/dev/null || code=$?
}

# says_or_gone FILE PATTERN: the file has a line like that, or process $pid is over.
says_or_gone() {
    gone "$pid" || grep -qsE -- "$2" "$1"
}

# idle PID: all of its threads sleep, seen twice: it waits for something from outside.
idle() {
    local task states
    for _ in 1 2; do
        for task in "/proc/$1/task"/*/stat; do
            states=$(cat "$task" 2>/dev/null) || return 1
            [[ ${states##*) } == S* ]] || return 1
        done
        sleep 0.02
    done
}
