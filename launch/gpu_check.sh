#!/bin/bash
# Builds on a machine with a GPU, NVIDIA's driver and a CUDA toolkit, proves the device there and times
# it, in at most eight minutes, and writes one report. What fails is in it, and the rest goes on; the
# exit code is 0 where all passed. Run again, a build that was cut off goes on.
#   --report FILE  the report (out/gpu_check.txt); its JSON lines go to FILE.jsonl
#   --parts LIST   only these, with commas between: build, device, kernels, golden, quickstart, ranks,
#                  bench, cudnn, sanitizer
#   --figures NAME what ttt plan --device foretells by; by itself, as the GPU is called
#   --plugin PATH  another plug-in than the build's libttt_cuda.so, which is not built then
#   --small        tiny sizes, for a plug-in that only acts as a GPU
# shellcheck disable=SC2317 # parts are called by their names
set -euo pipefail

# The parts and the seconds that each may take, 475 in all; what one leaves is the next one's.
declare -A limit=([build]=150 [device]=10 [kernels]=50 [golden]=40 [quickstart]=45 [ranks]=40 [bench]=75
    [cudnn]=40 [sanitizer]=25)
parts=build,device,kernels,golden,quickstart,ranks,bench,cudnn,sanitizer
report=out/gpu_check.txt
figures='' plugin='' small=no

wrong() {
    echo "gpu_check.sh: $*" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
        --report | --parts | --figures | --plugin)
            [ -n "${2-}" ] || wrong "$1 needs a value"
            value=$2
            [ "$1" = --parts ] || [[ $1 = --figures && ! -f $2 ]] || value=$(realpath -m "$2")
            printf -v "${1#--}" %s "$value"
            shift
            ;;
        --small) small=yes ;;
        -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) wrong "no option '$1'; --help names them" ;;
    esac
    shift
done
for part in ${parts//,/ }; do
    [ -n "${limit[$part]-}" ] || wrong "no part '$part'; there are ${!limit[*]}"
done

cd "$(dirname "$0")/.."
ttt=build/ttt
export TTT_CUDA_PLUGIN=${plugin:-$PWD/build/libttt_cuda.so} TTT_TEST_DEVICE=cuda
[ $small = no ] || export TTT_BRIEF_PEAK=1 # how fast it is, is not asked
export PATH=$PATH:/usr/local/cuda/bin
mkdir -p "$(dirname "$report")"
: >"$report"
: >"$report.jsonl"
scratch=$(mktemp -d)
log=$scratch/log
child=
failed=()
checks=0
trap 'rm -rf "$scratch"' EXIT
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; say "\ngpu_check: stopped\n"; exit 130' INT TERM HUP

# shellcheck disable=SC2059  # a format
say() { printf "$@" | tee -a "$report"; }

json_text() { # as a string of JSON
    printf '"%s"' "$(printf %s "$*" | tr -c '[:print:]' ' ' | sed 's/[\\"]/\\&/g')"
}

# record VERDICT WHAT SECONDS DETAIL: one check of this part.
record() {
    say '  %-8s %-52s %4d s  %s\n' "$1" "$2" "$3" "$4"
    printf '{"part":%s,"check":%s,"verdict":%s,"seconds":%d,"detail":%s}\n' "$(json_text "$part")" \
        "$(json_text "$2")" "$(json_text "$1")" "$3" "$(json_text "$4")" >>"$report.jsonl"
    checks=$((checks + 1))
    [ "$1" != FAILED ] || failed+=("$part: $2")
}

