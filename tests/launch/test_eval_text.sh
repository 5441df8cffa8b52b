#!/bin/bash
# ttt eval --text: JSON lines of whole texts, against windows of the same text in a shard, for bytes
# and for GPT-2's vocabulary. Arguments: the program, the source directory.
set -euo pipefail
source=$(realpath "$2")
# shellcheck source=tests/launch/eval_common.sh
. "$(dirname "$0")/eval_common.sh" "$1" test_eval_text
train runs/e2e
train runs/swa inner.mode=off inner.suffix=0
train runs/full inner.mode=off inner.suffix=0 model.attention=full train.steps=1
cp -r runs/swa runs/plain
sed -i 's/bos: 256/bos: -1/' runs/plain/config.yaml

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
    python3 - $run <<'END' || fault "--text and a window of $run differ"
import json, math, sys
models = json.load(open("window.json"))["contexts"][0]["models"]
total, off = json.load(open("sum.json")), json.load(open("off.json"))
lines = [json.loads(line) for line in open("out.txt")]
assert len(models) == (2 if sys.argv[1] == "e2e" else 1)
for got, model in ((total, models[0]), (off, models[-1])):
    assert got["file"] == "one.txt" and got["tokens"] == 1024 and got["bytes"] == 1024, got
    assert abs(got["nats_per_token"] - model["mean"]) < 1e-5, (got, model["mean"])
    assert abs(got["bits_per_byte"] - model["bits_per_byte"]) < 1e-5
    assert abs(got["logprob"] + 1024 * got["nats_per_token"]) < 1e-9 * 1024
if len(models) > 1:
    assert abs(total["nats_per_token"] - off["nats_per_token"]) > 1e-3  # steps were taken
assert [line["position"] for line in lines] == list(range(1, 1025))
assert "".join(line["text"] for line in lines) == open("one.txt").read()
assert all(line["token"] == ord(line["text"]) and set(line) == {"position", "token", "text", "logprob"}
           for line in lines)
assert abs(sum(line["logprob"] for line in lines) - total["logprob"]) < 1e-6
END
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
python3 - <<'END' || fault "odd texts"
import json
text = open("odd.txt", "rb").read()
def read(name): return [json.loads(line) for line in open(name)]
def raw(line): return bytes.fromhex(line["bytes"]) if "bytes" in line else line["text"].encode()
odd = read("odd.out")
assert b"".join(map(raw, odd)) == text and [l["token"] for l in odd] == list(text)
assert ["bytes" in line for line in odd] == [byte > 127 for byte in text]
many = [line for line in read("many.out") if line.pop("file") == "odd.txt"]
assert many == odd, "each text begins with fresh weights"
total, empty, x = read("many.sum")
assert total["tokens"] == total["bytes"] == len(text)
assert empty == {"file": "empty.txt", "tokens": 0, "bytes": 0, "logprob": 0.0, "nats_per_token": None,
                 "bits_per_byte": None}
assert x["tokens"] == x["bytes"] == 1 and x["logprob"] < 0
plain = read("plain.out")  # the first token has no probability, and is not counted
assert [line["position"] for line in plain] == [0, *range(len(text))]
assert [line["logprob"] is None for line in plain] == [line["position"] == 0 for line in plain]
x, odd = read("out.txt")
assert x["tokens"] == 0 and odd["tokens"] == odd["bytes"] == len(text) - 1
END

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
python3 - <<'END' || fault "GPT-2's tokens"
import json, math
model = json.load(open("window.json"))["contexts"][0]["models"][0]
total = json.load(open("sum.json"))
lines = [json.loads(line) for line in open("out.txt")]
text = open("words.txt", "rb").read()
assert [line["token"] for line in lines] == [int(line) for line in open("ids.txt")]
assert b"".join(bytes.fromhex(l["bytes"]) if "bytes" in l else l["text"].encode() for l in lines) == text
assert any("bytes" in line for line in lines) and len(lines) < len(text)
assert total["bytes"] == len(text) and total["tokens"] == len(lines)
assert abs(total["nats_per_token"] - model["mean"]) < 1e-5
assert abs(total["bits_per_byte"] - model["bits_per_byte"]) < 1e-5
assert abs(total["bits_per_byte"] - model["mean"] / math.log(2) * len(lines) / len(text)) < 1e-5
END

# ---- memory does not grow with the text; it can be stopped; a reader may go away ----
seq 1 15000 >short.txt
seq 1 170000 >long.txt
peak() { # of reading $1, in KB
    python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "$ttt" eval runs/swa --sum --text "$1"
}
short=$(peak short.txt)
long=$(peak long.txt)
# A sanitizer keeps what was freed.
[ $((long - short)) -lt 700 ] || grep -q __asan_init "$ttt" || fault "$short KB for a short text, $long KB for a long one"
interrupted 'stopped after [0-9]* tokens of long.txt' runs/e2e --text long.txt
python3 -c 'import json
lines = [json.loads(line) for line in open("out.txt")]
assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))' || fault "a torn line"
mkfifo pipe
exec 3<>pipe
printf abc >&3
interrupted 'stopped after [0-9]* tokens of pipe' runs/e2e --text pipe --sum # while it waits for more
[ ! -s out.txt ] || fault "a sum of what was not read"
exec 3>&-
code=0
"$ttt" eval runs/e2e --text long.txt 2>err.txt | head -n 1 >line.txt || code=${PIPESTATUS[0]}
[ "$code" = 141 ] || fault "a reader that goes away gives $code"
[ "$(wc -l <line.txt)" = 1 ] || fault "the first line"

evaluate runs/full --text a.txt --sum # longer than its training context
refused 2 'more' runs/full --text a.txt --sum --context 100
refused 1 'cannot open gone.txt' runs/e2e --text one.txt --text gone.txt
refused 1 'cannot read .*directory' runs/e2e --text runs --sum
refused 2 'one run at a time' runs/e2e runs/swa --text one.txt
refused 2 'one at a time' runs/e2e --text one.txt --data valid.h5
refused 2 'go with --data' runs/e2e --text one.txt --csv x.csv
refused 2 'sum goes with --text' runs/e2e --data valid.h5 --sum
refused 2 'one number' runs/e2e --text one.txt --context 1,2
echo "test_eval_text: texts are scored as windows of shards are"
