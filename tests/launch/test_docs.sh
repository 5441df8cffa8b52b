#!/bin/bash
# Runs what the documentation tells its reader to run. Every block fenced as ```sh in README.md and
# docs/*.md is executed, in order, README first, in one scratch copy of the project, where `ttt` and
# `build/ttt` are the program under test and out/books holds small texts under the real books' names.
# Arguments: the program, the source directory.
#
# NOT_SANITIZED: what the commands do is sanitized in tests of their own.
#
# A line of HTML comment right before a block changes how it is run:
#   <!-- test: skip REASON -->          not at all; the reason is printed
#   <!-- test: cut KEY=VALUE ... -->    with these overrides added to each ttt train and ttt bench
# Lines that call launch/test.sh, quickstart.sh, toy.sh or compare.sh, which take minutes, are left out;
# so are those that call launch/ranks.sh, where the program is built without MPI.
set -euo pipefail
program=$(realpath "$1")
source=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TTT_BRIEF_PEAK=1 # no test asks how fast the machine is

# Splits the Markdown file $1 into $2/N.sh, with the annotation, if any, in $2/N.note.
extract() {
    mkdir -p "$2"
    awk -v folder="$2" '
        /^```/ && inside { close(block); inside = 0; next }
        inside == 1 { print > block; next }
        inside { next }
        /^ *```(bash|shell|console|zsh)/ { print "line " FNR ": fence commands as ```sh"; bad = 1 }
        /^ +```sh/ { print "line " FNR ": an indented block is not run"; bad = 1 }
        /^```sh$/ {
            block = sprintf("%s/%03d.sh", folder, ++count)
            printf "" > block
            if (note) { name = sprintf("%s/%03d.note", folder, count); print note > name; close(name) }
            inside = 1
        }
        /^```/ && !inside { inside = 2 }
        { note = "" }
        /^<!-- test:/ {
            note = $0
            if (!sub(/^<!-- test: */, "", note) || !sub(/ *-->$/, "", note) ||
                note !~ /^(skip [^ ]|cut [^ ]+=)/) {
                print "line " FNR ": neither skip REASON nor cut KEY=VALUE"; bad = 1
            }
        }
        END { if (inside) { print "a block is not closed"; bad = 1 } exit bad }' "$1"
}

make_copy() { # the scratch copy in $1
    local folder=$1 name
    mkdir -p "$folder/build" "$folder/bin" "$folder/out/books"
    for name in CMakeLists.txt README.md LICENSE kernels autodiff data configs infer train launch \
        tests docs; do
        [ ! -e "$source/$name" ] || cp -r "$source/$name" "$folder/"
    done
    local bytes=20000
    cat >"$folder/bin/ttt" <<END
#!/bin/bash
case "\${1:-} \$*" in
    *--resume* | *--help* | "bench bench ops"*) ;;
    train* | "bench bench"*) set -- "\$@" \${TTT_DOCS_CUT:-} ;;
esac
exec "$program" "\$@"
END
    chmod +x "$folder/bin/ttt"
    cp "$folder/bin/ttt" "$folder/build/ttt"
    # So many bytes each, different from each other.
    find "$source/kernels" "$source/autodiff" "$source/data" "$source/configs" -type f | sort |
        xargs cat | LC_ALL=C tr -c '\n -~' '?' >"$scratch/text"
    for name in doyle-sherlock twain-tomsawyer newton-opticks melville-mobydick \
        austen-prideprejudice austen-sensesensibility austen-mansfieldpark austen-emma \
        austen-northangerabbey austen-persuasion; do
        awk -v name=$name -v most=$bytes '
            bytes >= most { exit }
            { line = name " " NR ": " $0; print line; bytes += length(line) + 1 }' \
            "$scratch/text" >"$folder/out/books/$name.txt"
    done
}

# Runs the blocks of folder $1 in the copy $2; $3 names the document. Prints a line a block.
run_blocks() {
    local block note cut failed=0 start
    for block in "$1"/*.sh; do
        [ -e "$block" ] || continue
        note=$(cat "${block%.sh}.note" 2>/dev/null || true)
        if [[ $note == "skip "* ]]; then
            echo "$3 block $(basename "$block" .sh): left out: ${note#skip }"
            continue
        fi
        cut=
        [[ $note != "cut "* ]] || cut=${note#cut }
        sed -i -E '/launch\/(test|quickstart|toy|compare)\.sh/d' "$block"
        [ -e "$(dirname "$program")/libttt_mpi.so" ] || sed -i '/launch\/ranks\.sh/d' "$block"
        start=$SECONDS
        if (cd "$2" && PATH="$2/bin:$PATH" TTT_DOCS_CUT=$cut timeout 600 \
            bash -euo pipefail "$block" >"$scratch/output" 2>&1 </dev/null); then
            echo "$3 block $(basename "$block" .sh): runs ($((SECONDS - start)) s)"
        else
            echo "$3 block $(basename "$block" .sh): FAILS with exit code $?:"
            sed 's/^/    $ /' "$block"
            tail -n 20 "$scratch/output" | sed 's/^/    /'
            failed=1
        fi
    done
    return $failed
}

# Relative links lead to something.
check_links() {
    local link failed=0
    while read -r link; do
        [ -e "$(dirname "$1")/${link%%#*}" ] || { echo "$1: nothing at the link $link"; failed=1; }
    done < <(grep -oE '\]\([^)#][^)]*\)' "$1" | sed 's/^](//; s/)$//' |
        grep -vE '^(https?|mailto):' || true)
    return $failed
}

# Files and functions that the Markdown file $1 names, and pages that the source names, exist. A name
# in capitals (autodiff/ops/NAME.c) stands for many.
check_names() { # document, source directory
    local name failed=0
    while read -r name; do
        [ -e "$2/$name" ] || { echo "$1: there is no $name"; failed=1; }
    done < <(grep -oE '`(kernels|autodiff|data|configs|infer|train|launch|tests|docs)/[a-z0-9_/.-]+`' "$1" |
        tr -d '`' || true)
    while read -r name; do
        grep -qrE --include='*.[ch]' "\b$name\(" "$2"/{kernels,autodiff,data,configs,infer,train,launch} ||
            { echo "$1: there is no function $name"; failed=1; }
    done < <(grep -oE '`[a-z0-9_]+\(\)`' "$1" | tr -d '`()' || true)
    return $failed
}

