"""Preflight: what an export of a network would meet, found and tried out, with nothing written."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from export.backends import AUTO
from export.graph.artifacts import silenced
from export.graph.findings import Preflight, Traced, refusal
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import DEFAULT, input_ports, output_ports
from export.graph.training_graph import TrainingGraph, require_used, traced
from export.kinds import prepared_kinds, prove_kinds, write_kinds
from export.network.checks import require_backward, require_exportable, require_independent
from export.network.for_device import embedding_size, held
from export.network.trainable import choose_trainable
from export.parity.check import measure_judged
from export.parity.feeds import Samples
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import as_classifier
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.objective.taps import find_head

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
    backend: str = AUTO,
    setting: str = "head",
) -> Preflight:
    """Looks at `network` as an export would make it, `shape` of one sample, and takes steps with it: with graphs for ONNX Runtime
    Training in a child process.

    Changes `network`. Raises `UserError` for a network that no graph can be made of; `setting` is what names another head.
    """
    made, notes = held(as_classifier(network), shape, batch_norm, probes, head)
    found = preflight(made, shape, head, probes, rewriting, trainable, loss, setting, backend)
    found = replace(found, notes=tuple(notes))
    if not any(kind.trains for kind in found.kinds):
        return found
    try:
        require_independent(made, shape)
        require_backward(made, shape)
    except UserError as error:
        return replace(found, kinds=[kind.failed(error) if kind.trains else kind for kind in found.kinds])
    with tempfile.TemporaryDirectory() as scratch:
        return tried(found, Path(scratch))


def tried(found: Preflight, folder: Path) -> Preflight:
    """The export's graphs and proof, on random samples and with the default optimizer."""
    about, optimizer = found.traced, Optimizer()
    try:
        kinds, _ = write_kinds(about, found.kinds, optimizer, folder)
    except UserError as error:
        return replace(found, kinds=[kind.failed(error) if kind.trains else kind for kind in found.kinds])
    if any(kind.trains for kind in kinds):
        kinds, _ = prove_kinds(about, kinds, optimizer, folder, random_samples(about), measure_judged)
    return replace(found, kinds=kinds)


def random_samples(about: Traced) -> Samples:
    random = torch.Generator().manual_seed(2)
    shapes = {port.name: [int(size) for size in port.shape[1:]] for port in (about.inputs[0], *about.outputs[-2:])}
    return Samples(
        torch.randn(SAMPLES, *shapes["input"], generator=random),
        torch.randn(SAMPLES, *shapes["logits"], generator=random),
        {
            probe.name: torch.randn(SAMPLES, *probe.adapter.shape, generator=random)
            for probe in about.graph.student.probes
        },
    )


def preflight(
    network: nn.Module,
    shape: Sequence[int],
    head: str | None = None,
    probes: Sequence[Probe] = (),
    rewriting: str = "auto",
    trainable: str | Sequence[str] = "all",
    loss: LossSpec = DEFAULT,
    setting: str = "head",
    backend: str = AUTO,
) -> Preflight:
    """`network` as it would be differentiated (BatchNorm held or not), `shape` of one sample. What is not `trainable` is frozen,
    in place: only what stands behind the first trained layer needs a gradient. `setting` is what names another head.

    Raises `UserError` for a network that no graph can be made of: see `require_exportable`, and what cannot be traced.
    """
    example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    logits = require_exportable(network, example)
    head = find_head(network, example, setting) if head is None else head
    names = choose_trainable(network, trainable, head, example)
    probed = ProbedMentee(network, probes, head).eval()
    with torch.no_grad():
        embedding = embedding_size(probed(example).embedding, head, setting)
    graph, classes = TrainingGraph(probed, loss), logits.shape[1]
    inputs, outputs = input_ports(shape, classes, probes), output_ports(classes, embedding, probes, loss)
    about = Traced(graph, inputs, outputs, names)
    with silenced():
        model = traced(graph, inputs, outputs)
    require_used(model, names)
    kinds = prepared_kinds(about, model, backend, rewriting)
    if not any(kind.trains or kind.left for kind in kinds):
        raise refusal(kinds)
    parameters = dict(network.named_parameters())
    return Preflight(
        type(network).__name__,
        sum(parameter.numel() for parameter in parameters.values()),
        sum(parameters[name].numel() for name in names),
        head,
        embedding,
        kinds,
        about,
        backend,
    )
