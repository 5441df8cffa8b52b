#!/bin/bash
# A program with one mixer more (tests/tools/ttt_ema.c) trains, goes on, plans, evaluates, reads and
# saves with it like with any other; the program itself says that it has no such mixer. Argument: the
# program.
set -euo pipefail
. "$(dirname "$0")/train_common.sh" "$1" test_mixer_commands
plain=$ttt
ttt=$tools/ttt_ema
cat >>tiny.yaml <<'END'
name: tiny-ema
END
# In f64, where rounding does not choose between two tokens that are nearly alike.
sed -i 's/blocks: 2/blocks: 4, pattern: esef/; s/suffix: 1/suffix: 2/; s/steps: 30/steps: 30, precision: f64/' tiny.yaml

learns_and_goes_on

# In pieces, through files, as at once.
seq -s ' ' 300 500 >head.txt
seq -s ' ' 501 640 >tail.txt
cat head.txt tail.txt >text.txt
for way in "" --no-ttt; do
    # shellcheck disable=SC2086  # no word or one
    {
        infer whole.out $way --prompt-file text.txt --greedy --tokens 60
        infer a.out $way --prompt-file head.txt --tokens 0 --save-state head.state --force
        infer b.out $way --load-state head.state --prompt-file tail.txt --greedy --tokens 25 --save-state b.state --force
        infer c.out $way --load-state b.state --greedy --tokens 35
    }
    cat b.out c.out | cmp - whole.out || fault "a saved state $way goes on with another text"
done

"$ttt" bench infer whole/config.yaml --contexts 64,128 --tokens 4 --json >out 2>log || fault "$(cat log)"
"$ttt" eval whole --data valid.h5 --json >out 2>log || fault "$(cat log)"
"$ttt" plan ./tiny.yaml --json >out 2>log || fault "$(cat log)"
[ "$(tail -n 1 out | json_get . parameters/ema)" = $((2 * 2 * 32 * 32)) ] || fault "plan: $(cat out)"
"$ttt" plan ./tiny.yaml >out 2>log && says out 'ema 4'
ttt=$plain
refused 1 "model.pattern 'esef' has the letter e, which is no mixer; there are s, f \(attention\),.* n \(none\)" ./tiny.yaml run.dir=x
[ ! -e x ] || fault "a run was begun"
"$plain" infer whole --prompt 1 >out 2>log && fault "it reads without the mixer"
says log 'letter e, which is no mixer'
echo "test_mixer_commands: trained, gone on with, read and saved; refused where there is no such mixer"
