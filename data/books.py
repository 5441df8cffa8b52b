#!/usr/bin/env python3
"""Ten books from four unpacked Debian packages, as plain text.

usage: books.py PACKAGES OUT

PACKAGES is the folder into which the packages of docs/books.md were unpacked with dpkg -x. Writes
OUT/ID.txt for each book: UTF-8, one line a paragraph, an empty line between paragraphs. Standard
library only; the result depends on the packages' contents alone.
"""

import gzip
import pathlib
import re
import struct
import sys
import zlib

# id, split, package, file in it (a pattern: folders differ between releases), object of R data
BOOKS = [
    ("doyle-sherlock", "train", "golang-github-pierrec-lz4-dev", "pg1661.txt", None),
    ("melville-mobydick", "train", "r-cran-tokenizers", "tokenizers", "mobydick"),
    ("austen-prideprejudice", "train", "r-cran-janeaustenr", "janeaustenr", "prideprejudice"),
    ("austen-sensesensibility", "train", "r-cran-janeaustenr", "janeaustenr", "sensesensibility"),
    ("austen-mansfieldpark", "train", "r-cran-janeaustenr", "janeaustenr", "mansfieldpark"),
    ("austen-northangerabbey", "train", "r-cran-janeaustenr", "janeaustenr", "northangerabbey"),
    ("austen-persuasion", "validation", "r-cran-janeaustenr", "janeaustenr", "persuasion"),
    ("twain-tomsawyer", "validation", "golang-github-pierrec-lz4-dev",
     "Mark.Twain-Tom.Sawyer.txt", None),
    ("austen-emma", "test", "r-cran-janeaustenr", "janeaustenr", "emma"),
    ("newton-opticks", "test", "golang-github-andybalholm-brotli-dev",
     "Isaac.Newton-Opticks.txt", None),
]


class RData:
    """Reads the few kinds of objects that an R serialisation of texts is made of."""

    NULL = 254

    def __init__(self, data):
        self.data, self.at, self.symbols = data, 0, []
        if data[:2] != b"X\n":
            raise ValueError("no R serialisation in XDR form")
        self.at = 2
        version = self.integer()
        self.at += 8  # versions of R that wrote and can read it
        if version == 3:
            self.bytes(self.integer())  # the native encoding's name
        elif version != 2:
            raise ValueError(f"R serialisation of version {version}")

    def integer(self):
        self.at += 4
        return struct.unpack_from(">i", self.data, self.at - 4)[0]

    def bytes(self, count):
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError("R data end too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def read(self):
        flags = self.integer()
        kind = flags & 255
        attributes = bool(flags & 512)
        if kind == self.NULL:
            return None
        if kind == 255:  # a symbol seen before
            return self.symbols[(flags >> 8) - 1]
        if kind == 1:  # a symbol
            self.symbols.append(self.read())
            return self.symbols[-1]
        if kind == 2:  # a pair list: tag, value, rest
            if attributes:
                self.read()
            tag = self.read() if flags & 1024 else None
            return [(tag, self.read())] + (self.read() or [])
        if kind == 9:  # one string; -1 is NA
            length = self.integer()
            return None if length == -1 else self.bytes(length).decode(
                "latin-1" if flags >> 12 & 4 else "utf-8")
        if kind in (10, 13):  # logical values, integers
            value = [self.integer() for _ in range(self.integer())]
        elif kind in (16, 19):  # a vector of strings, a list
            value = [self.read() for _ in range(self.integer())]
        else:
            raise ValueError(f"R object of kind {kind}")
        if attributes:
            names = dict(self.read() or []).get("names")
            if names and kind == 19:
                value = dict(zip(names, value))
        return value


def read_r_text(folder, name):
    """The character vector `name` of an R package's lazy-loaded data, as lines."""
    index = RData(gzip.decompress((folder / "Rdata.rdx").read_bytes())).read()
    offset, length = index["variables"][name]
    entry = (folder / "Rdata.rdb").read_bytes()[offset:offset + length]
    data = zlib.decompress(entry[4:])
    if len(data) != struct.unpack(">I", entry[:4])[0]:
        raise ValueError(f"{name}: R data have another length than they say")
    return "\n".join(RData(data).read())


def clean(text):
    """The book alone, a line a paragraph; indented lines (verse, tables) keep their breaks."""
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    start = re.search(r"^\*\*\* ?START OF.*$", text, re.MULTILINE)
    end = re.search(r"^\*\*\* ?END OF.*$", text, re.MULTILINE)
    text = text[start.end() if start else 0:end.start() if end else len(text)]
    paragraphs = []
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        # Two spaces after a sentence are some transcribers' habit, lost at their line ends.
        lines = [line if line[0].isspace() else re.sub(" +", " ", line) for line in lines]
        if not lines or (not paragraphs and lines[0].startswith("Produced by ")):
            continue  # the transcribers' credits stand before everything else
        joined = lines[:1]
        for before, line in zip(lines, lines[1:]):
            if before[0].isspace() or line[0].isspace():
                joined.append(line)
            else:
                joined[-1] += " " + line
        paragraphs.append("\n".join(joined))
    if re.match(r"end of (the )?project gutenberg", paragraphs[-1], re.IGNORECASE):
        paragraphs.pop()
    return "\n\n".join(paragraphs) + "\n"


def find(packages, package, pattern):
    """The one file of that name, or the data folder of an R package."""
    if package.startswith("r-cran-"):
        found = sorted(packages.glob(f"usr/lib*/R/site-library/{pattern}/data"))
    else:
        place = "/".join(package.split("-")[2:4])  # pierrec/lz4, andybalholm/brotli
        found = sorted(packages.glob(f"usr/share/gocode/src/github.com/{place}/**/testdata/{pattern}"))
    if not found:
        sys.exit(f"books.py: {pattern} of package {package} is not under {packages}; unpack it there "
                 "with dpkg -x")
    return found[0]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    packages, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for book, split, package, pattern, name in BOOKS:
        place = find(packages, package, pattern)
        text = read_r_text(place, name) if name else place.read_bytes().decode("utf-8")
        data = clean(text).encode("utf-8")
        (out / f"{book}.txt").write_bytes(data)
        print(f"{book:24} {split:10} {len(data):8} bytes")


if __name__ == "__main__":
    main()
