#!/bin/bash
# Installs what is missing, builds with warnings as errors, runs every test.
#   --sanitize     an AddressSanitizer and UndefinedBehaviorSanitizer build, in build-sanitize
#   --clang        a build by Clang, in build-clang: the tests of the kernels and of the engine
#   --isa LEVEL    those tests with no more than this instruction set: v2, v3 or v4
#   --no-install   stop, with their names, if packages are missing
# What else is there goes to ctest: bash launch/test.sh -R attention
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build
options=()
install_options=(--tests)
ctest_options=()
targets=()
# The labels and the targets of the kernels' and the engine's tests; without those that compile with
# what they choose themselves, or for an instruction set of their own.
engine() {
    ctest_options+=(--label-regex '^(kernels|autodiff)$'
        --exclude-regex '^(test_(add_op|cuda_code|cuda_ptx|instructions)|cuda_kernels_.*)$')
    targets=(ttt tests_kernels tests_autodiff)
}
while [ $# -gt 0 ]; do
    case $1 in
        --sanitize) folder=build-sanitize options=(-DTTT_SANITIZE=ON -DTTT_CUDA=OFF) ;;
        --clang)
            folder=build-clang options=(-DCMAKE_C_COMPILER=clang -DTTT_CUDA=OFF -DTTT_ISA_HERE=ON)
            install_options+=(--clang)
            engine
            ;;
        --isa)
            [[ ${2-} =~ ^v[234]$ ]] || { echo "test.sh: --isa needs v2, v3 or v4" >&2; exit 2; }
            export TTT_ISA=$2
            engine
            shift
            ;;
        --no-install) install_options+=(--no-install) ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) ctest_options+=("$1") ;;
    esac
    shift
done

bash launch/install.sh "${install_options[@]}"
start=$SECONDS
bash launch/build.sh $folder -DTTT_WERROR=ON -DTTT_TESTS=ON ${options[@]+"${options[@]}"} \
    ${targets[@]+-- "${targets[@]}"}
built=$SECONDS

# Several tests run at once, so threads that wait must not spin.
export OMP_WAIT_POLICY=passive
# Too much memory is refused as malloc does, not by an abort: tests ask for it. Short traces of where
# memory was taken, and less of it kept after it was freed: a fifth of the time of a short command.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1:malloc_context_size=5:quarantine_size_mb=32}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
cores=$(nproc)
code=0
# Some tests wait for a disk or a moment: one more than cores, up to four.
ctest --test-dir $folder --output-on-failure --no-tests=error \
    --parallel $((cores < 4 ? cores + 1 : 4)) ${ctest_options[@]+"${ctest_options[@]}"} || code=$?
echo
verdict=passed
[ $code = 0 ] || verdict="FAILED (ctest exit code $code)"
echo "test: $verdict; build of $folder $((built - start)) s, tests $((SECONDS - built)) s"
exit $code
