"""Memory, cold start and milliseconds a step of learning on the device, beside torch doing the same.

    python -m benchmarks.speed.device_step BUNDLE CHECKPOINT

CHECKPOINT is the mentee.safetensors that BUNDLE was exported from. Torch runs eager, on the same folded network, the same
loss and the same batches, with its fused AdamW (its fastest for small nets). Both use one thread. In the step times torch
is handed float32 tensors, while the device program is handed raw samples: preprocessing, stacking the replay under the
owner's samples, and the check that no gradient is out of bounds are in its figure. Cold starts are processes of their own
with the files in the page cache; the device program's runs in .venv/device where `make env` has made that.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.device_process import PYTHON, memory_mib, told

if TYPE_CHECKING:  # a cold start must pay for its own imports only
    from mentee_device import Learner, Samples, Supervision
    from torch import Tensor

    from mentor_mentee.objective.loss_spec import LossSpec
    from mentor_mentee.objective.probes import ProbedMentee

BATCHES = (1, 8, 32)
FIRST, MOST = 8, 32  # batch of the cold start's first step, and of the steps before its peak is read
STEPS_BEFORE_PEAK = 20


def batch_of(learner: "Learner", size: int) -> "tuple[Samples, Supervision | None]":
    """Half of it labelled samples as an owner's (the first golden ones), half replayed; of one, the owner's."""
    import numpy as np

    golden, replay = learner.bundle.golden(), learner.supervision
    owner = golden.take(np.arange(size - size // 2) % len(golden))
    return owner, replay.take(np.arange(size // 2) % len(replay)) if size > 1 else None


class TorchMentee:
    """The mentee as export froze it, and one training step of it."""

    def __init__(self, probed: "ProbedMentee", loss: "LossSpec") -> None:
        import torch

        self.probed, self.loss = probed, loss
        self.optimizer: torch.optim.AdamW

    @classmethod
    def load(cls, checkpoint: Path) -> "TorchMentee":
        import torch

        from export.network.fold import freeze_batch_norm
        from mentee.checkpoint import MenteeCheckpoint
        from mentor_mentee.objective.probes import ProbedMentee

        torch.set_num_threads(1)
        stored = MenteeCheckpoint.load(checkpoint)
        network = freeze_batch_norm(stored.network(), {probe.mentee for probe in stored.probes})
        return cls(ProbedMentee(network, stored.probes, stored.head).eval(), stored.loss)

    def prepare(self, optimizer: dict[str, Any]) -> None:
        """Before the first `step`; a prediction should not pay for it (torch.optim imports half of torch)."""
        import torch

        self.optimizer = torch.optim.AdamW(
            self.probed.parameters(),
            lr=optimizer["learning_rate"],
            betas=(optimizer["betas"][0], optimizer["betas"][1]),
            eps=optimizer["epsilon"],
            weight_decay=optimizer["weight_decay"],
            fused=True,
        )

    def predict(self, feeds: "dict[str, Tensor]") -> None:
        import torch

        with torch.inference_mode():
            self.probed(feeds["input"])

    def step(self, feeds: "dict[str, Tensor]") -> float:
        from mentor_mentee.objective.loss import mentee_loss

        outputs = self.probed(feeds["input"])
        terms = mentee_loss(
            outputs.logits,
            outputs.activations,
            labels_B=feeds["labels"],
            labelled_B=feeds["labelled"],
            mentor_logits_BK=feeds["mentor_logits"],
            mentor_activations={name: feeds[f"mentor_{name}"] for name in outputs.activations},
            supervised_B=feeds["supervised"],
            alpha=feeds["alpha"],
            beta=feeds["beta"],
            gamma=feeds["gamma"],
            temperature=feeds["temperature"],
            spec=self.loss,
            weights=self.probed.weights(),
        )
        self.optimizer.zero_grad()
        terms.loss.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(terms.loss.detach())


def cold_device(bundle: Path, started: float) -> dict[str, float]:
    from mentee_device import Bundle, Learner

    with Bundle.open(bundle) as opened, Learner(opened) as learner:
        learner.predict(opened.golden().input[:1])
        predicted = time.time() - started
        learner.learn_batch(*batch_of(learner, FIRST))
        stepped = time.time() - started
        for _ in range(STEPS_BEFORE_PEAK):
            learner.learn_batch(*batch_of(learner, MOST))
        return {"predict_ms": 1e3 * predicted, "step_ms": 1e3 * stepped, "peak_mib": memory_mib("VmHWM")}


def cold_torch(bundle: Path, started: float, checkpoint: Path, feeds: Path) -> dict[str, float]:
    from safetensors.torch import load_file

    mentee = TorchMentee.load(checkpoint)
    mentee.predict(load_file(feeds / "1.safetensors"))
    predicted = time.time() - started
    mentee.prepare(optimizer_of(bundle))
    mentee.step(load_file(feeds / f"{FIRST}.safetensors"))
    stepped = time.time() - started
    batch = load_file(feeds / f"{MOST}.safetensors")
    for _ in range(STEPS_BEFORE_PEAK):
        mentee.step(batch)
    return {"predict_ms": 1e3 * predicted, "step_ms": 1e3 * stepped, "peak_mib": memory_mib("VmHWM")}


def optimizer_of(bundle: Path) -> dict[str, Any]:
    optimizer: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())["optimizer"]
    schedule = optimizer.get("schedule", "constant")
    plain = (schedule if isinstance(schedule, str) else schedule["name"]) == "constant" and not (
        optimizer.get("groups") or optimizer.get("clip_norm") or optimizer.get("accumulate", 1) > 1
    )
    if optimizer["name"].lower() != "adamw" or not plain:
        sys.exit(
            f"error: {bundle} learns with {optimizer}; expected AdamW with the export's defaults, but for its numbers"
        )
    return optimizer


def cold(python: str, *arguments: object) -> dict[str, float]:
    started = repr(time.time())
    figures: dict[str, float] = told(
        "benchmarks.speed.device_step", "--cold", *arguments, "--started", started, python=python
    )
    return figures


def cold_starts(bundle: Path, checkpoint: Path, feeds: Path, n: int) -> dict[str, dict[str, list[float]]]:
    seen: dict[str, list[dict[str, float]]] = {"device": [], "torch": []}
    for _ in range(n + 1):
        seen["device"].append(cold(PYTHON, "device", bundle))
        seen["torch"].append(cold(sys.executable, "torch", bundle, "--checkpoint", checkpoint, "--feeds", feeds))
    return {  # without the first round, which fills the page cache
        who: {key: [one[key] for one in rounds[1:]] for key in rounds[0]} for who, rounds in seen.items()
    }


def step_times(
    learner: "Learner", mentee: TorchMentee, feeds: "dict[str, Tensor]", size: int, rounds: int, steps: int
) -> dict[str, list[float]]:
    """Milliseconds a step, one mean a round; the two take turns, and who goes first alternates."""
    owner, replay = batch_of(learner, size)

    def step_device() -> None:
        learner.learn_batch(owner, replay)

    def step_torch() -> None:
        mentee.step(feeds)

    seen: dict[str, list[float]] = {"device": [], "torch": []}
    turns = [("device", step_device), ("torch", step_torch)]
    for warm_then_rounds in range(rounds + 2):
        for who, step in turns:
            started = time.perf_counter()
            for _ in range(steps):
                step()
            if warm_then_rounds >= 2:
                seen[who].append(1e3 * (time.perf_counter() - started) / steps)
        turns.reverse()
    return seen


def row(what: str, device: Sequence[float], torch: Sequence[float], digits: int) -> str:
    ratios = [ours / theirs for ours, theirs in zip(device, torch, strict=True)]
    cells = [
        f"{statistics.mean(values):.{places}f} ± {statistics.stdev(values):.{places}f} ({min(values):.{places}f})"
        for values, places in ((device, digits), (torch, digits), (ratios, 3))
    ]
    return f"| {what} | {' | '.join(cells)} |"


def table(title: str, rows: Sequence[str]) -> str:
    head = [f"| {title} | device | torch eager | device / torch |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def compare(bundle: Path, checkpoint: Path, rounds: int, steps: int, processes: int) -> None:
    import torch
    from mentee_device import Bundle, Learner
    from mentee_device.core.batch import mixed
    from safetensors.torch import save_file

    with Bundle.open(bundle) as opened, Learner(opened) as learner, tempfile.TemporaryDirectory() as scratch:
        feeds: dict[int, dict[str, Tensor]] = {}
        for size in BATCHES:
            arrays = mixed(opened.manifest, *batch_of(learner, size), 1.0, {})
            feeds[size] = {name: torch.from_numpy(value) for name, value in arrays.feeds().items()}
            save_file(feeds[size], Path(scratch) / f"{size}.safetensors")
        mentee = TorchMentee.load(checkpoint)
        mentee.prepare(optimizer_of(opened.folder))
        for size in BATCHES:  # also says that both really do the same
            ours, theirs = learner.learn_batch(*batch_of(learner, size))["loss"], mentee.step(feeds[size])
            if abs(ours - theirs) > 1e-4 * max(1.0, abs(theirs)):
                sys.exit(
                    f"error: at batch {size} the loss is {ours} in {bundle}, {theirs} in {checkpoint}: another run's?"
                )

        versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime-training-cpu", "numpy", "torch"))
        print(f"{machine()}; {versions}; one thread each")
        print(f"bundle {opened.manifest.id[:12]}, {opened.manifest.parameters} parameters; mean ± std (min)")
        print(f"python -m benchmarks.speed.device_step {' '.join(sys.argv[1:])}\n")

        started = cold_starts(opened.folder, checkpoint, Path(scratch), processes)
        figures = (
            ("first prediction, ms", "predict_ms"),
            (f"first step (batch {FIRST}), ms", "step_ms"),
            (f"peak resident (VmHWM) after {STEPS_BEFORE_PEAK} steps of {MOST}, MiB", "peak_mib"),
        )
        rows = [row(name, started["device"][key], started["torch"][key], 0) for name, key in figures]
        print(table(f"a cold process, n = {processes} each", rows) + "\n", flush=True)

        rows = []
        for size in BATCHES:
            seen = step_times(learner, mentee, feeds[size], size, rounds, steps)
            rows.append(row(f"batch {size}", seen["device"], seen["torch"], 3))
        print(table(f"ms a step, n = {rounds} interleaved rounds of {steps} steps", rows))


def main() -> None:
    if "--cold" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--cold", choices=("device", "torch"))
        parser.add_argument("bundle", type=Path)
        parser.add_argument("--checkpoint", type=Path)
        parser.add_argument("--feeds", type=Path)
        parser.add_argument("--started", type=float)
        given = parser.parse_args()
        if given.cold == "device":
            print(json.dumps(cold_device(given.bundle, given.started)))
        else:
            print(json.dumps(cold_torch(given.bundle, given.started, given.checkpoint, given.feeds)))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.device_step", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=50, help="of a round")
    parser.add_argument("--processes", type=int, default=7, help="cold starts of each")
    given = parser.parse_args()
    compare(given.bundle, given.checkpoint, given.rounds, given.steps, given.processes)


if __name__ == "__main__":
    main()
