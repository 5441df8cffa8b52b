#!/bin/bash
# launch/compare.sh, with the real program on small texts under the real books' names, two steps, two
# blocks and a small width: eight runs, their table, numbers and picture; run again, it does nothing
# again. The installation, the build and the fetching of books are stand-ins. Arguments: the program,
# the source directory.
# NOT_SANITIZED: the commands that the script calls are tests of their own.
set -euo pipefail
program=$(realpath "$1")
source=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_WAIT_POLICY=passive # several tests may run at once
export TTT_BRIEF_PEAK=1 # no test asks how fast the machine is
mkdir -p "$scratch"/{launch,build,out/books}
cp "$source"/launch/{compare.sh,experiment.sh} "$scratch/launch/"
cd "$scratch"
for name in install build books; do echo true >launch/$name.sh; done
cat >build/ttt <<END
#!/bin/bash
echo "\$*" >>calls
case "\$1 \$2" in
    "train compare"* | "train quickstart"*) set -- "\$@" \
        model.{dim=32,heads=2,mlp=32,window=32,blocks=2,full_every=2} train.batch=1 ;;
esac
exec "$program" "\$@"
END
chmod +x build/ttt

fault() {
    echo "test_compare: $*" >&2
    exit 1
}
command -v gnuplot >/dev/null || { echo "test_compare: no gnuplot"; exit 77; }

number=0
for name in doyle-sherlock twain-tomsawyer newton-opticks melville-mobydick austen-prideprejudice \
    austen-sensesensibility austen-mansfieldpark austen-emma austen-northangerabbey austen-persuasion; do
    number=$((number + 1))
    seq -s " $name; " $number 3 1500 >out/books/$name.txt
done

bash launch/compare.sh --steps 2 --windows 1 >log 2>&1 || fault "it fails: $(cat log)"
runs=out/compare-2-steps
losses=$runs/losses-1-windows # what other numbers of windows give does not replace it
for run in full swa hybrid mamba2 gdn kvb e2e e2e-gdn; do
    [ -d $runs/$run/checkpoints/step-00000002 ] || fault "$run was not trained for two steps"
    # Whole windows of each length, each with a number.
    for context in 512 1024 2048 4096 8192; do
        grep -qE "^$run,0,$context,[0-9.]+,[0-9.e-]+,4,$context$" $losses.csv ||
            fault "$run has no loss at $context: $(grep "^$run,0," $losses.csv)"
    done
done
[ "$(head -c 4 $losses.png | tail -c 3)" = PNG ] || fault "the picture is none"
before=$(wc -l <calls)
bash launch/compare.sh --steps 2 --windows 1 >log 2>&1 || fault "again: $(cat log)"
[ "$(wc -l <calls)" = "$before" ] || fault "something was done again: $(tail -n 3 calls)"
! bash launch/compare.sh --steps x >log 2>&1 || fault "a word is no number of steps"
grep -q 'steps needs a number' log || fault "$(cat log)"
echo "test_compare: eight runs, their losses by position and length"