# attempt WHAT COMMAND...: a check, in what is left of the part's time; or in half of it, where another
# check of the part waits for nothing that this one does (halves=yes), so that one that hangs leaves
# time for the next. What the command prints is in $log, its last lines in the report where it fails; a
# line "detail: TEXT" of it always is.
attempt() {
    local what=$1 start=$SECONDS code=0 left=$((deadline - SECONDS)) why
    shift
    [ "${halves-}" != yes ] || left=$(((left + 1) / 2))
    if [ "$left" -lt 1 ]; then
        record FAILED "$what" 0 "no time is left of this part's"
        return 1
    fi
    # In the background, so that Ctrl-C is heard.
    timeout -k 2 "$left" "$@" >"$log" 2>&1 </dev/null &
    child=$!
    wait $child || code=$?
    child=
    why=$(sed -n 's/^detail: //p' "$log" | tail -n 1)
    case $code in
        0) record passed "$what" $((SECONDS - start)) "$why"; return ;;
        124 | 137)
            why="not done in the $left s that were left"
            [ $((SECONDS - start)) -ge "$left" ] || why="ended by a signal, of the system where memory ran out"
            ;;
        *) why="exit code $code${why:+: $why}" ;;
    esac
    record FAILED "$what" $((SECONDS - start)) "$why"
    tail -n 12 "$log" | cut -c 1-200 | sed 's/^/           | /' | tee -a "$report"
    return 1
}

# The programs whose CTest entries have a form on the device CUDA. They are read where CTest has them:
# it would overwrite its log if it were asked.
tests_of() { # kernels | models
    local form=_cuda_0
    [ "$1" = kernels ] || form=_cuda
    [ ! -e build/tests/CTestTestfile.cmake ] ||
        sed -nE "s/^add_test\\(\\W*(test_\\w+)$form\\W.*/\\1/p" build/tests/CTestTestfile.cmake
}

part_build() {
    local cuda=(-DTTT_CUDA=ON) targets=(ttt json_get ttt_cuda) own
    # For this GPU alone, which takes a fifth of the time.
    own=$(timeout 10 nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sed -n '1s/[^0-9]//gp') || true
    [ -z "$own" ] || cuda+=("-DTTT_CUDA_ARCHITECTURES=$own")
    [ -z "$plugin" ] || { cuda=(); targets=(ttt json_get); }
    attempt "packages" bash launch/install.sh || true
    attempt "${targets[*]}" bash launch/build.sh build -DTTT_TESTS=ON ${cuda[@]+"${cuda[@]}"} -- \
        "${targets[@]}" || return 0
    # shellcheck disable=SC2046  # words
    attempt "tests" bash launch/build.sh build -- $(tests_of kernels) $(tests_of models) || true
}

# The GPU's name, and the figures to foretell by.
part_device() {
    local gpu by
    attempt "the GPU is opened" $ttt plan bench-small train.device=cuda train.memory_limit=0 || return 0
    gpu=$(sed -n 's/^cuda is //p' "$log")
    if [ -z "$figures" ]; then
        case ${gpu,,} in
            *h200*) figures=h200 ;;
            *h100*) figures=h100 ;;
            *b200*) figures=b200 ;;
            *a100*40gb*) figures=a100-40 ;;
            *a100*80gb*) figures=a100-80 ;;
        esac
    fi
    by="no figures of it are known, so nothing is foretold: --figures"
    [ -z "$figures" ] || by="foretold by the figures of $figures"
    record passed "it is $gpu" 0 "$by"
    if command -v nvidia-smi >/dev/null; then
        attempt "driver" bash -o pipefail -c 'nvidia-smi --format=csv,noheader \
            --query-gpu=name,compute_cap,memory.total,driver_version | sed "s/^/detail: /"' || true
    fi
}

part_kernels() {
    local name names halves=yes
    names=$(tests_of kernels)
    [ $small = no ] || names=$(grep -xE 'test_device_(move|stream)' <<<"$names" || true)
    [ -n "$names" ] || record FAILED "CTest's entries" 0 "there is none for the device"
    for name in $names; do attempt "$name" "build/tests/$name" || true; done
}

part_golden() {
    if [ $small = yes ]; then
        mkdir "$scratch/golden"
        cp tests/golden/{swa,variant-grouped}.safetensors "$scratch/golden/"
        attempt "test_golden, two files" build/tests/test_golden "$scratch/golden" || true
        return
    fi
    local name names halves=yes
    names=$(tests_of models)
    [ -n "$names" ] || record FAILED "CTest's entries" 0 "there is none for the device"
    for name in $names; do attempt "$name" "build/tests/$name" || true; done
}

