"""Says whether the five models of the toy experiment come in the paper's order: reads the JSON of
ttt eval --by-token on stdin, prints means, paired differences and the verdict."""

import json
import sys

CHUNK = 16  # of e2e-16
NAMES = {
    "attention": "attention",
    "e2e-1": "TTT-E2E, b = 1",
    "e2e-16": "TTT-E2E, b = 16",
    "naive": "TTT-naive",
    "bigram": "bigram",
}


def number(entry, sign=""):
    return f"{entry['mean']:{sign}.4f} ±{entry['standard_error']:.4f}"


def saw_tooth(positions):
    """Mean loss at the first and at the last index of a chunk, the first chunk left out."""
    later = positions[CHUNK:]
    ends = [[p["mean"] for p in later[at::CHUNK]] for at in (0, CHUNK - 1)]
    return [sum(values) / len(values) for values in ends]


def main():
    (result,) = json.load(sys.stdin)["contexts"]
    models = {m["model"]: m for m in result["models"]}
    differences = {(d["model"], d["less"]): d for d in result["differences"]}
    order = list(NAMES)
    windows = models[order[0]]["windows"]
    print(f"nats per byte ± standard error over {windows} windows of {result['context']} bytes\n")
    for name in order:
        print(f"{NAMES[name]:24}{number(models[name]):>16}")
    print("\ndifferences on the same windows ± their standard error, paired by window\n")
    holds = True
    for first, second in zip(order, order[1:]):
        difference = differences[first, second]
        beyond = difference["mean"] / difference["standard_error"]
        # The paper's attention and b = 1 are about equal; all else is strictly ordered.
        right = beyond < 2 if first == "attention" else beyond < -2
        holds &= right
        text = f"{NAMES[first]} - {NAMES[second]}"
        print(f"{text:36}{number(difference, '+'):>16}   {'as' if right else 'NOT as'} in the paper")
    first, last = saw_tooth(models["e2e-16"]["positions"])
    print(f"\nTTT-E2E, b = {CHUNK}: {first:.4f} at the first token after a step, {last:.4f} at the last before one")
    print(
        f"the paper's order, attention <= E2E b = 1 < E2E b = 16 < naive < bigram, "
        f"{'holds' if holds else 'does not hold'}: each step by more than two standard errors"
        if holds
        else "the paper's order, attention <= E2E b = 1 < E2E b = 16 < naive < bigram, does not hold"
    )


main()
