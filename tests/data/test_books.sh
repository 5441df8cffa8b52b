#!/bin/bash
# data/books.py on packages made here: R data written by rules of its own, texts with every trap; and
# launch/books.sh, which must touch nothing where the books are not those it expects.
# NOT_SANITIZED: no program of ours runs.
# Arguments: the program, the source directory.
set -euo pipefail
source=$(realpath "$2")
command -v python3 >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fault() {
    echo "test_books: $*" >&2
    exit 1
}

python3 - <<'END'
import gzip, pathlib, struct, zlib

def word(n):
    return struct.pack(">i", n)

def text(s):  # one string of a vector
    return word(0x40009) + word(len(s.encode())) + s.encode()

def texts(lines):
    return word(16) + word(len(lines)) + b"".join(map(text, lines))

def names(lines, seen):  # the attribute of that name: spelt out once, then referred to
    symbol = word(0x1ff) if seen else word(1) + text("names")
    return word(0x402) + symbol + texts(lines) + word(254)

def package(name, version, objects):
    head = b"X\n" + word(version) + word(0x40202) + word(0x30500)
    if version == 3:
        head += word(5) + b"UTF-8"
    place, data = [], b""
    for lines in objects.values():
        plain = head + texts(lines)
        entry = struct.pack(">I", len(plain)) + zlib.compress(plain)
        place.append(word(13) + word(2) + word(len(data)) + word(len(entry)))
        data += entry
    index = word(0x213) + word(len(place)) + b"".join(place) + names(list(objects), False)
    index = word(0x213) + word(2) + index + word(10) + word(1) + word(1)
    index += names(["variables", "compressed"], True)
    folder = pathlib.Path(f"p/usr/lib/R/site-library/{name}/data")
    folder.mkdir(parents=True)
    (folder / "Rdata.rdx").write_bytes(gzip.compress(head + index))
    (folder / "Rdata.rdb").write_bytes(data)

package("tokenizers", 3, {"mobydick": [
    "\ufeffTitle\r\n\r\n*** START OF THIS EBOOK ***\r\n\r\nProduced by one\r\nand another\r\n\r\n"
    "Call me\r\nIshmael. \u00e9\r\n\r\nEnd of Project Gutenberg's book\r\n\r\n*** END OF IT ***\r\nx\r\n"]})
package("janeaustenr", 2, {name: [name.upper(), "", "one  two", "three", "", " verse", "  more", "after"]
                           for name in ("prideprejudice", "sensesensibility", "mansfieldpark",
                                        "northangerabbey", "persuasion", "emma")})
for place, name in (("pierrec/lz4", "pg1661"), ("pierrec/lz4", "Mark.Twain-Tom.Sawyer"),
                    ("andybalholm/brotli", "Isaac.Newton-Opticks")):
    folder = pathlib.Path(f"p/usr/share/gocode/src/github.com/{place}/testdata")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("Produced by A.\n\n\n\nI said\nProduced by B\n \nlast")
END
python3 "$source/data/books.py" p out >rows.txt || fault "it failed"
[ "$(wc -l <rows.txt)" = 10 ] || fault "ten rows were expected"
grep -q '^newton-opticks  *test ' rows.txt || fault "the split of Opticks: $(cat rows.txt)"
printf 'Call me Ishmael. \303\251\n' | cmp - out/melville-mobydick.txt
printf 'EMMA\n\none two three\n\n verse\n  more\nafter\n' | cmp - out/austen-emma.txt
printf 'I said Produced by B\n\nlast\n' | cmp - out/newton-opticks.txt

rm p/usr/share/gocode/src/github.com/pierrec/lz4/testdata/pg1661.txt
if python3 "$source/data/books.py" p out2 >/dev/null 2>err.txt; then fault "a missing text passed"; fi
grep -q 'pg1661.txt' err.txt || fault "the missing text is not named: $(cat err.txt)"

# An apt-get that brings packages with these texts: books.sh must refuse them and leave nothing.
mkdir bin
printf '#!/bin/bash\ncase "$*" in *download*) touch a.deb ;; esac\n' >bin/apt-get
printf '#!/bin/bash\ncp -r "%s/p/usr" "$3/"\n' "$folder" >bin/dpkg
chmod +x bin/*
cp p/usr/share/gocode/src/github.com/pierrec/lz4/testdata/{Mark.Twain-Tom.Sawyer,pg1661}.txt
if PATH=$folder/bin:$PATH bash "$source/launch/books.sh" fetched >log.txt 2>&1; then
    fault "other texts passed for the books"
fi
grep -q 'austen-emma.txt: FAILED' log.txt || fault "the wrong book is not named: $(cat log.txt)"
[ -z "$(ls -A fetched)" ] || fault "left behind: $(ls -A fetched)"
