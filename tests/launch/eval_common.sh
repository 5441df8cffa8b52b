# What the tests of ttt eval share: small texts, shards and runs. Sourced with the program and the
# test's name; leaves the shell in a folder of its own.
# shellcheck shell=bash
ttt=$(realpath "$1")
test_name=$2
# shellcheck source=tests/launch/numbers.sh
. "$(dirname "${BASH_SOURCE[0]}")/numbers.sh" "$1"
# shellcheck source=tests/launch/waiting.sh
. "$(dirname "${BASH_SOURCE[0]}")/waiting.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit
export OMP_NUM_THREADS=1
export TTT_BRIEF_PEAK=1 # no test asks how fast the machine is

fault() {
    echo "$test_name: $*" >&2
    exit 1
}

# refused CODE WORD WORDS...: ttt eval WORDS ends with that code and says WORD on stderr alone.
refused() {
    local expected=$1 word=$2 code=0
    shift 2
    "$ttt" eval "$@" >out.txt 2>err.txt || code=$?
    [ "$code" = "$expected" ] || fault "exit code $code instead of $expected: ttt eval $*: $(cat err.txt)"
    grep -q -- "$word" err.txt || fault "ttt eval $*: '$word' is not in: $(cat err.txt)"
    [ ! -s out.txt ] || fault "ttt eval $*: something was printed although it failed"
}

says() { # the file $1 has a line that matches $2
    grep -qE -- "$2" "$1" || fault "no line like '$2' in: $(cat "$1")"
}

evaluate() { # ttt eval $@ to out.txt
    "$ttt" eval "$@" >out.txt 2>err.txt || fault "ttt eval $* fails: $(cat err.txt)"
}

told() { # ttt eval has said something, and so has begun
    [ -s err.txt ]
}

# interrupted BEGUN WORD WORDS...: ttt eval WORDS, stopped with Ctrl-C as soon as the command BEGUN
# succeeds, ends with a message that contains WORD. Leaves its output in out.txt.
interrupted() {
    local begun=$1 word=$2 code pid
    shift 2
    begin out.txt err.txt "$ttt" eval "$@"
    await "ttt eval $*" "$begun"
    kill -INT "$pid" || fault "ttt eval $* was over before it could be stopped"
    ended
    [ $code = 130 ] || fault "stopped, it ended with $code: $(cat err.txt)"
    grep -q -- "$word" err.txt || fault "stopped, it says nothing like '$word': $(cat err.txt)"
}

seq -s ' ' 1 4000 >train.txt
seq -s ', ' 500 2 3000 >a.txt
seq -s '; ' 900 3 2500 >b.txt
"$ttt" pack --out train.h5 train.txt >/dev/null
"$ttt" pack --out valid.h5 --split validation a.txt >/dev/null
"$ttt" pack --out test.h5 --split test b.txt >/dev/null

small=(model.blocks=2 model.dim=16 model.heads=2 model.mlp=24 model.window=32 inner.chunk=32
    train.context=256 train.batch=2 train.micro_batch=1 train.steps=3 train.warmup_steps=1
    inner.warmup_steps=0 train.threads=1 run.eval_every=3 run.eval_windows=2 run.save_every=2
    data.train=train.h5 data.valid=valid.h5 data.test=test.h5 train.memory_limit=1GB)
train() { # RUN OVERRIDES...: leaves steps 2 and 3
    "$ttt" train quickstart "run.dir=$1" "${small[@]}" "${@:2}" >log.txt 2>&1 ||
        fault "training failed: $(cat log.txt)"
}
