#!/bin/bash
# ttt pack as its user meets it: what it prints, its exit codes, what it leaves behind.
# Arguments: the program, the source directory.
set -euo pipefail
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fault() {
    echo "test_pack_command: $*" >&2
    exit 1
}

# refused CODE WORD COMMAND...: it ends with that code and says the word on stderr.
refused() {
    local expected=$1 word=$2 code=0
    shift 2
    "$@" >out.txt 2>err.txt || code=$?
    [ "$code" = "$expected" ] || fault "exit code $code instead of $expected: $*"
    grep -q -- "$word" err.txt || fault "'$word' is not in: $(cat err.txt)"
}

seq 1 5000 >a.txt
seq 1 400000 >b.txt
echo hi >c.txt
"$program" pack --out x.h5 --split validation --name 'three texts' --min-tokens 10 --json ./*.txt >out.txt
grep -q 'c .* 4 tokens  left out' out.txt || fault "the short document is not reported"
tail -n 1 out.txt | grep -q '^{"out":"x.h5","split":"validation","shards":1,"documents":2,' ||
    fault "JSON: $(tail -n 1 out.txt)"
tokens=$(($(cat a.txt b.txt | wc -c) + 2))
"$program" pack --check --json x.h5 >out.txt
grep -q "x.h5: sound; split validation, 2 documents" out.txt || fault "check: $(cat out.txt)"
tail -n 1 out.txt | grep -q "\"tokens\":$tokens," || fault "JSON: $(tail -n 1 out.txt)"
grep -q 'source: three texts' out.txt || fault "the name is not stored"

refused 2 'no file is named' "$program" pack --out y.h5
refused 2 'either --out' "$program" pack a.txt
refused 2 'either --out' "$program" pack --check --out y.h5 x.h5
refused 2 'split is empty' "$program" pack --split '' --out y.h5 a.txt
refused 2 'no file matches' "$program" pack --out y.h5 'z*.txt'
refused 1 'z.txt' "$program" pack --out y.h5 z.txt
refused 1 'a.txt: is no shard' "$program" pack --check a.txt
[ ! -e y.h5 ] || fault "a refused pack left y.h5"

cp x.h5 cut.h5
truncate -s 100000 cut.h5
refused 1 'cut.h5: .*truncated' "$program" pack --check cut.h5
cp x.h5 flipped.h5
printf 'X' | dd of=flipped.h5 bs=1 seek=300000 conv=notrunc status=none
refused 1 'flipped.h5: tokens .* damaged' "$program" pack --check x.h5 flipped.h5

sum=$(sha256sum <x.h5)
(
    ulimit -f 1000 # KiB
    refused 1 'x.h5: .*written' "$program" pack --out x.h5 b.txt
)
[ "$(sha256sum <x.h5)" = "$sum" ] || fault "a full disk changed the old shard"
[ "$(ls)" = "$(printf '%s\n' a.txt b.txt c.txt cut.h5 err.txt flipped.h5 out.txt x.h5)" ] ||
    fault "left behind: $(ls | xargs)"
