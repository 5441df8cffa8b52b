#!/bin/bash
# data/byte_pairs.py: the vocabulary that a text makes, by hand; what the program reads with it.
# Arguments: the program, the source directory.
set -euo pipefail
ttt=$(realpath "$1")
make=$(realpath "$2")/data/byte_pairs.py
command -v python3 >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fault() {
    echo "test_byte_pairs: $*" >&2
    exit 1
}

# "ab" is there six times, then twice in each of three words, two of which begin with a space.
printf 'abab abab abab' >text
python3 "$make" 259 ranks text
tail -n 3 ranks | while read -r token rank; do echo "$(base64 -d <<<"$token")|$rank"; done >made
printf 'ab|256\nabab|257\n abab|258\n' | cmp - made || fault "tokens: $(cat made)"
[ "$("$ttt" tokenize --tokenizer ranks --pattern gpt2 <text | xargs)" = "257 258 258" ] ||
    fault "the program reads the text as other tokens"

# Pairs do not cross words, whatever letters they have; the same again from several texts.
printf "Żółw's żółw's 1234 1234 ...\n\n  ...\tżółw's" >other
python3 "$make" 273 ranks text other
python3 "$make" 273 again text other
cmp ranks again || fault "another vocabulary from the same texts"
"$ttt" tokenize --tokenizer ranks --pattern gpt2 <other >ids
"$ttt" tokenize --tokenizer ranks --pattern gpt2 --decode <ids | cmp - other || fault "another text"
cut -d ' ' -f 1 ranks | while read -r token; do base64 -d <<<"$token" | od -An -tx1 | tr -d " \n"; echo; done >bytes
grep -qx 'c5bcc3b3c58277' bytes || fault "no token is a whole word: $(tail -n 20 bytes | xargs)"
grep -qE '.(20|0a)' bytes && fault "a token crosses words: $(xargs <bytes)"

! python3 "$make" 300 none text 2>said || fault "tokens from nowhere"
grep -q 'make no more than 259 tokens' said || fault "$(cat said)"
[ ! -e none ] || fault "a refused vocabulary left a file"
! python3 "$make" 12 none text 2>said || fault "fewer tokens than bytes"
