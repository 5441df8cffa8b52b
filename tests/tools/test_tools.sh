#!/bin/bash
# The programs that other tests rely on say no where there is nothing: what is missing, no number,
# torn. Arguments: the program, the source directory.
# shellcheck disable=SC2016  # awk has a $ of its own
set -euo pipefail
source=$(realpath "$2")
# shellcheck source=tests/launch/numbers.sh
. "$source/tests/launch/numbers.sh" "$1"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fault() {
    echo "test_tools: $*" >&2
    exit 1
}

says() { # LINES WORDS...: json_get WORDS says these lines
    [ "$(json_get "${@:2}" <values)" = "$1" ] || fault "json_get ${*:2}: $(json_get "${@:2}" <values)"
}
refused() { # CODE PATTERN COMMAND...
    local expected=$1 pattern=$2 code=0
    shift 2
    "$@" >out 2>err || code=$?
    [ $code = "$expected" ] || fault "exit code $code instead of $expected: $*"
    grep -qE -- "$pattern" err || fault "$*: no '$pattern' in: $(cat err)"
}

cat >values <<'END_OF_VALUES'
{"a": [{"x": 0.1, "n": 3, "s": "one two"}, {"x": -1e-300, "n": -4, "s": ""}], "b.c": {"d": [[1], null]}}
{
  "a": [], "b.c": {"d": [true]}, "e": 1}
END_OF_VALUES
says $'0.10000000000000001\tone two\n-1e-300\t' 'a/*' x s
says $'[[1],null]\n[true]' . b.c/d
says $'null\ntrue' b.c d/-1
says '{"a":[],"b.c":{"d":[true]},"e":1}' --has e .
says $'{"x":0.10000000000000001}\n{"x":-1e-300}' --without n,s,none 'a/*'
says $'3\n-4' --numbers 'a/*' n
[ "$(printf '%s' '[{"t":"a\u0000\n"},{"h":"00ff0a"},{"t":"","h":"61"}]' | json_get --bytes '*' t h | od -An -tx1)" = \
    ' 61 00 0a 00 ff 0a' ] || fault "bytes"
for missing in '. e' '. a/0' '. a/x' 'a/2 x' 'a/-3 x' 'a/*/x/* y' 'b.c/*' 'none' '--has e a/0/x'; do
    # shellcheck disable=SC2086  # words
    refused 1 'nothing at|no array' json_get $missing <values
done
refused 1 'no number: s' json_get --numbers 'a/*' n s <values
refused 1 'no number: d/-1' json_get --numbers b.c d/-1 <values
refused 1 'neither' json_get --bytes 'a/*' x h <values
refused 1 'not hexadecimal: one two' json_get --bytes 'a/*' x s <values
refused 1 'empty' json_get . </dev/null
for torn in '{"a": 1' '{"a": NaN}' '{"a": 1}{"a": 1, "a": 1}' '{"a": 1} x' 1; do
    refused 1 'no JSON' json_get . <<<"$torn"
done
for words in '' '--has' '--what .' '--bytes . a'; do
    # shellcheck disable=SC2086
    refused 2 'usage' json_get $words <values
done

seq 3 | check '{ demand($1 == NR, $0) } END { demand(NR == 3, NR) }' || fault "these hold"
refused 1 'line 2: two' check '{ demand(NR != 2, "two") } END { demand(1, "late") }' values
refused 1 'line [0-9]*: end' check 'END { demand(!near(1, 1.5, 0.6), "end") }' values
refused 1 'nan' check '{ demand(near(log(-1), 0, 1), "nan") }' values

picture=$source/docs/toy.png
[[ $("$tools/png_size" <"$picture") =~ ^1800\ 900\ [0-9]+$ ]] || fault "the size of $picture"
bytes=$(stat -c %s "$picture")
for damage in "head -c -1" "head -c 1000" "head -c 8" "tail -c +2" "sed 3s/./x/9"; do
    $damage "$picture" >torn.png
    refused 1 'png_size: ' "$tools/png_size" <torn.png
done
{ cat "$picture"; echo; } >longer.png
refused 1 'follows' "$tools/png_size" <longer.png
{ head -c $((bytes - 12)) "$picture"; printf '\0\0\0\0IEND\xae\x42\x60\x81'; } >torn.png
refused 1 'checksum' "$tools/png_size" <torn.png

small=$("$tools/peak_kb" head -c 1 /dev/zero)
large=$("$tools/peak_kb" sort -S 60M --parallel=1 <(head -c 30000000 /dev/zero))
[ "$large" -gt $((small + 20000)) ] || fault "$small KB and $large KB"
refused 1 'fails' "$tools/peak_kb" false
echo "test_tools: values, pictures and memory are told, and what is not there"
