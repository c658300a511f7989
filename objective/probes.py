"""A probe compares one layer of the mentee with one of the mentor; its adapter brings both into one shape.

Axes: B batch, C channels, H W space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import UserError
from objective.taps import Taps, layer_shapes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Adapter:
    """First min(C) channels of either side, the larger map average-pooled to the smaller (slice, as reimplementations
    of arXiv 1604.08220 do it). It has no weights, so nothing to learn and no way for both sides to collapse to zero.

    The mentor's side runs on the server only; the mentee's is part of the exported graph, where a pool needs a whole
    factor. A map against a vector is averaged over space first.
    """

    mentee: Shape  # of one sample: [C] or [C, H, W]
    mentor: Shape
    shape: Shape  # of the space that is compared

    @classmethod
    def between(cls, probe: str, mentee: Shape, mentor: Shape) -> "Adapter":
        """Raises `UserError` where no such adapter exists."""
        if mentee == mentor:
            return cls(mentee, mentor, mentee)
        if {len(mentee), len(mentor)} - {1, 3}:
            raise UserError(
                f"probe '{probe}' pairs {list(mentee)} (mentee) with {list(mentor)} (mentor); shapes that differ can be "
                "adapted where each is [channels] or [channels, height, width]: choose other layers"
            )
        channels = min(mentee[0], mentor[0])
        if len(mentee) == 1 or len(mentor) == 1:
            return cls(mentee, mentor, (channels,))
        space = tuple(min(pair) for pair in zip(mentee[1:], mentor[1:], strict=True))
        if any(whole % part for whole, part in zip(mentee[1:], space, strict=True)):
            raise UserError(
                f"probe '{probe}' would pool the mentee's {list(mentee)} to the mentor's {list(mentor)} by a broken factor; "
                "choose a mentor layer whose height and width divide the mentee's, or are larger"
            )
        return cls(mentee, mentor, (channels, *space))

    def from_mentee(self, activation: Tensor) -> Tensor:
        """[B, *mentee] -> [B, *shape]."""
        activation = activation[:, : self.shape[0]] if self.mentee[0] > self.shape[0] else activation
        if len(self.mentee) == 3 and len(self.shape) == 1:
            return activation.mean((2, 3))
        if self.mentee[1:] != self.shape[1:]:
            # a reshape and a mean: ONNX Runtime Training 1.19.2 crashes on the gradient of AveragePool
            channels, height, width = self.shape
            down, across = self.mentee[1] // height, self.mentee[2] // width
            return activation.reshape(-1, channels, height, down, width, across).mean((3, 5))
        return activation

    def from_mentor(self, activation: Tensor) -> Tensor:
        """[B, *mentor] -> [B, *shape]."""
        activation = activation[:, : self.shape[0]] if self.mentor[0] > self.shape[0] else activation
        if len(self.mentor) == 3 and len(self.shape) == 1:
            return activation.mean((2, 3))
        if self.mentor[1:] != self.shape[1:]:
            return F.adaptive_avg_pool2d(activation, (self.shape[1], self.shape[2]))
        return activation


@dataclass(frozen=True)
class Probe:
    """`name` becomes `mentor_<name>` and `rmse_<name>` in the exported graph; the layers are module paths."""

    name: str
    mentor: str
    mentee: str
    adapter: Adapter


def parse_probes(pairs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """`{name: [mentor layer, mentee layer]}`, checked. Raises `UserError` for anything else."""
    for name, pair in pairs.items():
        if not name.isidentifier():
            raise UserError(
                f"probe name '{name}' must be a plain identifier, since it names an input of the exported graph"
            )
        if name == "logits":
            raise UserError("probe name 'logits' is taken by the mentor's logits (input mentor_logits); choose another")
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(path, str) for path in pair):
            raise UserError(f"probe '{name}' is {pair!r}; expected two module paths: [mentor layer, mentee layer]")
    return {name: (pair[0], pair[1]) for name, pair in pairs.items()}


def find_probes(
    pairs: Mapping[str, Sequence[str]],
    mentor: nn.Module,
    mentor_example: Tensor,
    mentee: nn.Module,
    mentee_example: Tensor,
) -> list[Probe]:
    """Runs both nets once on an example [B, C, H, W] each and fits an adapter to every pair.

    Raises `UserError` for a path that does not exist, a layer that does not run exactly once, shapes that do not fit.
    """
    parsed = parse_probes(pairs)
    mentor_shapes = layer_shapes(mentor, mentor_example, [path for path, _ in parsed.values()])
    mentee_shapes = layer_shapes(mentee, mentee_example, [path for _, path in parsed.values()])
    return [
        Probe(
            name,
            mentor_path,
            mentee_path,
            Adapter.between(name, mentee_shapes[mentee_path], mentor_shapes[mentor_path]),
        )
        for name, (mentor_path, mentee_path) in parsed.items()
    ]


class MenteeOutputs(NamedTuple):
    logits: Tensor  # [B, K]
    activations: dict[str, Tensor]  # probe name -> [B, *probe shape]
    embedding: Tensor  # [B, D], what the head was given


class ProbedMentee(nn.Module):
    """The mentee with its probes and its embedding in one forward; what is trained and what is exported.

    Its parameters and state-dict keys are the mentee's, prefixed `mentee.`.
    """

    def __init__(self, mentee: nn.Module, probes: Sequence[Probe], head: str) -> None:
        super().__init__()
        self.mentee = mentee
        self.probes = list(probes)
        self.head = head
        self._taps = Taps(mentee, outputs=list(dict.fromkeys(probe.mentee for probe in probes)), inputs=[head])

    def forward(self, x: Tensor) -> MenteeOutputs:
        """x: [B, C, H, W], preprocessed."""
        logits, outputs, inputs = self._taps(x)
        activations = {probe.name: probe.adapter.from_mentee(outputs[probe.mentee]) for probe in self.probes}
        return MenteeOutputs(logits, activations, inputs[self.head])
