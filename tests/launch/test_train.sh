#!/bin/bash
# ttt train from a configuration to a trained model: what the run directory holds, that it learns,
# evaluation on the way, logging, fine-tuning. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_train

train a data.valid=valid.h5 run.eval_every=20 run.eval_windows=3 train.steps=150 run.save_every=50
says log '^step 1/150  loss 5\.[0-9]{4}  [0-9.]+[kM]? tokens/s  [0-9]+ % of peak'
says log '^step 150/150  loss '
says log '^step 20  validation loss [0-9.]+ \+- [0-9.]+$'
says log '^step 150  validation loss '
says log '^a: 150 steps, 3\.84e\+04 tokens in [0-9]+ s$'
python3 - <<'END' || fault "the run directory is not what it should be"
import glob, json, math, os, struct
entries = [json.loads(line) for line in open("a/metrics.jsonl")]
steps = [e for e in entries if "loss" in e]
assert [e["step"] for e in steps] == list(range(150))
keys = ["step", "loss", "outer_grad_norm", "inner_grad_norm", "learning_rate", "inner_multiplier",
        "tokens", "tokens_per_second", "peak_fraction", "seconds", "data_seconds"]
for e in steps:
    assert list(e) == keys, e
    assert all(math.isfinite(e[k]) for k in keys), e
    assert e["tokens"] == (e["step"] + 1) * 4 * 64
    assert e["peak_fraction"] > 0 and e["seconds"] >= e["data_seconds"] >= 0
# Warm-up from 0 to step 5, then a cosine to end_lr; the inner one is done after 5 steps.
rates = [e["learning_rate"] for e in steps]
assert rates[0] == 0 and rates[:6] == sorted(rates[:6]) and abs(rates[5] - 1e-2) < 1e-9
assert rates[5:] == sorted(rates[5:], reverse=True)
assert 1e-3 <= steps[-1]["learning_rate"] < 1.01e-3
assert abs(steps[0]["inner_multiplier"] - 0.28) < 1e-9 and steps[4]["inner_multiplier"] == 1
# Random bytes cost ln 257; digits and blanks are learnt at once, rising numbers later.
assert abs(steps[0]["loss"] - math.log(257)) < 0.5
assert sum(e["loss"] for e in steps[-5:]) / 5 < 1.6, steps[-1]
held = [e for e in entries if "validation_loss" in e]
assert [e["step"] for e in held] == [19, 39, 59, 79, 99, 119, 139, 149]
assert held[-1]["validation_loss"] < held[0]["validation_loss"] < math.log(257)
assert all(e["validation_standard_error"] > 0 for e in held)
# Each evaluation follows the line of its own step.
for i, e in enumerate(entries):
    if "validation_loss" in e: assert entries[i - 1]["step"] == e["step"]
assert sorted(os.listdir("a")) == ["checkpoints", "config.yaml", "eval", "events", "lock", "metrics.jsonl"]
assert sorted(os.listdir("a/checkpoints")) == ["step-00000100", "step-00000150"]
for name in ["step-00000100", "step-00000150"]:
    assert sorted(os.listdir("a/checkpoints/" + name)) == \
        ["model.safetensors", "optimizer.safetensors", "state.json", "vocabulary.json"]
state = json.load(open("a/checkpoints/step-00000150/state.json"))
assert state["step"] == 150 and state["samples"] == 600 and state["tokens"] == 38400, state
data = open("a/checkpoints/step-00000150/model.safetensors", "rb").read()
header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
assert header["embed.weight"]["shape"] == [257, 32] and header["embed.weight"]["dtype"] == "F32"
assert header["blocks.1.fast.w1"]["shape"] == [32, 48]
events, = glob.glob("a/events/*tfevents*")
record = open(events, "rb").read()
assert b"brain.Event:2" in record and record.count(b"validation_loss") == len(held)
assert record.count(b"learning_rate") == 150
END
# The resolved configuration trains the same run.
"$ttt" train a/config.yaml run.dir=again run.eval_every=0 data.valid= >log 2>&1 || fault "$(cat log)"
same a again

# A finished run says so; a longer one goes on at the end of the schedule.
before=$(contents a)
refused 0 'a has done 150 of 150 steps: nothing is left' --resume a
[ "$(contents a)" = "$before" ] || fault "nothing was left but files changed"
refused 0 'step 152/152' --resume a train.steps=152 train.total_steps=150
refused 0 'nothing is left' --resume a

# Logging: steps 0, 7, 14, ... and the last.
train b run.log_every=7 train.steps=20
[ "$(sed 's/^{"step": \([0-9]*\),.*/\1/' b/metrics.jsonl | xargs)" = "0 7 14 19" ] ||
    fault "run.log_every=7: $(cut -c1-20 b/metrics.jsonl | xargs)"

# run.dir left out: runs/NAME.
(cd "$folder" && "$ttt" train ./tiny.yaml train.steps=1 train.total_steps=30 >log 2>&1) || fault "$(cat log)"
[ -f runs/tiny/config.yaml ] || fault "runs/tiny was not made"

# What the memory plan chooses is kept, because sums depend on it.
train chosen train.steps=1 train.total_steps=30 train.micro_batch=0
grep -qE 'micro_batch: [124]$' chosen/config.yaml || fault "$(grep micro_batch chosen/config.yaml)"

# Pruning: the newest two, and every tenth.
train c train.steps=27 run.save_every=3 run.keep_last=2 run.keep_every=9
[ "$(ls c/checkpoints | xargs)" = "step-00000009 step-00000018 step-00000024 step-00000027" ] ||
    fault "checkpoints kept: $(ls c/checkpoints | xargs)"
train d train.steps=7 run.save_every=0
[ "$(ls d/checkpoints)" = step-00000007 ] || fault "only at the end: $(ls d/checkpoints)"

# Fine-tuning: other context, rope base and schedule; begins where the first run's loss ended.
train e train.init_from=a train.context=128 model.rope_theta=10000 train.lr=1e-3 train.warmup_steps=0 \
    train.steps=20 inner.warmup_steps=0
says log '^starting from the weights of a/checkpoints/step-00000152$'
python3 - "$(losses e | head -n 1)" "$(losses e | tail -n 1)" <<'END' || fault "fine-tuning: $(losses e)"
import sys
first, last = map(float, sys.argv[1:])
assert first < 2.5 and last < first, (first, last)
END
# The weights themselves, and not the moments: with the same data the first loss is that of the
# weights, whichever checkpoint of the run is named.
train f train.init_from=a/checkpoints/step-00000150 train.steps=1 train.total_steps=30
train g train.init_from=again train.steps=1 train.total_steps=30
[ "$(losses f)" = "$(losses g)" ] || fault "init_from: $(losses f) and $(losses g)"
refused 1 'train.init_from=a: .*tensor embed.weight: expected F32 \[257, 48\], the file has F32 \[257, 32\]' \
    ./tiny.yaml run.dir=h train.init_from=a model.dim=48
refused 1 'unexpected tensor blocks.1.fast' ./tiny.yaml run.dir=h train.init_from=a inner.mode=off inner.suffix=0
refused 2 'train.init_from=nowhere: nowhere is neither a run' ./tiny.yaml run.dir=h train.init_from=nowhere
[ ! -e h ] || fault "a run that was refused left a directory"
echo "test_train: runs, logs, checkpoints and fine-tuning are as they should be"
