"""`python -m benchmarks.personal.strokes BUNDLE HELD_OUT …`: shapes and hands that a mentee of `data=strokes` never saw, taught
on the device: by example, and by learning. One line a seed, then the means.

Each seed has another hand and another three of the held-out shapes. Seconds are of CPU time, one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mentee_device import Budget, Bundle, Owner, Plan, Samples
from numpy.typing import NDArray

from mentor_mentee.data.strokes.drawing import drawn
from mentor_mentee.data.strokes.hands import hand

Images = NDArray[np.uint8]
SHAPES, MOST, TRIED = 3, 5, 30  # new shapes at once, and drawings of each that are learnt from at most, and tried
FEW = 3  # examples at first
STRANGERS = 1000  # number of the first hand: those of the data are below


def drawings(seed: int, held_out: Sequence[str], learnt: int) -> tuple[list[str], list[Images], list[Images]]:
    """Names, the drawings [5, 1, 28, 28] of each to learn from, and those to try, all by one hand."""
    names = [str(name) for name in np.random.default_rng(seed).choice(held_out, SHAPES, replace=False)]
    made = [drawn(name, [hand(STRANGERS + seed)], MOST + TRIED, 99, seed)[:, None] for name in names]
    return names, [images[:learnt] for images in made], [images[MOST:] for images in made]


def by_example(bundle: Bundle, folder: Path, seed: int, held_out: Sequence[str]) -> list[float]:
    """Shares that are recognised of the new drawings and, among all classes, of the golden set: from FEW examples, then from
    all."""
    names, examples, tried = drawings(seed, held_out, MOST)
    golden, shares = bundle.golden(), []
    with Owner(bundle, folder, backend="stock") as owner:
        for part in (slice(FEW), slice(FEW, MOST)):
            for name, images in zip(names, examples, strict=True):
                owner.enrol(name, images[part])
            found = owner.recognise(np.concatenate(tried))
            truth = [found.names.index(name) for name in names for _ in range(TRIED)]
            old = owner.recognise(golden.input).classes == golden.labels
            shares += [float((found.classes == truth).mean()), float(old.mean())]
    return shares


def by_learning(
    bundle: Bundle, folder: Path, seed: int, held_out: Sequence[str], plan: Plan
) -> tuple[float, float, float, float, str]:
    """The share of new drawings that is answered right, golden accuracy before and after, seconds, and the guard's verdict."""
    names, examples, tried = drawings(seed, held_out, 5)
    with Owner(bundle, folder, backend="stock") as owner:
        labels = [owner.name_class(name) for name in names]
        owner.add(Samples(np.concatenate(examples), np.repeat(labels, 5)))
        before = owner.evaluate_golden()
        started = time.process_time()
        result = owner.learn(plan)
        seconds = time.process_time() - started
        right = owner.predict(np.concatenate(tried)).classes == np.repeat(labels, TRIED)
        return float(right.mean()), before, owner.evaluate_golden(), seconds, result.status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("held_out", nargs="+")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed; settings are chosen on 100 and more")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--batch", type=int, default=15)
    parser.add_argument("--replay-batch", type=int, default=32)
    parser.add_argument("--owner-weight", type=float, default=2.0)
    parser.add_argument("--shift", type=int, default=0, help="pixels that a drawing is moved by at most in a step")
    given = parser.parse_args()
    plan = Plan(
        budget=Budget(steps=given.steps),
        learning_rate=given.learning_rate,
        batch=given.batch,
        replay_batch=given.replay_batch,
        owner_weight=given.owner_weight,
        shift=given.shift,
        seed=0,
    )
    rows = []
    with Bundle.open(given.bundle) as bundle, tempfile.TemporaryDirectory() as place:
        for seed in range(given.first, given.first + given.seeds):
            shown = by_example(bundle, Path(place, f"{seed}-shown"), seed, given.held_out)
            new, before, after, seconds, status = by_learning(
                bundle, Path(place, f"{seed}"), seed, given.held_out, plan
            )
            rows.append([*shown, new, before, after, after - before, seconds])
            names = drawings(seed, given.held_out, 5)[0]
            figures = " ".join(f"{100 * value:.1f}" for value in rows[-1][:-1])
            print(f"seed {seed} {','.join(names)}: {figures} {seconds:.1f} s {status}", flush=True)
    labels = ("3 examples: new", "old", "5 examples: new", "old", "learnt: new", "old before", "old after", "change")
    for label, column in zip((*labels, "seconds"), zip(*rows, strict=True), strict=True):
        factor = 1 if label == "seconds" else 100
        spread = statistics.stdev(column) if len(column) > 1 else 0.0
        mean, worst = statistics.mean(column), max(column) if label == "seconds" else min(column)
        print(f"{label:18} {factor * mean:6.2f} ± {factor * spread:.2f}  worst {factor * worst:.2f}")


if __name__ == "__main__":
    main()
