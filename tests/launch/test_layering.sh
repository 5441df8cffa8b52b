#!/bin/bash
# Who may include whom, and what can be checked of the house style without a compiler: sizes, names,
# words. Arguments: the program, the source directory. First a small tree with one fault of each kind
# must be reported fault by fault, then the project's own tree must have none.
# NOT_SANITIZED: the sources are the same, and no program of ours runs.
set -euo pipefail
program=$1
source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

rooms="kernels autodiff data configs infer train launch tests"

# Prefixes of what `room` may include from the other rooms.
may_include() {
    case $1 in
        kernels) echo kernels/ ;;
        autodiff) echo kernels/ autodiff/ ;;
        data) echo kernels/base.h data/ ;;
        configs) echo kernels/base.h configs/ ;;
        infer) echo kernels/ autodiff/ data/ configs/ infer/ ;;
        train) echo kernels/ autodiff/ data/ configs/ infer/ train/ ;;
        launch | tests) echo kernels/ autodiff/ data/ configs/ infer/ train/ launch/ tests/ ;;
    esac
}

# Rooms that may include the header of a library; nothing for the C library and POSIX.
home_of() {
    case $1 in
        dnnl*) echo kernels ;;
        hdf5*) echo data tests ;;
        libfyaml*) echo configs ;;
        jansson*) echo data configs train launch tests ;;
        pcre2* | zlib* | zstd* | utf8proc*) echo data tests ;;
        cmocka*) echo tests ;;
        mpi* | nccl*) echo launch ;;
        cuda* | cublas* | cudnn* | nvrtc*) echo kernels ;;
    esac
}

sources() { # of the room $1
    [ ! -d "$1" ] || find "$1" -type f \( -name '*.[ch]' -o -name '*.cu' \) | sort
}

everything() { # files of all rooms, and of the places $@ that exist
    local place
    for place in $rooms "$@"; do
        [ ! -e "$place" ] || find "$place" -type f
    done | sort
}

check_quoted() { # room file header
    local prefix
    # Tests of a room may share a header that lies beside them.
    if [[ $1 = tests && $3 != */* && -e $(dirname "$2")/$3 ]]; then return; fi
    if [[ $3 != */* ]]; then
        echo "$2: \"$3\" must be written with its room: \"room/$3\""
        return
    fi
    [ -e "$3" ] || echo "$2: includes $3, which does not exist"
    for prefix in $(may_include "$1"); do
        [[ $3 != "$prefix"* ]] || return 0
    done
    echo "$2: $1 may not include $3"
}

check_includes() {
    local room file kind header homes
    for room in $rooms; do
        while read -r file kind header; do
            if [ "$kind" = quoted ]; then
                check_quoted "$room" "$file" "$header"
            else
                homes=$(home_of "$header")
                [ -z "$homes" ] || [[ " $homes " == *" $room "* ]] ||
                    echo "$file: $room may not include <$header>"
            fi
        done < <(sources "$room" | xargs -r sed -n -E \
            -e 's/^ *# *include +"([^"]+)".*/quoted \1/; t say' \
            -e 's/^ *# *include +<([^>]+)>.*/angle \1/; t say' \
            -e 'b' -e ':say' -e 'F' -e 'p' | paste -d ' ' - -)
    done
}

check_sizes() {
    # shellcheck disable=SC2016  # awk's own $0
    everything | grep -E '\.([ch]|cu|sh|py)$' | xargs -r awk '
        FNR == 1 { if (file && lines > 500) print file ": " lines " lines, at most 500"; inside = 0 }
        { file = FILENAME; lines = FNR }
        length($0) > 100 && FILENAME ~ /\.[ch]$/ { print FILENAME ":" FNR ": wider than 100" }
        FILENAME ~ /\.[ch]$/ && /^[a-z].*\) \{$/ { inside = FNR }
        FILENAME ~ /\.[ch]$/ && /^}/ && inside {
            if (FNR - inside >= 70) print FILENAME ":" inside ": a function of " FNR - inside + 1 " lines, at most 70"
            inside = 0
        }
        END { if (lines > 500) print file ": " lines " lines, at most 500" }'
}

# Words that mean "not finished", written in pieces so that this file does not contain them.
check_words() {
    local words="TO""DO|FIX""ME|XX""X|HA""CK|for n""ow|place""holder|simpl""ified"
    everything docs README.md .ci | xargs -r grep -nIwE "$words" |
        sed 's/^\([^:]*:[0-9]*\):.*/\1: a word that says it is not finished/' || true
}

check_style() {
    local room
    for room in kernels autodiff data configs infer train launch; do
        sources "$room" | xargs -r grep -nE '(^|[^_a-z])(exit|abort)\(' |
            grep -vE '^(launch/main\.c|kernels/base\.c):' | grep -vE ':[0-9]+: \*|/\*.*(exit|abort)\(' |
            sed 's/$/   <- only main ends the program/' || true
        sources "$room" | xargs -r grep -nE '(ASSERT\(.*kern_alloc|= (malloc|calloc|realloc)\(.*\);$)' -A1 |
            grep -E '[:-][0-9]+[:-] *ASSERT\(' |
            sed 's/$/   <- no memory is no bug of ours: kern_alloc, kern_array, kern_grow say so/' || true
        sources "$room" | xargs -r grep -nE '^ *(//.*[;{}] *|/\*.*[;{}] *\*/)$' |
            sed 's/$/   <- code in a comment/' || true
        sources "$room" | xargs -r grep -nE '^ *(//|/\*|\*)? *[-=*#/]{8,}' |
            sed 's/$/   <- a banner/' || true
        sources "$room" | xargs -r grep -nE '^} [a-z0-9_]+_t;' |
            sed 's/$/   <- a type that ends in _t/' || true
    done
}

