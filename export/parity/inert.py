"""Search for parameters that nothing depends on, whatever their values: a gradient of 0 is then all there is to prove of them.

An attention's bias of keys, which softmax takes away again; a bias before a mean is subtracted, or before a BatchNorm on the
batch's statistics. A parameter behind a scale of 0 or behind a ReLU that is off everywhere is none: elsewhere it acts.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.parity.awake import SIZE
from export.parity.backends import Reference
from export.parity.feeds import Feed

ROUNDING = 1e-9  # of an output's largest value: float64 differs by less where the same is computed in another way


def inert(reference: Reference, names: Sequence[str], feed: Feed) -> list[str]:
    """Those of `names` on which no output depends. Changes `reference`, which is torch's side in float64.

    Looked for where every frozen parameter and all of `names` have random values: what is switched off here may act there.
    """
    random = torch.Generator().manual_seed(5)
    sought = {name: reference.parameters[name] for name in names}
    frozen = [value for value in reference.graph.student.mentee.parameters() if not value.requires_grad]
    for parameter in (*frozen, *sought.values()):
        redraw(parameter, random)
    before = outputs(reference, feed)

    def unheard(group: list[str]) -> list[str]:
        held = {name: sought[name].detach().clone() for name in group}
        for name in group:
            redraw(sought[name], random)
        changed = apart(before, outputs(reference, feed))
        for name, value in held.items():
            sought[name].data = value
        if changed <= ROUNDING:
            return group
        half = len(group) // 2
        return unheard(group[:half]) + unheard(group[half:]) if half else []

    return unheard(list(names)) if names else []


def redraw(parameter: nn.Parameter, random: torch.Generator) -> None:
    """Normal values of the root mean square that it has, or of `SIZE` / √fan-in where that is more."""
    size = max(float(parameter.detach().square().mean().sqrt()), SIZE / math.sqrt(math.prod(parameter.shape[1:])))
    parameter.data = size * torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)


def outputs(reference: Reference, feed: Feed) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return reference(feed)


def apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference of any output, relative to its largest value; infinite where one is no number."""
    pairs = zip(one, other, strict=True)
    found = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in pairs)
    return found if math.isfinite(found) else math.inf
