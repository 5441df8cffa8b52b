#!/bin/bash
# launch/gpu_check.sh, with tiny sizes on cuda-bench: it comes to its end and reports what was measured
# beside what was foretold; a check that fails, one that takes too long and one that cannot begin are
# reported, and the rest goes on. What installs and builds are stand-ins here: the build under test is
# there. Arguments: the program, the source directory.
# NOT_SANITIZED: threads of a block are fibers, which sanitizers do not follow.
set -euo pipefail
ttt=$(realpath "$1")
source=$(realpath "$2")
# shellcheck source=tests/launch/numbers.sh
. "$source/tests/launch/numbers.sh" "$1"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export TTT_BENCH_ROWS=${TTT_BENCH_ROWS-cpu} TTT_CACHE=/dev/null OMP_WAIT_POLICY=passive

fault() {
    echo "test_gpu_check: $*"
    [ ! -e report ] || cat report
    exit 1
}
says() {
    grep -qE -- "$1" report || fault "no line like '$1'"
}

mkdir launch bin tests
cp "$source"/launch/{gpu_check,ranks}.sh launch/
ln -s "$source"/{configs,kernels,autodiff} .
ln -s "$source/tests/golden" tests/
ln -s "${ttt%/*}" build
for name in install build; do echo "echo \"$name \$*\" >>calls" >launch/$name.sh; done
# shellcheck disable=SC2016  # expands there
printf '%s\n' '#!/bin/bash' '[ "$1 $3" = "--tool --error-exitcode" ] || exit 3' 'exec "${@:5}"' \
    >bin/compute-sanitizer
chmod +x bin/compute-sanitizer
export PATH=$PWD/bin:$PATH

gpu_check() { # EXIT CODE WORDS...: a run that ends so
    local expected=$1 code=0
    shift
    bash launch/gpu_check.sh --report report --plugin "$tools/libttt_cuda_bench.so" --small "$@" \
        >said 2>errors || code=$?
    [ $code = "$expected" ] || fault "exit code $code instead of $expected: $* $(cat errors)"
}

# All of it.
gpu_check 0 --figures h200
cmp report said || fault "the report is not what was said"
[ ! -s errors ] || fault "errors are said: $(cat errors)"
[ "$(sed -n 2p calls)" = "build build -DTTT_TESTS=ON -- ttt json_get" ] || fault "calls: $(cat calls)"
grep -q '^build build -- .*test_device_rows .*test_golden' calls || fault "calls: $(cat calls)"
! grep -q 'test_cuda' calls || fault "a script is no program: $(cat calls)"
says 'it is cuda-bench 0 .*foretold by the figures of h200'
says 'passed +test_device_move '
says 'passed +test_golden'
says 'passed +their losses in f64 .*4 losses, at most [0-9.e+-]+ apart .1e-10.'
says 'passed +their losses in bf16 '
if command -v mpirun >/dev/null && [ -e "${ttt%/*}/libttt_mpi.so" ]; then
    says 'passed +test_comm of two ranks'
    says 'passed +their losses with ranks.tensor=2 '
fi
says 'passed +760m-full-8k train.batch=8'
says '760m against full attention: measured [0-9.]+ foretold [0-9.]+'
says 'passed +test_device_attention '
says 'passed +their losses  .*4 losses, at most'
says 'passed +125m-full-8k train.batch=4 train.micro_batch=1 on cuda.cudnn'
says "125m by cuDNN's attention against ours: measured [0-9.]+ foretold [0-9.]+"
says 'passed +memcheck of test_device_move'
says '^gpu_check: passed'
[ "$(grep -c ' suffix backward .* [0-9.]*$' report)" = 8 ] || fault "eight tables by phase are missing"
json_get . part <report.jsonl | sort -u | tr '\n' ' ' >names
[ "$(cat names)" = "bench build cudnn device golden kernels quickstart ranks sanitizer " ] || fault "parts: $(cat names)"
json_get --numbers --has words . measured/seconds_per_step foretold/seconds_per_step <report.jsonl |
    check 'END { demand(NR == 8, NR " steps were timed") } { demand($1 > 0 && $2 > 0, "no time") }'

