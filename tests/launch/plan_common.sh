# What the tests of `ttt plan` share: a scratch folder, counted faults, numbers of JSON. Sourced with the
# program and the test's name.
# shellcheck shell=bash
ttt=$1
test=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export OMP_WAIT_POLICY=passive
faults=0

fault() {
    echo "$test: $*"
    faults=$((faults + 1))
}

# number NAME: the first number of that name in the JSON of the last line of `out`.
number() {
    tail -n 1 out | grep -oE "\"$1\":-?[0-9.e+-]+" | head -n 1 | cut -d: -f2
}

# holds CONDITION: of awk.
holds() {
    awk "BEGIN { exit !($1) }"
}
