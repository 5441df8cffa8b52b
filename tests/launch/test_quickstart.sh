#!/bin/bash
# What launch/quickstart.sh does when it is run again: nothing that is done, and what was interrupted
# goes on. The program, the installation and the books are stand-ins here that write down how they
# were called. Arguments: the program (not used), the source directory.
# NOT_SANITIZED: no program of ours runs.
set -euo pipefail
source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/launch" "$scratch/build"
cp "$source"/launch/{quickstart,experiment}.sh "$scratch/launch/"
cd "$scratch"

for name in install build books; do
    echo "echo $name >>calls" >launch/$name.sh
done
# shellcheck disable=SC2016  # expands in that script
printf '%s\n' '#!/bin/bash' 'echo "ttt $*" >>calls' 'for word in "$@"; do case $word in' \
    'out/books/*.h5) [ "$1" != pack ] || touch "$word" ;;' \
    'run.dir=*) mkdir -p "${word#run.dir=}/checkpoints/$CHECKPOINT" ;;' \
    '*.csv) touch "$word"; echo TABLE ;; esac; done' \
    '[[ "$*" != *"$FAIL_AT"* ]]' >build/ttt
mkdir bin
# shellcheck disable=SC2016
printf '%s\n' '#!/bin/bash' 'echo gnuplot >>calls' >bin/gnuplot
chmod +x build/ttt bin/gnuplot
export PATH=$PWD/bin:$PATH

fault() {
    echo "test_quickstart: $*; the calls were:"
    cat calls
    exit 1
}

# quickstart FAIL_AT CHECKPOINT: one run; the program fails where its words contain FAIL_AT.
quickstart() {
    : >calls
    FAIL_AT=$1 CHECKPOINT=$2 bash launch/quickstart.sh >output 2>&1
}

called() { # number of calls that match
    grep -cE "$1" calls || true
}

! quickstart quickstart-swa none || fault "a failing training must stop it"
[ "$(called '^ttt pack')" = 3 ] || fault "three shards must be packed"
[ "$(called '^ttt train quickstart run')" = 1 ] || fault "TTT-E2E must be trained once"
[ "$(called '^ttt eval|gnuplot')" = 0 ] || fault "nothing may follow what failed"
grep -q "run it again" output || fault "it must say how to go on"

# What has no checkpoint may be a run that is being trained: the lock tells.
mkdir -p out/quickstart/swa
exec 7>out/quickstart/swa/lock
flock 7
echo "process 1 on here" >&7
! quickstart never none || fault "a run that is being trained must stop it"
grep -q "out/quickstart/swa is being trained by process 1 on here" output || fault "it must name the run"
[ -e out/quickstart/swa/lock ] || fault "a run that is being trained must stay"
exec 7>&-

! quickstart quickstart-swa step-00000100 || fault "a failing training must stop it"
[ "$(called '^ttt pack')" = 0 ] || fault "shards must not be packed again"
[ "$(called '^ttt train quickstart run')" = 0 ] || fault "TTT-E2E must not be trained again"
[ "$(called '^ttt train quickstart-swa run')" = 1 ] || fault "a run without checkpoint must begin anew"

quickstart never none || fault "it must go on"
[ "$(called '^ttt train --resume out/quickstart/swa')" = 1 ] || fault "a checkpoint must be resumed"
[ "$(called '^ttt train')" = 1 ] || fault "only what was interrupted may be trained"
[ "$(called '^ttt eval')" = 1 ] || fault "the evaluation must run"
[ "$(called '^gnuplot')" = 1 ] || fault "the picture must be drawn"
grep -q TABLE output || fault "the table must be printed"

quickstart never none || fault "it must run again"
[ "$(called '^(ttt|gnuplot)')" = 0 ] || fault "nothing may be done again"
grep -q TABLE output || fault "the table must be printed again"
echo "test_quickstart: goes on where it stopped"
