"""Differences of ONNX Runtime's gradients from torch's, parameter by parameter."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from export.parity.backends.reference import Reference, at_weights_nearby
from export.parity.feeds import Feed
from export.parity.verdict import GRADIENT_BOUND

FLOOR = 1e-3  # of the largest gradient: below it, a difference counts relative to that
ASLEEP = 1e-6  # of the largest gradient: below it, a difference of 1 % would pass
AGREES = 1e-4  # of a gradient's own size
FEW = 8
NONE = "its gradient is 0 in every batch that was compared"
FAINT = "its gradient is next to 0, less than float32 knows, in every batch that was compared"


class GradientCheck:
    """The worst seen of each parameter: `nearer` is what is judged (`to_nearer`), `float64` ONNX Runtime's distance to torch in
    float64, `torch_float32` that of torch's own float32. `large`: those that were so in some batch; `agreeing`, `nonzero`: the
    same, of those that were never large before."""

    def __init__(self, names: Sequence[str]) -> None:
        self.nearer, self.float64, self.torch_float32 = (dict.fromkeys(names, 0.0) for _ in range(3))
        self.large, self.agreeing, self.nonzero = set[str](), set[str](), set[str]()
        self.inert: list[str] = []  # 0 is their gradient, whatever the values (inert.py)
        self.wrong = False  # one was out of bounds, and no rounding explains it

    def judge(
        self,
        seen: dict[str, Tensor],
        exact: dict[str, Tensor],
        rough: dict[str, Tensor],
        shaken: Iterable[dict[str, Tensor]] = (),
        nearby: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`rough`: torch's float32 gradients, as float64 numbers. `shaken`: torch's in float64 at weights that float32 hardly
        tells from these; only where another gradient is out of bounds is any of them asked for. `nearby`: what torch's float32
        differs by at such weights, asked for where those explain nothing: near a pole one rounding is luck."""
        norms = norms_of(exact)
        to_exact, own = differences(seen, exact, norms), differences(rough, exact, norms)
        nearer = smaller(to_exact, differences(seen, rough))
        if out_of_bounds(nearer, own) and not self.wrong:
            nearer, own = to_nearest(seen, exact, nearer, own, shaken)
            if out_of_bounds(nearer, own):
                own = joined(own, {**own, **nearby()})
            self.wrong = out_of_bounds(nearer, own)
        self.nearer = joined(self.nearer, nearer)
        self.float64 = joined(self.float64, to_exact)
        self.torch_float32 = joined(self.torch_float32, own)
        self.large |= large(norms)
        small = {name: norm for name, norm in norms.items() if name not in self.large}
        self.agreeing |= agreeing(seen, exact, small)
        self.nonzero |= {name for name in small if bool(exact[name].any())}

    @property
    def asleep(self) -> list[str]:
        """Parameters whose gradient was 0 or next to it in all that was compared."""
        return [name for name in self.nearer if name not in self.large]

    @property
    def unproved(self) -> dict[str, str]:
        """Those of them of which nothing was compared, with the reason: it need not be 0, and agrees in no batch to `AGREES` of
        its own size."""
        left = [name for name in self.asleep if name not in self.agreeing and name not in self.inert]
        return {name: FAINT if name in self.nonzero else NONE for name in left}

    def join(self, other: "GradientCheck") -> None:
        self.nearer = joined(self.nearer, other.nearer)
        self.float64 = joined(self.float64, other.float64)
        self.torch_float32 = joined(self.torch_float32, other.torch_float32)
        self.large |= other.large
        self.agreeing |= other.agreeing
        self.nonzero |= other.nonzero


def norms_of(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """‖gradient‖ of each: most of a judgement's time where there are many parameters, so asked once."""
    return {name: float(gradient.norm()) for name, gradient in gradients.items()}


def large(norms: Mapping[str, float]) -> set[str]:
    """Names of those of which `differences` shows a difference of 1 %."""
    least = ASLEEP * max(norms.values())
    return {name for name, norm in norms.items() if norm > least}


def agreeing(seen: Mapping[str, Tensor], exact: Mapping[str, Tensor], norms: Mapping[str, float]) -> set[str]:
    """Names in `norms`, those of `exact`, that are the same to `AGREES` of their own size, however small."""
    return {
        name for name, norm in norms.items() if norm > 0 and float((seen[name] - exact[name]).norm()) <= AGREES * norm
    }


def differences(
    seen: Mapping[str, Tensor], expected: Mapping[str, Tensor], norms: Mapping[str, float] | None = None
) -> dict[str, float]:
    """‖difference‖ / ‖gradient‖, a gradient below a thousandth of the largest counting as that thousandth: the rest of it is
    rounding. `norms` are those of `expected`, where they are known."""
    norms = norms_of(expected) if norms is None else norms
    floor = FLOOR * max_or_nan(norms.values()) + 1e-12
    return {
        name: float((seen[name] - gradient).norm()) / worse(norms[name], floor) for name, gradient in expected.items()
    }


def own_nearby(reference: Reference, single: Reference, feeds: Sequence[Feed], factor: float = 1.0) -> dict[str, float]:
    """The worst of `differences` of torch's float32 from its float64 at weights next to these, of `factor` times the gradients on
    all of `feeds`."""
    worst = dict.fromkeys(reference.parameters, 0.0)
    for _ in at_weights_nearby(reference, single):
        sides = []
        for side in (single, reference):
            for feed in feeds:
                side.backward(feed)
            sides.append({name: factor * gradient.double() for name, gradient in side.take_gradients().items()})
        own, exact = sides
        worst = joined(worst, differences(own, exact))
    return worst


def to_nearer(seen: dict[str, Tensor], exact: dict[str, Tensor], rough: dict[str, Tensor]) -> dict[str, float]:
    """`differences` to the nearer of torch's float64 and its float32 gradient. A value within rounding of 0 before a ReLU, or
    of its neighbour before a pool, may go another way in float32, whoever computes it."""
    return smaller(differences(seen, exact), differences(seen, rough))


def smaller(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.minimum(value, other[name])) for name, value in one.items()}  # NaN stays NaN


def to_nearest(
    seen: dict[str, Tensor],
    exact: dict[str, Tensor],
    nearer: dict[str, float],
    own: dict[str, float],
    shaken: Iterable[dict[str, Tensor]],
) -> tuple[dict[str, float], dict[str, float]]:
    """`nearer` and torch's `own` differences once `shaken` was asked. Where one of those is within bounds, `own` stays; else what
    they differ by among one another is torch's own, too. After `FEW` that explain nothing, no more are asked."""
    apart = own
    for number, other in enumerate(shaken, 1):
        nearer = smaller(differences(seen, other), nearer)
        if not out_of_bounds(nearer, own):
            return nearer, own
        apart = joined(apart, differences(other, exact))
        if number == FEW and out_of_bounds(nearer, apart):
            break
    return nearer, apart


def out_of_bounds(nearer: Mapping[str, float], own: Mapping[str, float]) -> bool:
    return any(not value <= max(GRADIENT_BOUND, 2 * own[name]) for name, value in nearer.items())


def joined(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: worse(value, other[name]) for name, value in one.items()}


def worse(one: float, other: float) -> float:
    """The larger, and NaN where either is: `max(0.0, nan)` is 0.0, which would pass for agreement."""
    return float(np.maximum(one, other))


def max_or_nan(values: Any) -> float:
    return float(np.max(list(values)))
