"""MNIST by writers: a server with a few writers' images, twenty devices of one writer each, and writers whom nobody has seen.

Axes: N images, 1 × 28 × 28.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mentee_device import Samples
from numpy.typing import NDArray
from torchvision.datasets import MNIST

LEARN = 0.6  # of a writer's images; the rest judges


@dataclass(frozen=True)
class People:
    """`server`: the server's samples; `learn` and `test` of each device's writer; `everybody`: of unseen writers."""

    server: Samples
    learn: list[Samples]
    test: list[Samples]
    everybody: Samples


def split_of(root: Path, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Images [N, 1, 28, 28], labels [N] and writers [N] of MNIST, from its four files and `writer_ids.npz` (of QMNIST)."""
    data = MNIST(str(root), train=train, download=False)
    with np.load(root / "MNIST" / "writer_ids.npz") as ids:
        writer_N = ids["train_writer" if train else "t10k_writer"]
    return data.data.numpy()[:, None], data.targets.numpy().astype(np.int64), writer_N.astype(np.int64)


def people_of(root: Path, seed: int, devices: int, server_samples: int) -> People:
    """Draws by `seed` which writers are on which device."""
    random = np.random.default_rng(seed)
    images_N, labels_N, writer_N = split_of(root, train=True)
    writers = random.permutation(np.unique(writer_N))
    learn, test = [], []
    for writer in writers[:devices]:
        rows = random.permutation(np.flatnonzero(writer_N == writer))
        cut = round(LEARN * len(rows))
        learn.append(Samples(images_N[rows[:cut]], labels_N[rows[:cut]]))
        test.append(Samples(images_N[rows[cut:]], labels_N[rows[cut:]]))
    rows = random.permutation(np.flatnonzero(np.isin(writer_N, writers[devices:])))[:server_samples]
    unseen_images, unseen_labels, _ = split_of(root, train=False)
    seen = random.permutation(len(unseen_labels))[:2000]
    return People(
        Samples(images_N[rows], labels_N[rows]), learn, test, Samples(unseen_images[seen], unseen_labels[seen])
    )
