"""Inputs and outputs of the training graph: names, order, types, shapes. Imports no torch: reading a bundle needs none.

`GraphInputs` is the one list of inputs: ports, the graph's forward, the feeds of the parity proof and the manifest follow it.
Axes: B batch, K classes, D embedding.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.objective.loss_spec import PROBE_METRICS, SOFTMAX_LOSSES, LossSpec

if TYPE_CHECKING:
    from mentor_mentee.objective.probes import Probe

Value = TypeVar("Value")
Other = TypeVar("Other")
Feeds = dict[str, NDArray[Any]]
DEFAULT = LossSpec()


class GraphInputs(NamedTuple, Generic[Value]):
    """A value for each input, in the graph's order. `mentor` has one for each probe, whose input is `mentor_<probe>`."""

    input: Value  # float32 [B, C, H, W]
    labels: Value  # int64 [B]
    labelled: Value  # float32 [B]
    mentor_logits: Value  # float32 [B, K]
    mentor: Mapping[str, Value]  # float32 [B, *probe shape] each
    supervised: Value  # float32 [B]
    alpha: Value  # float32 [1], as the other knobs
    beta: Value
    gamma: Value
    temperature: Value

    @classmethod
    def of(cls, flat: Sequence[Value], probes: Sequence[str]) -> "GraphInputs[Value]":
        """Reads a list in the graph's order."""
        mentor = dict(zip(probes, flat[MENTOR:], strict=False))
        fields: list[Any] = [*flat[:MENTOR], mentor, *flat[MENTOR + len(probes) :]]
        return cls(*fields)

    def flat(self) -> list[Value]:
        """A list in the graph's order, one value an input."""
        values: tuple[Any, ...] = self
        return [*values[:MENTOR], *self.mentor.values(), *values[MENTOR + 1 :]]

    def named(self) -> dict[str, Value]:
        """The values by their inputs' names, in the graph's order."""
        return dict(zip(input_names(self.mentor), self.flat(), strict=True))

    def map(self, change: Callable[[Value], Other]) -> "GraphInputs[Other]":
        return GraphInputs.of([change(value) for value in self.flat()], list(self.mentor))


FIELDS = GraphInputs._fields
MENTOR = FIELDS.index("mentor")
KNOBS = FIELDS[-4:]  # of the loss: alpha, beta, gamma, temperature


def input_names(probes: Iterable[str]) -> list[str]:
    return [*FIELDS[:MENTOR], *(f"{FIELDS[MENTOR]}_{probe}" for probe in probes), *FIELDS[MENTOR + 1 :]]


def output_names(probes: Iterable[str], loss: LossSpec = DEFAULT) -> list[str]:
    return ["loss", *loss.term_names(probes), "logits", "embedding"]


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; "batch" in a shape is the sample axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str


def input_ports(shape: Sequence[int], classes: int, probes: Sequence["Probe"]) -> list[Port]:
    """`shape` is that of one sample, without the batch."""
    about: GraphInputs[tuple[str, tuple[int | str, ...], str]] = GraphInputs(
        input=("float32", ("batch", *shape), "samples, preprocessed as the manifest says"),
        labels=("int64", ("batch",), "class indices; anything where `labelled` is 0, -1 included"),
        labelled=("float32", ("batch",), "1 where the label counts, 0 where there is none"),
        mentor_logits=("float32", ("batch", classes), "the mentor's answer; finite where `supervised` is 0"),
        mentor={
            probe.name: (
                "float32",
                ("batch", *probe.adapter.shape),
                f"the mentor's {probe.mentor}, in the space the probe compares in",
            )
            for probe in probes
        },
        supervised=("float32", ("batch",), "1 where the mentor's answer counts, 0 where there is none"),
        **{knob: ("float32", (1,), f"{knob} of the loss, changeable at every step") for knob in KNOBS},
    )
    return [Port(name, *rest) for name, rest in about.named().items()]


def output_ports(classes: int, embedding: int, probes: Sequence["Probe"], loss: LossSpec = DEFAULT) -> list[Port]:
    """`embedding` is D."""
    squared = "temperature^2*" if loss.temperature_power else ""
    compared = [f"{PROBE_METRICS[loss.probe]} at {probe.mentee}" for probe in probes]
    meanings = [
        f"alpha*ce + beta*sum({loss.probe}) + gamma*{squared}{loss.softmax}",
        "cross-entropy of the labelled samples",
        *compared,
        f"{SOFTMAX_LOSSES[loss.softmax].formula} at the temperature, supervised samples",
    ]
    *terms, logits, features = output_names([probe.name for probe in probes], loss)
    return [
        *(Port(name, "float32", (1,), meaning) for name, meaning in zip(terms, meanings, strict=True)),
        Port(logits, "float32", ("batch", classes), "one a class"),
        Port(features, "float32", ("batch", embedding), "what the head was given"),
    ]


def random_feeds(inputs: Sequence[Port], batch: int) -> Feeds:
    """Random samples, labels and answers for `inputs`, always the same; every sample counts, and every knob is 1."""
    random = np.random.default_rng(0)
    classes = next(int(port.shape[1]) for port in inputs if port.name == "mentor_logits")
    feeds: Feeds = {}
    for port in inputs:
        shape = [batch if size == "batch" else int(size) for size in port.shape]
        if port.dtype == "int64":
            feeds[port.name] = random.integers(0, classes, shape)
        elif port.name in (*KNOBS, "labelled", "supervised"):
            feeds[port.name] = np.ones(shape, np.float32)
        else:
            feeds[port.name] = random.standard_normal(shape, np.float32)
    return feeds
