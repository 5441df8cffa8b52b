#!/usr/bin/env python3
"""Makes a small vocabulary of byte pairs from texts: byte_pairs.py TOKENS OUT TEXT...

OUT is a file of ranks (docs/tokenizers.md) with TOKENS lines, to be read with --pattern gpt2: the 256
bytes, then what the commonest pair of neighbours makes, again and again. Pairs do not cross words.
The same texts give the same file.
"""

import base64
import collections
import heapq
import re
import sys

# The pieces of GPT-2's pattern, in the words of this library.
PIECE = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def pieces(paths):
    """Each distinct piece as a list of one-byte tokens, and how often it occurs."""
    counts = collections.Counter()
    for path in paths:
        with open(path, encoding="utf-8", newline="") as text:
            counts.update(PIECE.findall(text.read()))
    words = [[bytes([byte]) for byte in piece.encode()] for piece in counts]
    return words, list(counts.values())


def merged(word, pair):
    """The word with each occurrence of the pair, from the left, as one token."""
    result = []
    at = 0
    while at < len(word):
        both = tuple(word[at : at + 2]) == pair
        result.append(pair[0] + pair[1] if both else word[at])
        at += 2 if both else 1
    return result


def vocabulary(paths, tokens):
    """The tokens in the order of their ranks."""
    words, counts = pieces(paths)
    ranks = [bytes([byte]) for byte in range(256)]
    often = collections.Counter()  # of each pair
    where = collections.defaultdict(set)  # the words that have it, or had it
    for number, word in enumerate(words):
        for pair in zip(word, word[1:]):
            often[pair] += counts[number]
            where[pair].add(number)
    queue = [(-count, pair) for pair, count in often.items()]  # and counts of former times
    heapq.heapify(queue)
    while len(ranks) < tokens:
        if not queue or queue[0][0] > -2:
            sys.exit(f"byte_pairs.py: these texts make no more than {len(ranks)} tokens")
        count, best = heapq.heappop(queue)
        if often[best] != -count:
            continue
        ranks.append(best[0] + best[1])
        changed = set()
        for number in where.pop(best):
            word = words[number]
            words[number] = new = merged(word, best)
            for pair in zip(word, word[1:]):
                often[pair] -= counts[number]
                changed.add(pair)
            for pair in zip(new, new[1:]):
                often[pair] += counts[number]
                where[pair].add(number)
                changed.add(pair)
        for pair in changed:
            heapq.heappush(queue, (-often[pair], pair))
    return ranks


def main():
    if len(sys.argv) < 4 or not sys.argv[1].isdigit() or int(sys.argv[1]) < 256:
        sys.exit(__doc__.strip())
    ranks = vocabulary(sys.argv[3:], int(sys.argv[1]))
    with open(sys.argv[2], "w", encoding="ascii") as out:
        for rank, token in enumerate(ranks):
            out.write(f"{base64.b64encode(token).decode()} {rank}\n")


if __name__ == "__main__":
    main()
