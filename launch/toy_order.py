"""Says whether the five models of the toy experiment come in the paper's order: reads the JSON of
ttt eval --by-token on stdin, prints means, paired differences and the verdict, and writes the numbers
by token index, one line an index, to the file that it is given: the loss of each model, then what each
but the bigram is better by, all with standard errors."""

import json
import sys

CHUNK = 16  # of e2e-16
NAMES = {  # in the order of the runs
    "bigram": "bigram",
    "naive": "TTT-naive",
    "e2e-16": "TTT-E2E, b = 16",
    "e2e-1": "TTT-E2E, b = 1",
    "attention": "attention",
}
ORDER = "attention <= E2E b = 1 < E2E b = 16 < naive < bigram"


def number(entry, sign=""):
    return f"{entry['mean']:{sign}.4f} ±{entry['standard_error']:.4f}"


def by_index(models, gains):
    curves = [models[name]["positions"] for name in NAMES] + [gain["positions"] for gain in gains]
    lines = []
    for index, points in enumerate(zip(*curves)):
        fields = [f"{p['mean']:.6f} {p['standard_error']:.6f}" for p in points]
        lines.append(" ".join([str(index), *fields]) + "\n")
    return "".join(lines)


def saw_tooth(positions):
    """The mean over the first and the last four indices of chunks, the first chunk left out."""
    tooth = [positions[at]["mean"] for at in range(CHUNK, len(positions))]
    ends = [[x for i, x in enumerate(tooth) if i % CHUNK in part]
            for part in (range(4), range(CHUNK - 4, CHUNK))]
    return [sum(values) / len(values) for values in ends]


def main():
    (result,) = json.load(sys.stdin)["contexts"]
    models = {m["model"]: m for m in result["models"]}
    differences = {(d["model"], d["less"]): d for d in result["differences"]}
    order = list(NAMES)
    gains = [differences["bigram", name] for name in order[1:]]
    with open(sys.argv[1], "w") as file:
        file.write(by_index(models, gains))
    windows = models["bigram"]["windows"]
    print(f"nats per byte ± standard error over {windows} windows of {result['context']} bytes\n")
    for name in reversed(order):
        print(f"{NAMES[name]:24}{number(models[name]):>16}")
    print("\nbetter by, on the same windows ± standard error, paired by window\n")
    holds = True
    for worse, better in list(zip(order, order[1:]))[::-1]:
        difference = differences[worse, better]
        errors = difference["mean"] / difference["standard_error"]
        # Attention and b = 1 may be equal; all else is strictly ordered.
        right = errors > (-2 if better == "attention" else 2)
        holds &= right
        text = f"{NAMES[better]}, than {NAMES[worse]}"
        print(f"{text:36}{number(difference, '+'):>16}   {'as' if right else 'NOT as'} in the paper")
    first, last = saw_tooth(differences["bigram", "e2e-16"]["positions"])
    print(f"\nTTT-E2E, b = {CHUNK}, is better than the bigram by {first:.4f} at the first four tokens "
          f"after a step, by {last:.4f} at the last four before the next")
    print(f"the paper's order, {ORDER}, {'holds' if holds else 'does not hold'} (at two standard errors)")


main()
