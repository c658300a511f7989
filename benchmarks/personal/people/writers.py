"""MNIST by writer as floats from 0 to 1: an npz that `data=arrays` reads.

    python -m benchmarks.personal.people.writers DATA_ROOT/MNIST runs/owners/writers.npz

It gets `inputs` [N, 28, 28] float32 (layout NHW), `labels`, `owners` ("train" or "held") and `persons`: `TRAIN_WRITERS` of the
60,000 images' writers, whom a base may learn from, and 16 people of four other writers each, so that there is enough to judge
by. DATA_ROOT/MNIST holds raw/ (the idx files) and writer_ids.npz (`train_writer` [60000], from QMNIST).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

TRAIN_WRITERS, PEOPLE, WRITERS_EACH = 24, 16, 4


def convert(root: Path) -> dict[str, Any]:
    """The arrays of the npz."""
    raw = root / "raw"
    images = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer((raw / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    with np.load(root / "writer_ids.npz") as ids:
        writer = ids["train_writer"]
    order = np.random.default_rng(0).permutation(np.unique(writer))
    person = {int(one): ("train", "train") for one in order[:TRAIN_WRITERS]}
    for number in range(PEOPLE):
        start = TRAIN_WRITERS + number * WRITERS_EACH
        person |= {int(one): ("held", f"w{number}") for one in order[start : start + WRITERS_EACH]}
    rows = np.flatnonzero(np.isin(writer, list(person)))
    whose = np.array([person[int(one)] for one in writer[rows]])
    return {
        "inputs": images[rows].astype(np.float32) / 255,
        "labels": labels[rows].astype(np.int64),
        "owners": whose[:, 0],
        "persons": whose[:, 1],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personal.people.writers")
    parser.add_argument("root", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    given.target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(given.target, **convert(given.root))