# pack_texts: the project's own source, as what the quick start trains on.
pack_texts() {
    [ ! -e "$scratch/valid.h5" ] || return 0
    cat kernels/*.[ch] >"$scratch/train.txt"
    cat autodiff/*.[ch] >"$scratch/valid.txt"
    attempt "texts" $ttt pack --out "$scratch/train.h5" "$scratch/train.txt" &&
        attempt "texts to validate by" $ttt pack --out "$scratch/valid.h5" --split validation \
            "$scratch/valid.txt"
}

# four_steps PRECISION DEVICE: of the quick start, whose losses go to PRECISION-DEVICE.losses.
four_steps() {
    attempt "4 steps in $1 on $2" $ttt train quickstart "run.dir=$scratch/$1-$2" "${words[@]}" \
        train.precision="$1" train.device="$2" || return 1
    losses "$scratch/$1-$2"
}

# How far losses of the quick start may be apart, of which the devices compute all but the order of sums
# in products alike: 4 standard deviations of n = 115 products one after another (6 of each of 4 blocks,
# 1 of the head, 6 of each of 15 inner steps) of k = 288 summands at most, each off by u = 2^-24. In
# bf16, numbers that are d apart are rounded apart in d / 2^-8 of the cases, and then by 2^-8.
bound_of() { # PRECISION
    awk -v precision="$1" 'BEGIN {
        d = sqrt(288) * 2 ^ -24
        print precision == "f64" ? 1e-10 : 4 * sqrt(115) * (precision == "f32" ? d : sqrt(d * 2 ^ -8)) }'
}

# The words of a few steps of the quick start.
words_of_steps() {
    words=("data.train=$scratch/train.h5" "data.valid=$scratch/valid.h5"
        "data.test=$scratch/valid.h5" train.steps=4 train.total_steps=1000)
    [ $small = no ] || words+=(model.blocks=2 model.dim=32 model.heads=2 model.mlp=48 model.window=32
        inner.chunk=16 train.context=64 train.batch=2)
}

# losses RUN: those of its steps, into RUN.losses; too few of them fail later.
losses() { build/tests/json_get --numbers --has loss . loss <"$1/metrics.jsonl" >"$1.losses" || true; }

# alike WHAT RUN OTHER BOUND: the losses of both.
alike() {
    paste "$2.losses" "$3.losses" >"$scratch/losses"
    attempt "$1" awk -v bound="$4" '
        { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > most) most = d; lines++ }
        NF != 2 || d != d { torn = 1 }
        END {
            printf "detail: %d losses, at most %.1e apart (%s)\n", lines, most, bound
            exit torn || lines != 4 || most > bound
        }' "$scratch/losses" || true
}

# A few steps of the quick start by both devices.
part_quickstart() {
    local precision words
    words_of_steps
    pack_texts || return 0
    for precision in f64 f32 bf16; do
        four_steps $precision cpu && four_steps $precision cuda || continue
        alike "their losses in $precision" "$scratch/$precision-cpu" "$scratch/$precision-cuda" \
            "$(bound_of $precision)"
    done
}

# Two GPUs by NCCL: what ranks do together, and the steps of the part before on either axis.
part_ranks() {
    local gpus words tensor
    timeout 10 $ttt plan bench-small train.device=cuda:1023 >"$log" 2>&1 || true
    gpus=$(sed -n 's/.*there [a-z]* \([0-9]*\) GPU.*/\1/p' "$log")
    if [ $small = no ] && [ "${gpus:-0}" -lt 2 ]; then
        record "left out" "several GPUs" 0 "there is ${gpus:-none}"
        return
    fi
    if ! command -v mpirun >/dev/null || ! grep -q 'MPI_C_FOUND\|MPI_C_LIB_NAMES' build/CMakeCache.txt; then
        record "left out" "several GPUs" 0 "there was no MPI to build with; apt-get install openmpi-bin libopenmpi-dev"
        return
    fi
    attempt "libttt_mpi.so" bash launch/build.sh build -- ttt_mpi test_comm || return 0
    attempt "test_comm of two ranks" bash launch/ranks.sh -n 2 build/tests/test_comm || true
    words_of_steps
    for tensor in 1 2; do
        attempt "4 steps by two ranks, ranks.tensor=$tensor" bash launch/ranks.sh -n 2 $ttt train \
            quickstart "run.dir=$scratch/ranks-$tensor" "${words[@]}" train.precision=f64 \
            train.device=cuda ranks.tensor=$tensor || continue
        losses "$scratch/ranks-$tensor"
        alike "their losses with ranks.tensor=$tensor" "$scratch/f64-cpu" "$scratch/ranks-$tensor" 1e-10
    done
}

