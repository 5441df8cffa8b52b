"""By hand: writes tests/data/tokenizer/cuts.json with the Python package tokenizers.

    python3 tests/data/make_cuts.py OUT [SEED]

One small vocabulary, whose merges go across every border, odd texts, and for each way to cut them the
ids that the package gives. With SEED the texts are random ones, 300 of them.
"""
import json
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = ["Hello world, it's 2024! a1b2c3 123 4567 89.",
          "the  quick brown\n\nfox, (jumps) over -- the lazy dog... 3.14",
          "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00e9\u00e8\u00ea",
          "\u0439\u0451 \u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 \u0431\u0432\u0432",
          "\u4f60\u597d\u4e16\u754c\u3002\u3042\u3044\u3046",
          "\u1ec7\u1ebf\u1ea1 Ti\u1ebfng Vi\u1ec7t",
          "\uac01\ub098\ub2e4 \ud55c\uad6d\uc5b4"] * 60
TEXTS = ["Hello world, it's 2024! a1b2c3",
         "  two  spaces\n\n and\ttabs \r\n end  ",
         "1234567 12,345.67 \u0661\u0662\u0663 \u00b2\u00bd\u2167 \U0001d7d8",
         "e\u0301 cafe\u0301 a\u0323\u0307 a\u0307\u0323 \u212b \u2126 \u0344",
         "\u1112\u1161\u11ab\u1100\u1173\u11af \uac00\u11a8 \u1100",
         "\u05d3\u05bc\u05b8\u05d1\u05b8\u05bc\u05e8 \u0915\u093c\u0958 \u09c7\u09be",
         "a(.*b(.* !?!...--\u00bf\u3002\uff01\u061d\u00ab\u2e43\U00011fff",
         "aaaabaaa aa\naab",
         "\u0432\u0431\u00b2\u00b3 \u00e2\u00b9 \u4f60\u597d\uff0c123\u4e16\u754c",
         "\u0301\u0323start <s> in<y>\u0301 <Z>end",
         " ",
         "",
         "abc\U000105d2\u0307 a\u08d3\u0323\u0301 \U00011935\U00011930",
         "eeee e,e;e 99 999 9999 x",
         "\U0001d15e\U0001d1bc\U0001d1bb \ufb2c \u0f71\u0f72\u0f73 \u1e9b\u0323",
         "ab\nab\r\nb\n\na", "\u2126x \u03a9x \u0141\u0141"]
CHARACTERS = ([chr(c) for c in list(range(9, 14)) + list(range(32, 127))]
              + list("aabbee  ..,,11223344\n") * 6
              + list("\u0301\u0323\u0307\u0308\u0345\u0334\u1100\u1161\u11a8\uac00\uac01\u212b\u00e9"
                     "\u1e63\u09c7\u09be\u0bc6\u0bbe\u4f60\u3042\u3099\u00b2\u0432\u0661\u0958\u05d3"
                     "\u05bc\u05b8\U000105d2\u08d3\U00016d63\U00016d67\U0001d15e\u0f71\u0f72\u0f73"
                     "\u0344\u1abf\u20d0\u3002\u061d\u00a0\u3000\u2028")
              + ["<s>", "<y>", "<Z>", "y>e"])
ADDED = [("<s>", True, False), ("<y>", False, False), ("y>e", False, True), ("<Z>", True, True),
         ("\u2126x", False, True), ("\u0141", False, False)]  # the last is in the model, too
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2, LLAMA3 = WORDS.replace("DIGITS", ""), WORDS.replace("DIGITS", "{1,3}")
NFC = {"type": "NFC"}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(space=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": regex}


def digits(each):
    return {"type": "Digits", "individual_digits": each}


def punctuation(behavior):
    return {"type": "Punctuation", "behavior": behavior}


def row(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def cases():
    for b in BEHAVIORS:
        for i in (False, True):
            yield f"Split {b} {i}", None, row(split(r"\d{2}|[a-e]|\s", b, i), byte_level())
            yield f"Split String {b} {i}", None, row(split("e", b, i, "String"), byte_level(False, True))
        yield f"Punctuation {b}", None, row(punctuation(b), byte_level())
        yield f"Punctuation {b} spaced", None, row(punctuation(b), byte_level(True, True))
        yield f"empty {b}", None, row(split("a*", b), byte_level())
        yield f"empty {b} inverted", None, row(split("(?=[a-m])", b, True), byte_level())
    yield "String of signs", None, row(split("(.*", "Removed", False, "String"),
                                       split(" ", "MergedWithNext", False, "String"), byte_level())
    yield "String empty", None, row(split("", "Isolated", False, "String"), byte_level())
    for e in (False, True):
        yield f"Digits {e}", None, row(digits(e), byte_level())
        yield f"Digits {e} spaced", None, row(digits(e), byte_level(True, True))
    yield "thousands", None, row(split(r"\p{N}+"), split(r"(?=(\d{3})+(?!\d))"),
                                 byte_level(False, True))
    yield "lines", NFC, row(split("$|^a", "MergedWithNext"), byte_level(False, True))
    yield "ends of lines", None, row(split(r"b$|[$^]", "Removed"), byte_level())
    yield "spaced", None, byte_level(True, True)
    yield "spaced whole", None, byte_level(True)
    yield "whole", None, byte_level()
    yield "Qwen2", NFC, row(split(QWEN2), byte_level())
    yield "Llama 3", None, row(split(LLAMA3), byte_level())
    yield "GPT-4", None, row(split(LLAMA3, "Removed", True), byte_level())
    yield "GPT-NeoX", NFC, byte_level(False, True)
    nested = {"type": "Sequence", "normalizers": [NFC, {"type": "Sequence", "normalizers": []}]}
    yield "NFC in a Sequence", nested, byte_level(True, True)
    yield "NFC, letters apart", NFC, row(split(r"\p{L}"), byte_level())
    yield "NFC, merged", NFC, row(split(r"\p{M}+", "MergedWithNext"), byte_level())
    yield "StarCoder", None, row(digits(True), byte_level(False, True))
    yield "Falcon", None, row(punctuation("Contiguous"), byte_level(False, True), digits(False),
                              split("[0-9][0-9][0-9]"))
    yield "after ByteLevel", None, row(byte_level(True), punctuation("MergedWithPrevious"),
                                       split("\u0120|\\s", "Removed"), digits(True))
    yield "DeepSeek", None, row(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(True),
                                byte_level())
    yield "Sequence of Sequences", None, row(row(digits(True), row()),
                                             row(punctuation("Removed"), byte_level(False, True)))


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, show_progress=False))
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = [
        {"id": len(made["model"]["vocab"]) + i, "content": content, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": normalized, "special": special}
        for i, (content, special, normalized) in enumerate(ADDED)]
    return made


def main():
    texts = TEXTS
    if len(sys.argv) > 2:
        dice = random.Random(int(sys.argv[2]))
        texts = []
        for i in range(300):
            pool = dice.sample(CHARACTERS, 12) if i % 2 else CHARACTERS
            texts.append("".join(dice.choice(pool) for _ in range(dice.randrange(1, 60))))
    made, found = train(), []
    for name, made["normalizer"], made["pre_tokenizer"] in cases():
        library = Tokenizer.from_str(json.dumps(made))
        found.append({"name": name, "normalizer": made["normalizer"],
                      "pre_tokenizer": made["pre_tokenizer"],
                      "ids": [library.encode(t, add_special_tokens=False).ids for t in texts]})
    with open(sys.argv[1], "w", encoding="ascii") as out:
        json.dump({"tokenizer": made, "texts": texts, "cases": found}, out, separators=(",", ":"))
        out.write("\n")


main()
