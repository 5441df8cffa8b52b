#!/bin/bash
# From a fresh clone to a model trained on real books, and a picture of how it learns while it reads.
# Run again, it goes on where it stopped and does not redo what is done.
#   --no-install   stop, with their names, if packages are missing
set -euo pipefail
cd "$(dirname "$0")/.."

install_options=()
for word in "$@"; do
    case $word in
        --no-install) install_options=(--no-install) ;;
        -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "quickstart.sh: no option '$word'; there is --no-install" >&2; exit 2 ;;
    esac
done

runs=out/quickstart
windows=24 # of each held-out book
mkdir -p $runs
. launch/experiment.sh

prepare 6 ${install_options[@]+"${install_options[@]}"}
say "4/6 training TTT-E2E"
train e2e quickstart
say "5/6 training SWA: as many parameters, the same tokens"
train swa quickstart-swa

say "6/6 loss by position, on books that neither has seen"
table=$runs/loss_by_position
if changed $table.txt e2e swa; then
    $ttt eval $runs/e2e $runs/swa --data $books/valid.h5,$books/test.h5 --windows $windows \
        --books --by-position --csv $table.csv >$table.new
    gnuplot -e "csv='$table.csv'; png='$table.png'" launch/plot_loss_by_position.gp
    mv $table.new $table.txt
fi
cat $table.txt
echo
echo "picture: $table.png   table: $table.txt   all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "to let it read a book and write on: $ttt infer $runs/e2e --prompt-file $books/austen-emma.txt --tokens 300"
