#!/bin/bash
# The toy experiment (docs/toy.md): what five ways to train two blocks learn from 128 tokens of
# context, as a table and a picture of the loss by token index. Run again, it goes on where it stopped.
#   --no-install   stop, with their names, if packages are missing
#   --steps N      stop each training after N steps, to try it out
#   --windows N    evaluate N windows of each test book; without it, all
set -euo pipefail
cd "$(dirname "$0")/.."

install_options=()
steps=
windows=0
while [ $# -gt 0 ]; do
    case $1 in
        --no-install) install_options=(--no-install) ;;
        --steps | --windows)
            [[ ${2-} =~ ^[1-9][0-9]*$ ]] || { echo "toy.sh: $1 needs a number" >&2; exit 2; }
            if [ "$1" = --steps ]; then steps=$2; else windows=$2; fi
            shift ;;
        -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "toy.sh: no option '$1'; there are --no-install, --steps and --windows" >&2; exit 2 ;;
    esac
    shift
done

runs=out/toy${steps:+-$steps-steps}
mkdir -p "$runs"
. launch/experiment.sh
cut=(${steps:+"train.steps=$steps"})

prepare 9 ${install_options[@]+"${install_options[@]}"}

pairs=data/pairs-1024.ranks
folder=out/toy-books
mkdir -p $folder
pack_all $folder --tokenizer $pairs --pattern gpt2

say "4/9 training the bigram"
train bigram toy-bigram ${cut[@]+"${cut[@]}"}
say "5/9 TTT-naive: the bigram's weights, which take inner steps when they read"
train naive toy-naive "train.init_from=$runs/bigram"
say "6/9 training TTT-E2E, b = 16"
train e2e-16 toy-e2e-16 ${cut[@]+"${cut[@]}"}
say "7/9 training TTT-E2E, b = 1"
train e2e-1 toy-e2e-1 ${cut[@]+"${cut[@]}"}
say "8/9 training attention"
train attention toy-attention ${cut[@]+"${cut[@]}"}

say "9/9 loss by token index, on books that none has seen"
# The validation books chose the inner rates (docs/toy.md), so they are left out here.
table=$runs/loss_by_token
five=(bigram naive e2e-16 e2e-1 attention)
if changed "$table-$windows.txt" "${five[@]}"; then
    $ttt eval "${five[@]/#/$runs/}" --data $folder/test.h5 --windows "$windows" \
        --by-token --csv "$table.csv" >/dev/null
    bytes=$(cat "${test_books[@]}" | wc -c)
    tokens=$(cat "${test_books[@]}" | $ttt tokenize --tokenizer $pairs --pattern gpt2 | wc -w)
    awk -v data="$table.dat" -v bytes="$bytes" -v tokens="$tokens" -f launch/toy_order.awk \
        "$table.csv" >"$table.said"
    gnuplot -e "data='$table.dat'; png='$table.png'" launch/plot_toy.gp
    mv "$table.said" "$table-$windows.txt"
fi
cat "$table-$windows.txt"
echo
echo "picture: $table.png   by index: $table.csv   all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
