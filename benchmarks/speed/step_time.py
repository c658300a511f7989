"""A device's training step beside torch eager's, on five networks: the same weights, loss, AdamW and batches.

    python -m benchmarks.speed.step_time [NETWORK …] [--rounds N]
    python -m benchmarks.speed.step_time --profile NETWORK [--batch B]

Each network has fresh weights of seed 0 and ten classes; its artifacts are what export writes. ONNX Runtime Training and torch
take turns of about 20 ms in interleaved rounds, over 8 batches of random samples (a mask that came back at every step would
be learned by the processor's branch prediction). A step is outputs, gradients and AdamW. Torch is eager with its fused AdamW,
once on contiguous tensors (C) and once on channels_last ones (L); the one of the faster median counts, and is named. "before"
are the artifacts without `export.graph.gradients.relus`. The device program adds preprocessing and checks: `device_step.py`.

With one thread the clock is the process's own, so that another program on the core costs the comparison nothing but cache; with
two it is the wall's, which wants two idle cores. --profile prints what each operator of the training graph takes on one thread,
by ONNX Runtime's own profiler, whose clock is the wall's: the fastest of each node over the steps, summed.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import torch
from torch import nn
from torchvision import models

from benchmarks.speed.device_step import TorchMentee, machine
from export.graph import artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import DEFAULT, Port, input_ports, output_ports
from export.graph.training_graph import TrainingGraph, export_graph
from export.network.fold import freeze_batch_norm
from export.parity.feeds import Feed, Samples, draw
from mentee.networks import InvertedResidualCNN, PlainCNN, ResidualCNN, SignalCNN
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.objective.taps import find_head

CLASSES = 10
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "PlainCNN": (lambda: PlainCNN(1, CLASSES), (1, 8, 8)),
    "ResidualCNN": (lambda: ResidualCNN(1, CLASSES), (1, 28, 28)),
    "InvertedResidualCNN": (lambda: InvertedResidualCNN(3, CLASSES), (3, 32, 32)),
    "SignalCNN": (lambda: SignalCNN(3, CLASSES), (3, 1, 512)),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=CLASSES), (3, 32, 32)),
}
BATCHES, THREADS = (1, 8, 32), (1, 2)
BATCHES_IN_TURN = 8
TURN_SECONDS = 0.02
PAUSE_SECONDS = 0.005  # ONNX Runtime's second thread goes on spinning for a moment after a step
OPTIMIZER = Optimizer(learning_rate=1e-4)
Step = Callable[[int], float]  # number of the batch -> loss


class Exported:
    """One network with the artifacts that export makes of it, in `shipped`, and those without the rewrite, in `before`."""

    def __init__(self, name: str, folder: Path) -> None:
        make, self.shape = NETWORKS[name]
        torch.manual_seed(0)
        self.network = freeze_batch_norm(make())
        self.samples = Samples(torch.randn(64, *self.shape), torch.randn(64, CLASSES), {})
        self.head = find_head(self.network, self.samples.input[:2])
        probed = self.probed()
        with torch.no_grad():
            width = probed(self.samples.input[:2]).embedding.shape[1]
        self.inputs: list[Port] = input_ports(self.shape, CLASSES, ())
        with artifacts.silenced():
            forward = export_graph(TrainingGraph(probed), self.inputs, output_ports(CLASSES, width, ()))
        names = [key for key, _ in self.network.named_parameters()]
        self.shipped, self.before = folder / "shipped", folder / "before"
        for target in (self.shipped, self.before):
            target.mkdir(parents=True)
        artifacts.write_artifacts(forward, names, OPTIMIZER, self.shipped)
        with patch.object(artifacts, "branchless_relu_gradients"):
            artifacts.write_artifacts(forward, names, OPTIMIZER, self.before)

    def probed(self) -> ProbedMentee:
        import copy

        return ProbedMentee(copy.deepcopy(self.network), (), self.head).eval()

    def feeds(self, batch: int) -> list[Feed]:
        return [draw(self.samples, ["mixed"], batch, seed)[0] for seed in range(BATCHES_IN_TURN)]


class RuntimeStep:
    """A step as the device program takes it, on `threads` threads."""

    def __init__(self, folder: Path, feeds: list[Feed], threads: int, profile: Path | None = None) -> None:
        from onnxruntime import SessionOptions
        from onnxruntime.training.api import CheckpointState, Module
        from onnxruntime.training.api import Optimizer as RuntimeOptimizer

        options = SessionOptions()
        options.intra_op_num_threads = threads
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        with artifacts.silenced():
            state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
            paths = (str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"))
            # sessions begun in one second profile into one file, so the training graph's is alone
            self.module: Any = Module(*paths[: 3 if profile is None else 2], session_options=options)
            options.enable_profiling = False
            self.optimizer: Any = RuntimeOptimizer(str(folder / "optimizer_model.onnx"), self.module)
        self.optimizer.set_learning_rate(1e-3)  # times the graph's rate_scale
        self.module.train()
        self.feeds = [[value.numpy() for value in feed.flat()] for feed in feeds]

    def __call__(self, number: int) -> float:
        loss, *_ = self.module(*self.feeds[number % len(self.feeds)])
        self.optimizer.step()
        self.module.lazy_reset_grad()
        return float(loss[0])


def torch_step(exported: Exported, feeds: list[Feed], layout: torch.memory_format) -> Step:
    mentee = TorchMentee(exported.probed().to(memory_format=layout), DEFAULT)
    mentee.prepare(
        {
            "learning_rate": OPTIMIZER.learning_rate,
            "betas": OPTIMIZER.betas,
            "epsilon": OPTIMIZER.epsilon,
            "weight_decay": OPTIMIZER.weight_decay,
        }
    )
    named = [feed.named() for feed in feeds]
    for feed in named:
        feed["input"] = feed["input"].contiguous(memory_format=layout)
    return lambda number: mentee.step(named[number % len(named)])


def contenders(exported: Exported, batch: int, threads: int) -> dict[str, Step]:
    """Raises `AssertionError` where they do not compute the same."""
    torch.set_num_threads(threads)
    feeds = exported.feeds(batch)
    steps: dict[str, Step] = {
        "before": RuntimeStep(exported.before, feeds, threads),
        "shipped": RuntimeStep(exported.shipped, feeds, threads),
        "C": torch_step(exported, feeds, torch.contiguous_format),
        "L": torch_step(exported, feeds, torch.channels_last),
    }
    for number in range(BATCHES_IN_TURN):  # the first steps of all are the same steps
        losses = {who: step(number) for who, step in steps.items()}
        apart = max(losses.values()) - min(losses.values())
        assert apart <= 1e-3 * max(1.0, max(losses.values())), losses
    return steps


def milliseconds(steps: dict[str, Step], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Mean of a turn, one for each round; who goes first moves on by one each round."""
    turns = {}
    for who, step in steps.items():
        once = []
        for number in range(3):
            started = clock()
            step(number)
            once.append(clock() - started)
        turns[who] = max(1, round(TURN_SECONDS / min(once)))
    seen: dict[str, list[float]] = {who: [] for who in steps}
    order = list(steps)
    for _ in range(rounds):
        for who in order:
            time.sleep(PAUSE_SECONDS)
            started = clock()
            for number in range(turns[who]):
                steps[who](number)
            seen[who].append(1e3 * (clock() - started) / turns[who])
        order.append(order.pop(0))
    return seen


