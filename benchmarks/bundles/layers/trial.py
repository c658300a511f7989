"""Layers put to the test in a process of their own: what preflight says of them, and how their export ends."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

import export.bundle.graphs
import export.preflight
from benchmarks.bundles.child import told
from benchmarks.bundles.layers.networks import CLASSES, FRONTS, SideBySide
from benchmarks.bundles.layers.table import PROVED
from export.backends import AUTO, STOCK, wanted
from export.bundle.graphs import proved, write_graphs
from export.bundle.prepare import on_device
from export.graph.artifacts import copied
from export.graph.findings import what_to_do
from export.graph.ports import Port
from export.graph.training_graph import TrainingGraph, traced
from export.parity.feeds import Samples
from export.preflight import look
from export.rewrites.rewrite import Finding, place
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError

SECONDS = 600  # for either; a tenth of it on a machine that does nothing else


@dataclass(frozen=True)
class Looked:
    """Preflight's answer: which kinds of graphs train; of those that do not, operators without a gradient, and the reason."""

    trains: list[str]
    left: dict[str, list[Finding]]
    trouble: dict[str, str]

    @property
    def verdict(self) -> str | None:
        return ends_with(self.trains)

    @property
    def words(self) -> str:
        if not self.trouble:
            return PROVED
        # of the whole network, not of an operator
        whole = next((name for name in self.trouble if not self.left.get(name)), None)
        kind = whole if whole and not self.trains else STOCK if STOCK in self.trouble else next(iter(self.trouble))
        left = self.left.get(kind)
        said = f"{place(left[0])} -> {what_to_do(left[0])}" if left else self.trouble[kind]
        return f"{self.verdict}: {said}" if self.trains else said


@dataclass(frozen=True)
class Outcome:
    """Results of preflight and export; a text that is none of `ENDS` is a death: the name of a signal, a traceback, a hang."""

    preflight: Looked | UserError | str
    export: UserError | str

    @property
    def words(self) -> str:
        """The verdict in one line."""
        return self.preflight.words if isinstance(self.preflight, Looked) else str(self.preflight)

    @property
    def left(self) -> list[Finding]:
        by_kind = self.preflight.left.values() if isinstance(self.preflight, Looked) else []
        return [finding for left in by_kind for finding in left]

    @property
    def blamed(self) -> set[int]:
        """Places of the layers whose operators are left."""
        return {int(finding.module.split(".")[1]) for finding in self.left if finding.module.startswith("places.")}

    @property
    def suspects(self) -> set[int]:
        """Places named in either answer."""
        return {int(place) for place in re.findall(r"\bplaces\.(\d+)\b", f"{self.words} {self.export}")}

    def of(self, place: int) -> "Outcome":
        """The part of the outcome that concerns the operators at one place."""
        assert isinstance(self.preflight, Looked)
        at = f"places.{place}."
        own = {
            kind: own
            for kind, left in self.preflight.left.items()
            if (own := [finding for finding in left if finding.module.startswith(at)])
        }
        others = [kind for kind in wanted(AUTO) if kind not in own]
        return replace(self, preflight=Looked(others, own, {kind: self.preflight.trouble[kind] for kind in own}))

    @property
    def fault(self) -> str | None:
        """A death, preflight and export that disagree, or an answer of several lines; None where there is no such fault."""
        if isinstance(self.preflight, str):
            return f"preflight: {self.preflight}"
        if isinstance(self.export, str) and self.export not in ENDS:
            return f"export: {self.export}"
        verdict = self.preflight.verdict if isinstance(self.preflight, Looked) else None
        if verdict != (self.export if isinstance(self.export, str) else None):
            return f"preflight: {self.words}; export: {self.export}"
        return next((f"several lines: {said!r}" for said in (self.words, str(self.export)) if "\n" in said), None)


def ends_with(backends: Sequence[str]) -> str | None:
    """The end of an export that wrote graphs for `backends`; None where it wrote none."""
    return PROVED if len(backends) > 1 else f"{backends[0]} alone" if backends else None


