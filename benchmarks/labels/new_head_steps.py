"""Steps that a new head takes: a mentor of clothes becomes one of digits, on few images, with more and more steps.

    python -m benchmarks.labels.new_head_steps DATA_ROOT [--seeds 3] [--images 100 300 1000] [--steps 100 200 400 800]

A small residual network is trained on 6,000 images of Fashion-MNIST once. It gets a new head for MNIST as
`mentor.transfer.epochs=10 mentor.transfer.all_epochs=3 mentor.transfer.least_steps=…` trains it, on the same images for every
number of steps, other ones for each seed. Accuracy on 1,000 validation images, mean ± std over seeds. Runs are stored under
--out: called again it makes what is missing and prints the table.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from distill.machine import Machine
from distill.mentors.find import find_mentor
from distill.schema import FitConfig, MentorConfig, TransferConfig, ViewConfig
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Splits

NETWORK = {"_target_": "mentor.networks.ResidualNet", "widths": [8, 16, 32]}
BODY = FitConfig(max_epochs=4, batch=64)
BODY_IMAGES, VALIDATION = 6000, 1000
TRANSFER = TransferConfig(epochs=10, all_epochs=3)
MACHINE = Machine("cpu", 1)


def data(name: str, root: str, images: int, seed: int) -> Splits:
    """`images` to train, as many of each class."""
    source = f"mentor_mentee.data.datasets.{name}"
    budget = {"labels_per_class": images // 10, "budget_seed": seed}
    return load_data({"_target_": source, "root": root, "val": VALIDATION, **budget})


def accuracy(weights: Path, digits: Splits, steps: int, seed: int) -> float:
    """Accuracy of a mentor whose two stages have at least `steps` each; its training is kept nowhere."""
    transfer = replace(TRANSFER, least_steps=steps)
    config = MentorConfig(
        NETWORK, str(weights), None, ViewConfig(), FitConfig(), transfer, seed=seed, least_accuracy=0.0
    )
    with tempfile.TemporaryDirectory() as scratch:
        return find_mentor(config, digits, Path(scratch), MACHINE).val_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels.new_head_steps")
    parser.add_argument("root", help="the folder that holds MNIST/raw and FashionMNIST/raw")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--out", type=Path, default=Path("runs/new_head_steps"))
    given = parser.parse_args()
    body = MentorConfig(NETWORK, None, None, ViewConfig(), BODY, TransferConfig())
    found = find_mentor(body, data("fashion_mnist", given.root, BODY_IMAGES, 0), given.out, MACHINE)
    print("| images | " + " | ".join(f"{steps} steps" for steps in given.steps) + " |", flush=True)
    print("|---" * (1 + len(given.steps)) + "|", flush=True)
    for images in given.images:
        cells = []
        for steps in given.steps:
            scores = []
            for seed in range(given.seeds):
                stored = given.out / f"{images}-{steps}-{seed}.json"
                if not stored.is_file():
                    score = accuracy(found.weights, data("mnist", given.root, images, seed), steps, seed)
                    stored.write_text(json.dumps(score))
                scores.append(100 * json.loads(stored.read_text()))
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            cells.append(f"{statistics.mean(scores):.1f} ± {spread:.1f}")
        print(f"| {images:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
