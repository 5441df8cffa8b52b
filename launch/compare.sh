#!/bin/bash
# Eight ways to read a long text, as small models of bytes with equal numbers of parameters, trained on
# the same books: a table and a picture of their loss by position and by context length, up to 8 times
# the one they were trained with (docs/recurrent-mixers.md). Run again, it goes on where it stopped.
#   --no-install   stop, with their names, if packages are missing
#   --steps N      stop each training after N steps; without it, 500
#   --windows N    evaluate N windows of each held-out book; without it, 8
set -euo pipefail
cd "$(dirname "$0")/.."

install_options=()
steps=500
windows=8
while [ $# -gt 0 ]; do
    case $1 in
        --no-install) install_options=(--no-install) ;;
        --steps | --windows)
            [[ ${2-} =~ ^[1-9][0-9]*$ ]] || { echo "compare.sh: $1 needs a number" >&2; exit 2; }
            if [ "$1" = --steps ]; then steps=$2; else windows=$2; fi
            shift ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "compare.sh: no option '$1'; there are --no-install, --steps and --windows" >&2; exit 2 ;;
    esac
    shift
done

runs=out/compare-$steps-steps
mkdir -p "$runs"
. launch/experiment.sh
names=(full swa hybrid mamba2 gdn kvb e2e e2e-gdn)

prepare 5 ${install_options[@]+"${install_options[@]}"}
say "4/5 training eight models: the same tokens, as many parameters"
warmup=$(((steps + 9) / 10))
for name in "${names[@]}"; do
    config=compare-$name
    inner=()
    case $name in
        swa) config=quickstart-swa ;;
        e2e) config=quickstart ;;
    esac
    case $name in e2e*) inner=("inner.warmup_steps=$warmup") ;; esac
    train "$name" "$config" "train.steps=$steps" "train.warmup_steps=$warmup" run.eval_every=0 \
        ${inner[@]+"${inner[@]}"}
done

say "5/5 loss by position and by context length, on books that none has seen"
table=$runs/losses-$windows-windows
if changed "$table.txt" "${names[@]}"; then
    $ttt eval "${names[@]/#/$runs/}" --data $books/valid.h5,$books/test.h5 --windows "$windows" \
        --context 512,1024,2048,4096,8192 --by-position --csv "$table.csv" --png "$table.png" \
        --force >"$table.new"
    mv "$table.new" "$table.txt"
fi
cat "$table.txt"
echo
echo "picture: $table.png   numbers: $table.csv   all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