# rows FILE: "phase<tab>seconds" from the JSON object in FILE; the step, its tokens/s and what it reaches
# of the products' peak are rows, too.
rows() {
    build/tests/json_get . phase_seconds <"$1" | tr -d '{}"' | tr ',:' '\n\t'
    build/tests/json_get . seconds_per_step <"$1" | sed 's/^/step\t/'
    build/tests/json_get . tokens_per_second <"$1" | sed 's/^/tokens per second\t/'
    build/tests/json_get . peak_fraction <"$1" | sed 's/^/of the peak\t/'
}

# step NAME CONFIG [KEY=VALUE...]: foretells and times a training step on $device (cuda). Leaves NAME.measured and, where
# there are figures, NAME.foretold, each one JSON object.
step() {
    local name=$1 foretold=null measured label=("${@:2}")
    shift
    set -- "$@" ${tiny[@]+"${tiny[@]}"}
    if [ -n "$figures" ]; then
        attempt "foretold: ${label[*]}" $ttt plan "$@" train.device="${device:-cuda}" --device "$figures" \
            --json || return 0
        foretold=$(tail -n 1 "$log")
        if [[ $foretold == *'"fits":false'* ]]; then
            record "left out" "${label[*]}" 0 "it does not fit $figures"
            return
        fi
        echo "$foretold" >"$scratch/$name.foretold"
    fi
    attempt "${label[*]}${device:+ on $device}" $ttt bench step "$@" --device "${device:-cuda}" --steps "$steps" --json || return 0
    measured=$(tail -n 1 "$log")
    echo "$measured" >"$scratch/$name.measured"
    printf '{"part":"bench","words":%s,"measured":%s,"foretold":%s}\n' "$(json_text "$*")" \
        "$measured" "$foretold" >>"$report.jsonl"
    rows "$scratch/$name.measured" >"$scratch/measured"
    : >"$scratch/foretold"
    [ "$foretold" = null ] || rows "$scratch/$name.foretold" >"$scratch/foretold"
    say '           %-18s %12s %12s %10s\n' phase measured foretold ratio
    awk -F '\t' '
        FILENAME == ARGV[1] { foretold[$1] = $2; next }
        $1 in foretold && foretold[$1] > 0 {
            printf "           %-18s %12.4f %12.4f %10.2f\n", $1, $2, foretold[$1], $2 / foretold[$1]
            next
        }
        { printf "           %-18s %12.4f %12s\n", $1, $2, "-" }' \
        "$scratch/foretold" "$scratch/measured" | tee -a "$report"
}