ENDS = (PROVED, *(f"{backend} alone" for backend in wanted(AUTO)))


def tried(layers: Sequence[str], given: str) -> Outcome:
    """Preflight of `layers` side by side, and their export but for data and packs."""
    return Outcome(*told(2, SECONDS, steps, layers, given))


def steps(layers: Sequence[str], given: str) -> Iterator[Any]:
    share_traces()
    torch.manual_seed(0)
    network, shape = SideBySide(layers, given).eval(), FRONTS[given][0]
    recipe = {"_target_": f"{SideBySide.__module__}.SideBySide", "layers": list(layers), "given": given}
    checkpoint = MenteeCheckpoint(
        recipe=recipe,
        state={name: value.clone() for name, value in network.state_dict().items()},
        head="head",
        view=View(shape, (0.0,) * shape[0], (1.0,) * shape[0]),
        classes=tuple(map(str, range(CLASSES))),
        probes=(),
        mentor=None,
        data={},
        accuracy={},
    )
    yield mistake_or(lambda: looked(network, shape))
    yield mistake_or(lambda: exported(checkpoint))


def share_traces() -> None:
    """Preflight's trace serves the export where both ask for the same: half of a trial's time, and more where steps are unrolled,
    is torch's exporter. A trace of another network than the export's would fail its proof."""
    again = partial(traced_again, [])
    for module in (export.preflight, export.bundle.graphs):
        module.traced = again  # type: ignore[attr-defined]


def traced_again(
    known: list[tuple["Asked", onnx.ModelProto]],
    graph: TrainingGraph,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
) -> onnx.ModelProto:
    asked = Asked.of(graph, inputs, outputs)
    for other, model in known:
        if asked.same(other):
            graph.eval()
            return copied(model)
    model = traced(graph, inputs, outputs)
    known.append((asked, copied(model)))
    return model


@dataclass(frozen=True)
class Asked:
    """Holds what a trace of a `SideBySide` depends on; `words` has its modules, their modes and ports, `numbers` all tensors."""

    words: tuple[object, ...]
    numbers: dict[str, Tensor]

    @classmethod
    def of(cls, graph: TrainingGraph, inputs: Sequence[Port], outputs: Sequence[Port]) -> "Asked":
        # by name: a parametrization makes a class for each module that it is put on
        named = [(name, str(type(module)), module.training) for name, module in graph.named_modules()]
        learnt = [(name, parameter.requires_grad) for name, parameter in graph.named_parameters()]
        words = (repr(graph), graph.loss, named, learnt, list(inputs), list(outputs))
        numbers = {**graph.state_dict(), **dict(graph.named_buffers())}
        return cls(words, {name: value.clone() for name, value in numbers.items()})

    def same(self, other: "Asked") -> bool:
        return (
            self.words == other.words
            and self.numbers.keys() == other.numbers.keys()
            and all(
                value.dtype == other.numbers[name].dtype and torch.equal(value, other.numbers[name])
                for name, value in self.numbers.items()
            )
        )


def mistake_or(step: Callable[[], object]) -> object:
    try:
        return step()
    except UserError as error:
        return error


def looked(network: nn.Module, shape: tuple[int, int, int]) -> Looked:
    """As `mentee-export preflight` looks at a bare network."""
    kinds = look(network, shape).kinds
    return Looked(
        [kind.backend for kind in kinds if kind.trains],
        {kind.backend: kind.left for kind in kinds if kind.left},
        {kind.backend: kind.trouble for kind in kinds if kind.trouble is not None},
    )


def exported(checkpoint: MenteeCheckpoint) -> str:
    """As `mentee-export make`, without data and packs: which kinds of graphs were written and proved."""
    settings = ExportSettings()
    mentee = on_device(checkpoint, settings)
    random = torch.Generator().manual_seed(1)
    samples = Samples(torch.randn(32, *mentee.shape, generator=random), torch.randn(32, CLASSES, generator=random), {})
    with tempfile.TemporaryDirectory() as scratch:
        written, _ = proved(write_graphs(mentee, settings, Path(scratch)), samples, settings)
    return str(ends_with(written.backends))
