#!/bin/bash
# ttt eval with several lengths of windows, its pictures, and Ctrl-C. Arguments: the program, the
# source directory.
# shellcheck disable=SC2016  # awk has a $ of its own
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
[ "$(json_get . place <list.json)" = 256 ] || fault "the place of a list is its longest"
[ "$(json_get 'contexts/*' context <list.json | xargs)" = "64 256 128" ] || fault "the lengths of the list"
mean=(mean standard_error bits_per_byte)
part() { # FILE INDEX PART FILE: the models or differences of a length, but for times, to a file of lines
    json_get --without seconds,last "contexts/$2/$3/*" <"$1" >"$4"
}
index=0
: >lasts
for length in 64 256 128; do
    [ "$(json_get 'contexts/*' context <$length.json)" = $length ] || fault "$length.json is of another length"
    for part in models differences; do
        part list.json $index $part listed
        part $length.json 0 $part alone
        [ "$(wc -l <listed)" = "$([ $part = models ] && echo 3 || echo 2)" ] || fault "$(wc -l <listed) $part"
        cmp listed alone || fault "$part of the list and of $length tokens differ"
        # Alone, a window is all of its last tokens.
        rows="contexts/0/$part/*"
        json_get --numbers "$rows" "${mean[@]/#/last/}" last/tokens <$length.json >last
        json_get --numbers "$rows" "${mean[@]}" <$length.json | sed "s/$/\t$length/" | cmp - last ||
            fault "the last $length tokens of $length"
        json_get --numbers "contexts/$index/$part/*" last/mean last/windows last/tokens positions/-1/mean \
            positions/-1/begin positions/-1/end <list.json >last
        check '
            { demand($3 == 64, $3 " last tokens") }
            $6 - $5 == 64 { demand(near($1, $4, 1e-12) && $2 == 6, "the last tokens and the last bin: " $0) }' last ||
            fault "the last tokens of $length"
        sed "s/^/$length /" last >>lasts
    done
    index=$((index + 1))
done
[ "$(cut -f 1 lasts | sort -u | wc -l)" = 15 ] || fault "every length and model has a number of its own: $(cat lasts)"
# Without --place, short windows lie elsewhere.
part alone.json 0 models elsewhere
part 64.json 0 models placed
! cmp -s elsewhere placed || fault "--place changes nothing"
for length in 64 128 256; do
    sed 1d $length.csv | while IFS= read -r line; do
        grep -qxF "$line" list.csv || fault "the CSV of the list lacks $line"
    done
done
says list.txt '^loss ± standard error over windows: 6 windows each of 64, 256, 128 tokens'
says list.txt '^the last 64 tokens of each window, which every length predicts$'
says list.txt '^document, windows of 128 '
says list.txt '^position, windows of 256 '
says list.txt '^128 tokens +-?[0-9.]+ ±[0-9. ]+ +-?[0-9.]+ ±[0-9. ]+$'
[ "$(grep -c ',0,256,.*,6,256$' list.csv)" = 5 ] || fault "the CSV must have whole windows"

# ---- pictures ----
for picture in 'both 2400 800' 'positions 1200 800' 'lengths 1200 800'; do
    read -r name size <<<"$picture"
    "$tools/png_size" <"$name.png" >size || fault "$name.png is no picture"
    [ "$(cut -d ' ' -f 1,2 size)" = "$size" ] || fault "$name.png has another size: $(cat size)"
    [ "$(cut -d ' ' -f 3 size)" -gt 20 ] || fault "nothing is drawn in $name.png"
done
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
interrupted told 'e2e: evaluation stopped after [0-9]* of [0-9]* windows' runs/e2e --data long.h5 --windows 0 \
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
