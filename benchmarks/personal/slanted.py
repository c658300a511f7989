"""`python -m benchmarks.personal.slanted BUNDLE`: the demo's MNIST mentee and a hand that slants more than the demo's, with five
drawings a class. One line a seed, then the means.

Each seed has other drawings, of the test split or of val. Seconds are of CPU time, one thread.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mentee_device import Budget, Bundle, Owner, Plan, Samples

from demo.owner import slant
from mentor_mentee.data.datasets import mnist5k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument(
        "--slant", type=float, default=0.9, help="columns that a row moves for each row from the middle"
    )
    parser.add_argument("--each", type=int, default=5, help="drawings of each class to learn from")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--shift", type=int, default=2, help="pixels that a drawing is moved by at most in a step")
    parser.add_argument(
        "--split", choices=("val", "test"), default="test", help="whose digits: settings are chosen on val"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--golden-drop", type=float, default=0.02, help="that the owner allows, as a fraction")
    given = parser.parse_args()
    test = getattr(mnist5k(), given.split)
    images, labels = slant(test.images[:], given.slant).numpy(), test.labels.numpy()
    rows = []
    with Bundle.open(given.bundle) as bundle, tempfile.TemporaryDirectory() as place:
        for seed in range(given.first, given.first + given.seeds):
            order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)).numpy()
            learnt = np.concatenate([order[labels[order] == label][: given.each] for label in range(10)])
            tried = np.setdiff1d(order, learnt)
            with Owner(bundle, Path(place, str(seed)), backend="stock") as owner:
                owner.set(golden_drop=given.golden_drop)
                owner.add(Samples(images[learnt], labels[learnt]))
                before = [owner.evaluate(images[tried], labels[tried]), owner.evaluate_golden()]
                started = time.process_time()
                plan = Plan(
                    budget=Budget(steps=given.steps), learning_rate=given.learning_rate, shift=given.shift, seed=0
                )
                status = owner.learn(plan).status
                seconds = time.process_time() - started
                after = [owner.evaluate(images[tried], labels[tried]), owner.evaluate_golden()]
            rows.append([100 * value for value in (*before, *after)] + [seconds])
            print(f"seed {seed}: {' '.join(f'{value:.1f}' for value in rows[-1])} {status}", flush=True)
    names = ("hand before", "golden before", "hand after", "golden after", "seconds")
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        spread = statistics.stdev(column) if len(column) > 1 else 0.0
        print(f"{name:14} {statistics.mean(column):6.2f} ± {spread:.2f}  worst {min(column):.2f}")


if __name__ == "__main__":
    main()
