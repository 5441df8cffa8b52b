#!/bin/bash
# ttt eval --text: JSON lines of whole texts, against windows of the same text in a shard, for bytes
# and for GPT-2's vocabulary. Arguments: the program, the source directory.
# shellcheck disable=SC2016  # awk has a $ of its own
set -euo pipefail
source=$(realpath "$2")
# shellcheck source=tests/launch/eval_common.sh
. "$(dirname "$0")/eval_common.sh" "$1" test_eval_text
train runs/e2e
train runs/swa inner.mode=off inner.suffix=0
train runs/full inner.mode=off inner.suffix=0 model.attention=full train.steps=1
sed 's/bos: 256/bos: -1/' runs/swa/config.yaml >plain.yaml
"$(dirname "$ttt")/tests/write_run" ./plain.yaml runs/plain

tokens() { # FILE: the tokens of JSON lines, which have numbers in order
    json_get --numbers . token <"$1"
}
bytes() { # FILE: the bytes of a text, one a line
    od -An -v -tu1 -w1 "$1" | tr -d ' '
}
text() { # FILE: what the tokens of JSON lines stand for
    json_get --bytes . text bytes <"$1"
}
positions() { # FILE FIRST: they count on from the first
    json_get --numbers . position <"$1" | check '{ demand($1 == NR - 1 + first, "position " $1) }' first="$2"
}
# total FILE LINE TOKENS BYTES: a line of --sum, and its numbers agree. Leaves them in `sum`: logarithm,
# nats, bits per byte.
total() {
    sed -n "$2p" "$1" | json_get --numbers . tokens bytes logprob nats_per_token bits_per_byte >sum
    check '
        { demand($1 == tokens && $2 == bytes, $0) }
        { demand(near($3, -tokens * $4, 1e-9 * tokens), "sum " $3 " and mean " $4) }
        { demand(near($3, -bytes * log(2) * $5, 1e-9 * bytes), "sum " $3 " and bits " $5) }
        END { demand(NR == 1, NR " sums") }' tokens="$3" bytes="$4" sum
}
# agrees MODEL: of window.json, with the numbers in `sum`
agrees() {
    json_get --numbers "contexts/0/models/$1" mean bits_per_byte <window.json | paste - sum |
        check '{ demand(near($1, $6, 1e-5) && near($2, $7, 1e-5), $0) }'
}

# ---- one window of a shard is the text: 1024 bytes behind the begin-of-document token ----
head -c 1024 a.txt >one.txt
"$ttt" pack --out one.h5 one.txt >/dev/null
for run in e2e swa full; do
    evaluate runs/$run --data one.h5 --context 1024 --windows 1 --json
    tail -n 1 out.txt >window.json
    evaluate runs/$run --text one.txt --sum
    cp out.txt sum.json
    evaluate runs/$run --text one.txt --off --sum
    cp out.txt off.json
    evaluate runs/$run --text one.txt
    [ "$(json_get 'contexts/0/models/*' model <window.json | wc -l)" = "$([ $run = e2e ] && echo 2 || echo 1)" ] ||
        fault "models of $run"
    [ "$(json_get . file <sum.json)" = one.txt ] || fault "the name of the text"
    total off.json 1 1024 1024 && agrees -1 || fault "--off and a window of $run differ"
    cut -f 4 sum >off
    total sum.json 1 1024 1024 && agrees 0 || fault "--sum and a window of $run differ"
    [ $run != e2e ] || cut -f 4 sum | paste - off | check '{ demand(!near($1, $2, 1e-3), $0) }' || fault "no steps were taken"
    positions out.txt 1 || fault "positions of $run"
    text out.txt | cmp - one.txt || fault "the tokens of $run are another text"
    tokens out.txt >tokens
    bytes one.txt | cmp - tokens || fault "tokens of $run"
    ! grep -vE '^\{"position":[0-9]+,"token":[0-9]+,"text":".+","logprob":-[0-9.e-]+\}$' out.txt || fault "members of lines"
    json_get --numbers . logprob <out.txt >logprobs
    check '{ all += $1 } END { demand(NR == 1024 && near(all, logprob, 1e-6), NR " lines: " all) }' \
        logprob="$(cut -f 3 sum)" logprobs || fault "the lines and the sum of $run differ"
