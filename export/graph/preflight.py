"""Findings of an export that writes nothing: each operator that the device could not differentiate, the module it comes from,
and what would be done about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import torch
from torch import nn

from export.graph.artifacts import silenced
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, traced
from export.network.checks import require_exportable
from export.network.trainable import choose_trainable
from export.rewrites.rewrite import PREFIX, Finding, advice, place, rewrite
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.objective.taps import find_head


@dataclass(frozen=True)
class Preflight:
    network: str
    parameters: int
    trainable: int
    head: str
    embedding: int
    findings: list[Finding]

    @property
    def trains(self) -> bool:
        return all(finding.rewrite is not None for finding in self.findings)

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
        left = sum(finding.rewrite is None for finding in self.findings)
        rewritten = len(self.findings) - left
        said.append(
            f"{left} operators cannot be differentiated: it will not export"
            if left
            else f"it will export; {f'{rewritten} operators are rewritten' if rewritten else 'nothing needs a rewrite'}"
        )
        return said


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
) -> Preflight:
    """`network` as it would be differentiated (BatchNorm held or not), `shape` of one sample. What is not `trainable` is frozen,
    in place: only what stands behind the first trained layer needs a gradient.

    Raises `UserError` for a network that no graph can be made of: see `require_exportable`, and what cannot be traced.
    """
    example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    logits = require_exportable(network, example)
    head = find_head(network, example) if head is None else head
    names = choose_trainable(network, trainable, head, example)
    probed = ProbedMentee(network, probes, head).eval()
    with torch.no_grad():
        embedding = probed(example).embedding
    if embedding.dim() != 2:
        raise UserError(
            f"the head '{head}' is given {list(embedding.shape[1:])} a sample; an embedding is a vector: name the layer that is "
            "given one, head=<module path>"
        )
    graph = TrainingGraph(probed)
    classes = logits.shape[1]
    with silenced():
        model = traced(
            graph, input_ports(shape, classes, probes), output_ports(classes, embedding.shape[1], probes, graph.loss)
        )
    parameters = dict(network.named_parameters())
    require_used(names, {tensor.name.removeprefix(PREFIX) for tensor in model.graph.initializer})
    return Preflight(
        type(network).__name__,
        sum(parameter.numel() for parameter in parameters.values()),
        sum(parameters[name].numel() for name in names),
        head,
        embedding.shape[1],
        rewrite(model, [PREFIX + name for name in names], allowed=rewriting == "auto"),
    )


def require_used(trainable: Sequence[str], stored: set[str]) -> None:
    if lost := sorted(set(trainable) - stored):
        raise UserError(
            f"{len(lost)} of the mentee's parameters take no part in its logits, probes or embedding: {', '.join(lost[:4])}; "
            "remove them from the network, or freeze them with requires_grad_(False)"
        )
