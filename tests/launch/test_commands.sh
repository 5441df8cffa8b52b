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
grep -qE '^ttt [0-9]+\.[0-9]+\.[0-9]+ \(commit (unknown|[0-9a-f]{7,}(-dirty)?)\)$' out ||
    fault "--version: $(cat out)"
for word in version versoin -v -V --verison; do
    expect 2 $word
    says err "did you mean 'ttt --version'?"
done

# A name in a message is one line, and moves no cursor.
expect 1 pack --out x.h5 $'no\nsuch\efile'
says err 'ttt pack: no\nsuch\x1bfile: cannot be opened'
expect 2 $'tra\nin'
says err "no command 'tra\nin'"

# The commit that a build names: only that of a checkout of its own, and whether it was changed.
named() {
    cmake -DSOURCE="$scratch/tree" -DOUT="$scratch/commit.h" -P "$source/launch/commit.cmake"
    sed -n 's/#define TTT_COMMIT "\(.*\)"/\1/p' commit.h
}
mkdir tree
[ "$(named)" = unknown ] || fault "a tree without git is of commit $(named)"
if command -v git >/dev/null; then
    git init -q tree
    [ "$(named)" = unknown ] || fault "a tree without commits is of commit $(named)"
    echo 1 >tree/file
    git -C tree add file
    git -C tree -c user.name=a -c user.email=a commit -q -m 1
    git -C tree -c user.name=a -c user.email=a tag -a -m 1 v1
    commit=$(git -C tree rev-parse --short=12 HEAD)
    [ "$(named)" = "$commit" ] || fault "commit $commit is named $(named)"
    touch -d '2001-01-01' commit.h
    named >again
    [ commit.h -ot tree ] || fault "the same commit was written again, which compiles again"
    echo 2 >tree/file
    [ "$(named)" = "$commit-dirty" ] || fault "a changed tree of $commit is named $(named)"
    mkdir tree/inner
    mv tree/.git inner.git
    [ "$(named)" = unknown ] || fault "what was a checkout is of commit $(named)"
fi

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

    # What is required is said: the option in the usage, and so is marked in the list.
    sed -n '1s/ | .*//; 1s/[[][^]]*[]]//g; 1p' help | { grep -oE -- '--[a-z-]+' || true; } >required
    while read -r option; do
        grep -qE -- "^  $option .* required" help || fault "ttt $name --help does not mark $option"
    done <required

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

expect 2 tokenize
says err "--tokenizer FILE"
expect 2 pack a.txt
says err "--out SHARD"
for marked in "tokenize --tokenizer" "pack --out" "niah --text"; do
    expect 0 "${marked% *}" --help
    grep -qE -- "^  ${marked#* } .* required" out || fault "--help does not mark $marked"
done
for misspelt in "infer --temp --temperature" "infer --max-tokens --tokens" "train --learning_rate=3 train.lr=3" \
    "plan --train.steps=3 train.steps=3" "eval -windows --windows"; do
    read -r command wrong right <<<"$misspelt"
    expect 2 "$command" "$wrong" 3
    says err "did you mean $right?"
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
