"""Graphs of a bundle that learn, one kind for each backend: those of ONNX Runtime Training, and stock ones for any ONNX Runtime.

A bundle has either or both; stock ones make it one of format 2. Inputs and outputs are held to the format by name, vectors to the
sum of their parts. Axes: P trainable numbers, S running statistics.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.fields import get, strings, whole
from mentee_device.bundle.inputs import input_names
from mentee_device.bundle.parts import Graph, read_graph, read_ports

FORMAT, FORMAT_WITH_STOCK = "mentee-bundle/1", "mentee-bundle/2"
ORT_TRAINING, STOCK = "ort-training", "stock"
MOST_NUMBERS = 1 << 28  # of one vector: what a bundle's largest size holds in float32
MOST_AXES = 8  # of a parameter
ANSWERS = ("logits", "embedding")


@dataclass(frozen=True)
class OrtTraining:
    """Graphs and checkpoint of ONNX Runtime Training. `weights` is the file with every parameter, where the checkpoint is nominal
    and has none; in the state of stock graphs they lie in the order of `order`."""

    training: Graph
    evaluation: Graph
    optimizer: Graph
    checkpoint: str
    weights: str | None
    order: tuple[str, ...]

    @property
    def graphs(self) -> tuple[Graph, ...]:
        return self.training, self.evaluation, self.optimizer


@dataclass(frozen=True)
class Part:
    """Where in a flat vector the array `name` lies; `offset` counts numbers."""

    name: str
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Stock:
    """Stock graphs and the file of the state that they begin with: `parameters` [P] and `statistics` [S], flat, by parts."""

    gradients: Graph
    optimizer: Graph
    forward: Graph
    state: str
    parameters: tuple[Part, ...]
    statistics: tuple[Part, ...]
    moments: int  # vectors [P] that the optimizer keeps

    @property
    def graphs(self) -> tuple[Graph, ...]:
        return self.gradients, self.optimizer, self.forward


def read_ort_training(raw: dict[str, Any]) -> OrtTraining | None:
    """None where the manifest has none of it. Raises BundleError where it has some and not all."""
    graphs = get(raw, "graphs", dict)
    found = [name for name in ("training", "eval", "optimizer") if name in graphs] + ["checkpoint"] * (
        "checkpoint" in raw
    )
    if not found and raw["format"] == FORMAT_WITH_STOCK:
        return None
    checkpoint = get(raw, "checkpoint", dict)
    weights = get(checkpoint, "parameters", str, "checkpoint") if "parameters" in checkpoint else None
    return OrtTraining(
        training=read_graph(graphs, "training"),
        evaluation=read_graph(graphs, "eval"),
        optimizer=read_graph(graphs, "optimizer"),
        checkpoint=get(checkpoint, "file", str, "checkpoint"),
        weights=weights,
        order=tuple(_names(raw)) if raw["format"] == FORMAT_WITH_STOCK else (),
    )


def read_stock(raw: dict[str, Any], probes: Iterable[str], terms: Sequence[str]) -> Stock | None:
    """None in format 1. Raises BundleError."""
    if ("stock" in raw) != (raw["format"] == FORMAT_WITH_STOCK):
        raise BundleError("manifest.json: stock graphs are of format 2, and format 2 has them: make the bundle again")
    if "stock" not in raw:
        return None
    given = get(raw, "stock", dict)
    state = get(given, "state", dict, "stock")
    parameters, statistics = (_parts(state, vector) for vector in ("parameters", "statistics"))
    names = [part.name for part in (*parameters, *statistics)]
    if len(set(names)) != len(names) or set(names) != set(_names(raw)) or not parameters:
        raise BundleError(
            "manifest.json: stock.state has other parameters or statistics than `trainable` and `running_statistics`: make the "
            "bundle again"
        )
    stock = Stock(
        gradients=read_graph(given, "gradients", "stock"),
        optimizer=read_graph(given, "optimizer", "stock"),
        forward=read_graph(given, "forward", "stock"),
        state=get(state, "file", str, "stock.state"),
        parameters=parameters,
        statistics=statistics,
        moments=whole(get(state, "moments", int, "stock.state"), "stock.state.moments", 0, 2),
    )
    _check_ports(stock, given, raw.get("dropout", "off") == "on", probes, terms)
    return stock


def _check_ports(
    stock: Stock, given: dict[str, Any], dropout: bool, probes: Iterable[str], terms: Sequence[str]
) -> None:
    """Compares names, and the sizes of the vectors, with what this format has."""
    state = {"parameters", *(["statistics"] if stock.statistics else [])}
    moving = {"parameters", *(f"moment{number + 1}" for number in range(stock.moments))}
    learning = {"loss", *terms, *ANSWERS, "gradient", *(f"new_{name}" for name in state - {"parameters"})}
    batch = state | input_names(probes)
    batch |= {"seed"} if dropout and "seed" in stock.gradients.inputs else set()
    for name, graph, inputs, outputs in (
        ("gradients", stock.gradients, batch, learning),
        (
            "optimizer",
            stock.optimizer,
            moving | {"gradient", "learning_rate", "step"},
            {f"new_{one}" for one in moving},
        ),
        ("forward", stock.forward, state | {"input"}, set(ANSWERS)),
    ):
        check_names(f"stock.{name}", graph, inputs, outputs)
        for kind in ("inputs", "outputs"):
            for port in read_ports(given[name], kind, f"stock.{name}"):
                size = _size(port["name"], stock)
                if size is not None and port.get("shape") != [size]:
                    raise BundleError(
                        f"manifest.json: stock.{name} says {port['name']!r} has the shape {str(port.get('shape'))[:70]}, its "
                        f"parts make [{size}]: make the bundle again"
                    )


def _size(name: str, stock: Stock) -> int | None:
    """Numbers of a flat vector; None for what is none."""
    vector = name.removeprefix("new_")
    if vector in ("parameters", "moment1", "moment2", "gradient"):
        return size_of(stock.parameters)
    return size_of(stock.statistics) if vector == "statistics" else None


def check_names(where: str, graph: Graph, inputs: set[str], outputs: set[str]) -> None:
    """Raises BundleError for a graph with other inputs or outputs, or one of them twice."""
    for kind, expected, given in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
        if set(given) != expected or len(given) != len(expected):
            different = str(sorted(expected ^ set(given)) or "a name twice")[:300]
            raise BundleError(f"manifest.json: {where}.{kind} differ from what this format has: {different}")


def size_of(parts: Sequence[Part]) -> int:
    """Numbers of the vector that `parts` make."""
    return sum(part.size for part in parts)


def _parts(state: dict[str, Any], vector: str) -> tuple[Part, ...]:
    where, at, parts = f"stock.state.{vector}", 0, list[Part]()
    for given in get(state, vector, list, "stock.state"):
        if not isinstance(given, dict):
            raise BundleError(f"manifest.json: {where} must be a list of objects")
        shape = tuple(whole(size, f"{where}.shape", 1) for size in get(given, "shape", list, where))
        part = Part(get(given, "name", str, where), whole(get(given, "offset", int, where), f"{where}.offset"), shape)
        if part.offset != at:
            raise BundleError(f"manifest.json: {where} says {part.name[:70]!r} is at {part.offset}, expected {at}")
        if len(shape) > MOST_AXES or at + part.size > MOST_NUMBERS:
            raise BundleError(
                f"manifest.json: {where} has {part.name[:70]!r} of shape {str(shape)[:70]}, expected at most {MOST_AXES} axes "
                f"and {MOST_NUMBERS} numbers in all"
            )
        at += part.size
        parts.append(part)
    return tuple(parts)


def _names(raw: dict[str, Any]) -> list[str]:
    """Names that a checkpoint holds, in its order."""
    running = strings(raw, "running_statistics") if "running_statistics" in raw else []
    return [*strings(raw, "trainable"), *running]
