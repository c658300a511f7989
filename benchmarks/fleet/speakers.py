"""A fleet of speakers of digits: two are the server's, four have five devices each.

    python -m benchmarks.fleet.speakers DATA --out speakers.json --seeds 1 2 3 --arms alone central fedavg distil

DATA holds `fsdd.npz` (the Free Spoken Digit Dataset). Runs where Flower is (.venv/fleet); states go to the temporary folder.

Axes: N utterances, M mel bands, T frames.
"""

from functools import cache
from pathlib import Path

import numpy as np
from mentee_device import Samples
from numpy.typing import NDArray

from benchmarks.fleet.people import LEARN, People, Source
from benchmarks.personal.people.spoken_digits import log_mels

DEVICES = 5  # of a speaker


def people_of(root: Path, seed: int) -> People:
    """The server has speaker `seed`, counted round, and the next. The takes of each other one that learn are dealt to devices;
    all of a speaker's devices are judged by the same takes, and everybody by those of the four."""
    random = np.random.default_rng(seed)
    samples, speaker_N = utterances(root / "fsdd.npz")
    speakers = np.roll(np.unique(speaker_N), -seed)
    learn, test = [], []
    for one in speakers[2:]:
        rows = random.permutation(np.flatnonzero(speaker_N == one))
        cut = round(LEARN * len(rows))
        learn += np.array_split(rows[:cut], DEVICES)
        test += [rows[cut:]] * DEVICES
    return People(
        samples.take(np.flatnonzero(np.isin(speaker_N, speakers[:2]))),
        [samples.take(rows) for rows in learn],
        [samples.take(rows) for rows in test],
        samples.take(np.concatenate(test[::DEVICES])),
    )


@cache
def utterances(path: Path) -> tuple[Samples, NDArray[np.str_]]:
    """Signals [N, M, 1, T] with labels, and their speakers [N]."""
    columns = log_mels(path)
    return Samples(columns["inputs"][:, :, None], columns["labels"]), columns["owners"]


SOURCE = Source(
    people_of,
    mentor={"_target_": "mentee.networks.SignalCNN", "in_channels": 32, "num_classes": 10, "widths": [64, 96, 128]},
    mentee={"_target_": "mentee.networks.SignalCNN", "in_channels": 32, "num_classes": 10, "widths": [32, 32, 40]},
)

if __name__ == "__main__":
    from benchmarks.fleet.compare import compare

    compare(SOURCE, "speakers", __doc__)
