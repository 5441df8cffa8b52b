#!/bin/bash
# launch/toy.sh, with the real program on small texts under the real books' names and few steps: five
# runs, their table by token index, picture and verdict; run again, it does nothing again. The
# installation, the build and the fetching of books are stand-ins. Arguments: the program, the source
# directory.
set -euo pipefail
program=$(realpath "$1")
source=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_WAIT_POLICY=passive # several tests may run at once
mkdir -p "$scratch"/{launch,build,out/books}
cp "$source"/launch/{toy.sh,experiment.sh,plot_toy.gp,toy_order.py} "$scratch/launch/"
cd "$scratch"
for name in install build books; do echo true >launch/$name.sh; done
printf '#!/bin/bash\necho "$*" >>calls\nexec "%s" "$@"\n' "$program" >build/ttt
chmod +x build/ttt

fault() {
    echo "test_toy: $*" >&2
    exit 1
}
command -v gnuplot >/dev/null || { echo "test_toy: no gnuplot"; exit 77; }

number=0
for name in doyle-sherlock twain-tomsawyer newton-opticks melville-mobydick austen-prideprejudice \
    austen-sensesensibility austen-mansfieldpark austen-emma austen-northangerabbey austen-persuasion; do
    number=$((number + 1))
    seq -s " $name; " $number 3 700 >out/books/$name.txt
done

bash launch/toy.sh --steps 3 --windows 4 >log 2>&1 || fault "it fails: $(cat log)"
runs=out/toy-3-steps
for run in attention e2e-1 e2e-16 bigram; do
    [ -d $runs/$run/checkpoints/step-00000003 ] || fault "$run was not trained for three steps"
done
grep -q 'over 8 windows of 128 bytes' log || fault "four windows of each of the two test books: $(cat log)"
grep -q "^the paper's order, .* \(holds\|does not hold\)" log || fault "no verdict: $(cat log)"
[ "$(head -c 4 $runs/loss_by_token.png | tail -c 3)" = PNG ] || fault "the picture is none"

# Every index has its own line for each model; naive has the bigram's weights and takes steps.
python3 - $runs/loss_by_token.csv <<'END' || fault "the table by token index is wrong"
import csv, sys
rows = {}
for row in csv.DictReader(open(sys.argv[1])):
    assert int(row["bin_end"]) == int(row["bin_start"]) + 1 and row["count"] == "8", row
    rows.setdefault(row["model"], []).append(float(row["mean"]))
assert list(rows) == ["bigram", "naive", "naive-off", "e2e-16", "e2e-16-off", "e2e-1", "e2e-1-off",
                      "attention"], list(rows)
assert all(len(losses) == 128 for losses in rows.values())
difference = lambda a, b: [abs(x - y) for x, y in zip(rows[a], rows[b])]
assert max(difference("naive-off", "bigram")) < 1e-5
naive, e2e, chunks = (difference(name, name + "-off") for name in ("naive", "e2e-1", "e2e-16"))
assert naive[0] < 1e-5 < min(naive[1:]), naive
assert e2e[0] < 1e-5 < min(e2e[1:]), e2e
assert max(chunks[:16]) < 1e-5 < min(chunks[16:]), chunks
END

before=$(wc -l <calls)
cp log first
bash launch/toy.sh --steps 3 --windows 4 >log 2>&1 || fault "again: $(cat log)"
[ "$(wc -l <calls)" = "$before" ] || fault "something was done again: $(tail -n 3 calls)"
diff <(grep -A 30 'standard error over' first | grep -v picture) \
    <(grep -A 30 'standard error over' log | grep -v picture) || fault "the table changed"
! bash launch/toy.sh --steps x >log 2>&1 || fault "a word is no number of steps"
grep -q 'steps needs a number' log || fault "$(cat log)"

# The numbers of the picture are those of the table; what is better by so much is a difference.
python3 - $runs/loss_by_token.csv $runs/loss_by_token.dat <<'END' || fault "the picture's numbers are wrong"
import csv, sys
rows = {}
for row in csv.DictReader(open(sys.argv[1])):
    rows.setdefault(row["model"], []).append(row)
lines = [[float(field) for field in line.split()] for line in open(sys.argv[2])]
order = ["bigram", "naive", "e2e-16", "e2e-1", "attention"]
assert len(lines) == 128
for index, (at, *fields) in enumerate(lines):
    assert at == index and len(fields) == 18
    for i, name in enumerate(order):
        assert abs(fields[2 * i] - float(rows[name][index]["mean"])) < 2e-6
        assert abs(fields[2 * i + 1] - float(rows[name][index]["standard_error"])) < 2e-6
        if i: assert abs(fields[8 + 2 * i] - (fields[0] - fields[2 * i])) < 5e-6
END

# The verdict is that of the numbers.
verdict() { # what each is better by than the next, with a standard error of 0.01
    python3 - "$@" <<'END' | python3 launch/toy_order.py numbers | tail -n 1
import json, sys
names = ["attention", "e2e-1", "e2e-16", "naive", "bigram"]
mean = lambda value: {"mean": value, "standard_error": 0.01, "windows": 9}
part = lambda value, model: dict(mean(value), model=model, positions=[mean(value)] * 128)
differences = [dict(part(float(value), b), less=a) for value, a, b in zip(sys.argv[1:], names, names[1:])]
differences += [dict(part(1, "bigram"), less=name) for name in names[:-2]]
print(json.dumps({"contexts": [{"context": 128, "models": [part(2, name) for name in names],
                                "differences": differences}]}))
END
}
[[ $(verdict 0.5 0.03 0.03 0.03) == *" holds "* ]] || fault "this order holds"
[[ $(verdict -0.01 0.03 0.03 0.03) == *" holds "* ]] || fault "b = 1 may be as good as attention"
for wrong in "-0.03 0.03 0.03 0.03" "0.5 0.01 0.03 0.03" "0.5 0.03 -0.03 0.03" "0.5 0.03 0.03 0.01"; do
    # shellcheck disable=SC2086  # words
    [[ $(verdict $wrong) == *" does not hold "* ]] || fault "this order does not hold: $wrong"
done
echo "test_toy: five runs, a table by token index, a picture and a verdict"