def cells(seen: dict[str, list[float]]) -> list[str]:
    median = {who: statistics.median(values) for who, values in seen.items()}
    faster = min("CL", key=lambda who: median[who])
    told = [f"{median[who]:.2f} ({min(seen[who]):.2f})" for who in ("before", "shipped")]
    told.append(f"{median[faster]:.2f} ({min(seen[faster]):.2f}) {faster}")
    for who in ("before", "shipped"):
        low, _, high = statistics.quantiles(
            [ours / theirs for ours, theirs in zip(seen[who], seen[faster], strict=True)], n=4
        )
        fastest = min(seen[who]) / min(min(seen["C"]), min(seen["L"]))
        told.append(f"{median[who] / median[faster]:.2f} [{low:.2f}, {high:.2f}] ({fastest:.2f})")
    return told


def compare(names: list[str], wanted: list[int], rounds: int) -> None:
    print(
        f"ms a step: median (min) of n = {rounds} rounds; ratio of medians [quartiles of the rounds' ratios] (of minima)\n"
    )
    print(
        "| network | sample | parameters | threads | batch | before | shipped | torch | before / torch | shipped / torch |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            exported = Exported(name, Path(scratch) / name)
            count = sum(parameter.numel() for parameter in exported.network.parameters())
            for threads in wanted:
                for batch in BATCHES:
                    clock = time.process_time if threads == 1 else time.perf_counter
                    seen = milliseconds(contenders(exported, batch, threads), rounds, clock)
                    head = [name, "×".join(map(str, exported.shape)), f"{count:,}", str(threads), str(batch)]
                    print(f"| {' | '.join(head + cells(seen))} |", flush=True)


def profiled(folder: Path, feeds: list[Feed], steps: int) -> list[dict[str, Any]]:
    """The runtime's own records, one for each node and step, of the training graph."""
    with tempfile.TemporaryDirectory() as scratch:
        step = RuntimeStep(folder, feeds, 1, profile=Path(scratch) / "profile")
        for number in range(steps):
            step(number)
        del step
        gc.collect()  # the file is written when the session ends
        (written,) = Path(scratch).iterdir()
        events = json.loads(written.read_text())
    events = [event for event in events if event["name"].endswith("_kernel_time")]
    return [event for event in events if event.get("cat") == "Node"]


def gradient_kinds(path: Path) -> dict[str, str]:
    """Node -> what kind of convolution its ConvGrad belongs to."""
    kinds = {}
    for node in onnx.load(path).graph.node:
        if node.op_type == "ConvGrad":
            found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            size = "×".join(map(str, found["kernel_shape"]))
            kinds[node.name] = f", depthwise {size}" if found["group"] > 1 else f", {size}"
    return kinds


def profile(name: str, batch: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        exported = Exported(name, Path(scratch))
        for title, folder in (("before", exported.before), ("shipped", exported.shipped)):
            nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
            kinds = gradient_kinds(folder / "training_model.onnx")
            for event in profiled(folder, exported.feeds(batch), steps):
                operator, node = event["args"]["op_name"], event["name"].removesuffix("_kernel_time")
                nodes[operator + kinds.get(node, ""), node].append(event["dur"] / 1e3)
            spent, times = Counter[str](), Counter[str]()
            for (operator, _), taken in nodes.items():
                spent[operator] += min(taken)  # type: ignore[assignment]
                times[operator] += 1
            total = sum(spent.values())
            print(f"\n| {title}: {name}, batch {batch} | nodes | ms | of the step |\n|---|---|---|---|")
            for operator, taken_ms in spent.most_common(12):
                print(f"| {operator} | {times[operator]} | {taken_ms:.3f} | {100 * taken_ms / total:.0f} % |")
            print(f"| all {len(spent)} operators | {sum(times.values())} | {total:.3f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.step_time", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS))
    parser.add_argument("--profile", metavar="NETWORK", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=8, help="of the profile")
    parser.add_argument("--steps", type=int, default=60, help="of the profile")
    given = parser.parse_args()
    if unknown := set(given.networks) - set(NETWORKS):
        parser.error(f"no network {', '.join(sorted(unknown))}; expected some of {', '.join(NETWORKS)}")
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime-training-cpu", "torch", "torchvision"))
    print(f"{machine()}; {versions}")
    print(f"python -m benchmarks.speed.step_time {' '.join(sys.argv[1:])}", flush=True)
    if given.profile is not None:
        profile(given.profile, given.batch, given.steps)
    else:
        compare(given.networks or list(NETWORKS), given.threads, given.rounds)


if __name__ == "__main__":
    main()
