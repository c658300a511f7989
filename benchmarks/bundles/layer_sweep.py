"""Table of layers and settings of torch.nn: each proved to train on the device, or refused in one line.

    python -m benchmarks.bundles.layer_sweep [WORD …]     those whose text or group has one of the words

Layers are tried side by side, and in smaller parts where something is in the way, until each is told alone. Ends with 1 where one
dies, or where preflight and export disagree.
"""

import sys
from collections.abc import Iterator, Sequence

from benchmarks.bundles.layers.table import GROUPS, PROVED
from benchmarks.bundles.layers.trial import Outcome, tried

TOGETHER = 32


def verdicts(layers: Sequence[str], given: str) -> Iterator[tuple[str, Outcome]]:
    """(layer, its outcome), where a layer that was proved with others has the outcome of all of them."""
    outcome = tried(layers, given)
    if len(layers) == 1 or (outcome.words == PROVED and outcome.fault is None):
        yield from ((layer, outcome) for layer in layers)
    elif outcome.blamed and outcome.fault is None:
        yield from ((layers[place], outcome.of(place)) for place in sorted(outcome.blamed))
        if rest := [layer for place, layer in enumerate(layers) if place not in outcome.blamed]:
            yield from verdicts(rest, given)
    elif outcome.suspects and len(outcome.suspects) < len(layers):
        for place in sorted(outcome.suspects):
            yield from verdicts([layers[place]], given)
        yield from verdicts([layer for place, layer in enumerate(layers) if place not in outcome.suspects], given)
    else:
        half = len(layers) // 2
        yield from verdicts(layers[:half], given)
        yield from verdicts(layers[half:], given)


def chosen(layers: Sequence[str], title: str, words: Sequence[str]) -> list[str]:
    return [layer for layer in layers if not words or any(word in layer or word in title for word in words)]


def main() -> int:
    faults = 0
    for group in GROUPS:
        layers = chosen(list(group.layers), group.title, sys.argv[1:])
        for start in range(0, len(layers), TOGETHER):
            for layer, outcome in verdicts(layers[start : start + TOGETHER], group.given):
                faults += outcome.fault is not None
                said = f"FAULT {outcome.fault}" if outcome.fault else outcome.words
                print(f"{group.title}\t{layer}\t{said}", flush=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
