#!/bin/bash
# The outside of the program: help, exit codes, misspelt names, closed and full outputs.
# Arguments: the program, the source directory.
set -euo pipefail
ttt=$1
source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
faults=0

fault() {
    echo "test_commands: $*"
    faults=$((faults + 1))
}

# expect CODE WORDS...: runs the program; its output is left in the files out and err.
expect() {
    local code=$1 got=0
    shift
    "$ttt" "$@" >out 2>err </dev/null || got=$?
    [ $got = "$code" ] || fault "ttt $*: exit code $got, not $code: $(head -c 300 err)"
}

silent() { # the stream $1 of the command $2
    [ ! -s "$1" ] || fault "ttt $2: nothing belongs on std$1: $(head -c 300 "$1")"
}

says() { # the stream $1 contains $2
    grep -qF -- "$2" "$1" || fault "std$1 lacks '$2': $(head -c 300 "$1")"
}

expect 0 --help
silent err --help
cp out usage
expect 0 help
cmp -s out usage || fault "ttt help and ttt --help differ"
expect 2
silent out ""
cmp -s err usage || fault "ttt without words must print the usage to stderr"
expect 0 --version
grep -qE '^ttt [0-9]+\.[0-9]+' out || fault "--version: $(cat out)"

listed=$(sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' usage | sed '/^help$/d' | sort | xargs)
written=$(find "$source/launch" -name 'cmd_*.c' | sed 's/.*cmd_\(.*\)\.c/\1/' | sort | xargs)
[ "$listed" = "$written" ] || fault "the table lists '$listed', launch/cmd_*.c are '$written'"

expect 2 no-such-thing
silent out no-such-thing
says err "ttt: no command 'no-such-thing'; ttt --help lists them"
expect 2 help no-such-thing

for name in $listed; do
    expect 0 "$name" --help
    silent err "$name --help"
    grep -q "^usage: ttt $name" out || fault "ttt $name --help begins with: $(head -n 1 out)"
    [ "$(wc -l <out)" -ge 6 ] || fault "ttt $name --help says next to nothing"
    awk 'length($0) > 100 { exit 1 }' out || fault "ttt $name --help is wider than 100 columns"
    cp out help
    expect 0 help "$name"
    cmp -s out help || fault "ttt help $name and ttt $name --help differ"

    expect 2 "$name" --no-such-option-at-all
    silent out "$name --no-such-option-at-all"
    says err "ttt $name: no option --no-such-option-at-all"
    sed -n 's/^  --\([a-z-]*\).*/\1/p' help >options
    while read -r option; do
        expect 2 "$name" "--${option}x"
        says err "did you mean --$option?"
    done <options
    expect 2 "${name}x"
    says err "did you mean '$name'?"
done

# An output that cannot be written is a fault; a reader that went away is none worth a message.
code=0
"$ttt" --help >/dev/full 2>err || code=$?
[ $code = 1 ] || fault "a full disk gives exit code $code, not 1"
says err "could not be written"
for handling in - ''; do
    exec 3> >(true)
    wait $! # the reader is gone
    code=0
    # shellcheck disable=SC2064  # '' ignores the signal, - leaves it as it was
    (trap "$handling" PIPE; exec "$ttt" --help) >&3 2>err || code=$?
    exec 3>&-
    [ $code = 141 ] || fault "a broken pipe gives exit code $code, not SIGPIPE's 141"
    silent err "--help | true"
done

[ $faults = 0 ] || { echo "test_commands: $faults faults"; exit 1; }
echo "test_commands: ${listed:-no command} behave"
