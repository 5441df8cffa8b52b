#!/bin/bash
# ttt eval as its user meets it, on runs trained here for a moment: tables, CSV, JSON, and what is
# refused. Arguments: the program, the source directory.
# shellcheck disable=SC2016  # awk has a $ of its own
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

# The CSV: a line for each model and bin, bins at 0, 64, 128, 192, of six windows each, and one for
# whole windows; then the same for each difference.
head -n 1 loss.csv | grep -qx 'model,bin_start,bin_end,mean,standard_error,count,context' || fault "CSV head"
[ "$(sed 1d loss.csv | cut -d, -f1-3,6-7)" = "$(for model in e2e e2e-off swa 'e2e - e2e-off' 'e2e - swa'; do
    for bin in 0,64 64,128 128,192 192,256 0,256; do echo "$model,$bin,6,256"; done; done)" ] ||
    fault "CSV: $(cat loss.csv)"

# JSON, CSV, the training's own validation and arithmetic agree.
tail -n 1 out.txt >all.json
"$ttt" eval runs/e2e --data valid.h5 --windows 2 --json 2>/dev/null | tail -n 1 >valid.json
contexts() { # FILE PATH [FIELD...]: numbers of the one length in a file
    json_get --numbers "contexts/0/$2" "${@:3}" <"$1"
}
[ "$(json_get . tokenizer place <all.json | xargs)" = "byte 256" ] || fault "$(cut -c 1-100 all.json)"
[ "$(json_get 'contexts/*' context <all.json)" = 256 ] || fault "one length is expected"
[ "$(json_get 'contexts/0/models/*' model inner_steps step <all.json | xargs)" = \
    "e2e true 3 e2e-off false 3 swa false 3" ] || fault "models: $(json_get 'contexts/0/models/*' model inner_steps step <all.json)"
[ "$(json_get 'contexts/0/differences/*' model less <all.json | xargs)" = "e2e e2e-off e2e swa" ] || fault "differences"
[ "$(json_get 'contexts/0/models/*/documents/*' name split <all.json | xargs)" = \
    "a validation b test a validation b test a validation b test" ] || fault "documents"
# CSV and JSON are the same numbers, to the last digit.
for part in models differences; do
    contexts all.json "$part/*/positions/*" begin end mean standard_error windows
done | tr '\t' , >json.csv
for part in models differences; do contexts all.json "$part/*" mean standard_error windows; done | tr '\t' , >>json.csv
grep -v ,0,256, loss.csv | sed 1d | cut -d , -f 2-6 >csv.csv
grep ,0,256, loss.csv | cut -d , -f 4-6 >>csv.csv
[ "$(wc -l <json.csv)" = 25 ] && cmp json.csv csv.csv || fault "CSV and JSON differ: $(diff json.csv csv.csv)"
# Equal bins, equally many windows of each document: means of means.
contexts all.json 'models/*' mean bits_per_byte documents/0/mean documents/1/mean positions/0/mean \
    positions/1/mean positions/2/mean positions/3/mean >models
check '
    {
        demand(near(($5 + $6 + $7 + $8) / 4, $1, 1e-6), "bins and mean: " $0)
        demand(near(($3 + $4) / 2, $1, 1e-6), "documents and mean: " $0)
        demand(near($2, $1 / log(2), 1e-9), "bits per byte: " $0)
    }
    # The first bin holds two chunks, and the second had one step.
    NR == 2 { demand(!near($5, first_bin, 1e-9), "no step in the first bin: " $0) }
    { first_bin = $5 }
    END { demand(NR == 3, NR " models") }' models || fault "the models' numbers contradict each other"
contexts all.json 'differences/*' mean positions/1/mean positions/2/mean positions/3/mean | paste <(sed 1d models) - >pairs
check '
    FILENAME == "models" { if (FNR == 1) mean = $1; next }
    { demand(NF == 12 && near(mean - $1, $9, 1e-9), "difference " $9 " of " mean " and " $1) }
    FNR == 1 { for (i = 10; i <= 12; i++) demand(!near($i, 0, 1e-7), "no difference of inner steps in bin " i - 9) }
    END { demand(FNR == 2, FNR " differences") }' models pairs || fault "the differences are none"
