"""Search for parameters that nothing depends on, whatever their values: a gradient of 0 is then all there is to prove of them.

An attention's bias of keys, which softmax takes away again; a bias before a mean is subtracted, or before a BatchNorm on the
batch's statistics. A parameter behind a scale of 0 or behind a ReLU that is off everywhere is none: elsewhere it acts.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.parity.awake import SIZE
from export.parity.backends.reference import Reference
from export.parity.feeds import Feed

ROUNDING = 1e-9  # of an output's largest value: float64 differs by less where the same is computed in another way


def inert(reference: Reference, names: Sequence[str], feed: Feed) -> list[str]:
    """Those of `names` on which no output depends. Changes `reference`, which is torch's side in float64.

    Looked for where every frozen parameter and all of `names` have random values: what is switched off here may act there. Those
    without a slope there are given other values, and none may change an output.
    """
    random = torch.Generator().manual_seed(5)
    sought = {name: reference.parameters[name] for name in names}
    frozen = [value for value in reference.graph.student.mentee.parameters() if not value.requires_grad]
    for parameter in (*frozen, *sought.values()):
        redraw(parameter, random)
    before = reference(feed)
    weights = [torch.randn(output.shape, generator=random, dtype=output.dtype) for output in before]
    parts = [(weight * output / largest(output)).sum() for weight, output in zip(weights, before, strict=True)]
    slopes = torch.autograd.grad(torch.stack(parts).sum(), list(sought.values()), allow_unused=True)
    flat = [
        name
        for (name, parameter), slope in zip(sought.items(), slopes, strict=True)
        if slope is None or float(slope.norm() * parameter.detach().norm()) <= ROUNDING
    ]
    for name in flat:
        redraw(sought[name], random)
    with torch.no_grad():
        after = reference(feed)
    pairs = zip(before, after, strict=True)
    changed = max(float((one.detach() - other).abs().max() / largest(one)) for one, other in pairs)
    return flat if changed <= ROUNDING else []


def redraw(parameter: nn.Parameter, random: torch.Generator) -> None:
    """Normal values of the root mean square that it has, or of `SIZE` / √fan-in where that is more."""
    size = max(float(parameter.detach().square().mean().sqrt()), SIZE / math.sqrt(math.prod(parameter.shape[1:])))
    parameter.data = size * torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)


def largest(value: Tensor) -> Tensor:
    return value.detach().abs().max().clamp(min=1e-30)
