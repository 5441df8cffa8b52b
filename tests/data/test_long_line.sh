#!/bin/bash
# Many megabytes without a line's end, in little memory: as text, as a line of JSON, to tokens
# and back; of one letter, which is one piece; and the smallest texts there are. Arguments: the program, the source directory.
set -euo pipefail
program=$(realpath "$1")
gpt2=$(realpath "$2")/tests/data/tokenizer/gpt2_vocab.bpe.gz
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# Twenty-five megabytes, or a tenth where memory is not limited.
bytes=25000000
! grep -q __asan_init "$program" || bytes=2500000

fault() {
    echo "test_long_line: $*" >&2
    exit 1
}

# limited KB COMMAND...: with at most so much address space; a sanitizer's build needs more.
limited() {
    local most=$1
    shift
    if (ulimit -v 2000000 && "$program" --help >help.txt) 2>err.txt; then
        (ulimit -v "$most" && exec "$@")
    else
        "$@"
    fi
}

# 100 bytes, the last of them no UTF-8, over and over.
part=$(printf "Call me Ishmael.  Some years ago--never mind how long \xc3\xa9t\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd precisely, it's 1851")
part=$part$(printf '%*s' $((99 - $(printf %s "$part" | LC_ALL=C wc -c))) '')
for ((i = 0; i < 1000; i++)); do printf '%s\xff' "$part"; done >piece
for ((i = 0; i < bytes / 100000; i++)); do cat piece; done >line.txt
[ "$(LC_ALL=C wc -lc <line.txt | xargs)" = "0 $bytes" ] || fault "the line is $(wc -lc <line.txt)"

limited 180000 "$program" tokenize --tokenizer "$gpt2" <line.txt |
    limited 180000 "$program" tokenize --tokenizer "$gpt2" --decode | cmp - line.txt ||
    fault 'tokens of the line are another text'
"$program" tokenize --tokenizer "$gpt2" <piece >piece.ids
count=$(($(wc -l <piece.ids) * (bytes / 100000) + 1)) # a byte that is no UTF-8 is a border
limited 320000 "$program" pack --tokenizer "$gpt2" --threads 2 --out line.h5 line.txt >out.txt
grep -q "line.h5: split train, 1 documents, $count tokens of $bytes bytes" out.txt ||
    fault "packed: $(cat out.txt), expected $count tokens"
limited 180000 "$program" pack --out bytes.h5 line.txt >out.txt
grep -q "1 documents, $((bytes + 1)) tokens" out.txt || fault "packed as bytes: $(cat out.txt)"
"$program" pack --check bytes.h5 >out.txt
rm ./*.h5
{ printf '{"text":"'; LC_ALL=C tr '\377' ' ' <line.txt; printf '"}\n'; } >line.jsonl
"$program" pack --out bytes.h5 line.jsonl >out.txt
grep -q "1 documents, $((bytes + 1)) tokens" out.txt || fault "packed from JSON: $(cat out.txt)"
rm bytes.h5 line.txt line.jsonl

# One letter, in tokens of four: a byte for the text and one for tokens, and untouched room for a
# token a byte.
head -c "$bytes" /dev/zero | tr '\0' a >letter.txt
count=$(limited 560000 "$program" tokenize --tokenizer "$gpt2" <letter.txt | uniq -c | xargs)
[ "$count" = "$((bytes / 4)) 24794" ] || fault "tokens of a letter: $count"
limited 660000 "$program" pack --tokenizer "$gpt2" --threads 2 --out letter.h5 letter.txt >out.txt
grep -q "1 documents, $((bytes / 4 + 1)) tokens" out.txt || fault "a letter packed: $(cat out.txt)"
rm letter.h5 letter.txt

# Nothing, and a byte that is not even a character.
: >empty.txt
printf '\351' >one.txt
for tokens in "" "--tokenizer $gpt2"; do
    # shellcheck disable=SC2086  # two words or none
    "$program" pack $tokens --min-tokens 1 --out small.h5 empty.txt one.txt >out.txt
    grep -q 'small.h5: split train, 2 documents, 3 tokens of 1 bytes' out.txt || fault "small: $(cat out.txt)"
    "$program" pack --check small.h5 >out.txt
    # shellcheck disable=SC2086
    if "$program" pack $tokens --out nothing.h5 empty.txt >out.txt 2>err.txt; then fault 'packed nothing'; fi
    grep -q 'nothing to write' err.txt || fault "nothing: $(cat err.txt)"
done
[ ! -e nothing.h5 ] || fault 'nothing was packed into a shard'
