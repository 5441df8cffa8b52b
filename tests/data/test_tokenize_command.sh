#!/bin/bash
# ttt tokenize as its user meets it: both ways, any bytes, options, faults, a closed pipe.
# Arguments: the program, the source directory.
set -euo pipefail
program=$(realpath "$1")
files=$(realpath "$2")/tests/data/tokenizer
gpt2=$files/gpt2_vocab.bpe.gz
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fault() {
    echo "test_tokenize_command: $*" >&2
    exit 1
}

# refused CODE WORD COMMAND...: it ends with that code and says the word on stderr.
refused() {
    local expected=$1 word=$2 code=0
    shift 2
    "$@" >out.txt 2>err.txt </dev/null || code=$?
    [ "$code" = "$expected" ] || fault "exit code $code instead of $expected: $*"
    grep -qF -- "$word" err.txt || fault "'$word' is not in: $(cat err.txt)"
}

# ids EXPECTED OPTION...: those of the standard input.
ids() {
    local expected=$1 got
    shift
    got=$("$program" tokenize "$@" | xargs)
    [ "$got" = "$expected" ] || fault "got '$got', expected '$expected': $*"
}

printf "Hello, world! How's it going?" | ids '15496 11 995 0 1374 338 340 1016 30' --tokenizer "$gpt2"
printf 'hello\377world' | ids '31373 187 6894' --tokenizer "$gpt2"
printf '' | ids '' --tokenizer "$gpt2"
printf x | ids 87 --tokenizer "$gpt2"
printf 'x<|endoftext|>' | ids '[87,50256]' --tokenizer "$gpt2" --special --json
printf '' | ids '[]' --tokenizer "$gpt2" --json
printf 'x<|endoftext|>' | ids '87 27 91 437 1659 5239 91 29' --tokenizer "$gpt2"
# One token a byte by this pattern, which is a regular expression.
printf 'then' | ids '83 71 68 77' --tokenizer "$gpt2" --pattern '[a-z]'
printf "  a'S 1234\n" | ids '220 264 13575 220 4513 19 198' \
    --tokenizer "$files/cl100k_base.part.tiktoken.gz" --pattern cl100k_base

# merges.txt with the ids of the vocab.json beside it, here of a vocabulary that begins with <s>, <pad>,
# </s>, <unk>, <mask>; expected ids are those of the Python package tokenizers.
roberta="hello the world's <s> quick 1234 fox"
expected='294 277 293 11 87 225 32 87 34 292 287 24 290 203'
mkdir beside
cp "$files/roberta-merges.txt" beside/merges.txt
cp "$files/roberta-vocab.json" beside/vocab.json
echo "$roberta" | ids "$expected" --tokenizer beside/merges.txt
echo "$roberta" | ids "$expected" --tokenizer "$files/roberta-merges.txt"
echo "$roberta" | ids '294 277 293 11 87 225 0 292 287 24 290 203' --special --tokenizer beside/merges.txt
mv beside/merges.txt beside/other.txt
gzip beside/vocab.json
echo "$roberta" | ids "$expected" --tokenizer beside/other.txt
"$program" tokenize --tokenizer beside/other.txt --decode <<<"$expected" | cmp - <(echo "$roberta") ||
    fault 'ids of vocab.json came back as another text'
rm beside/vocab.json.gz
echo '{"h": 0, "e": 1}' >beside/vocab.json
refused 1 'beside/other.txt with beside/vocab.json: ' "$program" tokenize --tokenizer beside/other.txt
echo '[1]' >beside/vocab.json
refused 1 'no JSON object of tokens and their ids' "$program" tokenize --tokenizer beside/other.txt
# One that says what is known anyway changes nothing: what was packed without it stays valid.
letters() { # the byte alphabet in the order of ids, as JSON names
    local i
    for ((i = 0; i < 256; i++)); do
        if ((i < 94)); then printf '\\u%04x\n' $((33 + i))
        elif ((i < 106)); then printf '\\u%04x\n' $((161 + i - 94))
        elif ((i < 188)); then printf '\\u%04x\n' $((174 + i - 106))
        else printf '\\u%04x\n' $((256 + i - 188)); fi
    done
}
printf '#version: 0.2\nh e\nl l\n' >beside/merges.txt
{
    letters | awk '{ printf "%s\"%s\": %d", (NR > 1 ? ", " : "{"), $0, NR - 1 }'
    echo ', "he": 256, "ll": 257, "<|endoftext|>": 258}'
} >beside/vocab.json
printf 'hell' >beside/text
"$program" pack --tokenizer beside/merges.txt --out with.h5 beside/text >with.txt
mv beside/vocab.json beside/kept.json
"$program" pack --tokenizer beside/merges.txt --out without.h5 beside/text >without.txt
[ "$("$program" pack --check with.h5 | grep ^vocabulary)" = "$("$program" pack --check without.h5 | grep ^vocabulary)" ] ||
    fault 'a vocab.json that says nothing new made another vocabulary'

# Whisper's file of ranks ends with a token that has no bytes.
{ zcat "$files/llama3.part.tiktoken.gz"; echo '= 128000'; } >whisper.tiktoken
printf 'Hello' | ids 9906 --tokenizer whisper.tiktoken --pattern llama3
echo '9906 128000 9906' | "$program" tokenize --tokenizer whisper.tiktoken --pattern llama3 --decode | cmp - <(printf HelloHello) ||
    fault 'a token without bytes'
echo '= 128001' >>whisper.tiktoken
refused 1 'its rank is taken' "$program" tokenize --tokenizer whisper.tiktoken --pattern llama3

