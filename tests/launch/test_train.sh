#!/bin/bash
# ttt train from a configuration to a trained model: what the run directory holds, that it learns,
# evaluation on the way, logging, fine-tuning. Arguments: the program, the source directory.
# shellcheck disable=SC2016  # awk has a $ of its own
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_train

train a train.batch=4 train.micro_batch=2 data.valid=valid.h5 run.eval_every=20 run.eval_windows=3 \
    train.steps=150 run.save_every=50
says log '^step 1/150  loss 5\.[0-9]{4}  [0-9.]+[kM]? tokens/s  [0-9]+ % of peak'
says log '^step 150/150  loss '
says log '^step 20  validation loss [0-9.]+ \+- [0-9.]+$'
says log '^step 150  validation loss '
says log '^a: 150 steps, 3\.84e\+04 tokens in [0-9]+ s$'

# metrics.jsonl: each step with the same members, and each evaluation behind its own step.
keys='{"step", "loss", "outer_grad_norm", "inner_grad_norm", "learning_rate", "inner_multiplier", "tokens", "tokens_per_second", "peak_fraction", "seconds", "data_seconds"}'
[ "$(grep '"loss"' a/metrics.jsonl | sed 's/: [^,}]*//g' | sort -u)" = "$keys" ] || fault "members of steps"
json_get --numbers --has loss . step loss outer_grad_norm inner_grad_norm learning_rate inner_multiplier \
    tokens tokens_per_second peak_fraction seconds data_seconds <a/metrics.jsonl >steps
check '
    { loss[NR] = $2; rate = $5; tokens = $7; peak = $9; seconds = $10; reading = $11 }
    {
        demand($1 == NR && tokens == NR * 4 * 64, $0)
        demand(peak > 0 && seconds >= reading && reading >= 0, $0)
    }
    # Warm-up from 0 to step 5, then a cosine to end_lr; the inner one is done after 5 steps.
    NR == 1 { demand(rate == 0 && near($6, 0.28, 1e-9), "warm-up begins with " rate " and " $6) }
    NR > 1 && NR <= 6 { demand(rate >= before, "warm-up falls to " rate) }
    NR > 6 { demand(rate <= before, "after warm-up the rate rises to " rate) }
    NR == 5 { demand($6 == 1, "inner multiplier " $6) }
    NR == 6 { demand(near(rate, 1e-2, 1e-9), "warm-up ends with " rate) }
    { before = rate }
    END {
        demand(NR == 150 && before >= 1e-3 && before < 1.01e-3, NR " steps, the last rate is " before)
        # Random bytes cost ln 257; digits and blanks are learnt at once, rising numbers later.
        demand(near(loss[1], log(257), 0.5), "begins with " loss[1])
        for (i = 146; i <= 150; i++) last += loss[i] / 5
        demand(last < 1.6, "the last losses are " last)
    }' steps || fault "steps: $(tail -n 3 steps)"
json_get --numbers --has validation_loss . step validation_loss validation_standard_error <a/metrics.jsonl >held
[ "$(cut -f 1 held | xargs)" = "20 40 60 80 100 120 140 150" ] || fault "validated at $(cut -f 1 held | xargs)"
check '
    { demand($3 > 0, "standard error " $3) }
    NR == 1 { first = $2 }
    END { demand($2 < first && first < log(257), "from " first " to " $2) }' held || fault "validation"
json_get . step <a/metrics.jsonl | uniq -c >order
check '
    { demand($2 == NR && $1 == 1 + ($2 % 20 == 0 || $2 == 150), $1 " lines of step " $2) }
    END { demand(NR == 150, NR " steps") }' order || fault "the order of lines"
check '/validation_loss/ { demand(!/"loss"/ && before ~ /"loss"/, "validation before its step") } { before = $0 }' \
    a/metrics.jsonl || fault "the order of lines"

