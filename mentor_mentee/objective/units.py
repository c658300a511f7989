"""The unit of a probe: how far from the mentor's layer a mentee is that puts out the mentor's mean of each channel.

A mentee at distance 1 in this unit says nothing of the image; at 0 it has become the mentor. With `weight` = 1 / unit one β
means the same for every pair of layers and nets, whatever the scale of their activations and whichever metric compares them.
For RMSE the unit is the standard deviation of the mentor's channels, pooled. It depends on the mentor and the images alone, not
on the mentee, its seed or its batches, so a resumed run has the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective import probe_metrics
from mentor_mentee.objective.probes import Probe, require_finite
from mentor_mentee.objective.taps import Taps, evaluating

LEAST = 1e-4  # of the activations' root mean square: a spread below it is rounding


def in_units(probes: Sequence[Probe], mentor: nn.Module, batches: Iterable[Tensor], metric: str) -> list[Probe]:
    """The probes with `weight` 1 / unit: the mean over `batches` [B, C, H, W], preprocessed for the mentor, each compared with
    its own mean.

    Raises `UserError` for a mentor's layer that puts out NaN or infinity, or the same for every image."""
    if not probes:
        return []
    distance = getattr(probe_metrics, metric)
    taps = Taps(mentor, outputs=list(dict.fromkeys(probe.mentor for probe in probes)))
    units = dict.fromkeys((probe.name for probe in probes), 0.0)
    count = 0
    with evaluating(mentor), torch.no_grad():
        for batch in batches:
            count += len(batch)
            outputs = taps.outputs_alone(batch)
            for probe in probes:
                compared = probe.adapter.from_mentor(outputs[probe.mentor])
                require_finite(probe, compared)
                if tells_apart(compared):
                    unit = distance(mean_of_channels(compared), compared, compared.new_ones(len(batch)))
                    units[probe.name] += len(batch) * float(unit)
    for probe in probes:
        if units[probe.name] == 0:
            raise UserError(
                f"probe '{probe.name}': the mentor's layer '{probe.mentor}' puts out the same for every image, so there is "
                "nothing to learn from it; pair another layer, probes.<name>=[mentor layer, mentee layer], or take probes=none"
            )
    return [replace(probe, weight=rounded(count / units[probe.name])) for probe in probes]


def rounded(weight: float) -> float:
    """To four digits, so that a run that is resumed with another number of threads has the same."""
    return float(f"{weight:.4g}")


def mean_of_channels(compared: Tensor) -> Tensor:
    """[B, C, ...] -> the same shape: the mean over samples and, of a map [B, C, H, W], over space; of other layers over samples
    alone."""
    over = (0, 2, 3) if compared.dim() == 4 else (0,)
    return compared.mean(over, keepdim=True).expand_as(compared)


def tells_apart(compared: Tensor) -> bool:
    spread = (compared - compared.mean(0, keepdim=True)).square().mean().sqrt()
    return float(spread) > LEAST * float(compared.square().mean().sqrt())
