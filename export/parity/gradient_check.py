"""Differences of ONNX Runtime's gradients from torch's, parameter by parameter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

FLOOR = 1e-3  # of the largest gradient: below it, a difference counts relative to that
ASLEEP = 1e-6  # of the largest gradient: below it, a difference of 1 % would pass


class GradientCheck:
    """The worst seen of each parameter: `nearer` is what is judged (`to_nearer`), `float64` ONNX Runtime's distance to torch in
    float64, `torch_float32` that of torch's own float32. `size`: the largest gradient seen, relative to the largest of any."""

    def __init__(self, names: Sequence[str]) -> None:
        self.nearer, self.float64, self.torch_float32, self.size = (dict.fromkeys(names, 0.0) for _ in range(4))

    def judge(self, seen: dict[str, Tensor], exact: dict[str, Tensor], rough: dict[str, Tensor]) -> None:
        """`rough`: torch's float32 gradients, as float64 numbers."""
        self.nearer = joined(self.nearer, to_nearer(seen, exact, rough))
        self.float64 = joined(self.float64, differences(seen, exact))
        self.torch_float32 = joined(self.torch_float32, differences(rough, exact))
        self.size = joined(self.size, sizes(exact))

    @property
    def asleep(self) -> list[str]:
        """Parameters whose gradient was 0 or next to it in all that was compared, so that nothing was."""
        return [name for name, size in self.size.items() if size < ASLEEP]

    def join(self, other: "GradientCheck") -> None:
        self.nearer = joined(self.nearer, other.nearer)
        self.float64 = joined(self.float64, other.float64)
        self.torch_float32 = joined(self.torch_float32, other.torch_float32)
        self.size = joined(self.size, other.size)


def sizes(gradients: dict[str, Tensor]) -> dict[str, float]:
    """‖gradient‖ over the largest ‖gradient‖."""
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    largest = max(norms.values()) or 1.0
    return {name: norm / largest for name, norm in norms.items()}


def differences(seen: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """‖difference‖ / ‖gradient‖, a gradient below a thousandth of the largest counting as that thousandth: the rest of it is
    rounding."""
    floor = FLOOR * max(float(gradient.norm()) for gradient in expected.values()) + 1e-12
    return {
        name: float((seen[name] - gradient).norm()) / max(float(gradient.norm()), floor)
        for name, gradient in expected.items()
    }


def to_nearer(seen: dict[str, Tensor], exact: dict[str, Tensor], rough: dict[str, Tensor]) -> dict[str, float]:
    """`differences` to the nearer of torch's float64 and its float32 gradient. A value within rounding of 0 before a ReLU, or
    of its neighbour before a pool, may go another way in float32, whoever computes it."""
    to_exact, to_rough = differences(seen, exact), differences(seen, rough)
    return {name: float(np.minimum(value, to_rough[name])) for name, value in to_exact.items()}  # NaN stays NaN


def joined(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: worse(value, other[name]) for name, value in one.items()}


def worse(one: float, other: float) -> float:
    """The larger, and NaN where either is: `max(0.0, nan)` is 0.0, which would pass for agreement."""
    return float(np.maximum(one, other))


def max_or_nan(values: Any) -> float:
    return float(np.max(list(values)))
