"""Milliseconds of a step, and seconds of three epochs, under a mentor whose answers are cached: ratios to a lone mentee's.

    python -m benchmarks.server.epochs [--rounds 5] [--rows mentors probes samples views workers] [--plot FILE.svg]

One thread. resnet18 to a residual mentee on random images of 3×32×32, batch 64, by the commands that a user types; each row
changes one thing. A round trains three epochs of every run in turn, so that a slow minute of the machine meets all; the ratio is
the median over the rounds. The answers are cached by a run before them, the "first" (it asks the mentor).
"""

import argparse
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console

from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.run import distill
from distill.schema import DistillConfig
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data

SAMPLES, BATCH = 2048, 64
EPOCHS = 3
BASE = (
    f"mentee=residual_cnn trainer.max_epochs={EPOCHS} preflight=false threads=1 accelerator=cpu mentor.least_accuracy=0"
)


@dataclass
class Row:
    name: str
    settings: str = ""
    mentor: str = "resnet18"
    samples: int = SAMPLES
    lone: str = ""  # settings of the lone run, where they differ from nothing
    ratios: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    first: float = float("nan")


ROWS = {
    "mentors": [
        Row("softmax alone", "probes=none"),
        Row("the default's layers"),
        Row("the same, of vgg16", mentor="vgg16"),
        Row("the same, of resnet50", mentor="resnet50"),
    ],
    "probes": [
        Row("one probe", "probes=none probes.last=[layer4,stages.2]"),
        Row(
            "three probes",
            "probes=none probes.a=[layer2,stages.0] probes.b=[layer3,stages.1] probes.c=[layer4,stages.2]",
        ),
        Row("layers as float32", "cache.activations=float32"),
    ],
    "samples": [Row("8,192 samples", samples=4 * SAMPLES)],
    "views": [Row("crop and flip, 1 view", "augment=crop_flip trainer.augment.views=1", lone="augment=crop_flip")],
    "workers": [Row("2 workers", "trainer.workers=2", lone="trainer.workers=2")],
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server.epochs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROWS")
    parser.add_argument("--plot", type=Path, help="file to draw each round's ratio into: svg, png or pdf")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in given.rows for row in ROWS[name]]
    with TemporaryDirectory() as folder:
        measure(rows, given.rounds, Path(folder))
    print(f"torch {torch.__version__}, 1 thread, batch {BATCH}, n = {given.rounds} rounds")
    print(f"{'under the mentor':28}  step / lone  (least, most)  run / lone  first run / lone")
    for row in rows:
        low, high = min(row.ratios), max(row.ratios)
        print(
            f"{row.name:28}  {statistics.median(row.ratios):11.3f}  ({low:.3f}, {high:.3f})  "
            f"{statistics.median(row.seconds):12.3f}  {row.first:18.2f}"
        )
    if given.plot:
        plot(rows, given.plot)


def measure(rows: list[Row], rounds: int, folder: Path) -> None:
    machine = Machine("cpu", 1, Console(quiet=True))
    mentors: dict[str, FoundMentor] = {}
    for row in rows:
        settings = shared(row, folder)
        if (key := f"{row.mentor} {row.samples}") not in mentors:
            config = compose("distill", DistillConfig, [*settings, "run_dir=unused"])
            mentors[key] = find_mentor(
                config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine
            )
        found = mentors[key]
        alone = [*settings, "schedule=alone", "probes=none", *row.lone.split()]
        under = [*settings, *row.settings.split()]
        of_lone = epoch(alone, folder, found, machine)
        row.first = epoch(under, folder, found, machine)[1] / of_lone[1]
    for _ in range(rounds):
        for row in rows:
            found = mentors[f"{row.mentor} {row.samples}"]
            settings = shared(row, folder)
            lone = epoch([*settings, "schedule=alone", "probes=none", *row.lone.split()], folder, found, machine)
            warm = epoch([*settings, *row.settings.split()], folder, found, machine)
            row.ratios.append(warm[0] / lone[0])
            row.seconds.append(warm[1] / lone[1])


def shared(row: Row, folder: Path) -> list[str]:
    data = folder / f"{row.samples}.npz"
    if not data.is_file():
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (row.samples + 256, 3, 32, 32), dtype=np.uint8)
        split = np.where(
            np.arange(len(pixels)) < row.samples, "train", np.where(np.arange(len(pixels)) % 2, "val", "test")
        )
        np.savez(data, inputs=pixels, labels=np.arange(len(pixels)) % 10, split=split)
        for name in ("resnet18", "resnet50", "vgg16"):
            weights = folder / f"{name}.pt"
            if not weights.is_file():
                torch.manual_seed(0)
                from mentor.torchvision_models import classifier

                torch.save(classifier(name, num_classes=10).state_dict(), weights)
    return [
        *BASE.split(),
        *f"data=arrays data.path={data} data.layout=NCHW data.split=split cache_dir={folder}/cache".split(),
        *f"mentor=torchvision mentor.network.name={row.mentor} mentor.weights={folder}/{row.mentor}.pt".split(),
    ]


def epoch(settings: list[str], folder: Path, mentor: FoundMentor, machine: Machine) -> tuple[float, float]:
    """(median ms of a step after the first epoch, in which a process checks what it reads of the cache; seconds of the run)."""
    config = compose("distill", DistillConfig, [*settings, f"run_dir={folder}/run"])
    started: list[float] = []
    result = distill(config, machine, mentor=mentor, on_start=lambda schedule: started.append(time.perf_counter()))
    took = time.perf_counter() - started[0]
    return statistics.median(row["ms_per_step"] for row in result.history[1:]), took


def plot(rows: list[Row], path: Path) -> None:
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"svg.hashsalt": "rows", "svg.fonttype": "none"})  # the same ratios give the same file
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        axes.plot(row.ratios, [place] * len(row.ratios), "o", color="tab:blue", alpha=0.5)
        axes.plot([statistics.median(row.ratios)], [place], "|", color="black", markersize=18)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_xlabel("a step under the mentor's cached answers / a lone mentee's")
    axes.invert_yaxis()
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
