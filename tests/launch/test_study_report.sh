#!/bin/bash
# ttt report from outside: its numbers are those of ttt eval, what is missing is named, what it
# refuses; and ttt eval --decode, which it shows. Arguments: the program, the source directory.
set -euo pipefail
source=$(realpath "$2")
# shellcheck source=tests/launch/eval_common.sh
. "$source/tests/launch/eval_common.sh" "$1" test_study_report
command -v gnuplot >/dev/null || { echo "no gnuplot here"; exit 77; }

report_refused() { # CODE PATTERN WORDS...
    local expected=$1 pattern=$2 code=0
    shift 2
    "$ttt" report "$@" >out.txt 2>err.txt || code=$?
    [ $code = "$expected" ] || fault "exit code $code instead of $expected: ttt report $*: $(cat err.txt)"
    says err.txt "$pattern"
}

# A study of two windows and two seeds, whose last point judges what all write; one point fails.
{
    echo "base: quickstart"
    echo "dir: study"
    for section in model inner train data run; do
        printf '%s\n' "${small[@]}" train.seed=0 run.eval_every=0 |
            sed -n "s/^$section\.\([a-z_]*\)=\(.*\)/  \1: \2/p" | sort -u -t: -k1,1 | sed "1i$section:"
    done
    echo "axes: {model.window: [16, 32, 1000000]}"
    echo "seeds: [0, 1]"
    echo "leave_out: [{model.window: \"> 500000\", because: too wide}]"
    echo "evaluate: {loss: {windows: 4, context: [128, 256]},"
    echo "  decoding: {decode: 64, prompt-tokens: 64, windows: 3, judge: ./study/window-32_seed-1}}"
} >study.yaml
"$ttt" sweep study.yaml >log.txt 2>&1 || fault "the study: $(cat log.txt)"
"$ttt" report study --out page.html >out.txt 2>err.txt || fault "the report: $(cat err.txt)"

# From the figure to the run's files: a seed's loss in the table, to the last digit.
value() { # FIGURE RUN X: column 8 and 9 of page.csv
    awk -F, -v figure="$1" -v run="$2" -v x="$3" \
        '$2 == figure && $(NF - 5) == run && $(NF - 4) == x { print $(NF - 2), $(NF - 1) }' page.csv
}
for seed in 0 1; do
    run=study/window-32_seed-$seed
    "$ttt" eval $run --windows 4 --context 128,256 --json 2>/dev/null | tail -n 1 >object.json
    mean=$(json_get --numbers "contexts/*/models/*" mean <object.json | sed -n 3p)
    error=$(json_get --numbers "contexts/*/models/*" standard_error <object.json | sed -n 3p)
    [ "$(value window $run 32)" = "$mean $error" ] ||
        fault "seed $seed has $(value window $run 32) in the figure, ttt eval says $mean $error"
    last=$(json_get --numbers "contexts/*/models/*" last/mean <object.json | sed -n 1p)
    [ "$(value context $run 128 | cut -d' ' -f1)" = "$last" ] || fault "the last tokens: not $last"
done

# The error of a difference is paired by window: that of ttt eval with both runs.
"$ttt" report study/window-16_seed-0 study/window-32_seed-0 --out two.html >/dev/null
"$ttt" eval study/window-16_seed-0 study/window-32_seed-0 --windows 4 --context 256 --place 256 \
    --csv pairs.csv >/dev/null 2>&1
paired=$(awk -F, '$1 == "window-16_seed-0 - window-32_seed-0" && $2 == 0 && $3 == 256 { print $5 }' pairs.csv)
drawn=$(awk -F, '$2 == "window" && $5 == "" && $6 == 32 { print $9 }' two.csv)
[ -n "$paired" ] && [ "$drawn" = "$paired" ] || fault "the paired error is $paired, drawn is $drawn"

# The page: whole, small, all by itself; the paper beside it, the commands in it.
[ "$(stat -c %s page.html)" -lt 5000000 ] || fault "the page has $(stat -c %s page.html) bytes"
for words in '^<!doctype html>' '</html>$' 'Loss by the window of attention' 'of another scale: 760M' \
    'ttt eval --save study/window-16_seed-0' 'prefers-color-scheme:dark' 'name=viewport' \
    'Loss by token index' 'by the length of their windows' 'What runs write' 'Training</h3>'; do
    says page.html "$words"
done
grep -oE "(src|href)=['\"]?[a-z]+:" page.html && fault "the page needs the network"
[ "$(grep -oE "\bid=['\"][^'\"]+" page.html | sort | uniq -d)" = "" ] || fault "a name is there twice"
says page.csv '^study,window,paper,SWA,,1024,'

# Lengths of training: a law through two points, whose exponent the CSV's means give.
sed 's/dir: study/dir: lengths/; s/^axes: .*/axes: {train.steps: [2, 4], train.warmup_steps: [0]}/
    /^seeds\|^leave_out/d; s/context: \[128, 256\]},/context: 128}}/; /^  decoding/d' study.yaml >lengths.yaml