check_pages() { # source directory
    local place page failed=0
    while IFS=: read -r place page; do
        [ -e "$1/$page" ] || { echo "$place names $page, which does not exist"; failed=1; }
    done < <(cd "$1" && grep -roE 'docs/[a-z0-9-]+\.md' --include='*.[ch]' --include='*.sh' --include='*.py' \
        kernels autodiff data configs infer train launch tests)
    return $failed
}

# The test tests itself: what must fail does, what is annotated is obeyed.
self_check() {
    local folder=$scratch/self
    mkdir -p "$folder/bin"
    # shellcheck disable=SC2016  # expands in that script
    printf '#!/bin/bash\necho "$@" "$TTT_DOCS_CUT" >>said\n' >"$folder/bin/ttt"
    chmod +x "$folder/bin/ttt"
    printf '%s\n' 'Text' '```sh' 'ttt one' 'bash launch/test.sh' '```' '```' 'false' '```' \
        '<!-- test: cut a.b=2 -->' '```sh' 'ttt two' '```' '<!-- test: skip long -->' '```sh' \
        'false' '```' >"$folder/good.md"
    printf '%s\n' '```sh' 'false' 'true' '```' >"$folder/failing.md"
    printf '%s\n' '```bash' 'true' '```' >"$folder/fence.md"
    printf '%s\n' '<!-- test: maybe -->' '```sh' 'true' '```' >"$folder/note.md"
    printf '%s\n' 'See [this](good.md#part), [that](gone.md).' >"$folder/link.md"
    extract "$folder/good.md" "$folder/good" && run_blocks "$folder/good" "$folder" good &&
        [ "$(cat "$folder/said")" = "$(printf 'one \ntwo a.b=2')" ] || return 1
    extract "$folder/failing.md" "$folder/failing" || return 1
    ! run_blocks "$folder/failing" "$folder" failing || return 1
    ! extract "$folder/fence.md" "$folder/fence" || return 1
    ! extract "$folder/note.md" "$folder/note" || return 1
    [ "$(check_links "$folder/link.md")" = "$folder/link.md: nothing at the link gone.md" ] || return 1
    # shellcheck disable=SC2016  # Markdown
    printf '%s\n' '`train/a.c`: `here()`, `gone()`; `train/b.c`, `train/NAME.c`' >"$folder/name.md"
    mkdir -p "$folder"/{kernels,autodiff,data,configs,infer,train,launch,tests,docs}
    printf '/* docs/gone''.md */\nint here(void);\n' >"$folder/train/a.c"
    [ "$(check_names "$folder/name.md" "$folder" | sed 's/.*there is no //' | tr '\n' ' ')" = \
        "train/b.c function gone " ] || return 1
    [ "$(check_pages "$folder")" = "train/a.c names docs/gone"".md, which does not exist" ]
}
self_check >"$scratch/self.log" 2>&1 || { cat "$scratch/self.log"; echo "self-check failed"; exit 1; }

failed=0
copy=$scratch/copy
make_copy "$copy"
for document in "$source/README.md" "$source"/docs/*.md "$source"/tests/golden/README.md; do
    name=${document#"$source"/}
    if [ ! -e "$document" ]; then
        [ "$name" != README.md ] || { echo "there is no README.md"; failed=1; }
        continue
    fi
    extract "$document" "$scratch/blocks/$name" || { echo "$name: not as agreed"; failed=1; }
    run_blocks "$scratch/blocks/$name" "$copy" "$name" || failed=1
    { check_links "$document" && check_names "$document" "$source"; } || failed=1
done
check_pages "$source" || failed=1

# The table of commands is complete.
for command in $("$program" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    [ "$command" = help ] || grep -qsF "ttt $command" "$source/README.md" ||
        { echo "README.md does not mention ttt $command"; failed=1; }
done
exit $failed
