#!/bin/bash
# Builds on all cores: bash launch/build.sh FOLDER [-DOPTION=VALUE ...] [-- TARGET ...]
# Options given by an earlier call for the same folder stay as they were.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1
shift
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options+=("$1")
    shift
done
[ $# -eq 0 ] || shift
if [ ! -e "$folder/CMakeCache.txt" ] && command -v ninja >/dev/null; then
    options+=(-G Ninja)
fi
mkdir -p "$folder"
log=$folder/configure.log
cmake -S . -B "$folder" ${options[@]+"${options[@]}"} >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
cmake --build "$folder" --parallel "$(nproc)" ${1:+--target "$@"}
