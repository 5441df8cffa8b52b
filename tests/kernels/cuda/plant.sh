#!/bin/bash
# Plants bugs in the CUDA kernels, one at a time, and says which go unseen: each barrier and wait taken
# out, and what stands in tests/kernels/cuda/plants.txt. By hand, where kernels have changed:
#   bash tests/kernels/cuda/plant.sh BUILD [PATTERN]     BUILD: a folder built with the tests
# PATTERN: of the bugs, as they are printed. Minutes. Exit code 1: one went unseen.
set -euo pipefail
build=$(realpath "$1")
pattern=${2-.}
cd "$(dirname "$0")/../../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tests/kernels/cuda"
cp -r kernels "$work"
cp -r tests/kernels/cuda/watched "$work/tests/kernels/cuda"

# file|line|from|to; from empty: the line is dropped
bugs() {
    grep -nE '^ *(sync_block\(\)|sync_warp\(\)|copy_async_wait\([0-9]\));' kernels/cuda/*.h kernels/cuda/*.cu |
        grep -v 'cuda/device' | sed -E 's/^([^:]*):([0-9]*):.*/\1|\2||/'
    grep -v '^#' tests/kernels/cuda/plants.txt
}

# What a bug in a file is compiled into.
source_of() {
    case $1 in
        */matmul* | */runs.h) echo matmul_few ;;
        */attention_mma*) echo attention_mma_64 ;;
        */attention*) echo attention_plain ;;
        *) echo move ;;
    esac
}

test_of() {
    case $1 in attention*) echo attention ;; matmul*) echo matmul ;; *) echo move ;; esac
}

compile() { # name, output, options
    cc -x c -std=c11 -D_GNU_SOURCE -O1 -g1 -fPIC -ffp-contract=off -fno-math-errno -fno-trapping-math \
        "${@:3}" -I "$work" -c "$work/kernels/cuda/$1.cu" -o "$2"
}

objects() { # target, name that is left out
    find "$build/tests/CMakeFiles/$1.dir" -name '*.o' ! -name "$2.cu.o"
}

# True where it is noticed; says by what.
noticed() {
    local name=$1
    compile "$name" "$work/seen.o" -fsanitize=thread --param=tsan-instrument-func-entry-exit=0 ||
        { echo "the compiler"; return; }
    # shellcheck disable=SC2046  # words
    cc -fopenmp -o "$work/watch" "$work/seen.o" $(objects cuda_kernels_watch -) \
        $(objects cuda_kernels_seen "$name") -lm
    timeout 300 "$work/watch" "$(test_of "$name")" >"$work/log" 2>&1 || { tail -1 "$work/log" | cut -c1-150; return; }
    compile "$name" "$work/plain.o"
    # shellcheck disable=SC2046
    cc -shared -fopenmp -o "$work/bench.so" "$work/plain.o" $(objects ttt_cuda_bench "$name") -lm
    for seed in 0 1; do
        TTT_TEST_DEVICE=cuda TTT_CUDA_PLUGIN=$work/bench.so TTT_CACHE=/dev/null TTT_BENCH_SEED=$seed \
            timeout 600 "$build/tests/test_device_$(test_of "$name")" >"$work/log" 2>&1 ||
            { grep -m 1 -E 'FAILED|rror|ssert' "$work/log" | cut -c1-150 || echo "its end"; return 0; }
    done
    return 1
}

unseen=0
while IFS='|' read -r file line from to; do
    if [ -z "$from" ]; then
        bug="$file:$line without $(sed -n "${line}s/^ *//p" "$file")"
        sed "${line}d" "$file" >"$work/$file"
    else
        bug="$file: $from -> $to"
        FROM=$from TO=$to perl -pe 's/\Q$ENV{FROM}\E/$ENV{TO}/' "$file" >"$work/$file"
        ! cmp -s "$file" "$work/$file" || { echo "not there: $bug" >&2; unseen=1; continue; }
    fi
    if [[ $bug =~ $pattern ]]; then
        if by=$(noticed "$(source_of "$file")"); then
            echo "seen    $bug   by $by"
        else
            echo "UNSEEN  $bug"
            unseen=1
        fi
    fi
    cp "$file" "$work/$file"
done < <(bugs)
exit $unseen