# Somebody who changes a file finds the tests that look at it: by its name, or in what_fails.txt.
check_named() {
    local room file name
    for room in kernels autodiff data configs infer train launch; do
        sources "$room" | grep -E '\.(c|cu)$' || true
    done | while read -r file; do
        name=${file##*/}
        grep -rqw --exclude-dir=old "${name%.*}" tests || echo "$file: no test names it"
    done
}

check_tree() {
    (cd "$1" && check_includes && check_sizes && check_words && check_style && check_named)
}

# Every word of the room's headers, as written and with macros expanded, and of the declarations
# `extern` in its files (tables and instruction-set variants are declared by macros).
declared_names() { # room
    local file
    find "$1" -name '*.h' -print0 | xargs -0r cat
    find "$1" -name '*.h' | sed 's/.*/#include "&"/' | gcc -E -P -I. -D_GNU_SOURCE - 2>/dev/null || true
    { grep -rlw --include='*.c' extern "$1" || true; } | while read -r file; do
        gcc -E -P -I. -D_GNU_SOURCE "$file" 2>/dev/null | grep -E '^ *extern' || true
    done
}

# Names that other files can see begin with the room's prefix and stand in one of its headers.
check_symbols() { # build folder, source directory
    local room prefix name declared=$scratch/declared
    while read -r room prefix; do
        [ -e "$1/libttt_$room.a" ] || continue
        (cd "$2" && declared_names "$room") | grep -oE '[A-Za-z_][A-Za-z_0-9]*' | sort -u >"$declared"
        while read -r name; do
            [[ $name == "$prefix"* ]] || echo "libttt_$room.a: $name does not begin with $prefix"
            grep -qxE "$name|${name%_v[234]}" "$declared" ||
                echo "libttt_$room.a: $name is in no header of $room/: make it static"
        done < <(nm -g --defined-only "$1/libttt_$room.a" 2>/dev/null |
            awk 'NF == 3 && $3 !~ /^_/ && $3 !~ /\./ { print $3 }' | sort -u)
    done <<<"kernels kern_
autodiff ad_
data data_
configs conf_
infer infer_
train train_
launch launch_"
}

make_faulty_tree() {
    mkdir -p kernels autodiff data configs infer train launch tests
    touch kernels/base.h kernels/rows.h autodiff/graph.h infer/model.h train/loop.h
    echo '#include "kernels/rows.h"' >data/a.c
    echo '#include "infer/model.h"' >autodiff/a.c
    echo '#include "train/loop.h"' >infer/a.c
    echo '#include "model.h"' >infer/b.c
    echo '#include "autodiff/gone.h"' >infer/c.c
    echo '#include <hdf5.h>' >train/a.c
    seq 501 >train/long.c
    { echo 'int f(void) {'; seq 70; echo '}'; } >train/tall.c
    printf '/* %0100d */\n' 0 >train/wide.c
    echo "/* TO""DO */" >train/word.c
    echo '    exit(1);' >train/exit.c
    printf '    a = malloc(7);\n    ASSERT(a);\n' >train/memory.c
    echo '    ASSERT(kern_alloc(&a, 7, "a") == KERN_OK);' >train/alloc.c
    echo '// f(x);' >train/comment.c
    echo '/* ======== */' >train/banner.c
    printf 'typedef struct {\n} thing_t;\n' >train/type.c
    printf '#define DECLARE(name) extern int train_##name;\nDECLARE(macro)\n' >train/macro.c
    echo 'int train_open, train_macro, train_stray, loose;' >train/stray.c
    echo 'extern int train_open, loose;' >train/loop.h
    gcc -c train/stray.c -o stray.o
    ar rc libttt_train.a stray.o
}

mkdir "$scratch/tree"
(cd "$scratch/tree" && make_faulty_tree)
check_tree "$scratch/tree" >"$scratch/found"
check_symbols "$scratch/tree" "$scratch/tree" >>"$scratch/found"
for expected in "data/a.c: data may not include kernels/rows.h" \
    "autodiff/a.c: autodiff may not include infer/model.h" \
    "infer/a.c: infer may not include train/loop.h" "infer/b.c: \"model.h\" must be written" \
    "infer/c.c: includes autodiff/gone.h" "train/a.c: train may not include <hdf5.h>" \
    "train/long.c: 501 lines" "train/tall.c:1: a function of 72" "train/wide.c:1: wider" \
    "train/word.c:1: a word" "train/exit.c:1:" "train/memory.c-2-" \
    "train/alloc.c:1:" "train/comment.c:1:" "train/banner.c:1:" \
    "train/type.c:2:" "train/stray.c: no test names it" "libttt_train.a: loose does not begin with train_" \
    "libttt_train.a: train_stray is in no header"; do
    grep -qF "$expected" "$scratch/found" || {
        echo "the faulty tree must be reported with: $expected; reported was:"
        cat "$scratch/found"
        exit 1
    }
done
! grep -E 'train_(open|macro)' "$scratch/found" || { echo "these names are declared"; exit 1; }

check_tree "$source" >"$scratch/faults"
check_symbols "$(dirname "$program")" "$source" >>"$scratch/faults"
if [ -s "$scratch/faults" ]; then
    cat "$scratch/faults"
    echo "test_layering: $(wc -l <"$scratch/faults") faults"
    exit 1
fi
echo "test_layering: every include, size, word and name is as agreed"
