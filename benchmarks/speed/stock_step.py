"""A training step of stock graphs beside torch eager's, and ONNX Runtime Training's: the same weights, loss, AdamW and batches.

    python -m benchmarks.speed.stock_step [NETWORK …] [--batches 1 8 32] [--threads 1 2] [--rounds N]
    PYTHONPATH=FOLDER python -m benchmarks.speed.stock_step …     with another onnxruntime, `pip install --target FOLDER` of it
    python -m benchmarks.speed.stock_step --profile NETWORK [--batch B]

Interleaved rounds of about 20 ms as in `step_time.py`, and its way of counting time. Torch is eager with its fused AdamW, once
contiguous and once channels_last. ONNX Runtime Training takes part where its package is the one installed. Ratios are of medians,
quartiles of the rounds' own ratios.
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.device_step import machine
from benchmarks.speed.step_time import (
    BATCHES_IN_TURN,
    CLASSES,
    NETWORKS,
    OPTIMIZER,
    RuntimeStep,
    Step,
    milliseconds,
    torch_step,
)
from export.graph.artifacts import copied, silenced, write_artifacts
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, forward_graph, traced
from export.network.batch_norm import learning_mode, running_statistics, with_batch_norm
from export.parity.feeds import Feed, Samples, draw
from export.stock.assemble import stock_graphs
from export.stock.files import write_stock
from export.stock.prepare import stock_forward
from mentee.networks import PlainCNN, ResidualCNN
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.objective.taps import find_head


class SmallTransformer(nn.Module):
    """Patches of 4 × 4, two layers of attention over 64 of them."""

    def __init__(self, width: int = 48, classes: int = CLASSES) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.patches(x).flatten(2).transpose(1, 2) + self.places).mean(1))  # type: ignore[no-any-return]


class SmallGRU(nn.Module):
    """The rows of an image, one after the other."""

    def __init__(self, width: int = 64, classes: int = CLASSES) -> None:
        super().__init__()
        self.rows = nn.GRU(28, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rows(x.squeeze(1))[0][:, -1])  # type: ignore[no-any-return]


MADE: dict[str, Any] = {
    **{name: (*made, "frozen") for name, made in NETWORKS.items()},
    "plain-28": (lambda: PlainCNN(1, CLASSES), (1, 28, 28), "frozen"),
    "plain-32": (lambda: PlainCNN(3, CLASSES), (3, 32, 32), "frozen"),
    "residual-batch": (lambda: ResidualCNN(3, CLASSES), (3, 32, 32), "batch"),
    "transformer": (SmallTransformer, (3, 32, 32), "frozen"),
    "gru": (SmallGRU, (1, 28, 28), "frozen"),
}


class Made:
    """One network with both kinds of graphs, in `training` and `stock`; torch's side is `network`."""

    def __init__(self, name: str, folder: Path, training: bool) -> None:
        make, self.shape, way = MADE[name]
        torch.manual_seed(0)
        self.network = with_batch_norm(make().eval(), way)
        self.samples = Samples(torch.randn(64, *self.shape), torch.randn(64, CLASSES), {})
        self.head = find_head(self.network, self.samples.input[:2])
        graph = TrainingGraph(self.probed())
        with torch.no_grad():
            width = graph.student(self.samples.input[:2]).embedding.shape[1]
        inputs, outputs = input_ports(self.shape, CLASSES, ()), output_ports(CLASSES, width, ())
        names = [key for key, _ in self.network.named_parameters()]
        running = running_statistics(self.network)
        self.stock, self.training = folder / "stock", folder / "training"
        with silenced():
            model = traced(graph, inputs, outputs)
            stock = stock_forward(graph, copied(model), inputs)
            self.stock.mkdir(parents=True)
            write_stock(stock_graphs(stock.model, inputs, outputs, names, running, OPTIMIZER), self.stock)
            if training:
                self.training.mkdir()
                write_artifacts(
                    forward_graph(graph, inputs, outputs, model=model).model, names, OPTIMIZER, self.training, running
                )

    def probed(self) -> ProbedMentee:
        probed = ProbedMentee(copy.deepcopy(self.network), (), self.head).eval()
        learning_mode(probed)
        return probed

    def feeds(self, batch: int) -> list[Feed]:
        return [draw(self.samples, ["mixed"], batch, seed)[0] for seed in range(BATCHES_IN_TURN)]


class StockStep:
    """gradients.onnx and optimizer.onnx on state that stays where it is: outputs are bound in its place."""

    def __init__(self, folder: Path, feeds: list[Feed], threads: int, profile: Path | None = None) -> None:
        import onnxruntime as ort
        from safetensors.numpy import load_file

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        self.gradients = ort.InferenceSession(folder / "gradients.onnx", options, providers=["CPUExecutionProvider"])
        options.enable_profiling = False
        self.optimizer = ort.InferenceSession(folder / "optimizer.onnx", options, providers=["CPUExecutionProvider"])
        state = load_file(folder / "state.safetensors")

        def held(value: np.ndarray[Any, Any]) -> Any:
            return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value))

        P = state["parameters"].size
        self.state: dict[str, Any] = {name: held(state[name]) for name in ("parameters", "statistics") if name in state}
        self.state |= {name: held(np.zeros(P, np.float32)) for name in ("moment1", "moment2", "gradient")}
        self.state["learning_rate"] = held(np.full(1, OPTIMIZER.learning_rate, np.float32))
        self.number, self.loss = (np.zeros(1, np.float32) for _ in range(2))  # memory that the runtime reads and writes
        self.state["step"] = held(self.number)
        self.feeds = [{name: held(value.numpy()) for name, value in feed.named().items()} for feed in feeds]
        self.learning = [self.bound(self.gradients, feed) for feed in self.feeds]
        self.stepping = self.bound(self.optimizer, {})

    def bound(self, session: Any, feeds: dict[str, Any]) -> Any:
        import onnxruntime as ort

        binding = session.io_binding()
        every = {**self.state, **feeds, "loss": ort.OrtValue.ortvalue_from_numpy(self.loss)}
        for port in session.get_inputs():
            binding.bind_ortvalue_input(port.name, every[port.name])
        for port in session.get_outputs():
            name = port.name.removeprefix("new_")
            if name in every:
                binding.bind_ortvalue_output(port.name, every[name])
            else:
                binding.bind_output(port.name)
        return binding

    def __call__(self, number: int) -> float:
        self.gradients.run_with_iobinding(self.learning[number % len(self.learning)])
        self.number += 1
        self.optimizer.run_with_iobinding(self.stepping)
        return float(self.loss[0])