"$ttt" sweep lengths.yaml >log.txt 2>&1 || fault "the lengths: $(cat log.txt)"
"$ttt" report lengths --out lengths.html >/dev/null
says lengths.html 'Loss by the tokens of training'
awk -F, '$2 == "tokens" && $3 == "" && $5 == "" && $9 != "" { print $6, $8 }' lengths.csv >points
[ "$(awk '{ print $1 }' points | tr '\n' ' ')" = "1024 2048 " ] || fault "tokens: $(cat points)"
law=$(awk 'NR == 1 { y = $2 } NR == 2 { printf "x^-%.4f", log(y / $2) / log(2) }' points)
grep -qF -- "$law" lengths.html || fault "the law is not $law"

# What is missing or half-finished is named.
rm -r study/window-32_seed-1
rm -r study/window-32_seed-0/checkpoints/step-00000003
sed -i '/"step": *3/d' study/window-32_seed-0/metrics.jsonl
mv study/window-16_seed-1/eval away
"$ttt" report study --out page.html >/dev/null 2>&1
says page.html 'window-32_seed-1: missing: not begun'
says page.html 'window-32_seed-0: half-finished: step 2 of 3'
says page.html 'window-16_seed-1: not measured'
mv away study/window-16_seed-1/eval

# Runs of another vocabulary, measured on other windows, no runs, no place, no gnuplot.
cp -r study/window-16_seed-1 other
sed -i 's/"tokenizer": "byte"/"tokenizer": "strange"/' other/eval/step-*.json
report_refused 2 'study/window-16_seed-0 has the vocabulary byte and other has strange' \
    study/window-16_seed-0 other --out x.html
sed -i 's/"strange"/"byte"/; s/"windows_per_document": 4/"windows_per_document": 5/' other/eval/step-*.json
"$ttt" report study/window-16_seed-0 other --out page.html >/dev/null
says page.html 'other: measured on other windows than window-16_seed-0'
mkdir empty
report_refused 2 'empty is neither a study nor a run' empty --out x.html
report_refused 2 'where to' study
report_refused 2 'study.yaml: is there and is not a page' study --out study.yaml
report_refused 1 'x.html' study --out nowhere/x.html
mkdir bin
printf '#!/bin/sh\nexit 1\n' >bin/gnuplot
chmod +x bin/gnuplot
PATH=$PWD/bin:$PATH report_refused 1 'gnuplot has no SVG' study --out x.html
[ ! -e x.html ] || fault "a refused report left a file"

# Decoding: the judge's losses of what was read are those of reading it; refusals.
"$ttt" eval study/window-16_seed-0 --decode 32 --judge study/window-16_seed-1 --prompt-tokens 128 \
    --windows 2 --json >out.txt 2>/dev/null || fault "decoding"
"$ttt" eval study/window-16_seed-0 --decode 32 --judge study/window-16_seed-1 --prompt-tokens 128 \
    --windows 2 --json >again.txt 2>/dev/null
cmp out.txt again.txt || fault "decoding twice differs"
tail -n 1 out.txt | json_get --numbers "positions/*" windows >counts
[ "$(sort -u counts)" = 2 ] || fault "windows of positions: $(cat counts)"
# A bin begins where the prompt ends: what was written is the last one.
tail -n 1 out.txt | json_get --numbers "positions/*" begin mean | tail -n 1 >last
tail -n 1 out.txt | json_get --numbers . written_mean | paste last - >both
check '{ demand($1 == 128 && near($2, $3, 1e-12), "from " $1 " on " $2 ", written " $3) }' both
read_mean=$(tail -n 1 out.txt | json_get --numbers . read_mean)
"$ttt" eval study/window-16_seed-1 --windows 2 --context 128 --json 2>/dev/null | tail -n 1 |
    json_get --numbers "contexts/*/models/*" mean | sed -n 1p >whole
echo "$read_mean $(cat whole)" >pair
check '{ demand(near($1, $2, 0.05), "the judge reads " $1 ", ttt eval " $2) }' pair
echo mine >study/window-16_seed-0/eval/decoding.json
refused 2 'decoding.json: is there and is not' study/window-16_seed-0 --decode 4 --judge other --save
rm study/window-16_seed-0/eval/decoding.json
refused 2 'go together' study/window-16_seed-0 --decode 32
refused 2 'go with --decode' study/window-16_seed-0 --temperature 0.5
refused 2 'is of one run' study/window-16_seed-0 study/window-16_seed-1 --decode 32 --judge other
refused 2 'neither a run' study/window-16_seed-0 --decode 4 --judge nowhere
