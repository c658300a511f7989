"""Random values, the same on both sides of the proof, for parameters that are next to 0: a scale of 0 hides all behind it.

Networks start residual branches at a scale of 0 or 1e-6 (LayerScale, the last γ of a block), and folded into a convolution such a
γ makes all of its weights 0. The gradient of everything behind is then 0 in torch as in any runtime. Only the proof's copies
are changed.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from export.parity.backends.opened import Backend
from export.parity.backends.reference import Reference
from export.parity.optimizer_steps import place

SMALL = 1e-2  # root mean square, times √fan-in, of what is taken for next to 0
SIZE = 0.3  # the same of what takes its place


def wake(backends: Sequence[Backend], *references: Reference, also: Collection[str] = ()) -> None:
    """Gives every trained parameter that is next to 0, and each of `also`, random values on all sides."""
    random = np.random.default_rng(4)
    for name, parameter in references[0].parameters.items():
        fan_in = math.sqrt(math.prod(parameter.shape[1:]))
        if float(parameter.detach().square().mean().sqrt()) * fan_in < SMALL or name in also:
            drawn = random.standard_normal(tuple(parameter.shape)).astype(np.float32)
            place(name, drawn * np.float32(SIZE / fan_in), backends, *references)
