#!/bin/bash
# ttt infer and ttt state as their user meets them, on a run trained here for a moment: texts, saved
# states, conversations, interruption, and what is refused. Arguments: the program, the source
# directory.
set -euo pipefail
. "$(dirname "$0")/train_common.sh" "$1" test_infer

train run
train other train.seed=2
train full train.steps=5 inner.mode=off inner.suffix=0 model.attention=full
train tight train.steps=5 train.memory_limit=1GB
sed -i "s/memory_limit: .*/memory_limit: 1kB/" tight/config.yaml

infer() { # infer OUT WORDS...: what it writes goes to OUT, what it says to log
    "$ttt" infer "${@:2}" >"$1" 2>log || fault "ttt infer ${*:2}: $(cat log)"
}

refused() { # CODE PATTERN WORDS...
    local expected=$1 pattern=$2 code=0
    shift 2
    "$ttt" "$@" >out 2>log </dev/null || code=$?
    [ $code = "$expected" ] || fault "exit code $code instead of $expected: ttt $*: $(cat log)"
    grep -qE -- "$pattern" log || fault "ttt $*: no '$pattern' in: $(cat log)"
}

seq -s ' ' 300 500 >head.txt
seq -s ' ' 501 640 >tail.txt
cat head.txt tail.txt >whole.txt

# One reading, or one that was saved and loaded, in any pieces, gives the same text.
infer whole.out run --prompt-file whole.txt --greedy --tokens 80
[ -s whole.out ] || fault "nothing was written"
says log '^read [0-9]+ tokens in .* inner steps, loss [0-9.]+ in the first chunk, [0-9.]+ in the last; wrote 80'
infer a.out run --prompt-file head.txt --tokens 0 --save-state head.state
infer b.out run --load-state head.state --prompt-file tail.txt --greedy --tokens 30 --save-state b.state
infer c.out run --load-state b.state --greedy --tokens 50 --save-state c.state
cat b.out c.out | cmp - whole.out || fault "a saved state goes on with another text"
infer d.out run --greedy --tokens 80 --prompt-file - <whole.txt
cmp d.out whole.out || fault "standard input is read as another text"
infer c.out run --load-state b.state --greedy --tokens 50 # b.state is as it was
cat b.out c.out | cmp - whole.out || fault "a state changed when it was loaded"

# Inner steps do something, and can be left out.
infer off.out run --prompt-file whole.txt --greedy --tokens 80 --no-ttt --json
says off.out '"inner_steps":0'
infer on.out run --prompt-file whole.txt --greedy --tokens 80 --json
says on.out '"tokens_written":80.*"inner_steps":[1-9]'

# The same seed, the same text; sampled text is UTF-8 whatever the bytes are.
wild=(--prompt 12 --tokens 400 --temperature 50 --top-p 1)
infer 1.out run "${wild[@]}" --seed 1
infer 2.out run "${wild[@]}" --seed 1
infer 3.out run "${wild[@]}" --seed 2
cmp 1.out 2.out || fault "the same seed gave another text"
! cmp -s 1.out 3.out || fault "two seeds gave the same text"
iconv -f UTF-8 -t UTF-16 1.out >/dev/null || fault "the text is not UTF-8"
infer 4.out run "${wild[@]}" --top-k 1
infer 5.out run "${wild[@]}" --greedy
cmp 4.out 5.out || fault "the best one token is not the greedy choice"

# Ends.
text=$(cat whole.out)
stop=${text:20:2}
infer stop.out run --prompt-file whole.txt --greedy --tokens 80 --stop "$stop" --json
says stop.out '"end":"stop"'
infer stop.out run --prompt-file whole.txt --greedy --tokens 80 --stop never --stop "$stop"
[ "$(cat stop.out)" = "${text%%"$stop"*}" ] || fault "stopped before '$stop' with: $(cat stop.out)"

# A line of answer for each line of prompt, with one state for all.
printf '1 2 3\n4 5 6 \n' | "$ttt" infer run --chat --tokens 20 --greedy >chat.out 2>log || fault "$(cat log)"
[ "$(wc -l <chat.out)" = 2 ] || fault "two prompts have these answers: $(cat chat.out)"

printf '1 2 3\r\n4 5 6 \r\n' | "$ttt" infer run --chat --tokens 20 --greedy | cmp - chat.out || fault "lines of Windows read otherwise"