# What fails is said, and the rest goes on: a library's call; losses that differ, of another seed.
TTT_BENCH_FAIL=cublasLtCreate:1 gpu_check 1 --parts device,bench,sanitizer
says 'FAILED +the GPU is opened .*exit code 1'
says '\| .*cublasLtCreate on .*told to fail'
says 'FAILED +125m-e2e-8k train.batch=16'
says '^gpu_check: FAILED, [0-9]+ of'
rm build
mkdir build
ln -s "${ttt%/*}"/* build/
rm build/ttt
printf '%s\n' '#!/bin/bash' 'case "$*" in' \
    '*plan*+cudnn*) echo "device cuda+cudnn needs cuDNN: none"; exit 1 ;;' '*device=cuda*) exec "'"$ttt"'" "$@" train.seed=7 ;;' \
    '*step*m-*) exit 3 ;;' '*) exec "'"$ttt"'" "$@" ;; esac' >build/ttt
chmod +x build/ttt
gpu_check 1 --parts quickstart,bench,cudnn,sanitizer
says 'FAILED +their losses in f32 .*exit code 1: 4 losses, at most'
says 'FAILED +125m-e2e-8k train.batch=16 .*exit code 3'
says ' suffix backward +[0-9.]+ +-$' # nothing is foretold without figures
says 'bench-small against full attention: measured [0-9.]+$'
says 'left out +cuDNN .*it is not there'
says 'passed +racecheck of'

# What does not end in time, and what comes after.
sed -i 's/\[sanitizer\]=[0-9]*/[sanitizer]=1/' launch/gpu_check.sh
printf '%s\n' '#!/bin/bash' 'sleep 20' >bin/compute-sanitizer
gpu_check 1 --parts sanitizer
says "FAILED +memcheck of .*not done in the 1 s that were left"
says "FAILED +racecheck of .*no time is left of this part's"

# One that hangs leaves time for those that do not wait for it.
real=$(realpath build/tests)
rm build/tests
mkdir build/tests
ln -s "$real"/* build/tests/
rm build/tests/test_device_{move,stream}
printf '%s\n' '#!/bin/bash' 'sleep 20' >build/tests/test_device_move
printf '%s\n' '#!/bin/bash' >build/tests/test_device_stream
chmod +x build/tests/test_device_{move,stream}
sed -i 's/\[kernels\]=[0-9]*/[kernels]=4/' launch/gpu_check.sh
gpu_check 1 --parts kernels
says "FAILED +test_device_move .*not done in the 2 s that were left"
says 'passed +test_device_stream '

# A GPU too small for a model does not time it.
cat >small.yaml <<'YAML'
{memory: 1e5, f32_flops: 1e12, bf16_flops: 1e12, f64_flops: 1e12, bandwidth: 1e12, processors: 8,
  launch_seconds: 1e-6, pass_steps: 32, piece_rows: 8192, product_rows: 4096, slice_elements: 268435456}
YAML
mkdir elsewhere
(cd elsewhere && bash ../launch/gpu_check.sh --small --parts bench --figures ../small.yaml \
    --report ../report) >said || fault "files are looked for elsewhere"
[ "$(grep -cE 'left out .* it does not fit .*small.yaml' report)" = 6 ] || fault "what does not fit"

# A build that failed: each part says so.
rm -r build
mkdir build
gpu_check 1 --parts build,device,kernels,golden,quickstart,bench
[ "$(json_get --has verdict . part verdict <report.jsonl | grep FAILED | sort -u | wc -l)" = 5 ] ||
    fault "not each part failed"
says '^gpu_check: FAILED'

# Words that it does not know.
gpu_check 2 --parts device,cernels
grep -q "no part 'cernels'" errors || fault "$(cat errors)"
gpu_check 2 --speed
grep -q "no option '--speed'" errors || fault "$(cat errors)"
echo "test_gpu_check: comes to its end and says what failed"
