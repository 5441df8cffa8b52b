#!/bin/bash
# ttt configs from outside: the list, one configuration, the options, its errors.
# Arguments: the program, the source directory.
set -euo pipefail
ttt=$1
source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
faults=0

fault() {
    echo "test_configs_command: $*"
    faults=$((faults + 1))
}

# refused CODE PART WORDS...: the command must fail so, silently on stdout, saying PART on stderr.
refused() {
    local code=$1 part=$2 got=0
    shift 2
    "$ttt" configs "$@" >out 2>err || got=$?
    [ $got = "$code" ] || fault "configs $*: exit code $got, not $code"
    [ ! -s out ] || fault "configs $*: wrote to stdout"
    grep -qF -- "$part" err || fault "configs $*: no '$part' in: $(cat err)"
}

"$ttt" configs >list
[ "$(wc -l <list)" = 244 ] || fault "the list has $(wc -l <list) lines, not a head and 243"
grep -qE '^3b-full-128k +full +off +131072 +16 +1300 +extension$' list ||
    fault "the line of 3b-full-128k: $(grep '^3b-full-128k' list)"
"$ttt" configs --json >json
sed '$d' json | cmp -s - list || fault "--json must only add a line"
[ "$(tail -n 1 json | grep -oE '"name":"[^"]+"' | sort -u | wc -l)" = 243 ] ||
    fault "--json does not name 243 configurations"

# What is printed can be saved, read again and changed.
"$ttt" configs 125m-e2e-8k train.seed=7 >mine.yaml
"$ttt" configs mine.yaml | cmp -s - mine.yaml || fault "a saved configuration reads back differently"
"$ttt" configs ./mine.yaml train.seed=8 | diff mine.yaml - >changed || true
[ "$(grep -c '^[<>]' changed)" = 2 ] || fault "one override changes: $(cat changed)"
"$ttt" configs mine.yaml --json | tail -n 1 >json
grep -qF '"train.seed":7' json || fault "--json lacks the seed"
hash() { "$ttt" configs --json "$@" | tail -n 1 | grep -oE '"hash":"[0-9a-f]{16}"'; }
[ "$(hash mine.yaml)" = "$(hash 125m-e2e-8k train.seed=7)" ] || fault "equal, but the hash differs"
[ "$(hash mine.yaml)" != "$(hash mine.yaml train.lr=0.1)" ] || fault "the hash misses a difference"

"$ttt" configs --options --markdown | cmp -s - "$source/docs/options.md" ||
    fault "docs/options.md is old"
"$ttt" configs --options >options
grep -q '^  inner.chunk ' options || fault "--options lacks inner.chunk"
"$ttt" configs --options --json | tail -n 1 >json
grep -qF '"name":"inner.chunk"' json ||
    fault "--options --json lacks inner.chunk"

refused 1 "did you mean quickstart?" quikstart
mkdir run && touch run/config.yaml
refused 1 "its configuration is run/config.yaml" run
refused 1 "its configuration is ./run/config.yaml" ./run/
refused 1 "did you mean train.steps?" quickstart train.stpes=3
refused 1 "did you mean model.heads?" quickstart model.head=3
refused 1 "not a multiple of inner.chunk" quickstart train.context=1000
refused 1 "gone.yaml: No such file" gone.yaml
refused 2 "goes with --options" --markdown
refused 2 "takes no CONFIG" --options quickstart

# Paths in a home, paths with commas, seeds of 64 bits: as they are written, so they are read.
HOME=/h "$ttt" configs quickstart 'data.train=~/a.h5,b\,c.h5' train.seed=18446744073709551615 >mine.yaml
grep -qxF '  train: "/h/a.h5,b\\,c.h5"' mine.yaml || fault "data.train is: $(grep ' train:' mine.yaml)"
grep -qxF '  seed: 18446744073709551615' mine.yaml || fault "the seed is: $(grep seed: mine.yaml)"
"$ttt" configs mine.yaml | cmp -s - mine.yaml || fault "the same, read back, is different"
"$ttt" configs mine.yaml --json | tail -n 1 >json
grep -qF '"train.seed":"18446744073709551615"' json ||
    fault "--json loses a seed"
refused 1 "did you mean train.lr?" quickstart learning_rate=3
refused 2 "did you mean train.steps=3?" quickstart --train.steps=3

# An installed program has configurations of its own, wherever its prefix is put later.
cmake --install "$(dirname "$ttt")" --prefix "$scratch/first" >installed || fault "cmake --install: $(cat installed)"
mv first second
second/bin/ttt configs | cmp -s - list || fault "the installed program lists other configurations"
(cd second/share/ttt/configs && find . -type f | sort) >files
(cd "$source/configs" && find . -name '*.yaml' | sort) | cmp - files || fault "installed: $(cat files)"
second/bin/ttt plan quickstart >plan || fault "an installed program plans nothing"
echo 'model: {dim: 48}' >second/share/ttt/configs/quickstart.yaml
second/bin/ttt configs quickstart >resolved
grep -q '^  dim: 48$' resolved || fault "an installed program reads another tree's"

# The program finds its configurations from anywhere, and those of TTT_CONFIGS before them.
mkdir other && echo 'model: {dim: 48}' >other/quickstart.yaml
TTT_CONFIGS=other "$ttt" configs quickstart >resolved
grep -q '^  dim: 48$' resolved || fault "TTT_CONFIGS is ignored"
[ $faults = 0 ]
