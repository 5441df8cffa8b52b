# Numbers in tests that are scripts: those of JSON, and what must hold for them. Sourced with the
# program, beside which the tests' tools lie.
# shellcheck shell=bash
tools=$(dirname "$(realpath "$1")")/tests

json_get() { # tests/tools/json_get.c
    "$tools/json_get" "$@"
}

# check PROGRAM [FILE...]: awk's PROGRAM, with demand(CONDITION, WHAT), which ends it with exit code 1
# where the condition does not hold, and near(A, B, FAR): they differ by less. Words are no numbers,
# but awk takes them for 0: what comes from JSON is read with --numbers.
check() {
    awk '
        function demand(holds, what) {
            if (holds || failed) return
            print "line " FNR ": " what >"/dev/stderr"
            exit failed = 1
        }
        function near(a, b, far) { return a - b < far && b - a < far }
        function most(a, b) { return a > b ? a : b }
        '"$1" "${@:2}"
}
