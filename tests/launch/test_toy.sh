#!/bin/bash
# launch/toy.sh, with the real program on small texts under the real books' names and few steps: five
# runs, their table by token index, picture and verdict; run again, it does nothing again. The
# installation, the build and the fetching of books are stand-ins. Arguments: the program, the source
# directory.
# NOT_SANITIZED: the commands that the script calls are tests of their own.
# shellcheck disable=SC2016  # awk has a $ of its own
set -euo pipefail
program=$(realpath "$1")
source=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_WAIT_POLICY=passive # several tests may run at once
export TTT_BRIEF_PEAK=1 # no test asks how fast the machine is
mkdir -p "$scratch"/{launch,build,data,out/books}
cp "$source"/launch/{toy.sh,experiment.sh,plot_toy.gp,toy_order.awk} "$scratch/launch/"
cp "$source/data/pairs-1024.ranks" "$scratch/data/"
cd "$scratch"
for name in install build books; do echo true >launch/$name.sh; done
printf '#!/bin/bash\necho "$*" >>calls\nexec "%s" "$@"\n' "$program" >build/ttt
chmod +x build/ttt

fault() {
    echo "test_toy: $*" >&2
    exit 1
}
# shellcheck source=tests/launch/numbers.sh
. "$source/tests/launch/numbers.sh" "$program"
command -v gnuplot >/dev/null || { echo "test_toy: no gnuplot"; exit 77; }

number=0
for name in doyle-sherlock twain-tomsawyer newton-opticks melville-mobydick austen-prideprejudice \
    austen-sensesensibility austen-mansfieldpark austen-emma austen-northangerabbey austen-persuasion; do
    number=$((number + 1))
    seq -s " $name; " $number 3 1400 >out/books/$name.txt
done

bash launch/toy.sh --steps 3 --windows 4 >log 2>&1 || fault "it fails: $(cat log)"
runs=out/toy-3-steps
for run in attention e2e-1 e2e-16 bigram; do
    [ -d $runs/$run/checkpoints/step-00000003 ] || fault "$run was not trained for three steps"
done
grep -q 'over 8 windows of 128 tokens' log || fault "four windows of each of the two test books: $(cat log)"
grep -q '^TTT-E2E, b = 1  *[0-9.]* ±[0-9.]*  *[0-9.]*$' log || fault "no losses a token and a byte: $(cat log)"
grep -q "^the paper's order, .* \(holds\|does not hold\)" log || fault "no verdict: $(cat log)"
[ "$(head -c 4 $runs/loss_by_token.png | tail -c 3)" = PNG ] || fault "the picture is none"

# Every index has its own line for each model; naive has the bigram's weights and takes steps.
check '
    FNR == 1 || $1 ~ / - / || $3 - $2 == $7 { next } # of differences, of whole windows
    !($1 in indices) { models = models " " $1 }
    {
        demand($3 == $2 + 1 && $6 == 8, $0)
        demand($2 == indices[$1]++, "index " $2 " of " $1)
        loss[$1, $2] = $4
    }
    # Whether the two differ from index `first` on, and never before.
    function differ_from(first, one, other,    i) {
        for (i = 0; i < 128; i++)
            demand(near(loss[one, i], loss[other, i], 1e-5) == (i < first), one " and " other " at " i)
    }
    END {
        demand(models == " bigram naive naive-off e2e-16 e2e-16-off e2e-1 e2e-1-off attention", models)
        for (model in indices) demand(indices[model] == 128, indices[model] " indices of " model)
        differ_from(128, "naive-off", "bigram")
        differ_from(1, "naive", "naive-off")
        differ_from(1, "e2e-1", "e2e-1-off")
        differ_from(16, "e2e-16", "e2e-16-off")
    }' FS=, $runs/loss_by_token.csv || fault "the table by token index is wrong"

before=$(wc -l <calls)
cp log first
bash launch/toy.sh --steps 3 --windows 4 >log 2>&1 || fault "again: $(cat log)"
[ "$(wc -l <calls)" = "$before" ] || fault "something was done again: $(tail -n 3 calls)"
diff <(grep -A 30 'standard error over' first | grep -v picture) \
    <(grep -A 30 'standard error over' log | grep -v picture) || fault "the table changed"
