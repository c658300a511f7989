"""Findings of an export that writes nothing: each operator that the device could not differentiate, the module it comes from,
and what would be done about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import nn

from export.graph.artifacts import silenced
from export.graph.ports import DEFAULT, Port, input_ports, output_ports
from export.graph.training_graph import Forward, TrainingGraph, origins, require_gradients, rewritten, tidied, traced
from export.network.checks import require_exportable
from export.network.for_device import embedding_size
from export.network.trainable import choose_trainable
from export.rewrites.rewrite import PREFIX, Finding, advice, place, require_differentiable
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.objective.taps import find_head


class Traced(NamedTuple):
    """A traced training graph: `forward` is rewritten and ready for a trial, None where an operator has no gradient."""

    graph: TrainingGraph
    inputs: list[Port]
    outputs: list[Port]
    trainable: list[str]
    forward: Forward | None


@dataclass(frozen=True)
class Preflight:
    network: str
    parameters: int
    trainable: int
    head: str
    embedding: int
    findings: list[Finding]
    traced: Traced
    notes: tuple[str, ...] = ()  # on what the device has otherwise than the network
    trouble: str | None = None  # why it would not export all the same
    inconclusive: str | None = None  # what its proof would be silent about

    @property
    def trains(self) -> bool:
        return self.trouble is None and all(finding.rewrite is not None for finding in self.findings)

    def lines(self) -> list[str]:
        """Lines for a person: the findings in the order of the forward, equal ones of one module together."""
        said = [
            f"{self.network}: {self.parameters:,} parameters, {self.trainable:,} of them trainable; head '{self.head}', "
            f"embedding of {self.embedding}"
        ]
        key = attrgetter("module", "op", "kind", "line", "obstacle", "rewrite", "refused")
        for _, group in groupby(self.findings, key):
            first, *others = group
            times = f" ×{len(others) + 1}" if others else ""
            said.append(f"{place(first)}{times} -> {first.rewrite or what_to_do(first)}")
        return [*said, *self.notes, self.verdict()]

    def why(self) -> str | None:
        """Why it would not export, in one line; None where it would."""
        try:
            require_differentiable(self.findings)
        except UserError as error:
            return str(error)
        return self.trouble

    def verdict(self) -> str:
        left = sum(finding.rewrite is None for finding in self.findings)
        rewritten = len(self.findings) - left
        if left:
            return f"{operators(left)} cannot be differentiated: it will not export"
        if self.trouble is not None:
            return f"it will not export: {self.trouble}"
        are = "is" if rewritten == 1 else "are"
        about = f"{operators(rewritten)} {are} rewritten" if rewritten else "nothing needs a rewrite"
        return f"it will export; {about}" + (f"; {self.inconclusive}" if self.inconclusive else "")


def operators(count: int) -> str:
    return f"{count} operator{'s' if count > 1 else ''}"


def what_to_do(finding: Finding) -> str:
    refused = f" ({finding.refused})" if finding.refused else ""
    return f"{finding.obstacle}{refused}: {advice(finding)}"


def preflight(
    network: nn.Module,
    shape: Sequence[int],
    head: str | None = None,
    probes: Sequence[Probe] = (),
    rewriting: str = "auto",
    trainable: str | Sequence[str] = "all",
    loss: LossSpec = DEFAULT,
    setting: str = "head",
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
    with silenced():
        model = traced(graph, inputs, outputs)
    where = origins(model)
    require_used(names, {tensor.name.removeprefix(PREFIX) for tensor in model.graph.initializer})
    findings = rewritten(graph, model, names, rewriting)
    left = any(finding.rewrite is None for finding in findings)
    if not left:
        require_gradients(graph, model, names, shape)
    forward = None if left else Forward(tidied(model, names), where)
    parameters = dict(network.named_parameters())
    return Preflight(
        type(network).__name__,
        sum(parameter.numel() for parameter in parameters.values()),
        sum(parameters[name].numel() for name in names),
        head,
        embedding,
        findings,
        Traced(graph, inputs, outputs, names, forward),
    )


def require_used(trainable: Sequence[str], stored: set[str]) -> None:
    if lost := sorted(set(trainable) - stored):
        raise UserError(
            f"{len(lost)} of the mentee's parameters take no part in its logits, probes or embedding: {', '.join(lost[:4])}; "
            "remove them from the network, or freeze them with requires_grad_(False)"
        )
