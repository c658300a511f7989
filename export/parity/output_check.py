"""Differences of ONNX Runtime's outputs from torch's in float64, and how well torch's own float32 knows those outputs."""

from collections.abc import Callable, Mapping, Sequence

from export.parity.gradient_check import joined
from export.parity.verdict import OUTPUT_BOUND


class OutputCheck:
    """The worst seen of each output: `seen` is ONNX Runtime's distance to torch in float64, `torch_float32` that of torch's own
    float32 on the same batch and, where `seen` is out of bounds, at weights next to these."""

    def __init__(self, names: Sequence[str]) -> None:
        self.seen, self.torch_float32 = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        self.wrong = False  # one was out of bounds, and no rounding explains it

    def judge(
        self, seen: Mapping[str, float], own: Mapping[str, float], nearby: Callable[[], Mapping[str, float]]
    ) -> None:
        """`own`: torch's float32 on that batch. `nearby`: the worst of it at weights next to these: near a pole or a cancellation
        one rounding is luck."""
        if out_of_bounds(seen, own) and not self.wrong:
            own = joined(own, nearby())
            self.wrong = out_of_bounds(seen, own)
        self.seen, self.torch_float32 = joined(self.seen, seen), joined(self.torch_float32, own)

    def join(self, other: "OutputCheck") -> None:
        self.seen = joined(self.seen, other.seen)
        self.torch_float32 = joined(self.torch_float32, other.torch_float32)


def out_of_bounds(seen: Mapping[str, float], own: Mapping[str, float]) -> bool:
    return any(not value <= max(OUTPUT_BOUND, 2 * own[name]) for name, value in seen.items())
