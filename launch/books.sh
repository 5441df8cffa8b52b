#!/bin/bash
# Fetches ten sample books as plain text: books.sh FOLDER writes FOLDER/ID.txt for each.
# They come from four Debian packages (docs/books.md), which are unpacked, not installed: no root.
# Does nothing where all ten are there and whole.
set -euo pipefail

if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    [ "${1-}" = --help ] || [ "${1-}" = -h ] && exit 0
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
packages=(golang-github-pierrec-lz4-dev golang-github-andybalholm-brotli-dev r-cran-tokenizers
          r-cran-janeaustenr)

# The same on Debian 12 and 13.
checksums="
34a6730f5539ea5b133005e4aee94ed279d75176aa5d83604cbbee683732fdf3  doyle-sherlock.txt
9a8cebadcfe98a628330e5a0a657813ecb02c803ba78a97a9015188e75273006  melville-mobydick.txt
83b6a34c66552eef9a23c435b44cf3a8fee284df0c3454112db86bc11aab0ec0  austen-prideprejudice.txt
a26e8c8c988c8076d026f0cdbb14c53f3a80e542bcf5c3ae36e3fa7037e8cf9b  austen-sensesensibility.txt
8606771de1713bbdda6b3fe08a6b7087d4683b5ea8fc0781d4f5e69c368cb23e  austen-mansfieldpark.txt
93ea471967f64ea09d89b69c9c351730f2da366e0d13ae538d2cec03e4d618f2  austen-northangerabbey.txt
f7ad058d53a725c0f32a9f436a8807091c608eaece4d1bb9b7d52a521a659b70  austen-persuasion.txt
0ea79301478223b1570c020ea20bc85f105cdbaa3f1beb7377d9949ff1f5c0f4  twain-tomsawyer.txt
fa3fc18521578a738b71211b9e9879cf673f0f8e57234533a6a5adef39b6fa1c  austen-emma.txt
017c34ed817b04272249066cfbb9ce4841a64991eb37bafdef302e1e94d3c7e7  newton-opticks.txt"
checksums=${checksums#?}

# Names the books in folder $1 that are missing or differ; fails if there are any.
check() {
    (cd "$1" && sha256sum --check --quiet <<<"$checksums" 2>&1)
}

if check "$out" >/dev/null; then
    echo "books: all ten are in $1"
    exit 0
fi
for tool in python3 apt-get dpkg; do
    command -v $tool >/dev/null && continue
    echo "books.sh: $tool is missing. Without it: unpack ${packages[*]} of Debian into a folder" \
         "and run python3 data/books.py THAT_FOLDER $1" >&2
    exit 1
done

work=$(mktemp -d "$out/.fetch-XXXXXX") # beside the books, so that moving them is atomic
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work"/{packages,unpacked,text,lists/partial,cache/archives/partial}

fetch() {
    (cd "$work/packages" && apt-get -q "$@" download "${packages[@]}")
}

echo "books: fetching ${packages[*]}"
options=(-o Acquire::Retries=3)
# As root apt would switch to a user who may not write here.
[ "$(id -u)" -ne 0 ] || options+=(-o APT::Sandbox::User=root)
if ! fetch "${options[@]}" >"$work/log" 2>&1; then
    # This machine's package lists are absent or old; ours need no root.
    options+=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
    rm -f "$work"/packages/*
    if ! { apt-get -q "${options[@]}" update && fetch "${options[@]}"; } >"$work/log" 2>&1; then
        tail -n 5 "$work/log" >&2
        echo "books.sh: the packages cannot be fetched; is the network there, and are Debian's main" \
             "(Ubuntu: universe) packages among apt's sources?" >&2
        exit 1
    fi
fi
for package in "$work"/packages/*.deb; do dpkg -x "$package" "$work/unpacked"; done
python3 "$here/data/books.py" "$work/unpacked" "$work/text"
if ! wrong=$(check "$work/text"); then
    echo "$wrong" >&2
    echo "books.sh: these books are not those that docs/books.md describes; the packages have changed" >&2
    exit 1
fi
for text in "$work"/text/*.txt; do
    sync "$text"
    mv "$text" "$out/"
done
echo "books: ten books in $1"
