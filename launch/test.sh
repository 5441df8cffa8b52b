#!/bin/bash
# Installs what is missing, builds with warnings as errors, runs every test.
#   --sanitize     an AddressSanitizer and UndefinedBehaviorSanitizer build, in build-sanitize
#   --no-install   stop, with their names, if packages are missing
# What else is there goes to ctest: bash launch/test.sh -R attention
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build
sanitize=OFF
install_options=()
ctest_options=()
for word in "$@"; do
    case $word in
        --sanitize) folder=build-sanitize sanitize=ON ;;
        --no-install) install_options=(--no-install) ;;
        -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) ctest_options+=("$word") ;;
    esac
done

bash launch/install.sh ${install_options[@]+"${install_options[@]}"}
start=$SECONDS
bash launch/build.sh $folder -DTTT_WERROR=ON -DTTT_TESTS=ON -DTTT_SANITIZE=$sanitize
built=$SECONDS

# Several tests run at once, so threads that wait must not spin.
export OMP_WAIT_POLICY=passive
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
cores=$(nproc)
code=0
ctest --test-dir $folder --output-on-failure --no-tests=error \
    --parallel $((cores < 4 ? cores : 4)) ${ctest_options[@]+"${ctest_options[@]}"} || code=$?
echo
verdict=passed
[ $code = 0 ] || verdict="FAILED (ctest exit code $code)"
echo "test: $verdict; build of $folder $((built - start)) s, tests $((SECONDS - built)) s"
exit $code
