#!/bin/bash
# Training on shards of a tokenizer's vocabulary: checkpoints carry it whole, and nothing goes on,
# starts or is measured with another one. Arguments: the program, the source directory.
set -euo pipefail
source=$(realpath "$2")
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_train_tokens
RANDOM=20240608

gzip -dc "$source/tests/data/tokenizer/gpt2_vocab.bpe.gz" >gpt2.bpe
head -n 2000 gpt2.bpe >few.bpe # a vocabulary of its own
cp train.h5 bytes.h5
sed 's/data: .*/data: {train: train.h5, tokenizer: gpt2.bpe}/; s/vocab: 257, bos: 256/vocab: 50257, bos: 50256/
     s/dim: 32, heads: 2, mlp: 48/dim: 8, heads: 1, mlp: 12/; s/steps: 30, warmup_steps: 5/steps: 4, warmup_steps: 0/
     s/batch: [0-9], micro_batch: [0-9]/batch: 1, micro_batch: 1/; s/lr: 0.5, warmup_steps: 5/lr: 0.5/; s/save_every: 5/save_every: 1/' tiny.yaml >tokens.yaml
mv tokens.yaml tiny.yaml
for name in train valid; do "$ttt" pack --tokenizer gpt2.bpe --split $name --out $name.h5 $name.txt >log; done
"$ttt" pack --tokenizer few.bpe --out few.h5 train.txt >log
"$ttt" pack --tokenizer gpt2.bpe --pattern o200k_base --out other.h5 train.txt >log

# ---- what is refused before a run is made, with the name of the option and both vocabularies ----
refused 1 'data.train: train.h5 was packed with the vocabulary gpt2 \(hash ([0-9a-f]{8})\); name its file, data.tokenizer=FILE' \
    ./tiny.yaml run.dir=new data.tokenizer=
refused 1 'data.tokenizer: the shards .* gpt2 \(hash [0-9a-f]{8}, 50257 ids, .*50256\), few.bpe has gpt2 \(hash [0-9a-f]{8}, 2256 ids' \
    ./tiny.yaml run.dir=new data.tokenizer=few.bpe
refused 1 'data.tokenizer: the shards .* byte \(hash .*gpt2.bpe has gpt2 .*data.pattern' \
    ./tiny.yaml run.dir=new data.train=bytes.h5 model.bos=256
refused 1 'data.tokenizer: nowhere.bpe: cannot be opened' ./tiny.yaml run.dir=new data.tokenizer=nowhere.bpe
refused 2 'data.tokenizer: no pattern is called .gpt5' ./tiny.yaml run.dir=new data.pattern=gpt5
refused 2 'data.tokenizer: .*is called <bos>' ./tiny.yaml run.dir=new 'data.begin=<bos>'
refused 1 'data.tokenizer: the shards .*gpt2 \(.*gpt2.bpe has o200k_base' ./tiny.yaml run.dir=new data.pattern=o200k_base
refused 1 'data.train: .*vocabulary of 50257 ids and the model one of 50000' ./tiny.yaml run.dir=new model.vocab=50000 model.bos=256
refused 1 'data.train: .*token 50256, but model.bos is 7' ./tiny.yaml run.dir=new model.bos=7
refused 1 'data.valid: the shards .* o200k_base \(.* data.train has gpt2' ./tiny.yaml run.dir=new run.eval_every=2 data.valid=other.h5
refused 1 'data.valid: .*token 2255' ./tiny.yaml run.dir=new run.eval_every=2 data.valid=few.h5
[ ! -e new ] || fault "a run that was refused left a directory"

# ---- a checkpoint is whole by itself: the file may go ----
train whole data.valid=valid.h5 run.eval_every=2 run.eval_windows=1
train part train.steps=2 train.total_steps=4
last=$(newest part)
cmp "$last/tokenizer" gpt2.bpe || fault "the tokenizer is not carried as it was"
head -c 200000 /dev/urandom >any
for file in any train.txt; do
    "$ttt" tokenize --tokenizer gpt2.bpe <$file >ids
    "$ttt" tokenize --tokenizer "$last/tokenizer" <$file | cmp - ids || fault "it encodes otherwise"
done
train fine train.init_from=part
mv gpt2.bpe elsewhere.bpe
train finer train.init_from=part data.tokenizer=
cmp "$(newest finer)/tokenizer" elsewhere.bpe || fault "the tokenizer of train.init_from is not carried on"
same fine finer
refused 1 'data.tokenizer=.elsewhere.bpe. cannot be given to a run that goes on' --resume part data.tokenizer=elsewhere.bpe
refused 1 'data.train: the shards .* o200k_base \(.*step-00000002 has gpt2' --resume part data.train=other.h5
cp -r part flipped
refused 0 'step 4/4' --resume part train.steps=4 train.total_steps=4
same whole part
cmp "$(newest part)/tokenizer" elsewhere.bpe || fault "the tokenizer is not carried on"

