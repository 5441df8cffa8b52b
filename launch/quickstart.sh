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

books=out/books
runs=out/quickstart
windows=24 # of each held-out book
ttt=build/ttt
mkdir -p $books $runs

say() { printf '\n== %s\n' "$*"; }
trap '[ $? = 0 ] || echo "quickstart: stopped; run it again and it goes on from here" >&2' EXIT

# pack SHARD SPLIT BOOK...: whole books into one shard, which exists only when it is complete.
pack() {
    local shard=$books/$1 split=$2 files=() book
    shift 2
    if [ -e "$shard" ]; then
        echo "$shard is there"
        return
    fi
    for book in "$@"; do files+=("$books/$book.txt"); done
    $ttt pack --out "$shard" --split "$split" "${files[@]}"
}

# train NAME CONFIG: a finished run leaves NAME.finished; an interrupted one goes on.
train() {
    local dir=$runs/$1 config=$2
    if [ -e "$dir.finished" ]; then
        echo "$dir is trained"
        return
    fi
    if ls -d "$dir"/checkpoints/step-???????? >/dev/null 2>&1; then
        $ttt train --resume "$dir"
    else
        rm -rf "$dir" # stopped before its first checkpoint
        $ttt train "$config" "run.dir=$dir"
    fi
    touch "$dir.finished"
}

say "1/6 what is needed"
bash launch/install.sh ${install_options[@]+"${install_options[@]}"}

say "2/6 build"
if [ -e build/CMakeCache.txt ]; then
    bash launch/build.sh build -- ttt
else
    bash launch/build.sh build -DTTT_TESTS=OFF -- ttt
fi

say "3/6 books"
bash launch/books.sh $books
# Split by whole books: Emma's author was seen in training, Opticks is of an unseen author and kind.
pack train.h5 train doyle-sherlock melville-mobydick austen-prideprejudice austen-sensesensibility \
    austen-mansfieldpark austen-northangerabbey
pack valid.h5 validation austen-persuasion twain-tomsawyer
pack test.h5 test austen-emma newton-opticks

say "4/6 training TTT-E2E"
train e2e quickstart
say "5/6 training SWA: as many parameters, the same tokens"
train swa quickstart-swa

say "6/6 loss by position, on books that neither has seen"
table=$runs/loss_by_position
if [ ! -e $table.txt ] || [ $runs/e2e.finished -nt $table.txt ] ||
    [ $runs/swa.finished -nt $table.txt ]; then
    $ttt eval $runs/e2e $runs/swa --data $books/valid.h5,$books/test.h5 --windows $windows \
        --books --by-position --csv $table.csv >$table.new
    gnuplot -e "csv='$table.csv'; png='$table.png'" launch/plot_loss_by_position.gp
    mv $table.new $table.txt
fi
cat $table.txt
echo
echo "picture: $table.png   table: $table.txt   all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
