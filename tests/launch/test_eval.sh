#!/bin/bash
# ttt eval as its user meets it, on runs trained here for a moment: tables, CSV, JSON, and what is
# refused. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/eval_common.sh
. "$(dirname "$0")/eval_common.sh" "$1" test_eval
train runs/e2e
train runs/swa inner.mode=off inner.suffix=0
train runs/naive inner.mode=naive

data=(--data 'valid.h5,test.h5' --windows 3)
"$ttt" eval runs/e2e runs/swa/ "${data[@]}" --books --by-position --csv loss.csv --json >out.txt 2>err.txt ||
    fault "$(cat err.txt)"
says err.txt '^swa: 6/6 windows  0 s left$'
says out.txt '6 windows of 256 tokens, 1536 predictions$'
says out.txt '^document +e2e +e2e-off +swa$'
says out.txt '^a +[0-9.]+ ±'
says out.txt '^b +[0-9.]+ ±'
says out.txt '^all documents +[0-9.]+ ±'
says out.txt '^the same in bits per byte '
says out.txt '^256 tokens +[0-9.]+ ±'
says out.txt '^192 to 255 '
says out.txt 'e2e - e2e-off$'
says out.txt 'e2e - swa$'
says out.txt '^e2e is lower than swa by more than the standard error in [0-3] of the 3 bins from position 64 on$'

# The CSV: a line for each model and bin, bins at 0, 64, 128, 192, of six windows each.
head -n 1 loss.csv | grep -qx 'model,bin_start,bin_end,mean,standard_error,count,context' || fault "CSV head"
[ "$(sed 1d loss.csv | cut -d, -f1-3,6-7 | xargs)" = "$(for model in e2e e2e-off swa; do
    for first in 0 64 128 192; do echo "$model,$first,$((first + 64)),6,256"; done; done | xargs)" ] ||
    fault "CSV: $(cat loss.csv)"

# JSON, CSV, the training's own validation and arithmetic agree.
tail -n 1 out.txt >all.json
"$ttt" eval runs/e2e --data valid.h5 --windows 2 --json 2>/dev/null | tail -n 1 >valid.json
python3 - <<'END' || fault "the numbers contradict each other"
import csv, json, math
whole = json.load(open("all.json"))
assert whole["place"] == 256 and len(whole["contexts"]) == 1 and whole["tokenizer"] == "byte"
out = whole["contexts"][0]
assert out["context"] == 256
names = ["e2e", "e2e-off", "swa"]
assert [m["model"] for m in out["models"]] == names, out
assert [m["inner_steps"] for m in out["models"]] == [True, False, False]
assert all(m["step"] == 3 for m in out["models"])
rows = list(csv.DictReader(open("loss.csv")))
for index, model in enumerate(out["models"]):
    for bin, row in zip(model["positions"], [r for r in rows if r["model"] == model["model"]]):
        assert abs(bin["mean"] / float(row["mean"]) - 1) < 1e-8, (bin, row)
        assert bin["begin"] == int(row["bin_start"]) and bin["end"] == int(row["bin_end"])
    # Equal bins, equally many windows of each document: means of means.
    assert abs(sum(b["mean"] for b in model["positions"]) / 4 - model["mean"]) < 1e-6
    assert abs(sum(d["mean"] for d in model["documents"]) / 2 - model["mean"]) < 1e-6
    assert abs(model["bits_per_byte"] - model["mean"] / math.log(2)) < 1e-9
    assert [(d["name"], d["split"]) for d in model["documents"]] == [("a", "validation"), ("b", "test")]
assert [(d["model"], d["less"]) for d in out["differences"]] == [("e2e", "e2e-off"), ("e2e", "swa")]
for difference, other in zip(out["differences"], out["models"][1:]):
    assert abs(out["models"][0]["mean"] - other["mean"] - difference["mean"]) < 1e-9
first, *later = out["differences"][0]["positions"]
assert all(abs(bin["mean"]) > 1e-7 for bin in later), later
a, b = (m["positions"][0]["mean"] for m in out["models"][:2])
assert abs(a - b) > 1e-9  # the first bin holds two chunks, and the second had one step
lines = [json.loads(line) for line in open("runs/e2e/metrics.jsonl")]
trained = [l["validation_loss"] for l in lines if "validation_loss" in l][-1]
assert abs(json.load(open("valid.json"))["contexts"][0]["models"][0]["mean"] - trained) < 1e-5, trained
END

