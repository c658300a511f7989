"""Costs of each choice of BatchNorm and of trainable parameters: counted, and measured in a process of its own.

    python -m benchmarks.bundles.trainable_choices CHECKPOINT [--network mentee.networks.InvertedResidualCNN]

CHECKPOINT is the mentee.safetensors of a run. With --network an untrained network of that kind, for the same data and
without probes, stands in the mentee's place: costs do not depend on weights. Each choice is exported, then measured in fresh
processes of the device program (.venv/device where `make env` has made that), one thread, the choices taking turns. Peak
memory is VmHWM, over that of a process that has opened the bundle and not yet learned; ms a step is the median.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.device_process import memory_mib, told

if TYPE_CHECKING:
    from mentee.checkpoint import MenteeCheckpoint

CHOICES = {
    "frozen": ("all", "last:2", "head", "bias"),
    "affine_only": ("all", "norm", "head"),
    "batch": ("all", "norm", "head"),
}
HALF = 4  # owner's samples of a batch, and replayed ones


def measure(bundle: Path, steps: int) -> dict[str, float]:
    """Measures one bundle, in the device process."""
    import numpy as np
    from mentee_device import Bundle, Learner

    with Bundle.open(bundle) as opened, Learner(opened) as learner:
        owner = opened.golden().take(np.arange(HALF))
        replay = learner.supervision.take(np.arange(HALF))
        before = memory_mib("VmRSS")
        milliseconds = []
        for _ in range(steps):
            started = time.perf_counter()
            learner.learn_batch(owner, replay)
            milliseconds.append(1e3 * (time.perf_counter() - started))
    return {"ms": statistics.median(milliseconds[5:]), "before": before, "peak": memory_mib("VmHWM")}


def measured(bundle: Path, steps: int) -> dict[str, float]:
    figures: dict[str, float] = told("benchmarks.bundles.trainable_choices", "--measure", bundle, steps)
    return figures


def stand_in(checkpoint: "MenteeCheckpoint", target: str) -> "MenteeCheckpoint":
    from dataclasses import replace

    import torch

    from mentor_mentee.objective.taps import find_head
    from mentor_mentee.recipe import build

    channels = checkpoint.view.shape[0]
    recipe = {"_target_": target, "in_channels": channels, "num_classes": len(checkpoint.classes)}
    torch.manual_seed(0)
    network = build(recipe, "--network")
    example = torch.randn(64, *checkpoint.view.shape)
    with torch.no_grad():
        for _ in range(20):  # running statistics of its own: with 0 and 1 an untrained net's logits may overflow
            network.train()(example)
    head = find_head(network.eval(), example[:2])
    return replace(checkpoint, recipe=recipe, state=network.state_dict(), head=head, probes=())


def compare(checkpoint: "MenteeCheckpoint", rounds: int, steps: int) -> None:
    import torch

    from export.bundle.write import export_bundle
    from export.schema import ExportSettings

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        exported = {}
        for way, choices in CHOICES.items():
            for trainable in choices:
                path = Path(scratch) / f"{way}-{trainable.replace(':', '')}"
                settings = ExportSettings(batch_norm=way, trainable=trainable, backend="ort-training")
                exported[way, trainable] = export_bundle(checkpoint, path, settings)
        seen: dict[tuple[str, str], list[dict[str, float]]] = {choice: [] for choice in exported}
        for _ in range(rounds):
            for choice, bundle in exported.items():
                seen[choice].append(measured(bundle.path, steps))
        print(
            "| batch_norm | trainable | trained | gradients | moments | activations | bundle | peak | of it learning | ms |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for (way, trainable), bundle in exported.items():
            print(row(way, trainable, bundle.manifest["costs"], seen[way, trainable]))


def row(way: str, trainable: str, costs: dict[str, int], seen: list[dict[str, float]]) -> str:
    sizes = [costs[key] / 1024 for key in ("gradient_bytes", "optimizer_bytes", "activation_bytes", "bundle_bytes")]
    peak = statistics.median(one["peak"] for one in seen)
    learning = statistics.median(one["peak"] - one["before"] for one in seen)
    milliseconds: list[Any] = [one["ms"] for one in seen]
    cells = [way, trainable, f"{costs['trainable']:,}", *(f"{size:,.0f} KiB" for size in sizes)]
    cells += [
        f"{peak:.1f} MiB",
        f"{learning:.1f} MiB",
        f"{statistics.median(milliseconds):.2f} ({min(milliseconds):.2f})",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bundles.trainable_choices", description=__doc__.splitlines()[0]
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--network", help="module path of a network to put in the mentee's place")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each choice")
    parser.add_argument("--steps", type=int, default=60, help="of a process, the first 5 not counted")
    given = parser.parse_args()

    from benchmarks.speed.device_step import machine
    from mentee.checkpoint import MenteeCheckpoint

    checkpoint = MenteeCheckpoint.load(given.checkpoint)
    if given.network is not None:
        checkpoint = stand_in(checkpoint, given.network)
    count = sum(value.numel() for name, value in checkpoint.state.items() if "running" not in name)
    print(
        f"{machine()}; {checkpoint.recipe['_target_']}, {count:,} parameters, samples of {list(checkpoint.view.shape)}"
    )
    print(f"batch {2 * HALF}, n = {given.rounds} processes of {given.steps} steps; ms: median (min)")
    print(f"python -m benchmarks.bundles.trainable_choices {' '.join(sys.argv[1:])}\n")
    compare(checkpoint, given.rounds, given.steps)


if __name__ == "__main__":
    main()
