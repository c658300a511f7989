"""One export of the shared checkpoint, taken apart: what was prepared, its graph, its artifacts, its parity report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from torch import nn

from export.bundle.prepare import Prepared, prepare
from export.bundle.write import parity_samples
from export.graph.artifacts import write_artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.training_graph import TrainingGraph, cut_inference, export_graph
from export.parity.check import measure
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint


@dataclass(frozen=True)
class Parts:
    prepared: Prepared
    settings: ExportSettings
    forward: onnx.ModelProto
    folder: Path  # inference.onnx and ort-training/

    def measure(self, training: Path | None = None, inference: Path | None = None, **changes: Any) -> dict[str, Any]:
        """The parity report, with other artifacts than its own or another `graph` or `optimizer`."""
        given: dict[str, Any] = {"graph": self.prepared.graph, "optimizer": self.settings.optimizer} | changes
        return measure(
            given["graph"],
            training or self.folder / "ort-training",
            inference or self.folder / "inference.onnx",
            parity_samples(self.prepared),
            self.prepared.outputs,
            given["optimizer"],
        )


def take_apart(checkpoint: MenteeCheckpoint, folder: Path, graph: type[TrainingGraph] = TrainingGraph) -> Parts:
    settings = ExportSettings(supervision_per_class=6, golden_per_class=8, optimizer=Optimizer(learning_rate=0.003))
    prepared = prepare(checkpoint, settings)
    prepared = replace(prepared, graph=graph(prepared.graph.student))
    forward = export_graph(prepared.graph, prepared.inputs, prepared.outputs)
    onnx.save(cut_inference(forward), folder / "inference.onnx")
    (folder / "ort-training").mkdir()
    write_artifacts(forward, prepared.trainable, settings.optimizer, folder / "ort-training")
    return Parts(prepared, settings, forward, folder)


TakeApart = Callable[..., Parts]


@pytest.fixture
def dismantled(tmp_path: Path) -> TakeApart:
    return lambda checkpoint, **more: take_apart(checkpoint, tmp_path, **more)


@pytest.fixture(scope="session")
def parts(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Shared, so never change its files."""
    return take_apart(checkpoint, tmp_path_factory.mktemp("parts"))


def checkpoint_of(network: nn.Module, target: str, like: MenteeCheckpoint, head: str = "head") -> MenteeCheckpoint:
    """A checkpoint of another mentee, `package.module.callable` without options, with mentor and data of `like`; no probes."""
    return replace(like, recipe={"_target_": target}, state=network.state_dict(), head=head, probes=())
