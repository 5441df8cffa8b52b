#!/bin/bash
# Several ranks over MPI read with a run: what they write, and the losses of a text and of windows,
# are those of one rank; states that one number of ranks has saved another goes on from; and files
# are written once. Arguments: the program, the source directory.
set -euo pipefail
# shellcheck source=tests/launch/train_common.sh
. "$(dirname "$0")/train_common.sh" "$1" test_ranks_read
tools=$(dirname "$ttt")/tests
# shellcheck source=tests/launch/ranks_common.sh
. "$(dirname "$0")/ranks_common.sh" "$ttt"
export OMPI_MCA_rmaps_base_oversubscribe=1

# ranks N COMMAND...: by so many ranks; their output is in out, the rest in log.
ranks() {
    timeout 300 mpirun -n "$1" "$ttt" "${@:2}" >out 2>log || fault "$1 ranks, ${*:2}: $(cat log)"
}

"$tools/write_run" "$PWD/tiny.yaml" whole >log 2>&1 || fault "$(cat log)"
head -c 400 "$2/README.md" >text
write=(infer whole --prompt-file text --tokens 30 --seed 3)
"$ttt" "${write[@]}" --save-state one.state >one 2>log || fault "$(cat log)"
ranks 2 "${write[@]}" --save-state two.state
cmp out one || fault "two ranks write something else"
grep -c "^read " log | grep -qx 1 || fault "more than one rank speaks: $(cat log)"
"$ttt" infer whole --load-state two.state --tokens 20 --greedy >one 2>log || fault "$(cat log)"
ranks 2 infer whole --load-state one.state --tokens 20 --greedy
cmp out one || fault "two ranks go on otherwise"
printf 'Who?\nWhy?\n' >lines
"$ttt" infer whole --chat --tokens 8 --greedy <lines >one 2>log || fault "$(cat log)"
timeout 300 mpirun -n 2 "$ttt" infer whole --chat --tokens 8 --greedy <lines >out 2>log || fault "$(cat log)"
cmp out one || fault "two ranks answer otherwise"

sums() { json_get --numbers . logprob; }
"$ttt" eval whole --text text --sum >one 2>log || fault "$(cat log)"
ranks 2 eval whole --text text --sum
paste <(sums <one) <(sums <out) | check '{ demand(NF == 2 && near($1, $2, 1e-4), $0) } END { demand(NR == 1, NR) }' ||
    fault "a text's losses differ"
bits() { tail -n 1 | json_get --numbers "contexts/*/models/*" bits_per_byte; }
"$ttt" eval whole --data valid.h5 --windows 3 --csv one.csv --json >one 2>log || fault "$(cat log)"
ranks 2 eval whole --data valid.h5 --windows 3 --csv data.csv --json
paste <(bits <one) <(bits <out) | check '{ demand(NF == 2 && $1 > 0 && near($1, $2, 1e-4), $0) } END { demand(NR > 0, NR) }' ||
    fault "other bits per byte"
ranks 2 eval whole --data valid.h5 --windows 3 --csv tensor.csv --tensor 2
for csv in data tensor; do
    paste <(tr , ' ' <one.csv) <(tr , ' ' <$csv.csv) | check '
        NR > 1 { demand(near($(NF - 3), $(NF / 2 - 3), 1e-4), $0) } END { demand(NR > 2, NR) }' || fault "$csv: other losses"
done
"$ttt" niah whole --lengths 400 --depths 2 --samples 2 --answer-tokens 8 --csv found.csv >log 2>&1 || fault "$(cat log)"
ranks 2 niah whole --lengths 400 --depths 2 --samples 2 --answer-tokens 8 --csv niah.csv
cmp found.csv niah.csv || fault "two ranks find other needles"

# Golden numbers, of a mesh of processes.
mkdir golden
cp "$2/tests/golden/ranks-grouped.safetensors" golden/
timeout 300 mpirun -n 4 "$tools/test_golden" --tensor 2 golden >out 2>log || fault "golden numbers: $(cat out log)"
says out '^1 passed, 0 failed, 0 cannot be divided$'
