#!/bin/bash
# Starts a command as several ranks: bash launch/ranks.sh [-n RANKS] [--hosts LIST] COMMAND [WORDS...]
#   -n RANKS       how many; without it as many as the hosts have room for
#   --hosts LIST   node1:4,node2:4 are four ranks on each of two machines, which are reached by ssh
#                  and see the same folders; without it all are here
# Ctrl-C (or SIGTERM) asks the ranks to save and stop; the second one ends them at once.
set -euo pipefail

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0"
}
refuse() {
    echo "ranks.sh: $*" >&2
    exit 2
}

words=()
while [ $# -gt 0 ]; do
    case $1 in
        -n | --hosts)
            [ $# -gt 1 ] || refuse "$1 needs a value"
            if [ "$1" = -n ]; then
                [[ $2 =~ ^[1-9][0-9]*$ ]] || refuse "-n $2 is no number of ranks"
                words+=(-n "$2")
            else
                words+=(--host "$2")
            fi
            shift 2
            ;;
        -h | --help) usage; exit 0 ;;
        -*) refuse "no option '$1'; there are -n and --hosts" ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || { usage >&2; exit 2; }
[ ${#words[@]} -gt 0 ] || refuse "how many ranks? -n RANKS or --hosts LIST"
command -v mpirun >/dev/null || refuse "there is no mpirun; on Debian and Ubuntu: apt-get install openmpi-bin libopenmpi-dev"

# The ranks divide a machine's processors themselves, for their threads; they may be more than there
# are processors, and root's. The names are those of Open MPI 4 and 5.
words+=(--bind-to none --map-by :OVERSUBSCRIBE)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
# On other machines the environment is what ssh finds there; what is meant for us goes along.
for name in $(compgen -e | grep -E '^(TTT|OMP|GOMP)_' || true); do words+=(-x "$name"); done

# mpirun makes SIGINT and SIGTERM a SIGKILL a second later, and waits as long as that might be put
# off, twice, after every failure. So it gets them from here alone, the first one as SIGUSR1, which it
# hands on.
asked=no
ask() {
    if [ $asked = no ]; then kill -USR1 "$mpirun" 2>/dev/null; else kill -TERM "$mpirun" 2>/dev/null; fi || true
    asked=yes
}
set -m # a process group of its own, which Ctrl-C of a terminal does not reach
if [ -t 0 ]; then exec </dev/null; fi # which it must not read from
mpirun "${words[@]}" "$@" <&0 &
mpirun=$!
trap ask INT TERM
# After a rank has died Open MPI 4.1 now and then waits in its own end for a lock of its own, for ever:
# it is ended where it has had no process for ten seconds.
reap() {
    local alone=-1
    while kill -0 "$mpirun" 2>/dev/null && [ $alone -lt 10 ]; do
        if [ -n "$(pgrep -P "$mpirun")" ]; then alone=0; elif [ $alone -ge 0 ]; then alone=$((alone + 1)); fi
        sleep 1
    done
    [ $alone -lt 10 ] || kill -9 "$mpirun" 2>/dev/null || true # else it has ended
}
reap >/dev/null 2>&1 &
code=0
wait "$mpirun" || code=$?
while kill -0 "$mpirun" 2>/dev/null; do # a signal ended the wait
    code=0
    wait "$mpirun" || code=$?
done
exit $code