done

# ---- any bytes, no bytes, one byte, a pipe, several texts, no begin-of-document token ----
printf 'a\0\xff\xc3\xa9"\\\n' >odd.txt
: >empty.txt
printf x >x.txt
evaluate runs/e2e --text odd.txt
cp out.txt odd.out
"$ttt" eval runs/e2e --text - <odd.txt 2>/dev/null | cmp - odd.out || fault "standard input reads otherwise"
# shellcheck disable=SC2002  # a pipe is what is tested
cat odd.txt | "$ttt" eval runs/e2e --text - 2>/dev/null | cmp - odd.out || fault "a pipe reads otherwise"
evaluate runs/e2e --text one.txt --text odd.txt --text empty.txt --text x.txt
cp out.txt many.out
evaluate runs/e2e --text odd.txt --text empty.txt --text x.txt --sum
cp out.txt many.sum
evaluate runs/plain --text x.txt --text odd.txt
cp out.txt plain.out
evaluate runs/plain --text x.txt --text odd.txt --sum
cp out.txt plain.sum
size=$(wc -c <odd.txt)
text odd.out | cmp - odd.txt || fault "the tokens of odd.txt are another text"
tokens odd.out >tokens
bytes odd.txt | cmp - tokens || fault "tokens of odd.txt"
[ "$(json_get --has bytes . token <odd.out | xargs)" = "255 195 169" ] || fault "bytes are for what is no UTF-8"
[ "$(json_get --has text . token <odd.out | xargs)" = "97 0 34 92 10" ] || fault "all else is text"
# Each text begins with fresh weights.
grep '"file":"odd.txt"' many.out | json_get --without file . >many
json_get . <odd.out | cmp - many || fault "behind another text, one reads otherwise"
total many.sum 1 "$size" "$size" || fault "the sum of odd.txt"
[ "$(sed -n 2p many.sum | json_get .)" = \
    '{"file":"empty.txt","tokens":0,"bytes":0,"logprob":0.0,"nats_per_token":null,"bits_per_byte":null}' ] ||
    fault "the sum of nothing: $(sed -n 2p many.sum)"
total many.sum 3 1 1 && check '{ demand($3 < 0, $3) }' sum || fault "the sum of one byte"
[ "$(wc -l <many.sum)" = 3 ] || fault "three texts have three sums"
# The first token has no probability, and is not counted.
head -n 1 plain.out | grep -q '"file":"x.txt".*"logprob":null' || fault "$(head -n 1 plain.out)"
grep '"file":"odd.txt"' plain.out >odd.plain
[ "$(cat plain.out | wc -l)" = $((1 + size)) ] && positions odd.plain 0 || fault "positions: $(cat plain.out)"
[ "$(json_get . logprob <odd.plain | head -n 1)" = null ] || fault "$(head -n 1 odd.plain)"
sed 1d odd.plain | json_get --numbers . logprob >/dev/null || fault "one of these has no probability: $(cat odd.plain)"
[ "$(head -n 1 plain.sum | json_get . tokens)" = 0 ] || fault "$(head -n 1 plain.sum)"
total plain.sum 2 $((size - 1)) $((size - 1)) || fault "$(tail -n 1 plain.sum)"
[ "$(wc -l <plain.sum)" = 2 ] || fault "two texts have two sums"

# ---- GPT-2's vocabulary, carried by the run ----
gzip -dc "$source/tests/data/tokenizer/gpt2_vocab.bpe.gz" >gpt2.bpe
printf '%s' "A naïve café… <|endoftext|> is text. 日本 😀 $(seq -s ' ' 1 150)" >words.txt
"$ttt" pack --tokenizer gpt2.bpe --out words.h5 words.txt >/dev/null
train runs/gpt2 data.train=words.h5 data.valid=words.h5 data.tokenizer=gpt2.bpe model.vocab=50257 \
    model.bos=50256 model.dim=8 model.heads=1 inner.mode=off inner.suffix=0 train.context=64 train.batch=1 \
    train.steps=1 run.eval_every=0