# ---- killed at some moments: complete checkpoints carry it, the run goes on with it ----
mv elsewhere.bpe gpt2.bpe
options=(train.steps=12 train.total_steps=12)
train undisturbed "${options[@]}"
kills=0
for ((start = 0; start < 60; start++)); do
    if [ -f killed/config.yaml ]; then
        "$ttt" train --resume killed >killed.log 2>&1 &
    else
        "$ttt" train ./tiny.yaml run.dir=killed "${options[@]}" >killed.log 2>&1 &
    fi
    pid=$!
    if [ $kills -lt 6 ]; then
        sleep 0.$((RANDOM % 7 + 3))
        kill -9 $pid 2>/dev/null || true
    fi
    ended
    [ $code = 0 ] && break
    [ $code = 137 ] || fault "after $kills kills: $(cat killed.log)"
    kills=$((kills + 1))
    [ -z "$(newest killed 2>/dev/null)" ] || cmp "$(newest killed)/tokenizer" gpt2.bpe
done
same undisturbed killed

# ---- damaged, swapped: refused wherever the checkpoint is used ----
rm -r flipped/checkpoints/step-00000001
last=$(newest flipped)
flip "$last/tokenizer" $(($(stat -c %s "$last/tokenizer") / 2))
refused 1 'flipped/.*/tokenizer was changed since it was written' --resume flipped
refused 1 'train.init_from=flipped: .*/tokenizer was changed' ./tiny.yaml run.dir=new train.init_from=flipped
code=0
"$ttt" eval "$last" --data valid.h5 >log 2>&1 || code=$?
[ $code = 1 ] && grep -q 'tokenizer was changed' log || fault "eval of a flipped tokenizer: $code: $(cat log)"
cp few.bpe "$last/tokenizer"
refused 1 'flipped/.*/tokenizer has [0-9]* bytes where' --resume flipped
rm "$last/tokenizer"
refused 1 'flipped/.*/tokenizer' --resume flipped

# ---- another vocabulary: eval, and a run that starts from it ----
"$ttt" eval part --data valid.h5 --windows 1 >log 2>&1 || fault "$(cat log)"
for shard in other bytes few; do
    code=0
    "$ttt" eval part --data $shard.h5 >log 2>&1 || code=$?
    [ $code = 2 ] || fault "eval on $shard.h5: exit code $code: $(cat log)"
    says log 'packed with the vocabulary (o200k_base|byte|gpt2) \(hash [0-9a-f]{8}, .* part has gpt2 \(hash [0-9a-f]{8}, 50257 ids'
done
refused 1 'train.init_from: the shards .* o200k_base .*part/.* has gpt2 .*pack the texts' \
    ./tiny.yaml run.dir=new train.init_from=part data.train=other.h5 data.tokenizer=
refused 1 'data.tokenizer: ' ./tiny.yaml run.dir=new train.init_from=part data.tokenizer=few.bpe
sed 's/vocab: 50257, bos: 50256/vocab: 257, bos: 256/; s/train: train.h5, tokenizer: gpt2.bpe/train: bytes.h5/' tiny.yaml >bytes.yaml
"$ttt" train ./bytes.yaml run.dir=bytes >log 2>&1 || fault "$(cat log)"
[ ! -e "$(newest bytes)/tokenizer" ] || fault "a run on bytes carries a tokenizer"
refused 1 'train.init_from: the shards .* gpt2 .* has byte' ./tiny.yaml run.dir=new train.init_from=bytes
code=0
"$ttt" eval bytes --data valid.h5 >log 2>&1 || code=$?
[ $code = 2 ] && grep -q 'packed with the vocabulary gpt2 .* bytes has byte' log || fault "eval: $code: $(cat log)"

# ---- checkpoints of format version 1 had no vocabulary: they are of bytes ----
cp -r "$source/tests/old/run" early # of version 2
cp "$source/tests/old/train.h5" early.h5
for checkpoint in early/checkpoints/step-????????; do
    state=$checkpoint/state.json
    files=$(json_get --without vocabulary.json files <"$state")
    rest=$(json_get --without version,files,crc32 . <"$state")
    body='{"version": 1, "files": '$files', '${rest:1:-1}
    crc=$(printf %s "$body" | gzip -c | tail -c 8 | od -An -tx4 -N 4) # as data_crc32()
    printf '%s,\n  "crc32": "%s"\n}\n' "$body" "${crc// /}" >"$state"
    rm "$checkpoint/vocabulary.json"
done
"$ttt" pack --split validation --out valid-bytes.h5 valid.txt >log
"$ttt" eval early --data valid-bytes.h5 --windows 1 >log 2>&1 || fault "format version 1: $(cat log)"
refused 0 'nothing is left' --resume early data.train=early.h5 data.valid=
refused 0 'step 9/9' --resume early data.train=early.h5 data.valid= train.steps=9
"$ttt" train early/config.yaml run.dir=after train.init_from=early >log 2>&1 || fault "format version 1: $(cat log)"
[ ! -e new ] || fault "a run that was refused left a directory"
echo "test_train_tokens: $kills kills; checkpoints carry the vocabulary, others are refused"