# What is no vocabulary is called what it is.
kind() { # KIND BYTES: of a file that begins so
    printf "$2" >kind.bin
    refused 1 "kind.bin: is $1" "$program" tokenize --tokenizer kind.bin
}
kind 'a SentencePiece model' '\n\016\n\005<unk>\025\0\0\0\0\030\002\n\014'
kind 'a GGUF model' 'GGUF\003\0\0\0'
kind 'a safetensors file' '\020\0\0\0\0\0\0\0{"a": 1}        '
kind 'a zip archive' 'PK\003\004'
kind 'an HDF5 file' '\211HDF\r\n\032\n'
kind 'UTF-16, which is no vocabulary that is read; convert it: iconv' '\377\376a\0'
kind "a PDF file, which is no vocabulary that is read; name the model's tokenizer.json" '%%PDF-1.4\nabc d\n'
kind 'a Python pickle' '\200\004x'
kind 'zstd, which is no vocabulary that is read; unpack it first' '\050\265\057\375'
kind 'a pointer of Git LFS' 'version https://git-lfs.github.com/spec/v1\n'
kind 'a web page' '<!DOCTYPE html>\n'
kind 'a list of words' '[PAD]\n[unused0]\n'
kind 'a list with tabs' '<unk>\t0\n<s>\t0\n'
kind "RWKV's vocabulary" "1 '\\\\x00' 1\\n"
kind 'a binary file' 'x\0y'
kind 'a vocab.json' '{"a": 0, "b": 1}'
kind 'a tokenizer_config.json' '{"tokenizer_class": "GPT2Tokenizer"}'
kind "Mistral's tekken.json" '{"config": {}, "vocab": []}'
kind 'JSON, but no tokenizer.json' '{"x": []}'
printf '{"model": "\\u0000"}' >kind.bin
refused 1 'the character U+0000' "$program" tokenize --tokenizer kind.bin
printf '{"model": {"type": "WordPiece"}}' >kind.bin
refused 1 'the model type WordPiece is not supported' "$program" tokenize --tokenizer kind.bin
refused 1 'have the same name' "$program" tokenize --tokenizer "$gpt2" --pattern '(?<a>x)(?<a>y)'
grep -q PCRE2_ err.txt && fault "a flag of a library's: $(cat err.txt)"

# Any bytes come back, as a list or an array, in one piece or through a slow pipe.
head -c 300000 /dev/urandom >any
for json in '' --json; do
    # shellcheck disable=SC2086  # no option where it is empty
    (head -c 1000 any; sleep 0.1; tail -c +1001 any) | "$program" tokenize --tokenizer "$gpt2" $json >any.ids
    "$program" tokenize --tokenizer "$gpt2" --decode <any.ids | cmp - any || fault 'other bytes came back'
done
"$program" tokenize --tokenizer "$gpt2" --time <any 2>err.txt >any.ids
grep -q "^300000 bytes, $(wc -l <any.ids) tokens, .* MB/s$" err.txt || fault "--time: $(cat err.txt)"

refused 2 'name the vocabulary' "$program" tokenize
refused 2 'tokenizer FILE <book.txt' "$program" tokenize --tokenizer "$gpt2" book.txt
refused 1 'nowhere: cannot be opened' "$program" tokenize --tokenizer nowhere
refused 2 "no pattern is called 'gpt5'" "$program" tokenize --tokenizer "$gpt2" --pattern gpt5
refused 2 'names no pattern' "$program" tokenize --tokenizer "$files/llama3.part.tiktoken.gz"
refused 2 'is called <bos>' "$program" tokenize --tokenizer "$gpt2" --begin '<bos>'
refused 1 'any: ' "$program" tokenize --tokenizer any
echo 50257 >bad.ids
(exec <bad.ids; "$program" tokenize --tokenizer "$gpt2" --decode) 2>err.txt && fault 'an id that is none'
grep -q '50257 is not the id' err.txt || fault "an id that is none: $(cat err.txt)"
echo '1 x' >bad.ids
"$program" tokenize --tokenizer "$gpt2" --decode <bad.ids >out.txt 2>err.txt && fault 'an x is no id'
grep -q 'byte 0x78' err.txt || fault "an x: $(cat err.txt)"
for array in '[1,2' '1]' '[1,[2]' '[1'; do
    printf %s "$array" >bad.ids
    "$program" tokenize --tokenizer "$gpt2" --decode <bad.ids >out.txt 2>err.txt && fault "no array: $array"
    grep -Eq 'ends inside of an array|too many' err.txt || fault "$array: $(cat err.txt)"
done

# A reader that goes away ends it without a word.
seq 1 200000 | "$program" tokenize --tokenizer "$gpt2" 2>err.txt | head -n 1 >out.txt || true
[ ! -s err.txt ] || fault "a closed pipe: $(cat err.txt)"

# Packed: names of special tokens are text, lines are documents.
printf 'One<|endoftext|>two' >a.txt
printf '{"body": "One<|endoftext|>two"}\n{"body": "three"}\n' | gzip >b.jsonl.gz
"$program" pack --tokenizer "$gpt2" --field body --out x.h5 --json a.txt b.jsonl.gz >out.txt
grep -q '^  b  *[0-9]* tokens  2 documents$' out.txt || fault "lines: $(cat out.txt)"
"$program" pack --check x.h5 >out.txt
grep -q 'x.h5: sound; split train, 3 documents' out.txt || fault "check: $(cat out.txt)"
grep -q '^vocabulary gpt2 (' out.txt || fault "check: $(cat out.txt)"
"$program" pack --tokenizer "$gpt2" --shard-tokens 3 --field body --out set.h5 a.txt b.jsonl.gz >out.txt
"$program" pack --check set-index.json >out.txt
[ "$(grep -c ': sound;' out.txt)" = 3 ] || fault "index: $(cat out.txt)"
