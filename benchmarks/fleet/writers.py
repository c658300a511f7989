"""A fleet of MNIST's writers: a server with a few writers' images, twenty devices of one writer each, writers nobody has seen.

    python -m benchmarks.fleet.writers DATA --out writers.json --seeds 1 2 3 --arms alone central fedavg fedprox distil

DATA holds MNIST's files and `MNIST/writer_ids.npz` (of QMNIST). Runs where Flower is (.venv/fleet); states go to the temporary
folder.

Axes: N images, 1 × 28 × 28.
"""

from pathlib import Path

import numpy as np
from mentee_device import Samples
from numpy.typing import NDArray
from torchvision.datasets import MNIST

from benchmarks.fleet.people import LEARN, People, Source

DEVICES, SERVER, UNSEEN = 20, 600, 2000  # devices; samples of the server and of unseen writers


def split_of(root: Path, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Images [N, 1, 28, 28], labels [N] and writers [N] of MNIST."""
    data = MNIST(str(root), train=train, download=False)
    with np.load(root / "MNIST" / "writer_ids.npz") as ids:
        writer_N = ids["train_writer" if train else "t10k_writer"]
    return data.data.numpy()[:, None], data.targets.numpy().astype(np.int64), writer_N.astype(np.int64)


def people_of(root: Path, seed: int) -> People:
    """Draws which writers are on which device; MNIST's test half has the unseen ones."""
    random = np.random.default_rng(seed)
    images_N, labels_N, writer_N = split_of(root, train=True)
    writers = random.permutation(np.unique(writer_N))
    learn, test = [], []
    for writer in writers[:DEVICES]:
        rows = random.permutation(np.flatnonzero(writer_N == writer))
        cut = round(LEARN * len(rows))
        learn.append(Samples(images_N[rows[:cut]], labels_N[rows[:cut]]))
        test.append(Samples(images_N[rows[cut:]], labels_N[rows[cut:]]))
    rows = random.permutation(np.flatnonzero(np.isin(writer_N, writers[DEVICES:])))[:SERVER]
    unseen_images, unseen_labels, _ = split_of(root, train=False)
    seen = random.permutation(len(unseen_labels))[:UNSEEN]
    return People(
        Samples(images_N[rows], labels_N[rows]), learn, test, Samples(unseen_images[seen], unseen_labels[seen])
    )


SOURCE = Source(
    people_of,
    mentor={"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "widths": [32, 64, 64]},
    mentee={"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "widths": [16, 32, 32]},
)

if __name__ == "__main__":
    from benchmarks.fleet.compare import compare

    compare(SOURCE, "writers", __doc__)
