# What the experiments on the sample books share; sourced by quickstart.sh and toy.sh, which set
# `runs`, the folder of their runs, before they train. An experiment that is run again goes on where
# it stopped and does not redo what is done.
books=out/books
ttt=build/ttt
experiment=$(basename "$0" .sh)
trap '[ $? = 0 ] || echo "$experiment: stopped; run it again and it goes on from here" >&2' EXIT

say() { printf '\n== %s\n' "$*"; }

# Split by whole books: Emma's author was seen in training, Opticks is of an unseen author and kind.
train_books=("$books"/{doyle-sherlock,melville-mobydick,austen-prideprejudice}.txt
             "$books"/austen-{sensesensibility,mansfieldpark,northangerabbey}.txt)
valid_books=("$books"/{austen-persuasion,twain-tomsawyer}.txt)
test_books=("$books"/{austen-emma,newton-opticks}.txt)

# pack SHARD SPLIT WORDS...: books, and options, into one shard, which exists only when it is
# complete.
pack() {
    if [ -e "$1" ]; then
        echo "$1 is there"
    else
        $ttt pack --out "$1" --split "$2" "${@:3}"
    fi
}

# pack_all FOLDER [OPTION...]: the three shards, with options of ttt pack.
pack_all() {
    pack "$1/train.h5" train "${@:2}" "${train_books[@]}"
    pack "$1/valid.h5" validation "${@:2}" "${valid_books[@]}"
    pack "$1/test.h5" test "${@:2}" "${test_books[@]}"
}

# prepare STEPS [OPTION]: packages (OPTION is install.sh's), program and books: the first three of
# so many steps.
prepare() {
    say "1/$1 what is needed"
    bash launch/install.sh "${@:2}"

    say "2/$1 build"
    if [ -e build/CMakeCache.txt ]; then
        bash launch/build.sh build -- ttt
    else
        bash launch/build.sh build -DTTT_TESTS=OFF -- ttt
    fi

    say "3/$1 books"
    mkdir -p $books
    bash launch/books.sh $books
    pack_all $books
}

# train NAME CONFIG [KEY=VALUE...]: a finished run leaves NAME.finished; an interrupted one goes on.
train() {
    local dir=$runs/$1
    if [ -e "$dir.finished" ]; then
        echo "$dir is trained"
        return
    fi
    if ls -d "$dir"/checkpoints/step-???????? >/dev/null 2>&1; then
        $ttt train --resume "$dir"
    else
        if [ -e "$dir/lock" ] && ! flock -n "$dir/lock" true; then
            echo "$experiment: $dir is being trained by $(cat "$dir/lock")" >&2
            exit 1
        fi
        rm -rf "$dir" # stopped before its first checkpoint
        $ttt train "$2" "run.dir=$dir" "${@:3}"
    fi
    touch "$dir.finished"
}

# changed FILE NAME...: whether it is missing or older than one of these runs.
changed() {
    local file=$1 name
    [ -e "$file" ] || return 0
    for name in "${@:2}"; do [ "$runs/$name.finished" -nt "$file" ] && return 0; done
    return 1
}