# With --json an object for each answer, there before the next prompt is asked for.
mkfifo questions answers
"$ttt" infer run --chat --tokens 20 --greedy --json <questions >answers 2>log &
pid=$!
exec 3>questions 4<answers
: >chat.json
for prompt in '1 2 3' '4 5 6 '; do
    echo "$prompt" >&3
    read -r -t 60 -u 4 object || fault "no object came for the prompt '$prompt': $(cat log)"
    printf '%s\n' "$object" >>chat.json
done
exec 3>&-
if read -r -t 60 -u 4 object; then fault "behind the last answer came: $object"; fi
exec 4<&-
wait $pid || fault "a conversation in JSON fails: $(cat log)"
json_get . text <chat.json | cmp - chat.out ||
    fault "answers in JSON are others: $(cat chat.json)"
[ "$(sed 's/.*"tokens_written":\([0-9]*\).*/\1/' chat.json | sort -n | tail -n 1)" -le 20 ] ||
    fault "tokens are not counted by answer: $(cat chat.json)"

# What ends a conversation early does not cost what was learned.
code=0
seq 1 400 | "$ttt" infer full --chat --tokens 5 --context 300 --save-state short.state >out 2>log || code=$?
[ $code = 2 ] || fault "exit code $code where a conversation becomes too long: $(cat log)"
says log 'allow a longer context .--context N.; the state after [0-9]+ tokens is in short.state'
infer out full --load-state short.state --context 1000 --tokens 5

code=0
"$ttt" infer full --prompt-file whole.txt --context 600 --save-state short.state >out 2>log || code=$?
[ $code = 2 ] || fault "exit code $code where a text is too long, behind whole chunks: $(cat log)"
says log 'allow a longer context .--context N.; the state after 513 tokens is in short.state'
infer out full --load-state short.state --context 1000 --tokens 5

# Ctrl-C while it waits for a prompt: stops at once, and saves.
mkfifo prompts
exec 3<>prompts
begin chat.out log "$ttt" infer run --chat --tokens 3 --greedy --save-state chat.state <prompts
echo 1 2 3 >&3
await "an answer" test -s chat.out
kill -INT "$pid"
ended
exec 3>&-
[ $code = 130 ] || fault "exit code $code after SIGINT in a conversation: $(cat log)"
infer out run --load-state chat.state --tokens 5

# Ctrl-C while a text comes, behind whole chunks: any other text can follow.
mkfifo slow
exec 3<>slow
taken() { # the pipe is empty, and what was in it is read: the process waits for more
    ! read -r -t 0 -u 3 && idle "$pid"
}
head -c 600 whole.txt >&3
begin out log "$ttt" infer run --prompt-file slow --tokens 3 --save-state slow.state
await "the text to be read" taken
kill -INT "$pid"
ended
exec 3>&-
[ $code = 130 ] || fault "exit code $code after SIGINT while it reads: $(cat log)"
infer out run --load-state slow.state --tokens 5

# What a state shows.
"$ttt" state show c.state --json >show.out || fault "ttt state show failed"
says show.out '^tokens +[0-9]+, of which [0-9]+ wait'
says show.out '^blocks.1.fast.w1 +[0-9.]+ +[0-9.]+ %$'
says show.out '"inner_steps":[1-9].*"fast_weights":\{"blocks.1.fast.w1":\{"moved":[0-9.e-]+'

# States belong to their weights and their way of reading.
refused 1 'other weights' infer other --load-state c.state --prompt 1
refused 1 'read with inner steps.* without; --no-ttt' infer run --load-state c.state --prompt 1 --no-ttt
"$ttt" infer run --prompt 1 --tokens 0 --no-ttt --save-state off.state >out 2>log || fault "$(cat log)"
refused 1 'read without inner steps.* with them; --no-ttt' infer run --load-state off.state --prompt 1
cp -r run wider
sed -i 's/window: 32/window: 48/; s/clip: 1$/clip: 2/' wider/config.yaml
refused 1 'wider/config.yaml says, model.window=48 instead of model.window=32; ' infer wider --load-state c.state --prompt 1
# The same weights in two ways of reading.
for way in narrow wide; do
    sed -E "s/window: 32/window: $([ $way = wide ] && echo 48 || echo 32)/; s/clip: 1\$/clip: $([ $way = wide ] && echo 2 || echo 1)/" \
        run/config.yaml >$way.yaml
    "$(dirname "$ttt")/tests/write_run" ./$way.yaml $way
