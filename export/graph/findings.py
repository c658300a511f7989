"""Obstacles of an export, for each kind of graphs: operators without a gradient, the modules they come from, and what would be
done about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from export.backends import AUTO, RUNTIMES, TRAINING, left_out, refused, training_missing
from export.graph.ports import Port
from export.graph.training_graph import Forward, TrainingGraph
from export.rewrites.rewrite import Finding, advice, place
from mentor_mentee.errors import UserError


class Traced(NamedTuple):
    """A traced training graph."""

    graph: TrainingGraph
    inputs: list[Port]
    outputs: list[Port]
    trainable: list[str]


@dataclass(frozen=True)
class Kind:
    """One kind of graphs of a mentee, as far as it got."""

    backend: str  # its folder in a bundle
    findings: list[Finding] = field(default_factory=list)
    forward: Forward | None = None  # rewritten and ready for a gradient; None where there is none
    trouble: str | None = None  # why it does not train
    inconclusive: str | None = None  # what its proof is silent about

    @property
    def trains(self) -> bool:
        return self.trouble is None

    @property
    def left(self) -> list[Finding]:
        """Findings that nothing can be done about."""
        return [finding for finding in self.findings if finding.rewrite is None]

    def failed(self, error: UserError) -> "Kind":
        return replace(self, trouble=str(error))

    def lines(self) -> list[str]:
        """Findings in the order of the forward, equal ones of one module together."""
        said = []
        key = attrgetter("module", "op", "kind", "line", "obstacle", "rewrite", "refused")
        for _, group in groupby(self.findings, key):
            first, *others = group
            times = f" ×{len(others) + 1}" if others else ""
            said.append(f"{place(first)}{times} -> {first.rewrite or what_to_do(first)}")
        return said

    def verdict(self, yes: str, no: str) -> str:
        """`yes` and what is rewritten, or why not; `no` is for one that does not train."""
        if self.left:
            return f"{no}: {operators(len(self.left))} cannot be differentiated"
        if self.trouble is not None:
            return f"{no}: {self.trouble}"
        count = len(self.findings)
        are = "is" if count == 1 else "are"
        about = f"{operators(count)} {are} rewritten" if count else "nothing needs a rewrite"
        return f"{yes}; {about}" + (f"; {self.inconclusive}" if self.inconclusive else "")


@dataclass(frozen=True)
class Preflight:
    network: str
    parameters: int
    trainable: int
    head: str
    embedding: int
    kinds: list[Kind]
    traced: Traced
    backend: str = AUTO  # what was asked for: with `auto`, one kind that trains is enough
    notes: tuple[str, ...] = ()  # on what the device has otherwise than the network

    @property
    def findings(self) -> list[Finding]:
        return [finding for kind in self.kinds for finding in kind.findings]

    @property
    def trains(self) -> bool:
        return (any if self.backend == AUTO else all)(kind.trains for kind in self.kinds)

    @property
    def left_out(self) -> str | None:
        """One line on kinds that the network does not train with, where it would export all the same; None where there is none. A
        runtime that is not installed is not the network's."""
        reasons = {kind.backend: kind.trouble for kind in self.kinds if kind.trouble not in (None, training_missing())}
        return left_out(reasons) or None if self.trains else None

    def why(self) -> str | None:
        """Why it would not export, in one line; None where it would."""
        return None if self.trains else str(refusal(self.kinds))

    def lines(self) -> list[str]:
        """Lines for a person."""
        said = [
            f"{self.network}: {self.parameters:,} parameters, {self.trainable:,} of them trainable; head '{self.head}', "
            f"embedding of {self.embedding}",
            *self.notes,
        ]
        if len(self.kinds) == 1:
            return [*said, *self.kinds[0].lines(), self.verdict()]
        for kind in self.kinds:
            said.append(f"{kind.backend} ({RUNTIMES[kind.backend]}): {kind.verdict('trains', 'does not train')}")
            said += [f"  {line}" for line in kind.lines()]
        return [*said, self.verdict()]

    def verdict(self) -> str:
        if len(self.kinds) == 1:
            return self.kinds[0].verdict("it will export", "it will not export")
        names = [kind.backend for kind in self.kinds if kind.trains]
        if not self.trains:
            return "it will not export" + (f" with backend={self.backend}" if names else "")
        return f"it will export for {' and '.join(names)}" if len(names) > 1 else f"it will export for {names[0]} alone"


def refusal(kinds: Sequence[Kind]) -> UserError:
    """The error of a network that none, or not all that were asked for, of `kinds` carries. That a runtime is not installed is no
    reason where there is another."""
    reasons: Mapping[str, str] = {kind.backend: kind.trouble for kind in kinds if kind.trouble is not None}
    if len(reasons) > 1 and reasons.get(TRAINING) == training_missing():
        reasons = {name: reason for name, reason in reasons.items() if name != TRAINING}
    return refused(reasons)


def operators(count: int) -> str:
    return f"{count} operator{'s' if count > 1 else ''}"


def what_to_do(finding: Finding) -> str:
    refused = f" ({finding.refused})" if finding.refused else ""
    return f"{finding.obstacle}{refused}: {advice(finding)}"
