#!/bin/bash
# ttt plan --device: what is foretold of GPUs that are not here, and the targets for one of them.
# Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/plan_common.sh
. "$(dirname "$0")/plan_common.sh" "$1" test_plan_device

# refused CODE PART WORDS...: must fail so, saying PART.
refused() {
    local code=$1 part=$2 got=0
    shift 2
    "$ttt" "$@" >out 2>err || got=$?
    [ $got = "$code" ] || fault "$*: exit code $got, not $code"
    grep -qF -- "$part" err || fault "$*: no '$part' in: $(cat err)"
}

# The targets: the largest model, trained by the method on one H200 and beside it with full attention;
# one sequence at a time, which is what is chosen and what need not be looked for here.
"$ttt" plan 3b-full-8k --device h200 train.micro_batch=1 --json >out
full=$(number seconds_per_step)
"$ttt" plan 3b-e2e-8k --device h200 train.micro_batch=1 --json >out
grep -q '"fits":true' out || fault "3b-e2e-8k does not fit an h200"
grep -q "^fits: the device's memory is 141 GB" out || fault "no verdict: $(cat out)"
holds "$(number tokens_per_second) >= 10000" || fault "$(number tokens_per_second) tokens/s, not 10000"
holds "$(number seconds_per_step) <= 1.7 * $full" ||
    fault "$(number seconds_per_step) s, more than 1.7 times $full"
holds "$(number launches_per_token) <= 2.0" || fault "$(number launches_per_token) launches a token"
holds "$(number row_bytes_per_token) <= 50e6" ||
    fault "row programs move $(number row_bytes_per_token) bytes a token, not 50 MB"
holds "$(number tokens_per_second) * $(number seconds_per_step) - 1048576 < 1" ||
    fault "tokens/s and seconds differ"
for word in 'prefix forward' 'suffix backward' 'optimizer' 'Foretold, not measured' '128 x 128'; do
    grep -qF "$word" out || fault "no '$word' in: $(cat out)"
done

# What does not fit is said; less memory keeps less and takes longer.
"$ttt" plan 1b-e2e-8k --device a100-40 train.memory_limit=9e9 train.micro_batch=1 --json >out
grep -q '"fits":false' out || fault "1b-e2e-8k fits 9 GB: $(tail -n 1 out)"
! grep -q tokens_per_second out || fault "a time is foretold of what does not fit"
grep -qE '^parameters +1\.[0-9]+ G: embedding' out || fault "no parameters of what does not fit: $(cat out)"
holds "$(number checkpoint_bytes) > 12e9" || fault "no checkpoint of what does not fit: $(cat out)"
"$ttt" plan 125m-e2e-8k --device h100 --json >out
all=$(number tokens_per_second)
"$ttt" plan 125m-e2e-8k --device h100 train.memory_limit=14e9 train.micro_batch=2 --json >out
holds "$(number tokens_per_second) < $all && $(number kept_fraction) < 1" ||
    fault "with 14 GB $(number tokens_per_second) tokens/s, $all with all memory"

# A machine in a file; half the speed of everything is twice the time.
cat >mine.yaml <<'YAML'
memory: 141e9
f32_flops: 26.1e12
bf16_flops: 385e12
f64_flops: 26.1e12
bandwidth: 1.7e12
processors: 132
launch_seconds: 3e-6
pass_steps: 32
piece_rows: 8192
product_rows: 4096
slice_elements: 268435456
YAML
"$ttt" plan 125m-e2e-8k --device h200 --json >out
fast=$(number seconds_per_step)
"$ttt" plan 125m-e2e-8k --device mine.yaml --json >out
holds "$(number seconds_per_step) > 1.999 * $fast && $(number seconds_per_step) < 2.001 * $fast" ||
    fault "half as fast: $(number seconds_per_step) s, $fast on an h200"
grep -q '"device":"mine.yaml"' out || fault "the file's name is not said"