done
infer narrow.out narrow --prompt-file head.txt --tokens 0 --save-state narrow.state
refused 1 'read with model.window=32 inner.clip=1, this session has model.window=48 inner.clip=2; load' \
    infer wide --load-state narrow.state --prompt 1
head -c 3000 c.state >torn.state
refused 1 'torn.state' infer run --load-state torn.state --prompt 1
refused 1 'torn.state' state show torn.state
refused 1 'not the state of a session' state show "$(newest run)/model.safetensors"
refused 2 'no .look.' state look c.state

# Wrong words.
refused 1 'no/such/file' infer run --prompt-file no/such/file
refused 2 'top-p is 2' infer run --prompt 1 --top-p 2
refused 2 'temperature is -1' infer run --prompt 1 --temperature=-1
refused 2 'empty --stop' infer run --prompt 1 --stop ''
refused 2 'two prompts' infer run --prompt 1 --prompt-file whole.txt
refused 2 'no/such/run' infer no/such/run --prompt 1
refused 1 "reading takes .* are free" infer tight --prompt 1
refused 2 '[0-9]{19} tokens.*full attention' infer full --prompt 1 --context 4611686018427387904
refused 2 '[0-9]{19} tokens.*full attention' infer full --prompt 1 --tokens 9223372036854775807
refused 1 'no/such/folder' infer run --prompt 1 --save-state no/such/folder/x.state
sums=$(cat whole.txt c.state run/config.yaml | sha256sum)
refused 2 'whole.txt: writing it would destroy' infer run --prompt-file whole.txt --save-state whole.txt --force
refused 2 'c.state: writing it would destroy .*or go on in the same file with --force' \
    infer run --load-state c.state --prompt 1 --save-state c.state
refused 2 'whole.txt, which is read; name another file$' \
    infer run --load-state c.state --prompt-file whole.txt --save-state whole.txt
refused 1 'train.h5: is a shard' infer run --load-state train.h5 --prompt 1
refused 2 'config.yaml: belongs to the run' infer run --prompt 1 --save-state run/config.yaml --force
refused 2 'head.txt: is there and is not the state of' infer run --prompt 1 --save-state head.txt
[ "$(cat whole.txt c.state run/config.yaml | sha256sum)" = "$sums" ] || fault "a file was written over"
cp c.state mine.state
infer out run --load-state mine.state --prompt 1 --tokens 3 --save-state mine.state --force
mkdir folder
refused 1 'folder: is a folder' infer run --prompt 1 --save-state folder
refused 1 'folder/: is a folder' infer run --prompt 1 --save-state folder/
refused 2 'repetition window is 99999999999999 tokens; at most' infer run --prompt 1 --repetition-window 99999999999999

# Any bytes are a prompt; without one, the model begins a document.
infer out run --tokens 5 --prompt ''
head -c 3000 /dev/urandom >noise
infer out run --tokens 5 --prompt-file noise

# Nobody reads the output: no complaint, no noise.
"$ttt" infer run --prompt 1 --tokens 100000000 2>log | head -c 20 >/dev/null || true
[ ! -s log ] || fault "a closed pipe makes it say: $(cat log)"

# Ctrl-C while it writes: stops, saves, and the state goes on.
begin out log "$ttt" infer run --prompt 1 --tokens 100000000 --save-state stopped.state
await "a text" test -s out
kill -INT "$pid"
ended
[ $code = 130 ] || fault "exit code $code after SIGINT: $(cat log)"
says log 'stopped after [0-9]+ tokens; the state is in stopped.state'
infer out run --load-state stopped.state --tokens 5
for seconds in 1 2 4 8 16 32; do # as many as it takes to begin
    code=0
    timeout --foreground -s INT $seconds "$ttt" infer run --prompt 1 --tokens 100000000 --json >out 2>log || code=$?
    [ $code = 124 ] || fault "exit code $code where timeout interrupts: $(cat log)"
    ! grep -q '"tokens_written":[1-9]' out || break
done
says out '^\{"text":".+","end":"interrupted".*"tokens_written":[1-9]'
echo "test_infer: passed"
