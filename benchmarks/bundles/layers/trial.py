"""Layers put to the test in a process of their own: what preflight says of them, and how their export ends."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.bundles.child import told
from benchmarks.bundles.layers.networks import CLASSES, FRONTS, SideBySide
from benchmarks.bundles.layers.table import PROVED
from export.bundle.graphs import write_graphs
from export.bundle.prepare import on_device
from export.graph.findings import what_to_do
from export.parity.check import measure
from export.parity.feeds import Samples
from export.parity.verdict import require_parity
from export.preflight import look
from export.rewrites.rewrite import Finding, place
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError

SECONDS = 600  # for either; a tenth of it on a machine that does nothing else


@dataclass(frozen=True)
class Looked:
    """Preflight's answer: operators without a gradient, or another obstacle; `trouble` is None where the network passes."""

    left: list[Finding]
    trouble: str | None

    @property
    def words(self) -> str:
        return f"{place(self.left[0])} -> {what_to_do(self.left[0])}" if self.left else self.trouble or PROVED


@dataclass(frozen=True)
class Outcome:
    """Results of preflight and export; a text other than `PROVED` is a death: the name of a signal, a traceback, a hang."""

    preflight: Looked | UserError | str
    export: UserError | str

    @property
    def words(self) -> str:
        """The verdict in one line."""
        return self.preflight.words if isinstance(self.preflight, Looked) else str(self.preflight)

    @property
    def left(self) -> list[Finding]:
        return self.preflight.left if isinstance(self.preflight, Looked) else []

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
        own = [finding for finding in self.left if finding.module.startswith(f"places.{place}.")]
        return replace(self, preflight=Looked(own, None))

    @property
    def fault(self) -> str | None:
        """A death, preflight and export that disagree, or an answer of several lines; None where there is no such fault."""
        if isinstance(self.preflight, str):
            return f"preflight: {self.preflight}"
        if isinstance(self.export, str) and self.export != PROVED:
            return f"export: {self.export}"
        if (self.words == PROVED) != (self.export == PROVED):
            return f"preflight: {self.words}; export: {self.export}"
        return next((f"several lines: {said!r}" for said in (self.words, str(self.export)) if "\n" in said), None)


def tried(layers: Sequence[str], given: str) -> Outcome:
    """Preflight of `layers` side by side, and their export but for data and packs."""
    return Outcome(*told(2, SECONDS, steps, layers, given))


def steps(layers: Sequence[str], given: str) -> Iterator[Any]:
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


def mistake_or(step: Callable[[], object]) -> object:
    try:
        return step()
    except UserError as error:
        return error


def looked(network: nn.Module, shape: tuple[int, int, int]) -> Looked:
    """As `mentee-export preflight` looks at a bare network."""
    found = look(network, shape)
    return Looked([finding for finding in found.findings if finding.rewrite is None], found.trouble)


def exported(checkpoint: MenteeCheckpoint) -> str:
    """As `mentee-export make`, without data and packs: both kinds of graphs, then outputs, gradients and steps against torch."""
    settings = ExportSettings(backend="both")
    mentee = on_device(checkpoint, settings)
    random = torch.Generator().manual_seed(1)
    samples = Samples(torch.randn(32, *mentee.shape, generator=random), torch.randn(32, CLASSES, generator=random), {})
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for backend in write_graphs(mentee, settings, folder).backends:
            about = (
                mentee.graph,
                folder / backend,
                folder / "inference.onnx",
                samples,
                mentee.outputs,
                settings.optimizer,
            )
            require_parity(measure(*about))
    return PROVED
