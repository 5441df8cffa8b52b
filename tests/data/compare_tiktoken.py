"""By hand: ttt tokenize beside the Python packages tiktoken and tokenizers, on whole files.

    python3 tests/data/compare_tiktoken.py build/ttt VOCABULARY... -- TEXT...

For each vocabulary (a .tiktoken file, tokenizer.model, vocab.bpe or tokenizer.json) compares every id
of every text, and in the same run the time that one thread takes to encode all texts; of
tokenizer.json the ids alone. Exit code 1 where an id differs.
"""
import base64
import gzip
import os
import re
import subprocess
import sys
import time

CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = CONTRACTIONS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:" + CONTRACTIONS + r")|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL)
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+(?i:{CONTRACTIONS})?"
         rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*(?i:{CONTRACTIONS})?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL)
PATTERNS = {50256: GPT2, 100256: CL100K, 128000: CL100K, 199998: O200K, 200000: O200K}


def merges_to_ranks(lines):
    order = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in order]
    byte_of = {chr(b): b for b in order} | {chr(256 + i): b for i, b in enumerate(others)}
    ranks = {bytes([b]): i for i, b in enumerate(order + others)}
    for line in lines[1:]:
        if line:
            ranks[bytes(byte_of[c] for c in line.replace(" ", ""))] = len(ranks)
    return ranks


def reference(path):
    """A function from text to ids, and whether its time is worth telling."""
    data = open(path, "rb").read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data.lstrip()[:1] == b"{":
        import tokenizers
        library = tokenizers.Tokenizer.from_str(data.decode())
        return lambda text: library.encode(text, add_special_tokens=False).ids, False
    import tiktoken
    if re.match(rb"\S+ \d+\r?\n", data):
        ranks = {base64.b64decode(token): int(rank)
                 for token, rank in (line.split() for line in data.splitlines() if line)}
    else:
        ranks = merges_to_ranks(data.decode().split("\n"))
    library = tiktoken.Encoding(os.path.basename(path), pat_str=PATTERNS[len(ranks)],
                                mergeable_ranks=ranks, special_tokens={})
    return library.encode_ordinary, True


def ttt(program, path, text):
    done = subprocess.run([program, "tokenize", "--time", "--tokenizer", path], input=text,
                          capture_output=True, check=True)
    seconds = float(re.search(rb"([0-9.]+) s to encode", done.stderr)[1])
    return [int(word) for word in done.stdout.split()], seconds


def main():
    words = sys.argv[1:]
    program, paths, texts = words[0], words[1:words.index("--")], words[words.index("--") + 1:]
    wrong = 0
    for path in paths:
        encode, timed = reference(path)
        tokens = 0
        for name in texts:
            text = open(name, encoding="utf-8", newline="").read()
            expected = encode(text)
            tokens += len(expected)
            if ttt(program, path, text.encode())[0] != expected:
                wrong += 1
                print(f"{path}: {name}: ids differ")
        line = f"{os.path.basename(path)[:28]:28} {len(texts)} texts, {tokens} tokens compared"
        if timed:
            together = "".join(open(t, encoding="utf-8", newline="").read() for t in texts)
            size = len(together.encode())
            theirs = ours = 1e9
            for _ in range(3):  # by turns, so that a busy machine is busy for both
                begin = time.perf_counter()
                encode(together)
                theirs = min(theirs, time.perf_counter() - begin)
                ours = min(ours, ttt(program, path, together.encode())[1])
            line += (f"; tiktoken {size / theirs / 1e6:.1f} MB/s, ttt {size / ours / 1e6:.1f} MB/s,"
                     f" {theirs / ours:.1f} times")
        print(line, flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