mv gpt2.bpe elsewhere.bpe
"$ttt" tokenize --tokenizer elsewhere.bpe <words.txt >ids.txt
evaluate runs/gpt2 --data words.h5 --context "$(wc -l <ids.txt)" --windows 1 --json
tail -n 1 out.txt >window.json
evaluate runs/gpt2 --text words.txt --sum
cp out.txt sum.json
evaluate runs/gpt2 --text words.txt
tokens out.txt | cmp - ids.txt || fault "tokens of GPT-2's vocabulary"
text out.txt | cmp - words.txt || fault "GPT-2's tokens are another text"
size=$(wc -c <words.txt)
count=$(wc -l <ids.txt)
[ "$count" -lt "$size" ] && [ -n "$(json_get --has bytes . bytes <out.txt)" ] || fault "the text is too easy"
total sum.json 1 "$count" "$size" && agrees 0 || fault "--sum and a window differ"
json_get --numbers contexts/0/models/0 mean <window.json | paste - sum |
    check '{ demand(near($6, $1 / log(2) * $2 / $3, 1e-5), $0) }' || fault "bits per byte of a window"

# ---- memory does not grow with the text; it can be stopped; a reader may go away ----
# A sanitizer keeps what was freed: then it is long enough to be stopped in.
lines=170000
! grep -q __asan_init "$ttt" || lines=40000
seq 1 15000 >short.txt
seq 1 $lines >long.txt
peak() { # of reading $1, in KB
    "$tools/peak_kb" "$ttt" eval runs/swa --sum --text "$1"
}
short=$(peak short.txt)
long=$(peak long.txt)
[ $((long - short)) -lt 700 ] || grep -q __asan_init "$ttt" || fault "$short KB for a short text, $long KB for a long one"
interrupted told 'stopped after [0-9]* tokens of long.txt' runs/e2e --text long.txt
positions out.txt 1 || fault "a torn line"
mkfifo pipe
exec 3<>pipe
printf abc >&3
taken() { # the pipe is empty: what was in it has been read
    ! read -r -t 0 -u 3
}
interrupted taken 'stopped after [0-9]* tokens of pipe' runs/e2e --text pipe --sum # while it waits for more
[ ! -s out.txt ] || fault "a sum of what was not read"
exec 3>&-
code=0
"$ttt" eval runs/e2e --text long.txt 2>err.txt | head -n 1 >line.txt || code=${PIPESTATUS[0]}
[ "$code" = 141 ] || fault "a reader that goes away gives $code"
[ "$(wc -l <line.txt)" = 1 ] || fault "the first line"

evaluate runs/full --text a.txt --sum # longer than its training context
refused 2 'more' runs/full --text a.txt --sum --context 100
evaluate runs/e2e --text a.txt --sum
mv out.txt plain.txt
gzip -k a.txt
evaluate runs/e2e --text a.txt.gz --sum
cmp <(sed 's/"file":"[^"]*"//' plain.txt) <(sed 's/"file":"[^"]*"//' out.txt) || fault "a gzipped text is another one"
refused 1 'gone.txt: cannot be opened' runs/e2e --text one.txt --text gone.txt
refused 2 'runs is a folder' runs/e2e --text runs --sum
printf '%%PDF-1.4' >paper.txt
refused 1 'paper.txt: is a PDF file, not text' runs/e2e --text one.txt --text paper.txt
refused 2 'one run at a time' runs/e2e runs/swa --text one.txt
refused 2 'one at a time' runs/e2e --text one.txt --data valid.h5
refused 2 'go with --data' runs/e2e --text one.txt --csv x.csv
refused 2 'sum goes with --text' runs/e2e --data valid.h5 --sum
refused 2 'one number' runs/e2e --text one.txt --context 1,2
echo "test_eval_text: texts are scored as windows of shards are"