contexts valid.json models/0 mean >both
json_get --numbers --has validation_loss . validation_loss <runs/e2e/metrics.jsonl | tail -n 1 >>both
check 'NR == 1 { mean = $1 } END { demand(NR == 2 && near(mean, $1, 1e-5), mean " and " $1) }' both ||
    fault "training validates otherwise"

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
# Of the models alone: bins are the means of their positions.
for table in tokens bins; do grep -v '^[^,]* - \|,0,128,' $table.csv >$table.models; done
check '
    FNR == 1 { next }
    FILENAME == "tokens.models" {
        demand($3 == $2 + 1 && !(($1, $2) in loss), $0)
        loss[$1, $2] = $4
        next
    }
    {
        sum = 0
        for (i = $2; i < $3; i++) {
            demand(($1, i) in loss, "no line of " $1 ", position " i)
            sum += loss[$1, i]
        }
        demand($3 == $2 + 64 && near(sum / 64, $4, 1e-6), sum / 64 " in " $0)
    }
    END { demand(FNR == 1 + 5 * 2, FNR " lines of bins") }' FS=, tokens.models bins.models ||
    fault "positions and bins contradict each other"
[ "$(wc -l <tokens.models)" = $((1 + 5 * 128)) ] || fault "$(wc -l <tokens.models) lines"
{
    json_get 'contexts/0/models/*' model mean <tokens.json
    json_get 'contexts/0/differences/*' mean model less <tokens.json
} >pairs
check '
    NF == 2 { mean[$1] = $2 }
    NF == 3 { demand($2 in mean && $3 in mean && near(mean[$2] - mean[$3], $1, 1e-9), $0) }
    /\tswa\tnaive$/ { neighbours = 1 }
    END { demand(NR == 5 + 6 && neighbours, NR " models and differences") }' pairs || fault "differences: $(cat pairs)"

# Without --data: the shards that the run has kept aside, wherever all runs name the same.
evaluate runs/e2e runs/swa --data test.h5 --windows 3 --csv named.csv
evaluate runs/e2e runs/swa --windows 3 --csv unnamed.csv
says err.txt '^reading data.test: test.h5$'
cmp named.csv unnamed.csv || fault "data.test is read otherwise than --data"
keeping() { # RUN PATHS: runs/swa with another data.test
    cp -r runs/swa "$1"
    sed -i "s/^  test: .*/  test: $2/" "$1/config.yaml"
    ! cmp -s "$1/config.yaml" runs/swa/config.yaml || fault "data.test of $1 is the old one"
}
keeping none '""'
keeping gone gone.h5
keeping learned train.h5
refused 2 'data.test of none is empty; name shards: --data .*data.test=' none
refused 2 "data.test is 'test.h5' in runs/e2e and '' in none; .*--data" runs/e2e none
refused 2 "data.test is 'gone.h5' in gone and 'test.h5' in runs/swa" gone runs/swa runs/e2e
refused 1 'gone/config.yaml: data.test: .*gone.h5.* looked for from' gone
evaluate none gone --data test.h5 --windows 1
evaluate none --text b.txt --sum
evaluate learned --windows 1
says err.txt '^warning: data.test: train.h5 is of the split train'
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
sed 's/vocab: 257/vocab: 200/; s/bos: 256/bos: 100/' runs/swa/config.yaml >foreign.yaml
"$(dirname "$ttt")/tests/write_run" ./foreign.yaml foreign
refused 1 'vocabulary byte of foreign.* has 257 ids and the model 200' foreign "${data[@]}"
cp -r runs/swa other
sed -i 's/mlp: 24/mlp: 25/' other/config.yaml
refused 1 'other/config.yaml says, model.mlp=25 instead of model.mlp=24; to put it back: cp ' other "${data[@]}"

# What cannot be written is refused before anything is read, and named once.
mkdir taken
cp -r runs/swa again
rm -rf again/eval
declare -A word=(['--csv no-folder/x']=no-folder/x ['--png no-folder/x']=no-folder/x
    ['--csv taken']='taken: is a folder' ['--save']=again/eval)
for place in "${!word[@]}"; do
    [ "$place" != --save ] || echo >again/eval
    # shellcheck disable=SC2086  # an option and its value
    refused 1 "${word[$place]}" again "${data[@]}" $place
    ! grep -q windows err.txt || fault "$place is refused late: $(cat err.txt)"
    [ "$(grep -o no-folder/x err.txt | wc -l)" -le 1 ] || fault "a place is named twice: $(cat err.txt)"