def contenders(made: Made, batch: int, threads: int, training: bool) -> dict[str, Step]:
    """Raises `AssertionError` where they do not compute the same."""
    torch.set_num_threads(threads)
    feeds = made.feeds(batch)
    steps: dict[str, Step] = {"stock": StockStep(made.stock, feeds, threads)}
    if training:
        steps["training"] = RuntimeStep(made.training, feeds, threads)
    steps["C"] = torch_step(made, feeds, torch.contiguous_format)  # type: ignore[arg-type]
    steps["L"] = torch_step(made, feeds, torch.channels_last)  # type: ignore[arg-type]
    for number in range(BATCHES_IN_TURN):
        losses = {who: step(number) for who, step in steps.items()}
        apart = max(losses.values()) - min(losses.values())
        assert apart <= 1e-3 * max(1.0, max(losses.values())), losses
    return steps


def compare(names: list[str], batches: list[int], threads: list[int], rounds: int, training: bool) -> None:
    print(
        "| network | parameters | threads | batch | stock, ms | / eager | its quartiles | / channels_last | / training "
        "| training / eager |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            made = Made(name, Path(scratch) / name, training)
            count = sum(parameter.numel() for parameter in made.network.parameters())
            for many in threads:
                for batch in batches:
                    clock = time.process_time if many == 1 else time.perf_counter
                    seen = milliseconds(contenders(made, batch, many, training), rounds, clock)
                    median = {who: statistics.median(values) for who, values in seen.items()}
                    cells = [name, f"{count:,}", str(many), str(batch), f"{median['stock']:.2f}"]
                    low, _, high = statistics.quantiles(
                        (ours / theirs for ours, theirs in zip(seen["stock"], seen["C"], strict=True)), n=4
                    )
                    cells += [f"{median['stock'] / median['C']:.2f}", f"{low:.2f}–{high:.2f}"]
                    cells.append(f"{median['stock'] / median['L']:.2f}")
                    other = median.get("training")
                    cells += [f"{median['stock'] / other:.2f}", f"{other / median['C']:.2f}"] if other else ["–", "–"]
                    print(f"| {' | '.join(cells)} |", flush=True)


def profile(name: str, batch: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = Made(name, Path(scratch) / "made", training=False)
        step = StockStep(made.stock, made.feeds(batch), 1, Path(scratch) / "profile")
        for number in range(steps):
            step(number)
        events = json.loads(Path(step.gradients.end_profiling()).read_text())
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            shapes = json.dumps([next(iter(each.values())) for each in event["args"].get("input_type_shape", [])])
            nodes[event["args"]["op_name"], event["name"] + shapes].append(event["dur"] / 1e3)
    spent, times = Counter[str](), Counter[str]()
    for (operator, _), taken in nodes.items():
        spent[operator] += min(taken)  # type: ignore[assignment]
        times[operator] += 1
    total = sum(spent.values())
    print(f"\n| {name}, batch {batch} | nodes | ms | of the step |\n|---|---|---|---|")
    for operator, taken_ms in spent.most_common(14):
        print(f"| {operator} | {times[operator]} | {taken_ms:.3f} | {100 * taken_ms / total:.0f} % |")
    print(f"| all | {sum(times.values())} | {total:.3f} | |")
    for (operator, name), taken in sorted(nodes.items(), key=lambda item: -min(item[1]))[:14]:
        print(f"{min(taken):.3f}  {operator}  {name[name.find('[') :]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.stock_step", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(MADE))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--profile", metavar="NETWORK", choices=MADE)
    parser.add_argument("--batch", type=int, default=8, help="of the profile")
    parser.add_argument("--steps", type=int, default=40, help="of the profile")
    given = parser.parse_args()
    if unknown := set(given.networks) - set(MADE):
        parser.error(f"no network {', '.join(sorted(unknown))}; expected some of {', '.join(MADE)}")
    torch.set_num_threads(1)
    import onnxruntime

    training = has_training()
    print(f"{machine()}; onnxruntime {onnxruntime.__version__}, torch {torch.__version__}")
    print(f"python -m benchmarks.speed.stock_step {' '.join(sys.argv[1:])}", flush=True)
    if given.profile is not None:
        profile(given.profile, given.batch, given.steps)
    else:
        compare(given.networks or list(MADE), given.batches, given.threads, given.rounds, training)


def has_training() -> bool:
    """Whether the onnxruntime at hand is the training build."""
    import onnxruntime

    return (Path(onnxruntime.__file__).parent / "training").is_dir() and onnxruntime.__version__.startswith("1.19")


if __name__ == "__main__":
    main()
