#!/bin/bash
# ttt pack as its user meets it: what it prints, its exit codes, what it leaves behind.
# Arguments: the program, the source directory.
set -euo pipefail
program=$(realpath "$1")
source=$(realpath "$2")
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

# A stream that is closed is no other file: nothing is read from one, or written into one.
refused 1 'Bad file descriptor' "$program" pack --out y.h5 - <&-
for i in $(seq 200); do echo "text $i" >"one-$i.one"; done
refused 1 'the output could not be written' bash -c "'$program' pack --out y.h5 '*.one' >&-"
"$program" pack --check y.h5 >out.txt || fault "what was printed is in the shard"
rm y.h5 ./*.one

# No text is written over, whatever it is called, and no file of another kind without --force.
mkdir texts
cp a.txt texts/in.txt
ln -s in.txt texts/link
ln texts/in.txt texts/hard
for out in in.txt link hard ./in.txt; do
    for how in --force --min-tokens=2; do
        refused 2 "$out: writing it would destroy" "$program" pack $how --out texts/$out texts/in.txt
    done
done
cp a.txt texts/y.h5.partial
refused 2 'would destroy' "$program" pack --out texts/y.h5 texts/y.h5.partial
refused 1 'no writer left there' "$program" pack --force --out texts/y.h5 a.txt
refused 2 'would destroy' "$program" pack --out a.txt - <a.txt
cp "$source"/tests/data/tokenizer/roberta-merges.txt texts/merges.txt
cp "$source"/tests/data/tokenizer/roberta-vocab.json texts/vocab.json
for out in merges.txt vocab.json; do # the second is read though nobody named it
    refused 2 "$out: writing it would destroy" \
        "$program" pack --force --tokenizer texts/merges.txt --out texts/$out a.txt
done
refused 2 'not to the standard output' "$program" pack --out - a.txt
refused 2 'c.txt: is there and is not a shard' "$program" pack --out c.txt a.txt
refused 2 'z-index.json: is there and is not an index' bash -c "echo mine >z-index.json; '$program' pack --out z.h5 --shard-tokens 9 a.txt"
rm z-index.json
cmp a.txt texts/in.txt && cmp a.txt texts/y.h5.partial && [ "$(cat c.txt)" = hi ] || fault "a text was written over"
"$program" pack --out texts/hi --force a.txt >out.txt
ln -s there.h5 texts/to-come
"$program" pack --out texts/to-come a.txt >out.txt
[ -L texts/to-come ] && [ ! -L texts/there.h5 ] || fault "a dangling link is not followed"
"$program" pack --check texts/there.h5 >out.txt

# What a file is shows in its contents.
printf '\3757zXZ\0abcdefgh' >texts/k.txt
refused 1 'k.txt: is an xz file, not text; .*xz -dc' "$program" pack --out y.h5 texts/k.txt
refused 1 'is a shard' "$program" pack --out y.h5 x.h5
printf '\033[1mbold\033[0m caf\351\n' >texts/k.txt
"$program" pack --out texts/k.h5 texts/k.txt >out.txt
{ printf 'no text' && head -c 3000 /dev/urandom | tr -d '\0'; } >texts/k.txt
refused 1 'k.txt: is a binary file, not text: [0-9]* of its first [0-9]* bytes are control' "$program" pack --out y.h5 texts/k.txt
{ head -c 9999 a.txt && printf '\0' && cat c.txt; } >texts/k.txt
refused 1 'k.txt: is a binary file, not text: its byte 10000 is zero; --input text' "$program" pack --out y.h5 texts/k.txt
"$program" pack --out texts/k.h5 --input text texts/k.txt >out.txt
gzip -c a.txt >texts/k.txt
"$program" pack --out texts/k.h5 --json texts/k.txt >out.txt
tail -n 1 out.txt | grep -q "\"bytes\":$(wc -c <a.txt)," || fault "gzip under another name: $(cat out.txt)"
"$program" pack --out texts/k.h5 --json - <texts/k.txt >out.txt
tail -n 1 out.txt | grep -q "\"bytes\":$(wc -c <a.txt),.*\"name\":\"stdin\"" || fault "the standard input: $(cat out.txt)"
cat a.txt | "$program" pack --out texts/k.h5 --json - >out.txt
tail -n 1 out.txt | grep -q "\"bytes\":$(wc -c <a.txt)," || fault "a pipe: $(cat out.txt)"

# Lines of JSON under any name, and bad ones among them.
printf '{"text":"one"}\n{"text":null}\n{"text":"caf\351"}\n{"text":"two"}\n{"text":"cut' >texts/k.txt
refused 1 'k.txt: line 2, byte 9: has null.*--bad-lines skip' "$program" pack --out y.h5 texts/k.txt
refused 2 '--bad-lines takes stop, skip, not' "$program" pack --out y.h5 --bad-lines often texts/k.txt
refused 2 '--input takes auto, text, jsonl, not' "$program" pack --out y.h5 --input csv texts/k.txt
"$program" pack --out texts/k.h5 --bad-lines skip --json texts/k.txt >out.txt
grep -q 'lines left out: 3' out.txt && grep -q 'k.txt: line 3, byte 13: has a byte 0xE9' out.txt ||
    fault "bad lines are not told: $(cat out.txt)"
tail -n 1 out.txt | grep -q '"documents":2,.*"bad_lines":3,"bad_list":\[{"file":"texts/k.txt","line":2,"byte":9,"reason"' ||
    fault "bad lines are not in the JSON: $(tail -n 1 out.txt)"
"$program" pack --check texts/k.h5 >out.txt
grep -q 'lines left out: 3' out.txt && grep -q '^k:5, byte 13: ends inside' out.txt ||
    fault "bad lines are not in the shard: $(cat out.txt)"
"$program" pack --out texts/k.h5 --input text texts/k.txt | grep -q '1 documents' || fault "--input text"
rm -r texts

cp x.h5 cut.h5
truncate -s 100000 cut.h5
refused 1 'cut.h5: .*truncated' "$program" pack --check cut.h5
cp x.h5 flipped.h5
printf 'X' | dd of=flipped.h5 bs=1 seek=300000 conv=notrunc status=none
refused 1 'flipped.h5: tokens .* damaged' "$program" pack --check x.h5 flipped.h5

sum=$(sha256sum <x.h5)
(
    ulimit -f 1000 # KiB
    refused 1 'x.h5: .*written.*ulimit -f' "$program" pack --out x.h5 b.txt
)
[ "$(sha256sum <x.h5)" = "$sum" ] || fault "a full disk changed the old shard"
[ "$(ls)" = "$(printf '%s\n' a.txt b.txt c.txt cut.h5 err.txt flipped.h5 out.txt x.h5)" ] ||
    fault "left behind: $(ls | xargs)"
