"""Seconds and test accuracy of whole distillation runs, ours and torchdistill's: same mentor, mentee, images, batch and losses.

    python -m benchmarks.server.against_torchdistill DATA --other PYTHON [--pairs vgg16-32 …] [--seeds 1] [--epochs 20]

DATA has FashionMNIST/raw; PYTHON is that of an environment with torchdistill (1.1.5) and the torch of this one. Images are shown
as three channels: at 32 px 6,000 to train on, at 128 px the first 3,000 of them, enlarged; 500 validate, 1,000 test.
L = CE + 500 · attention transfer + T² · KL at T 4, AdamW, constant rate, batch 64, one thread, an epoch's accuracy on
validation after each. Every run is a process: its seconds have imports, the mentor's answers, the cache's building, and a test of
mentor and mentee in them.
The mentors are trained first, for a few epochs, and are the same file for all; with --untrained they are as initialised, which
takes the same seconds.

Arms: ours (answers cached in the first epoch; by default the mentor answers in bfloat16 where that is faster and harmless, also
in float32), ours with the mentor in the loop (cache.answers=false) and torchdistill, which has no cache: its caching of a
teacher's outputs was removed before this version (its pull request 539), and
`cache_output` of older configurations is ignored. CPU seconds are what a loaded machine leaves comparable.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch.nn.functional import interpolate, pad

from distill.machine import Machine
from distill.mentors.find import find_mentor
from distill.schema import DistillConfig
from mentor.torchvision_models import classifier
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data

WIDTHS = [16, 32, 64]


@dataclass
class Pair:
    mentor: str
    size: int
    layer: str  # of the mentor, whose map has the height and width of the mentee's last block
    train: int
    mentor_epochs: int


PAIRS = {
    "vgg16-32": Pair("vgg16", 32, "features.9", 6000, 3),
    "resnet50-32": Pair("resnet50", 32, "layer1", 6000, 3),
    "vgg16-128": Pair("vgg16", 128, "features.9", 3000, 2),
    "resnet50-128": Pair("resnet50", 128, "layer1", 3000, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server.against_torchdistill")
    parser.add_argument("data", type=Path)
    parser.add_argument("--other", type=Path, required=True, help="python of an environment with torchdistill")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS), metavar="PAIR")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--one-in", type=int, default=1, help="one of so many images of each split, where runs would take hours"
    )
    parser.add_argument(
        "--untrained", action="store_true", help="mentors as initialised, where seconds alone are asked for"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/against"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, {given.epochs} epochs, n = {given.seeds} seeds")
    for name in given.pairs:
        pair = PAIRS[name]
        pair = replace(pair, train=pair.train // given.one_in)
        part = "" if given.one_in == 1 else f"-one-in-{given.one_in}"
        data = prepared(given.data, pair, given.out / f"{name}{part}.npz", given.one_in)
        weights = (untrained if given.untrained else mentor_weights)(pair, data, given.out)
        base: float | None = None
        for arm in given.arms:
            runs = [
                run(arm, pair, data, weights, given.out, given.other, seed, given.epochs) for seed in range(given.seeds)
            ]
            cpu = statistics.mean(one["cpu"] for one in runs)
            base = cpu if base is None else base
            scores = [100 * one["accuracy"] for one in runs]
            spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
            wall = statistics.mean(one["wall"] for one in runs)
            print(
                f"{name:13} {arm:28} {cpu:7.1f} s CPU, {wall:7.1f} s; / ours {cpu / base:6.2f}; "
                f"test {statistics.mean(scores):.1f} ± {spread:.1f} %",
                flush=True,
            )


def prepared(root: Path, pair: Pair, path: Path, one_in: int) -> Path:
    if not path.is_file():
        from torchvision.datasets import FashionMNIST

        blocks = [(True, 0, pair.train), (True, 50_000, 50_000 + 500 // one_in), (False, 0, 1000 // one_in)]
        images, labels = [], []
        for train, start, stop in blocks:
            source = FashionMNIST(root, train=train, download=False)
            images.append(pad(source.data[start:stop], (2, 2, 2, 2)).unsqueeze(1).expand(-1, 3, -1, -1))
            labels.append(source.targets[start:stop])
        pixels = torch.cat(images)
        if pair.size != pixels.shape[2]:
            large = interpolate(pixels.float(), size=(pair.size, pair.size), mode="bilinear", align_corners=False)
            pixels = large.round().clamp(0, 255).to(torch.uint8)
        split = [part for part, block in zip(("train", "val", "test"), labels, strict=True) for _ in block]
        np.savez(path, inputs=pixels.numpy(), labels=torch.cat(labels).numpy(), split=np.array(split))
    return path


def settings(pair: Pair, data: Path, out: Path) -> list[str]:
    return [
        *f"data=arrays data.path={data} data.layout=NCHW data.split=split mentor=torchvision".split(),
        *f"mentor.network.name={pair.mentor} mentor.fit.max_epochs={pair.mentor_epochs} mentor.least_accuracy=0".split(),
        *["mentor.fit.learning_rate=5e-4", "threads=1", "accelerator=cpu", "preflight=false"],
    ]


def mentor_weights(pair: Pair, data: Path, out: Path) -> Path:
    config = compose(
        "distill", DistillConfig, [*settings(pair, data, out), f"cache_dir={out}/mentors", "run_dir=unused"]
    )
    found = find_mentor(
        config.mentor,
        load_data(config.data, whole=True),
        Path(config.cache_dir),
        Machine("cpu", 1, Console(quiet=True)),
    )
    print(f"mentor {pair.mentor} at {pair.size} px: {found.val_accuracy:.1%} of validation", flush=True)
    return found.weights


def untrained(pair: Pair, data: Path, out: Path) -> Path:
    """Its BatchNorms by the moments of a batch: else its activations would grow from block to block."""
    torch.manual_seed(0)
    network = classifier(pair.mentor, num_classes=10).train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean of all batches, here of one
    with torch.no_grad():
        network(torch.from_numpy(np.load(data)["inputs"][:64]).float().div(255).sub_(0.3).div_(0.35))
    path = out / f"{pair.mentor}-{pair.size}-untrained.safetensors"
    save_file(network.state_dict(), path)
    return path


def ours(pair: Pair, data: Path, weights: Path, folder: Path, seed: int, epochs: int, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "distill", *settings(pair, data, folder), f"mentor.weights={weights}", *more),
        *("mentee=plain_cnn", f"mentee.network.widths={WIDTHS}".replace(" ", ""), "probes=none"),
        *(f"probes.mid=[{pair.layer},features.2]", "loss.probe=attention", "schedule=constant", "schedule.alpha=1"),
        *("schedule.beta=500", "schedule.gamma=1", "schedule.temperature=4", "trainer.curve=constant"),
        *("trainer.warmup=0", f"trainer.max_epochs={epochs}", "trainer.learning_rate=2e-3", f"seed={seed + 1}"),
        *(f"run_dir={folder}/run", f"cache_dir={folder}/cache"),
    ]


ARMS = {
    "ours": ("cache.answers=true",),
    "ours, mentor in float32": ("cache.answers=true", "mentor.precision=32-true"),
    "ours, mentor in the loop": ("cache.answers=false",),
    "ours, mentor in the loop, float32": ("cache.answers=false", "mentor.precision=32-true"),
    "torchdistill": (),
}


def run(
    arm: str, pair: Pair, data: Path, weights: Path, out: Path, other: Path, seed: int, epochs: int
) -> dict[str, float]:
    """{"wall", "cpu"} seconds of the process, {"accuracy"} on the test split; from its file where it is there."""
    record = out / f"{data.stem} {arm} {seed} {epochs}.json"
    if record.is_file():
        stored: dict[str, float] = json.loads(record.read_text(encoding="utf-8"))
        return stored
    folder = out / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if arm.startswith("ours"):
        command = ours(pair, data, weights, folder, seed, epochs, *ARMS[arm])
    else:
        child = Path(__file__).with_name("torchdistill_child.py")
        about = {
            "widths": WIDTHS,
            "mentor": pair.mentor,
            "layer": pair.layer,
            "data": str(data),
            "weights": str(weights),
            "seed": seed,
            "epochs": epochs,
        }
        command = [str(other), str(child), json.dumps(about)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    if arm.startswith("ours"):
        accuracy = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["scores"]["accuracy"]
    else:
        accuracy = json.loads(done.stdout.splitlines()[-1])["accuracy"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {"wall": wall, "cpu": cpu, "accuracy": float(accuracy)}
    record.write_text(json.dumps(figures), encoding="utf-8")
    return figures


if __name__ == "__main__":
    main()
