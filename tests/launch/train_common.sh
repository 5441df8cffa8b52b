# What the tests of ttt train share: a scratch directory with tiny shards and a tiny configuration,
# and how runs are compared. Sourced with the program and the name of the test.
ttt=$(realpath "$1")
test=$2
# shellcheck source=tests/launch/numbers.sh
. "$(dirname "${BASH_SOURCE[0]}")/numbers.sh" "$1"
# shellcheck source=tests/launch/waiting.sh
. "$(dirname "${BASH_SOURCE[0]}")/waiting.sh"
folder=$(mktemp -d)
cd "$folder"
export OMP_WAIT_POLICY=passive # several tests may run at once
export TTT_BRIEF_PEAK=1 # no test asks how fast the machine is
unset OMP_NUM_THREADS

# Whatever ends the test, no child stays and nothing is left mounted.
cleanup() {
    local pid
    for pid in $(jobs -p); do kill -9 "$pid" 2>/dev/null || true; done
    if mountpoint -q "$folder/small" 2>/dev/null; then umount "$folder/small"; fi
    rm -rf "$folder"
}
trap cleanup EXIT

fault() {
    echo "$test: $*" >&2
    exit 1
}

says() { # the file $1 has a line that matches $2
    grep -qE -- "$2" "$1" || fault "no line like '$2' in $1: $(tail -n 5 "$1")"
}

# train RUN WORDS...: a run of the tiny configuration to its end; what it says is left in log.
train() {
    "$ttt" train ./tiny.yaml "run.dir=$1" "${@:2}" >log 2>&1 || fault "train $*: $(cat log)"
}

# refused CODE PATTERN WORDS...: ttt train WORDS ends with that code and says the pattern.
refused() {
    local expected=$1 pattern=$2 code=0
    shift 2
    "$ttt" train "$@" >log 2>&1 || code=$?
    [ $code = "$expected" ] || fault "exit code $code instead of $expected: ttt train $*: $(cat log)"
    grep -qE -- "$pattern" log || fault "ttt train $*: no '$pattern' in: $(cat log)"
}

# The newest checkpoint of a run.
newest() {
    find "$1/checkpoints" -maxdepth 1 -ignore_readdir_race -name 'step-????????' | sort | tail -n 1
}

flip() { # one bit of the byte $2 of the file $1
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059  # the format is the byte
    printf "\\x$(printf %x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

contents() { # checksums of a run's files, but for the lock
    find "$1" -type f ! -name lock -exec cksum {} + | sort -k 3
}

# same RUN OTHER: their newest checkpoints are of one step and have the same tensors, bit for bit.
same() {
    local a b file
    a=$(newest "$1")
    b=$(newest "$2")
    [ -n "$a" ] && [ "$(basename "$a")" = "$(basename "$b")" ] ||
        fault "the newest checkpoints are '$a' and '$b'"
    for file in model optimizer; do
        cmp "$a/$file.safetensors" "$b/$file.safetensors" || fault "$1 and $2 differ in $file"
    done
}

# same_metrics RUN OTHER: metrics.jsonl are equal but for times.
same_metrics() {
    local run
    for run in "$1" "$2"; do
        json_get --without seconds,data_seconds,tokens_per_second,peak_fraction . \
            <"$run/metrics.jsonl" >"metrics.${run//\//-}" || fault "the metrics of $run"
    done
    cmp "metrics.${1//\//-}" "metrics.${2//\//-}" || fault "$1 and $2 differ in their metrics"
}

# losses RUN: the losses of its steps, one a line.
losses() {
    json_get --numbers --has loss . loss <"$1/metrics.jsonl"
}

seq -s ' ' 1 4000 >train.txt
seq -s ' ' 1001 3 3400 >valid.txt
"$ttt" pack --out train.h5 train.txt >log
"$ttt" pack --out valid.h5 --split validation valid.txt >log
# Sanitized, half of the sequences do the same in a step, which takes ten times as long.
batch=4 micro=2
! grep -q __asan_init "$ttt" || batch=2 micro=1
cat >tiny.yaml <<END
model: {vocab: 257, bos: 256, blocks: 2, dim: 32, heads: 2, mlp: 48, window: 32}
inner: {mode: e2e, suffix: 1, chunk: 16, lr: 0.5, warmup_steps: 5}
train:
  {context: 64, batch: $batch, micro_batch: $micro, steps: 30, warmup_steps: 5, lr: 1e-2, end_lr: 1e-3, threads: 1, memory_limit: 1GB}
data: {train: train.h5}
run: {save_every: 5}
END

# The run `whole` of tiny.yaml learns; `half`, gone on with from its middle, has the same bits.
learns_and_goes_on() {
    train whole
    losses whole | check '{ loss[NR] = $1 } END { demand(NR == 30 && loss[30] < 0.7 * loss[1], loss[30] " after " loss[1]) }' ||
        fault "it learns nothing"
    train half train.steps=15 train.total_steps=30
    refused 0 '.' --resume half train.steps=30 train.total_steps=30
    same whole half
}

# infer OUT WORDS...: ttt infer whole WORDS to that file.
infer() {
    "$ttt" infer whole "${@:2}" >"$1" 2>log || fault "infer ${*:2}: $(cat log)"
}
