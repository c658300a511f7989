"""A probe compares one layer of the mentee with one of the mentor, in the space that its adapter brings both into.

Axes: B batch, C channels, H W space.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective.adapters import (
    LEARNED,
    OF_COVARIANCE,
    Adapter,
    MenteeSide,
    channels_first_shape,
    channels_last,
    learned_kind,
)
from mentor_mentee.objective.moments import Moments, with_moments
from mentor_mentee.objective.probe_spec import AUTO, parse_probes
from mentor_mentee.objective.taps import Taps, evaluating, layer_shapes

CELLS = 4  # of a side of the space in which `auto` compares maps: finer ones are averaged
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Probe:
    """`name` becomes `mentor_<name>` and `rmse_<name>` in the exported graph; the layers are module paths. `weight` is w_p of
    the loss."""

    name: str
    mentor: str
    mentee: str
    adapter: Adapter
    weight: float = 1.0


def find_probes(
    pairs: Mapping[str, Any],
    mentor: nn.Module,
    mentor_example: Tensor,
    mentee: nn.Module,
    mentee_example: Tensor,
    metric: str = "rmse",
    learned: bool = False,
) -> list[Probe]:
    """Runs both nets once on an example [B, C, H, W] each and fits an adapter to every pair of `parse_probes`' form, `auto` as
    the metric asks; with `learned` it is `learned_kind`.

    Raises `UserError` for a path that does not exist, a layer that does not run exactly once, shapes that do not fit.
    """
    parsed = parse_probes(pairs)
    for name in parsed:
        if hasattr(nn.ModuleDict, name):  # it could not be a submodule's name
            raise UserError(f"probe name '{name}' is a word of torch.nn.Module's own; choose another")
    mentor_shapes = layer_shapes(mentor, mentor_example, [pair.mentor for pair in parsed.values()])
    mentee_shapes = layer_shapes(mentee, mentee_example, [pair.mentee for pair in parsed.values()])
    its_image, image = tuple(mentor_example.shape[2:]), tuple(mentee_example.shape[2:])
    probes = []
    for name, pair in parsed.items():
        mentee_shape, mentor_shape = mentee_shapes[pair.mentee], mentor_shapes[pair.mentor]
        ours, theirs = channels_first_shape(mentee_shape, image), channels_first_shape(mentor_shape, its_image)
        kind = learned_kind(ours, theirs, metric) if learned and pair.adapter == AUTO else pair.adapter
        cells = CELLS if learned and pair.adapter == AUTO and kind in LEARNED else None
        adapter = Adapter.between(name, ours, theirs, kind, pair.normalise, metric, cells)
        adapter = replace(
            adapter, mentee_last=channels_last(mentee_shape, image), mentor_last=channels_last(mentor_shape, its_image)
        )
        probes.append(Probe(name, pair.mentor, pair.mentee, adapter))
    return probes


def measure_probes(probes: Sequence[Probe], mentor: nn.Module, batches: Iterable[Tensor]) -> list[Probe]:
    """The probes with what their adapters take from the mentor's activations on `batches` [B, C, H, W], preprocessed: the
    statistics to normalise by, the channels of a select, the axes of a pca. Asks the mentor only where an adapter needs it.

    Raises `UserError` for a mentor's layer that puts out NaN or infinity."""
    wanted = [probe for probe in probes if probe.adapter.measured()]
    if not wanted:
        return list(probes)
    moments = {probe.name: Moments() for probe in wanted}
    taps = Taps(mentor, outputs=list(dict.fromkeys(probe.mentor for probe in wanted)))
    with evaluating(mentor), torch.no_grad():
        for batch in batches:
            outputs = taps.outputs_alone(batch)
            for probe in wanted:
                require_finite(probe, outputs[probe.mentor])
                moments[probe.name].add(
                    probe.adapter.mentor_map(probe.adapter.mentor_channels_first(outputs[probe.mentor])),
                    crossed=probe.adapter.kind in OF_COVARIANCE,
                )
    return [
        replace(probe, adapter=with_moments(probe.adapter, moments[probe.name])) if probe.name in moments else probe
        for probe in probes
    ]


def require_finite(probe: Probe, output_BC: Tensor) -> None:
    if not bool(output_BC.isfinite().all()):
        raise UserError(
            f"probe '{probe.name}': the mentor's layer '{probe.mentor}' puts out NaN or infinity on training images; check its "
            "weights and how it sees them (mentor.weights, mentor.view), or pair another layer"
        )


class MenteeOutputs(NamedTuple):
    logits: Tensor  # [B, K]
    activations: dict[str, Tensor]  # probe name -> [B, *probe shape]
    embedding: (
        Tensor  # [B, D], what the head was given; its mean over space, where the head is a convolution; or the logits
    )


class ProbedMentee(nn.Module):
    """The mentee with its probes and its embedding in one forward; what is trained and what is exported.

    Its parameters and state-dict keys are the mentee's, prefixed `mentee.`, and `adapters.<probe>.weight` and `.bias` of
    each regressor.
    """

    def __init__(self, mentee: nn.Module, probes: Sequence[Probe], head: str | None) -> None:
        """`head` None: of a network whose embedding nobody asks for, and which may have no layer to read it at."""
        super().__init__()
        self.mentee = mentee
        self.probes = list(probes)
        self.head = head
        self.adapters = nn.ModuleDict({probe.name: MenteeSide(probe.adapter) for probe in probes})
        self._taps = Taps(
            mentee, outputs=list(dict.fromkeys(probe.mentee for probe in probes)), inputs=[head] if head else []
        )

    def forward(self, x: Tensor) -> MenteeOutputs:
        """x: [B, C, H, W], preprocessed."""
        logits, outputs, inputs = self._taps(x)
        activations = {probe.name: self.adapters[probe.name](outputs[probe.mentee]) for probe in self.probes}
        if self.head is None:
            return MenteeOutputs(logits, activations, logits)
        embedding = inputs[self.head]
        if isinstance(self.mentee.get_submodule(self.head), CONVOLUTIONS):
            embedding = embedding.mean(tuple(range(2, embedding.dim())))
        return MenteeOutputs(logits, activations, embedding)

    def weights(self) -> dict[str, float]:
        """w_p of the loss by the probe's name; of those that weigh 1 none."""
        return {probe.name: probe.weight for probe in self.probes if probe.weight != 1}

    def learned_probes(self) -> list[Probe]:
        """The probes as they are after training: with the regressors' weights, which are fixed from then on."""
        learned = []
        for probe in self.probes:
            weights = dict(self.adapters[probe.name].named_parameters())
            learned.append(replace(probe, adapter=probe.adapter.with_constants(**weights)) if weights else probe)
        return learned