! bash launch/toy.sh --steps x >log 2>&1 || fault "a word is no number of steps"
grep -q 'steps needs a number' log || fault "$(cat log)"

# The numbers of the picture are those of the table; what is better by so much is a difference.
check '
    BEGIN { split("bigram naive e2e-16 e2e-1 attention", name, " ") }
    NR == FNR { # of the table
        at = $1 SUBSEP $2 SUBSEP $3
        mean[at] = $4
        error[at] = $5
        next
    }
    {
        demand(NF == 19 && $1 == FNR - 1, NF " fields, index " $1)
        for (i = 1; i <= 5; i++) {
            at = name[i] SUBSEP $1 SUBSEP $1 + 1
            demand(at in mean && near($(2 * i), mean[at], 2e-6), "the loss of " name[i])
            demand(near($(2 * i + 1), error[at], 2e-6), "the standard error of " name[i])
            if (i > 1) demand(near($(8 + 2 * i), $2 - $(2 * i), 5e-6), name[i] " is better by " $(8 + 2 * i))
        }
    }
    END { demand(FNR == 128, FNR " lines") }' FS=, $runs/loss_by_token.csv FS=' ' $runs/loss_by_token.dat ||
    fault "the picture's numbers are wrong"

# A number that is missing or none is an error, whichever it is.
for damage in '/^e2e-1,5,6,/d' '/^bigram - naive,0,128,/d' '/^bigram - e2e-16,17,18,/d' '/^attention,/d' \
    's/^attention,0,128,[^,]*/attention,0,128,nan/' 's/^\(bigram,9,10,[^,]*\),[^,]*/\1,/' '1s/,context//' 1q; do
    sed "$damage" $runs/loss_by_token.csv >damaged.csv
    cmp -s damaged.csv $runs/loss_by_token.csv && fault "$damage changes nothing"
    ! awk -v data=damaged.dat -v bytes=8 -v tokens=4 -f launch/toy_order.awk damaged.csv >log 2>&1 || fault "no error after $damage"
    grep -q '^toy_order.awk: ' log || fault "after $damage: $(cat log)"
done

! awk -v data=damaged.dat -f launch/toy_order.awk $runs/loss_by_token.csv >log 2>&1 || fault "no bytes, no error"

# The verdict is that of the numbers.
verdict() { # what each is better by than the next, with a standard error of 0.01
    awk -v better="$*" 'BEGIN {
        split(better, by, " ")
        split("attention e2e-1 e2e-16 naive bigram", name, " ")
        print "model,bin_start,bin_end,mean,standard_error,count,context"
        for (at = 0; at <= 128; at++) {
            bin = at < 128 ? at "," (at + 1) : "0,128"
            for (i = 1; i <= 5; i++) print name[i] "," bin ",2,0.01,9,128"
            for (i = 1; i < 5; i++) print name[i + 1] " - " name[i] "," bin "," by[i] ",0.01,9,128"
            for (i = 1; i < 4; i++) if (at < 128) print "bigram - " name[i] "," bin ",1,0.01,9,128"
        }
    }' | awk -v data=numbers -v bytes=8 -v tokens=4 -f launch/toy_order.awk | tee said | tail -n 1
}
[[ $(verdict 0.5 0.03 0.03 0.03) == *" holds "* ]] || fault "this order holds"
grep -q '^attention  *2.0000 ±0.0100  *1.0000$' said || fault "half a token's loss is a byte's: $(cat said)"
[[ $(verdict -0.019 0.03 0.03 0.03) == *" holds "* ]] || fault "b = 1 may be as good as attention"
for wrong in "-0.03 0.03 0.03 0.03" "0.5 0.019 0.03 0.03" "0.5 0.03 -0.03 0.03" "0.5 0.03 0.03 0.019"; do
    # shellcheck disable=SC2086  # words
    [[ $(verdict $wrong) == *" does not hold "* ]] || fault "this order does not hold: $wrong"
done
echo "test_toy: five runs, a table by token index, a picture and a verdict"