# What cuDNN takes while it attends to all rows at once: 2 bytes of each pair of them and a head.
"$ttt" plan 125m-e2e-8k --device h200 train.micro_batch=1 --json >out
holds "$(number workspace) < 2 * 12 * 8192 ^ 2" || fault "$(number workspace) bytes of workspace"
"$ttt" plan 125m-e2e-8k --device h200 train.micro_batch=1 train.device=cuda+cudnn --json >out
holds "$(number workspace) > 2 * 12 * 8192 ^ 2" || fault "cuDNN's scratch is not in $(number workspace) bytes"
refused 1 "there is no device 'cuda+cuddn'" plan quickstart --device h200 train.device=cuda+cuddn

# A job of ranks: less memory and less time each, and what they send; the same as printed.
"$ttt" plan 125m-e2e-8k --device h200 --ranks 16 --tensor 2 --network 400Gb --json >out
ranked=$(number seconds_per_step)
holds "$ranked < $fast / 8" || fault "16 ranks compute $ranked s, one $fast s"
grep -q '"ranks":{"data":8,"tensor":2,' out || fault "which ranks there are is not said"
grep -q '^16 ranks: 8 that read other texts x 2 that share them' out || fault "nor printed"
grep -qE '^in graphs +[1-9][0-9]* +[0-9.]+ GB ' out || fault "what graphs send"
grep -qE '^efficiency +[1-9][0-9.]* % of one rank' out || fault "efficiency"
grep -q '^Assumed: 8 ranks a machine' out || fault "what is assumed"
"$ttt" plan 125m-e2e-8k --device h200 --ranks 16 --tensor 2 --network 50GB >bytes
cmp <(grep -A5 '^sent by' out) <(grep -A5 '^sent by' bytes) || fault "400 Gb are not 50 GB"
"$ttt" plan 125m-e2e-8k --device h200 --scaling >out
[ "$(grep -cE '^ +(8|16|32|64|128|256|512|1024) +[0-9]+  ' out)" = 8 ] || fault "the table: $(cat out)"
grep -q 'a batch of [0-9]* sequences is not divided' out || fault "what a batch does not allow"
refused 2 '--ranks, --tensor and --scaling need --device' plan quickstart --ranks 2
refused 2 'ranks.tensor=2 is of a job, which is planned with --device NAME --ranks N' plan quickstart ranks.tensor=2
refused 2 '--ranks 6 cannot be with 4 tensor ranks' plan quickstart --device h200 --ranks 6 --tensor 4
refused 2 '--network fast is no speed; 400Gb' plan quickstart --device h200 --ranks 2 --network fast

refused 1 "there is no device 'h300' to plan for; there are a100-40, a100-80, h100, h200 and b200" \
    plan quickstart --device h300
refused 1 'no/such.yaml: No such file' plan quickstart --device no/such.yaml
sed '/bandwidth/d' mine.yaml >less.yaml
refused 1 'less.yaml: bandwidth is missing' plan quickstart --device less.yaml
sed 's/1.7e12/fast/' mine.yaml >word.yaml
refused 1 "word.yaml:5: bandwidth: 'fast' is not a number above 0" plan quickstart --device word.yaml
sed 's/processors: .*/processors: 0.5/' mine.yaml >half.yaml
refused 1 'half.yaml: processors: there must be one or more' plan quickstart --device half.yaml
echo 'cores: 3' >>mine.yaml
refused 1 'mine.yaml:12: there is no cores; the file must give numbers to memory, f32_flops' \
    plan quickstart --device mine.yaml
echo '[1, 2]' >list.yaml
refused 1 'list.yaml: the file must give numbers to memory' plan quickstart --device list.yaml
echo '{memory: [' >torn.yaml
refused 1 'torn.yaml: this is not YAML' plan quickstart --device torn.yaml

[ $faults = 0 ] || exit 1
echo "test_plan_device: fine"