# twins WHAT NAME OTHER: how much longer the first one's step is, measured and foretold.
twins() {
    local kind ratio texts=()
    for kind in measured foretold; do
        [ -s "$scratch/$2.$kind" ] && [ -s "$scratch/$3.$kind" ] || continue
        ratio=$(cat "$scratch/$2.$kind" "$scratch/$3.$kind" |
            build/tests/json_get --numbers . seconds_per_step | paste -s | awk '{ printf "%.2f", $1 / $2 }')
        texts+=("$kind $ratio")
        printf '{"part":"%s","twins":"%s","kind":"%s","ratio":%s}\n' "$part" "$2" $kind "$ratio" \
            >>"$report.jsonl"
    done
    [ ${#texts[@]} = 0 ] || say '           %s: %s\n' "$1" "${texts[*]}"
}

# How steps are timed: how many, and what --small adds to each.
size_of_steps() {
    steps=3 tiny=()
    [ $small = no ] || steps=2 tiny=(model.vocab=260 model.bos=256 model.blocks=2 model.dim=32
        model.heads=2 model.mlp=48 model.window=32 inner.chunk=16 inner.suffix=1 train.context=64
        train.batch=2)
}

part_bench() {
    local steps tiny
    size_of_steps
    step bench-small bench-small train.memory_limit=0
    step bench-small-full bench-small train.memory_limit=0 model.attention=full inner.mode=off
    twins 'bench-small against full attention' bench-small bench-small-full
    step 125m 125m-e2e-8k train.batch=16
    step 125m-full 125m-full-8k train.batch=16
    twins '125m against full attention' 125m 125m-full
    step 760m 760m-e2e-8k train.batch=8
    step 760m-full 760m-full-8k train.batch=8
    twins '760m against full attention' 760m 760m-full
}

# How far losses by our attention and by cuDNN's may be apart. Each rounds what a row gives to a key to
# bf16, in a scale of its own: means over 64 keys are then d = 2^-9 / 8 apart, and of products' operands,
# which have 2^-8, a part is rounded apart, sqrt(d 2^-8) = 2^-10; 4 standard deviations of 4 blocks.
cudnn_bound=7.9e-3

# Attention by cuDNN: the kernel's test, steps beside those of our kernels, and their time where cuDNN
# attends to all rows: in one sequence at a time, which the prefix reads in one piece.
part_cudnn() {
    local words steps tiny device
    words_of_steps
    size_of_steps
    if ! timeout 10 $ttt plan bench-small ${tiny[@]+"${tiny[@]}"} train.device=cuda+cudnn >"$log" 2>&1 &&
        grep -q 'needs cuDNN' "$log"; then
        record "left out" "cuDNN" 0 "it is not there: libcudnn9-cuda-12 or -13, or TTT_CUDNN=PATH"
        return
    fi
    TTT_TEST_DEVICE=cuda+cudnn halves=yes attempt "test_device_attention" build/tests/test_device_attention \
        ${tiny[@]+test_no_past} || true
    pack_texts || return 0
    [ -s "$scratch/bf16-cuda.losses" ] || four_steps bf16 cuda || return 0
    four_steps bf16 cuda+cudnn || return 0
    alike "their losses" "$scratch/bf16-cuda" "$scratch/bf16-cuda+cudnn" $cudnn_bound
    step 125m-ours 125m-full-8k train.batch=4 train.micro_batch=1
    device='cuda+cudnn'
    step 125m-cudnn 125m-full-8k train.batch=4 train.micro_batch=1
    twins "125m by cuDNN's attention against ours" 125m-cudnn 125m-ours
}

part_sanitizer() {
    local tool
    if ! command -v compute-sanitizer >/dev/null; then
        record "left out" "compute-sanitizer" 0 "it is not on PATH"
        return
    fi
    for tool in memcheck racecheck; do
        attempt "$tool of test_device_move" compute-sanitizer --tool $tool --error-exitcode 9 \
            build/tests/test_device_move || true
    done
}

say 'gpu_check of %s on %s, %s\n' "$(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')" \
    "$(uname -n)" "$(date -u '+%Y-%m-%d %H:%M UTC')"
deadline=$SECONDS
for part in ${parts//,/ }; do
    say '%s\n' "$part"
    deadline=$((deadline + limit[$part]))
    "part_$part" || record FAILED "to its end" 0 "a command between the checks failed"
done
if [ ${#failed[@]} = 0 ]; then
    say '\ngpu_check: passed, %d checks in %d s\n' $checks $SECONDS
    exit 0
fi
say '\ngpu_check: FAILED, %d of %d checks in %d s:\n' ${#failed[@]} $checks $SECONDS
say '  %s\n' "${failed[@]}"
exit 1
