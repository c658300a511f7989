"""Preflight: what an export of a network would meet, found and tried out, with nothing written."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import torch
from torch import nn

from export.graph.findings import Preflight, preflight
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import DEFAULT, Port
from export.graph.tracing import one_line
from export.graph.training_graph import Forward, TrainingGraph, cut_inference
from export.network.batch_norm import running_statistics
from export.network.checks import batches_for, require_backward, require_independent
from export.network.for_device import held
from export.parity.check import measure_judged
from export.parity.feeds import Samples
from export.parity.not_finite import reasons
from export.parity.verdict import in_words, require_parity
from export.trial.run import require_trains
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import as_classifier
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe

SAMPLES = 32  # as many as the export's proof has


def look(
    network: nn.Module,
    shape: Sequence[int],
    *,
    head: str | None = None,
    probes: Sequence[Probe] = (),
    loss: LossSpec = DEFAULT,
    batch_norm: str = "frozen",
    rewriting: str = "auto",
    trainable: str | Sequence[str] = "all",
    setting: str = "head",
) -> Preflight:
    """Looks at `network` as an export would make it, `shape` of one sample, and takes steps with it in a child process.

    Changes `network`. Raises `UserError` for a network that no graph can be made of; `setting` is what names another head.
    """
    made, notes = held(as_classifier(network), shape, batch_norm, probes, head)
    found = preflight(made, shape, head, probes, rewriting, trainable, loss, setting)
    found = replace(found, notes=tuple(notes))
    if found.traced.forward is None:
        return found
    with tempfile.TemporaryDirectory() as scratch:
        try:
            require_independent(made, shape)
            require_backward(made, shape)
            return tried(found, made, shape, Path(scratch))
        except UserError as error:
            return replace(found, trouble=str(error))


def tried(found: Preflight, network: nn.Module, shape: Sequence[int], folder: Path) -> Preflight:
    graph, inputs, outputs, trainable, forward = found.traced
    assert forward is not None
    training, inference = folder / "ort-training", folder / "inference.onnx"
    training.mkdir()
    with one_line(network, "cutting out the inference graph"):
        onnx.save(cut_inference(forward.model), inference)
    batches = batches_for(network, shape)
    require_trains(forward, inputs, outputs, trainable, running_statistics(network), Optimizer(), training, batches)
    unproved = compared(graph, forward, folder, shape, outputs)
    return replace(found, inconclusive=in_words(unproved) if unproved else None)


def compared(
    graph: TrainingGraph, forward: Forward, folder: Path, shape: Sequence[int], outputs: Sequence[Port]
) -> dict[str, str]:
    """The export's proof, on random samples and with the default optimizer: what it is silent about. Raises `UserError` as that
    does."""
    random = torch.Generator().manual_seed(2)
    classes = next(int(port.shape[1]) for port in outputs if port.name == "logits")
    samples = Samples(
        torch.randn(SAMPLES, *shape, generator=random),
        torch.randn(SAMPLES, classes, generator=random),
        {probe.name: torch.randn(SAMPLES, *probe.adapter.shape, generator=random) for probe in graph.student.probes},
    )
    mentee, training = graph.student.mentee, folder / "ort-training"
    with one_line(mentee, "comparing the graph with torch"):
        report = measure_judged(graph, training, folder / "inference.onnx", samples, outputs, Optimizer())
    require_parity(report, partial(reasons, report, graph, training, shape, samples, forward.origins), outcome="")
    return report["inconclusive"]  # type: ignore[no-any-return]
