#!/bin/bash
# ttt eval with several lengths of windows, its pictures, and Ctrl-C. Arguments: the program, the
# source directory.
set -euo pipefail
# shellcheck source=tests/launch/eval_common.sh
. "$(dirname "$0")/eval_common.sh" "$1" test_eval_lengths
train runs/e2e
train runs/swa inner.mode=off inner.suffix=0
data=(--data 'valid.h5,test.h5' --windows 3)

# ---- a list has the numbers of its lengths one by one, to the last bit ----
json() { # FILE WORDS...: the JSON of both runs
    evaluate runs/e2e runs/swa "${data[@]}" --json "${@:2}"
    tail -n 1 out.txt >"$1"
}
json list.json --context 64,256,128 --by-position --books --csv list.csv --png both.png
cp out.txt list.txt
json 64.json --context 64 --place 256 --by-position --csv 64.csv --png positions.png
json 128.json --context 128 --place 256 --csv 128.csv
json 256.json --context 256 --csv 256.csv
json alone.json --context 64
json tails.json --context 64,256 --png lengths.png
python3 - <<'END' || fault "the list and its lengths one by one differ"
import json
def read(name):
    whole = json.load(open(name))
    for context in whole["contexts"]:
        for part in context["models"]: del part["seconds"]
    return whole
everything = read("list.json")
assert everything["place"] == 256 and [c["context"] for c in everything["contexts"]] == [64, 256, 128]
lasts = []
for context in everything["contexts"]:
    single = read("%d.json" % context["context"])
    assert len(single["contexts"]) == 1
    for parts, others in zip((context["models"], context["differences"]),
                             (single["contexts"][0]["models"], single["contexts"][0]["differences"])):
        assert len(parts) == len(others) == (3 if parts is context["models"] else 2)
        for part, other in zip(parts, others):
            last, own = part.pop("last"), other.pop("last")
            assert last["tokens"] == 64 and own["tokens"] == context["context"]
            # Alone, a window is all of its last tokens.
            assert all(own[key] == other[key] for key in ("mean", "standard_error", "bits_per_byte"))
            bin = part["positions"][-1]
            if bin["end"] - bin["begin"] == 64:
                assert abs(last["mean"] - bin["mean"]) < 1e-12 and last["windows"] == 6
            lasts.append((context["context"], last["mean"]))
            assert part == other, (part, other)
assert len(set(lasts)) == len(lasts)  # every length and model has a number of its own
# Without --place, short windows lie elsewhere.
assert read("alone.json")["contexts"][0]["models"] != read("64.json")["contexts"][0]["models"]
END
for length in 64 128 256; do
    grep -E ",$length$" list.csv | grep -vE "(64|128|256),0,$length," >lines.csv
    sed 1d $length.csv | while IFS= read -r line; do
        grep -qxF "$line" list.csv || fault "the CSV of the list lacks $line"
    done
done
says list.txt '^loss ± standard error over windows: 6 windows each of 64, 256, 128 tokens'
says list.txt '^the last 64 tokens of each window, which every length predicts$'
says list.txt '^document, windows of 128 '
says list.txt '^position, windows of 256 '
says list.txt '^128 tokens +-?[0-9.]+ ±[0-9. ]+ +-?[0-9.]+ ±[0-9. ]+$'
[ "$(grep -c ',0,256,.*,6,256$' list.csv)" = 3 ] || fault "the CSV must have whole windows"

# ---- pictures ----
python3 - <<'END' || fault "that is no picture"
import struct, zlib
for name, size in (("both.png", (2400, 800)), ("positions.png", (1200, 800)), ("lengths.png", (1200, 800))):
    data, at, pixels = open(name, "rb").read(), 8, b""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", name
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0]
        if kind == b"IHDR": assert struct.unpack(">II", body[:8]) == size, (name, struct.unpack(">II", body[:8]))
        if kind == b"IDAT": pixels += body
        at += 12 + length
    assert kind == b"IEND"
    colors = zlib.decompress(pixels)
    assert len(set(colors)) > 20, name  # something is drawn
END
[ ! -e both.png.partial ] || fault "a partial picture is left"
mkdir bin # a path without gnuplot
printf '#!/bin/bash\nPATH=%q exec %q "$@"\n' "$PWD/bin" "$ttt" >bare
chmod +x bare
ttt=$PWD/bare refused 1 'gnuplot, which draws pictures, cannot be called.*gnuplot-nox.*--csv' \
    runs/e2e "${data[@]}" --png none.png
! grep -q windows err.txt || fault "it must be missed before the work, not behind it"
ttt=$PWD/bare evaluate runs/swa "${data[@]}"
printf '#!/bin/bash\necho "no fonts" >&2\nexit 3\n' >bin/gnuplot
chmod +x bin/gnuplot
ttt=$PWD/bare refused 1 'gnuplot cannot draw PNG: no fonts' runs/e2e "${data[@]}" --png none.png
[ ! -e none.png ] || fault "a picture without gnuplot"
refused 1 'nowhere/x.png' runs/swa "${data[@]}" --png nowhere/x.png

# ---- Ctrl-C ----
seq 1 150000 >long.txt
"$ttt" pack --out long.h5 long.txt >/dev/null
interrupted 'e2e: evaluation stopped after [0-9]* of [0-9]* windows' runs/e2e --data long.h5 --windows 0 \
    --csv stopped.csv --png stopped.png --save --by-position
[ ! -s out.txt ] || fault "a table although it was stopped"
[ -z "$(find . -name "stopped*" -o -path "*eval/step*")" ] || fault "files although it was stopped"

refused 2 'different whole numbers' runs/e2e "${data[@]}" --context 64,64
refused 2 'different whole numbers' runs/e2e "${data[@]}" --context 64,
refused 2 'different whole numbers' runs/e2e "${data[@]}" --context 0
refused 2 '100 tokens: train.context 100 is not a multiple' runs/e2e "${data[@]}" --context 64,100
refused 2 'place 64 is shorter than windows of 128' runs/e2e "${data[@]}" --context 128 --place 64
refused 1 'longest' runs/e2e "${data[@]}" --context 64 --place 32768
echo "test_eval_lengths: lists, pictures and Ctrl-C are as they should be"