done
# Nothing that is read, no part of a run and no other kind of file is written over; what is left of
# the files is seen at once.
weights=$(ls -d runs/swa/checkpoints/step-* | tail -n 1)/model.safetensors
before=$(cat test.h5 runs/swa/config.yaml "$weights" | sha256sum)
ln -s test.h5 link.csv
echo mine >notes.txt
for force in '' --force; do
    # shellcheck disable=SC2086  # an option or none
    {
        refused 2 'test.h5: writing it would destroy test.h5' runs/swa "${data[@]}" --png test.h5 $force
        refused 2 'link.csv: writing it would destroy' runs/swa "${data[@]}" --csv link.csv $force
        refused 2 'config.yaml: belongs to the run' runs/swa "${data[@]}" --csv runs/swa/config.yaml $force
        refused 2 'belongs to the run' runs/e2e "${data[@]}" --csv "$weights" $force
        refused 2 'are one file' runs/swa "${data[@]}" --csv x.csv --png x.csv $force
        refused 2 'are one file' runs/swa runs/swa "${data[@]}" --save $force
    }
done
refused 2 'link.csv: writing it would destroy' runs/swa --windows 3 --csv link.csv --force # of data.test
refused 2 'notes.txt: is there and is not a table' runs/swa "${data[@]}" --csv notes.txt
[ "$(cat notes.txt)" = mine ] || fault "notes.txt was written over"
evaluate runs/swa "${data[@]}" --csv notes.txt --force
says notes.txt '^model,bin_start'
evaluate runs/swa "${data[@]}" --csv notes.txt
[ "$(cat test.h5 runs/swa/config.yaml "$weights" | sha256sum)" = "$before" ] ||
    fault "a file was written over"
# Also where the run trains on meanwhile, and it is a newer checkpoint's numbers that are saved.
cp -r runs/e2e later
mv later/checkpoints/step-00000003 newer
mkdir -p bin later/eval
echo mine >later/eval/step-00000003.json
printf '#!/bin/bash\nmv newer later/checkpoints/step-00000003\n' >bin/gnuplot
chmod +x bin/gnuplot
PATH=$PWD/bin:$PATH refused 2 'step-00000003.json: is there and is not what ttt eval saved' later "${data[@]}" --save --png x.png
[ "$(cat later/eval/step-00000003.json)" = mine ] || fault "what nobody looked at was written over"
# A disk that fills up later loses no number: all are printed before.
code=0
(
    trap '' XFSZ
    ulimit -f 0
    "$ttt" eval runs/swa "${data[@]}" --csv full.csv --json 2>&1
) | cat >out.txt || code=${PIPESTATUS[0]}
[ "$code" = 1 ] && grep -q 'full.csv: cannot be written' out.txt || fault "a full disk gives $code: $(cat out.txt)"
says out.txt '^256 tokens +[0-9.]+ ±'
says out.txt '^\{"tokenizer":"byte",.*\}$'
[ ! -e full.csv ] || fault "a torn CSV"

# A name is one cell of a table whatever is in it, and whole in JSON.
cp b.txt $'odd\nn\tame\033 and more of it.txt'
cp b.txt Läufe.txt
"$ttt" pack --out odd.h5 --split test $'odd\nn\tame\033 and more of it.txt' Läufe.txt >out.txt
says out.txt '^  odd\\nn\\tame\\x1b and more of it {9} +[0-9]+ tokens$'
says out.txt '^  Läufe {35} +[0-9]+ tokens$'
"$ttt" pack --check odd.h5 >out.txt
says out.txt '^  odd\\nn\\tame\\x1b and more of it {9} +[0-9]+ tokens$'
evaluate runs/e2e --data odd.h5 --windows 1 --books --json
says out.txt '^odd\\nn\\tame\\x1b and more of {4}[0-9.]+ '
says out.txt '^Läufe {26}[0-9.]+ '
[ "$(tail -n 1 out.txt | json_get 'contexts/0/models/0/documents/0' name)" = $'odd\nn\tame\033 and more of it' ] ||
    fault "JSON has another name: $(tail -n 1 out.txt)"
echo '{"index": 0, "input": "1 2 3", "outputs": ["4"], "length": 9}' >$'needle\n\n\n\n\n.jsonl'
"$ttt" niah runs/e2e --off --answer-tokens 4 --ruler $'needle\n\n\n\n\n.jsonl' --csv odd.csv >out.txt 2>err.txt ||
    fault "ttt niah: $(cat err.txt)"
says out.txt '^edle(\\n){5}.jsonl +[0-9]+ +1 '
[ "$(sed 1d odd.csv | head -n 1)" = 'e2e-off,"needle' ] || fault "CSV: $(cat odd.csv)"

echo "test_eval: tables, CSV, JSON and refusals are as they should be"