# The run directory.
[ "$(ls -A a | xargs)" = "checkpoints config.yaml eval events lock metrics.jsonl" ] || fault "$(ls a)"
[ "$(ls -A a/checkpoints | xargs)" = "step-00000100 step-00000150" ] || fault "$(ls a/checkpoints)"
for checkpoint in a/checkpoints/*; do
    [ "$(ls -A "$checkpoint" | xargs)" = "config.yaml model.safetensors optimizer.safetensors state.json vocabulary.json" ] ||
        fault "$checkpoint: $(ls -A "$checkpoint")"
done
last=a/checkpoints/step-00000150
[ "$(json_get . step samples tokens <$last/state.json | xargs)" = "150 600 38400" ] || fault "$(cat $last/state.json)"
# A safetensors file: the length of its header, its header in JSON.
head -c $((8 + $(od -An -tu8 -N8 $last/model.safetensors))) $last/model.safetensors | tail -c +9 >header.json
[ "$(json_get . embed.weight/shape embed.weight/dtype blocks.1.fast.w1/shape <header.json | xargs)" = \
    "[257,32] F32 [32,48]" ] || fault "the header is $(cat header.json)"
events=$(ls a/events)
[[ $events = *tfevents* && $events != *$'\n'* ]] || fault "one file of events: $events"
count() { grep -ao "$1" "a/events/$events" | wc -l; }
[ "$(count brain.Event:2)" = 1 ] || fault "$(count brain.Event:2) heads of events"
[ "$(count validation_loss)" = "$(wc -l <held)" ] || fault "$(count validation_loss) events of validation"
[ "$(count learning_rate)" = 150 ] || fault "$(count learning_rate) events of steps"

# The resolved configuration trains the same run.
"$ttt" train a/config.yaml run.dir=again run.eval_every=0 data.valid= >log 2>&1 || fault "$(cat log)"
same a again

# A finished run says so; a longer one goes on at the end of the schedule.
before=$(contents a)
refused 0 'a has done 150 of 150 steps: nothing is left' --resume a
[ "$(contents a)" = "$before" ] || fault "nothing was left but files changed"
refused 0 'step 152/152' --resume a train.steps=152 train.total_steps=150
refused 0 'a has done 152 of 152 steps: nothing is left' --resume a
cp -r a $'it\'s\na'
refused 0 "^it's.na has done 152 of 152" --resume $'it\'s\na'
command=$(sed -n 's/.*; for more: ttt \(.*\) train.steps=MORE.*/\1/p' log)
eval "\"$ttt\" $command" >log 2>&1 || fault "the advice '$command' fails: $(cat log)"

# Logging: steps 7, 14, ... and the last.
train b run.log_every=7 train.steps=20
[ "$(sed 's/^{"step": \([0-9]*\),.*/\1/' b/metrics.jsonl | xargs)" = "7 14 20" ] ||
    fault "run.log_every=7: $(cut -c1-20 b/metrics.jsonl | xargs)"

# A step takes the samples behind those of the steps before: of weights that stay as they are, two
# steps of one sequence have the losses of one step of two.
still='train.lr=0 train.end_lr=0 train.warmup_steps=0 inner.warmup_steps=0 train.micro_batch=1'
# shellcheck disable=SC2086  # several words
train one $still train.batch=1 train.steps=6
# shellcheck disable=SC2086
train two $still train.batch=2 train.steps=3
losses one | paste -d ' ' - - | paste - <(losses two) | check '
    { demand(near(($1 + $2) / 2, $3, 1e-5) && !near($1, $2, 1e-4), $0) }
    END { demand(NR == 3, NR " steps") }' || fault "samples of steps: $(losses one | xargs) and $(losses two | xargs)"

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
losses e | check '
    NR == 1 { first = $1 }
    END { demand(NR > 1 && first < 2.5 && $1 < first, "from " first " to " $1) }' || fault "fine-tuning: $(losses e | xargs)"
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
refused 2 'a/checkpoints/h: belongs to the run' ./tiny.yaml run.dir=a/checkpoints/h
[ ! -e a/checkpoints/h ] || fault "a run inside of another's checkpoints"

# inner_grad_norm is the mean over sequences and chunks but the last (whose step nobody sees) of the
# norms that reading the same texts finds. A warm-up step has the rate 0, so it keeps the weights.
head -c 64 train.txt >one.txt
tail -c 64 train.txt >two.txt
"$ttt" pack --out both.h5 one.txt two.txt >log
train norms data.train=both.h5 train.batch=2 train.steps=1 train.total_steps=30 inner.warmup_steps=0
for text in one two; do
    for chunks in 1 2 3; do
        head -c $((16 * chunks)) $text.txt >part.txt
        "$ttt" infer norms --prompt-file part.txt --tokens 0 --save-state part.state 2>log || fault "$(cat log)"
        "$ttt" state show part.state --json | tail -n 1 | json_get --numbers . inner_steps last_chunk_norm
    done
done >read
json_get --numbers . inner_grad_norm <norms/metrics.jsonl >trained
check '
    FNR == NR { demand(NF == 2 && $1 == 1 + (NR - 1) % 3 && $2 > 0, $0); mean += $2 / 6; next }
    { demand(near($1, mean, 1e-5 * mean), $1 " in training, " mean " in reading") }
    END { demand(FNR == 1 && NR == 7, NR " lines") }' read trained || fault "$(cat read trained)"
train plain data.train=both.h5 train.steps=1 train.total_steps=30 inner.mode=off inner.suffix=0
grep -q '"inner_grad_norm": 0.0,' plain/metrics.jsonl || fault "$(cat plain/metrics.jsonl)"
echo "test_train: runs, logs, checkpoints and fine-tuning are as they should be"
