#!/bin/bash
# ttt train when the world is not as it should be: full disks, damaged files, options that cannot
# be, values that are not finite. It says what and where, harms no checkpoint, and its advice works.
# Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_train_faults

advice() { # runs the command that the file log recommends
    local command
    command=$(sed -n 's/.*ttt train --resume \([^ ;]*\).*/\1/p' log | tail -n 1)
    [ -n "$command" ] || fault "no advice in: $(cat log)"
    "$ttt" train --resume "$command" >log 2>&1 || fault "the advice fails: $(cat log)"
}

train whole
part=(train.steps=10 train.total_steps=30)
rest=(train.steps=30 train.total_steps=30)
train ten "${part[@]}"

# What plan says that a checkpoint takes, and how many there are, is so.
"$ttt" plan ./tiny.yaml --json >log
planned=$(tail -n 1 log | json_get --numbers disk checkpoint_bytes)
written=$(cat "$(newest whole)"/* | wc -c)
[ "$planned" -ge "$written" ] && [ "$planned" -le $((written + 24576)) ] ||
    fault "a checkpoint of $written bytes is planned as $planned"
[ "$(tail -n 1 log | json_get --numbers disk checkpoints)" = $(($(ls whole/checkpoints | wc -l) + 1)) ] ||
    fault "of $(ls whole/checkpoints | xargs) and one more is planned: $(tail -n 1 log)"

# ---- a full disk: the second tensor file of step 15 does not fit any more ----
cp -r ten full
code=0
(ulimit -f 200 && exec "$ttt" train --resume full "${rest[@]}") >log 2>&1 || code=$?
[ $code = 1 ] || fault "full disk: exit code $code: $(cat log)"
says log 'checkpoint of step 15 not saved: .*full/checkpoints/step-00000015.tmp/optimizer.safetensors.*(File too large|too big)'
says log 'earlier checkpoints are unharmed.*to go on from step 10: ttt train --resume full$'
[ "$(ls full/checkpoints | xargs)" = "step-00000005 step-00000010" ] || fault "$(ls full/checkpoints)"
advice
same whole full
same_metrics whole full

# Not even the configuration fits; then nothing stands in the way of the next try.
code=0
(ulimit -f 1 && exec "$ttt" train ./tiny.yaml run.dir=tight) >log 2>&1 || code=$?
[ $code = 1 ] || fault "no room for config.yaml: exit code $code: $(cat log)"
says log 'tight/config.yaml'
train tight
same whole tight

# A line of metrics that has no room costs no step: the checkpoint does have room, and keeps the line.
cp -r ten heavy
size=$(stat -c %s heavy/metrics.jsonl)
{ head -n 9 ten/metrics.jsonl && printf '%s%*s\n' "$(tail -n 1 ten/metrics.jsonl)" $((300 * 1024 - 900 - size)) ''; } >heavy/metrics.jsonl
code=0
(ulimit -f 300 && exec "$ttt" train --resume heavy "${rest[@]}") >log 2>&1 || code=$?
[ $code = 1 ] || fault "no room for metrics: exit code $code: $(cat log)"
says log 'cannot write heavy/metrics.jsonl: File too large; make room.*; to go on from step 13: ttt train --resume heavy$'
[ "$(newest heavy)" = heavy/checkpoints/step-00000013 ] || fault "$(ls heavy/checkpoints)"
advice
same whole heavy
same_metrics whole heavy

mkdir small
if mount -t tmpfs -o size=1000k none small 2>/dev/null; then
    truncate -s 700k small/file
    fallocate -l 700k small/file
    refused 1 'No space left on device for a checkpoint: one takes 393 kB, and 30. kB are free where small/run is; make room or choose' \
        ./tiny.yaml run.dir=small/run
    [ ! -e small/run ] || fault "a run that was refused left a directory"
    rm small/file
    refused 1 'checkpoint of step 15 not saved: .*step-00000015.tmp.*No space left' ./tiny.yaml run.dir=small/run
    says log '^warning: the run may not fit on its disk: 3 more checkpoints of 393 kB at a time, 1.20 MB with its metrics, and 1.02 MB are free'
    says log 'make room'
    [ "$(ls small/run/checkpoints | xargs)" = "step-00000005 step-00000010" ] || fault "$(ls small/run/checkpoints)"
    refused 1 'No space left' --resume small/run
    mount -o remount,size=10m small
    advice
    same whole small/run
    same_metrics whole small/run
    umount small
    # Events that have no room: as metrics.
    mount -t tmpfs -o size=4k none small
    cp -r ten mute
    rm -r mute/events
    ln -s ../small mute/events
    refused 1 'cannot write mute/events/events.*: No space left.*; to go on from step 2[0-9]: ttt train --resume mute$' --resume mute "${rest[@]}"
    mount -o remount,size=1m small
    advice
    same whole mute
    same_metrics whole mute
    umount small
else
    echo "no mount here: the small disk is left out"
fi

# ---- data that cannot be read any more: batches are read ahead, and the course stays ----
cp train.h5 shard.h5
long=(data.train=shard.h5 train.total_steps=100000)
"$ttt" train ./tiny.yaml run.dir=cut "${long[@]}" train.steps=100000 >log 2>&1 &
pid=$!
await "a checkpoint" test -e cut/checkpoints/step-00000005
truncate -s 2000 shard.h5
code=0
wait $pid || code=$?
[ $code = 1 ] || fault "data that is cut off: exit code $code: $(cat log)"
says log 'shard.h5: was truncated while in use; to go on from step [0-9]*: ttt train --resume cut$'
cp train.h5 shard.h5
reached=$((10#$(newest cut | tail -c 9) + 3))
"$ttt" train --resume cut train.steps=$reached >log 2>&1 || fault "$(cat log)"
train uncut "${long[@]}" train.steps=$reached
same uncut cut
same_metrics uncut cut

# ---- damaged checkpoints: refused by name, and the advice goes on from the one before ----
for damage in torn flipped state gone; do
    cp -r ten $damage
    last=$damage/checkpoints/step-00000010
    case $damage in
        torn) truncate -s -100 $last/optimizer.safetensors ;;
        flipped) flip $last/model.safetensors 70000 ;;
        state) flip $last/state.json 20 ;;
        gone) rm $last/model.safetensors ;;
    esac
    refused 1 "newest checkpoint $last is damaged: .*of step 5, to go on from there: ttt train --resume $damage/checkpoints/step-00000005" \
        --resume $damage "${rest[@]}"
    advice
    [ -d $damage/checkpoints/superseded-step-00000010 ] || fault "$(ls $damage/checkpoints)"
    refused 0 'step 30/30' --resume $damage "${rest[@]}"
    same whole $damage
    same_metrics whole $damage
done
refused 1 'train.init_from=flip2: .*model.safetensors was changed since it was written' \
    ./tiny.yaml run.dir=new train.init_from="$(cp -r ten flip2 && flip flip2/checkpoints/step-00000010/model.safetensors 9000 && rm -r flip2/checkpoints/step-00000005 && echo flip2)"

# Without any, it begins again and says so; what is there is gone on from by name.
cp -r ten bare
rm -r bare/checkpoints
refused 0 '^bare has no checkpoint: beginning at step 0$' --resume bare "${rest[@]}"
same whole bare
same_metrics whole bare
cp -r ten named
refused 0 '^going on from named/checkpoints/step-00000010$' --resume named "${rest[@]}"
refused 2 'checkpoints/step-00000010 is neither .*: there is nothing of that name' --resume named/checkpoints/step-00000010

# What cannot be written is known before steps are taken that cannot be saved. (Root may write.)
if setpriv --reuid=65534 --regid=65534 --clear-groups test ! -w / 2>/dev/null && [ "$(id -u)" = 0 ]; then
    cp -r ten closed
    chmod 755 "$folder"
    chown -R 65534 closed
    chmod a-w closed/checkpoints
    code=0
    setpriv --reuid=65534 --regid=65534 --clear-groups "$ttt" train --resume closed "${rest[@]}" >log 2>&1 || code=$?
    [ $code = 1 ] || fault "closed checkpoints: exit code $code: $(cat log)"
    says log 'cannot write in closed/checkpoints: Permission denied'
fi

# ---- damaged and foreign data, before anything is created ----
head -c 9000 train.h5 >torn.h5
cp train.h5 flipped.h5
flip flipped.h5 "$(($(stat -c %s flipped.h5) - 3000))"
echo 'no shard' >foreign.h5
for shard in torn foreign; do
    refused 1 "data.train: .*$shard.h5" ./tiny.yaml run.dir=new data.train=$shard.h5
    refused 1 "data.valid: .*$shard.h5" ./tiny.yaml run.dir=new data.valid=$shard.h5 run.eval_every=5
done
# Checksums are compared as tokens are read.
refused 1 'flipped.h5: tokens .* are damaged \(checksum\); flipped1 has no checkpoint yet' \
    ./tiny.yaml run.dir=flipped1 data.train=flipped.h5
refused 1 'validation after outer step 6: flipped.h5: .*checksum.*to go on from step 6' \
    ./tiny.yaml run.dir=flipped2 data.valid=flipped.h5 run.eval_every=6
refused 0 'step 30/30' --resume flipped2 data.valid=
same whole flipped2
refused 1 "data.train: .*missing.h5.*; paths that do not begin with / are looked for from $(pwd -P)" \
    ./tiny.yaml run.dir=new data.train=missing.h5
refused 2 "data.train: no file matches missing.*.h5; paths .* from $(pwd -P)" ./tiny.yaml run.dir=new 'data.train=missing*.h5'
refused 1 'data.train: it is empty; name shards' ./tiny.yaml run.dir=new data.train=
refused 1 'data.valid: .*longest' ./tiny.yaml run.dir=new data.valid=valid.h5 run.eval_every=5 train.context=16384 data.across_documents=true
refused 1 'data.train: .*vocabulary of 257 ids and the model one of 200' ./tiny.yaml run.dir=new model.vocab=200 model.bos=100
refused 1 'data.train: .*token 256, but model.bos is 7' ./tiny.yaml run.dir=new model.bos=7
# What is likely a mistake is said, and done.
one=(train.steps=1 train.total_steps=30)
refused 0 '^warning: data.train: valid.h5 is of the split validation; ' ./tiny.yaml run.dir=leak data.train=train.h5,valid.h5 "${one[@]}"
refused 0 '^warning: data.valid: train.h5 is of the split train; ' \
    ./tiny.yaml run.dir=seen data.valid=train.h5 run.eval_every=1 run.eval_windows=1 "${one[@]}"
says log '^step 1  validation loss [0-9.]+$' # a single window has no standard error
refused 0 '^warning: data.valid is not evaluated: run.eval_every is 0$' ./tiny.yaml run.dir=never data.valid=valid.h5 "${one[@]}"
refused 0 '^warning: run.eval_every=3 evaluates nothing: data.valid is empty$' ./tiny.yaml run.dir=nothing run.eval_every=3 "${one[@]}"
train quiet data.valid=valid.h5 run.eval_every=1 run.eval_windows=2 "${one[@]}"
if grep warning log; then fault 'a warning without a reason'; fi
# A run that goes on reads the same data, wherever it lies now.
cp -r ten moved
cp train.h5 elsewhere.h5
refused 0 'step 30/30' --resume moved "${rest[@]}" data.train=elsewhere.h5
same whole moved
refused 1 'trained on other data than data.train=valid.h5; name the shards' --resume ten "${rest[@]}" data.train=valid.h5

# ---- more shards than files may be open: packed, trained on, evaluated and checked all the same ----
for k in $(seq 1 40); do echo "{\"text\": \"$(seq -s ' ' "$k" $((k + 29)))\"}"; done >many.jsonl
mkdir many
if ! (
    ulimit -n 24
    "$ttt" pack --out many/m.h5 --shard-tokens 60 many.jsonl &&
        "$ttt" train ./tiny.yaml run.dir=crowd 'data.train=many/m-*.h5' data.valid=many/m-index.json run.eval_every=1 \
            train.context=16 "${one[@]}" && "$ttt" eval crowd --data 'many/m-*.h5' &&
        "$ttt" pack --check many/m-*.h5
) >log 2>&1; then fault "40 shards of 24 files: $(cat log)"; fi
[ "$(grep -c ': sound; ' log)" = 40 ] || fault "of 40 shards are sound: $(cat log)"

# ---- next to no memory is said, and ends no run by a signal; a sanitizer needs more by itself ----
for limit in 8500 9000 9500 10000 12000; do
    ! grep -q __asan_init "$ttt" || break
    code=0
    rm -rf poor
    (ulimit -d $limit && exec "$ttt" train ./tiny.yaml run.dir=poor train.memory_limit=0) >log 2>&1 || code=$?
    [ $code -lt 128 ] || fault "ulimit -d $limit: exit code $code: $(cat log)"
done

# ---- options ----
refused 1 'train.steps' ./tiny.yaml run.dir=new train.steps=0
refused 1 'did you mean train.steps' ./tiny.yaml run.dir=new train.stepps=3
refused 1 'data.pattern says how to read data.tokenizer, which is empty' ./tiny.yaml run.dir=new data.pattern=gpt2
refused 1 'data.begin says how to read data.tokenizer' ./tiny.yaml run.dir=new data.begin=x train.init_from=ten
refused 1 'expected F64 .*take the precision that the checkpoint was made with' ./tiny.yaml run.dir=new \
    train.init_from=ten train.precision=f64
refused 1 'train.txt is a file where a directory is needed' ./tiny.yaml run.dir=train.txt
# As large as the options allow: refused for the memory that it takes.
for large in model.vocab=2147483647 'model.heads=65536 model.head_size=65536' 'model.mlp=10000000 model.dim=1000000' \
    'train.batch=1000000 train.context=16384'; do
    # shellcheck disable=SC2086  # several words
    refused 1 'training needs at least .*B, and train.memory_limit is' ./tiny.yaml run.dir=new $large
done
before=$(contents ten)
for change in train.lr=1 train.micro_batch=$((3 - micro)) model.dim=48 train.seed=1 data.across_documents=true \
    inner.chunk=32 train.precision=bf16 train.init_from=whole run.dir=other; do
    refused 1 "${change%=*}=.* cannot be given to a run that goes on" --resume ten "$change"
done
refused 1 "make the schedule 31 steps long, but this run's is 30; give train.total_steps=30 too" --resume ten train.steps=31 train.total_steps=0
[ "$(contents ten)" = "$before" ] || fault "a refusal changed the run"
refused 2 'nowhere is neither a run' --resume nowhere
refused 2 'train.txt is neither a run' --resume train.txt
refused 1 'sets nothing; write section.field=value' --resume ten quickstart
mkdir full_of_things
touch full_of_things/thesis.tex
refused 2 'full_of_things is not empty \(it holds thesis.tex\)' ./tiny.yaml run.dir=full_of_things
[ "$(ls full_of_things)" = thesis.tex ] || fault "a directory that was refused was changed"

# config.yaml torn, malformed, edited.
for damage in torn malformed edited; do
    cp -r ten config-$damage
    file=config-$damage/config.yaml
    case $damage in
        torn) truncate -s 300 $file ;;
        malformed) echo '  - : {' >>$file ;;
        edited) sed -i 's/lr: 0.01$/lr: 0.02/' $file ;;
    esac
    cmp -s $file ten/config.yaml && fault "config.yaml was not damaged"
    refused 1 "config-$damage/config.yaml" --resume config-$damage
done
says log 'trained with other options'

# ---- memory: refused before a directory is made, and the bytes it asks for are enough ----
valid=(data.valid=valid.h5 run.eval_every=10)
refused 1 'validation alone needs' ./tiny.yaml run.dir=new train.memory_limit=10kB "${valid[@]}"
refused 1 'validation takes .* bytes in all would be enough' ./tiny.yaml run.dir=new train.memory_limit=9MB "${valid[@]}"
enough=$(sed -n 's/.*with it, \([0-9]*\) bytes in all.*/\1/p' log)
refused 1 'training needs at least .*; what would be enough: train.memory_limit of [0-9]+ bytes' ./tiny.yaml run.dir=new train.memory_limit=3MB
refused 1 'validation takes' ./tiny.yaml run.dir=new "${part[@]}" "${valid[@]}" train.memory_limit=$((enough - 1000000))
[ ! -e new ] || fault "a run that was refused left a directory"
train enough "${part[@]}" "${valid[@]}" train.memory_limit=$((enough + enough / 50))

# ---- values that are not finite ----
refused 1 'outer step 1, sequence 0: .*\(f32\[.*\) in [a-z]+\.block\.[01].* not finite; hot has no checkpoint yet' ./tiny.yaml \
    run.dir=hot model.init_std=100 model.post_norm=false model.pre_norm=false inner.lr=1e6 inner.clip=1e30 inner.warmup_steps=0
# Weights that an update ruins: the checkpoint right after it must not push out the one before.
refused 1 'outer step [0-9]+, sequence [0-3]: .* in [a-z]+\.block\.[01].* not finite; no step has gone well since the last checkpoint' ./tiny.yaml run.dir=ruined \
    train.warmup_steps=20 train.lr=1000 train.eps=1e-30 train.weight_decay=1000 run.save_every=1 run.keep_last=1
[ "$(ls ruined/checkpoints | wc -l)" = 2 ] || fault "the last good checkpoint is gone: $(ls ruined/checkpoints)"
step=$(sed -n 's/.*outer step \([0-9]*\), seq.*/\1/p' log)
[ "$(newest ruined)" = ruined/checkpoints/step-$(printf %08d $((step - 1))) ] || fault "$(ls ruined/checkpoints): $(cat log)"
[ "$(wc -l <ruined/metrics.jsonl)" = $((step - 1)) ] || fault "the metrics have lines of steps that failed"
refused 1 "outer step $step, .*not finite" --resume ruined
train tamed train.init_from=ruined/checkpoints/step-$(printf %08d $((step - 2))) "${part[@]}"
echo "test_train_faults: refusals name their cause, checkpoints are unharmed, advice works"