# A checkpoint by its path; inner steps off alone; saved results; a naive run steps too.
"$ttt" eval runs/e2e/checkpoints/step-00000002 "${data[@]}" --off --save --json >out.txt 2>/dev/null
says out.txt '^nats per token +e2e@2-off$'
says runs/e2e/eval/step-00000002.json '"step": 2,?$'
[ ! -e runs/swa/eval/step-00000003.json ] || fault "results may be saved only where it was asked for"
"$ttt" eval runs/naive "${data[@]}" >out.txt 2>/dev/null
says out.txt '^nats per token +naive +naive-off$'
says out.txt 'naive - naive-off$'

# Longer windows than in training, and the same name twice.
cp -r runs/swa swa
"$ttt" eval swa runs/swa "${data[@]}" --context 512 >out.txt 2>/dev/null
says out.txt 'of 512 tokens'
says out.txt '^nats per token +swa +runs/swa$'
says out.txt '^512 tokens +0.0000 ±0.0000 +0.0000 ±0.0000$'

# By token: each position for itself, and neighbouring runs are compared.
"$ttt" eval runs/e2e runs/swa runs/naive "${data[@]}" --context 128 --csv bins.csv >/dev/null 2>&1
"$ttt" eval runs/e2e runs/swa runs/naive "${data[@]}" --context 128 --by-token --csv tokens.csv \
    --json >out.txt 2>/dev/null
says out.txt '^swa - naive$'
tail -n 1 out.txt >tokens.json
python3 - <<'END' || fault "positions and bins contradict each other"
import csv, json
read = lambda path: [(r["model"], int(r["bin_start"]), int(r["bin_end"]), float(r["mean"]))
                     for r in csv.DictReader(open(path))]
tokens, bins = read("tokens.csv"), read("bins.csv")
assert len(tokens) == 5 * 128 and len(bins) == 5 * 2
for model, first, end, mean in bins:
    inside = [t for t in tokens if t[0] == model and first <= t[1] < end]
    assert [(t[1], t[2]) for t in inside] == [(i, i + 1) for i in range(first, end)]
    assert abs(sum(t[3] for t in inside) / 64 - mean) < 1e-6
(result,) = json.load(open("tokens.json"))["contexts"]
means = {m["model"]: m["mean"] for m in result["models"]}
pairs = [(d["model"], d["less"], d["mean"]) for d in result["differences"]]
assert ("swa", "naive") in [p[:2] for p in pairs] and len(pairs) == 6, pairs
assert all(abs(means[a] - means[b] - mean) < 1e-9 for a, b, mean in pairs)
END

refused 2 'name shards: --data' runs/e2e
refused 2 '--by-token is for windows of up to 128 tokens, not of 256' runs/e2e "${data[@]}" --by-token
refused 2 '--by-token.* go with --data' runs/e2e --text a.txt --by-token
refused 2 'neither a run' nowhere "${data[@]}"
refused 1 'gone.h5' runs/e2e --data gone.h5
refused 2 '250 tokens: train.context 250 is not a multiple of inner.chunk 32' runs/e2e "${data[@]}" --context 250
refused 1 'longest' runs/e2e "${data[@]}" --context 32768
rm -r swa/checkpoints/*
refused 2 'the run swa has no checkpoint yet' swa "${data[@]}"
cp -r runs/swa torn
head -c 5000 runs/swa/checkpoints/step-00000003/model.safetensors >torn/checkpoints/step-00000003/model.safetensors
refused 1 'is damaged' torn "${data[@]}"
cp -r runs/swa foreign
sed -i 's/vocab: 257/vocab: 200/; s/bos: 256/bos: 100/' foreign/config.yaml
refused 1 'vocabulary byte of foreign.* has 257 ids and the model 200' foreign "${data[@]}"
cp -r runs/swa other
sed -i 's/mlp: 24/mlp: 25/' other/config.yaml
refused 1 'mlp.w1' other "${data[@]}"
refused 1 'no-folder/loss.csv' runs/swa "${data[@]}" --csv no-folder/loss.csv
echo "test_eval: tables, CSV, JSON and refusals are as they should be"
