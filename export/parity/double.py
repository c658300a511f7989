"""Float64 for a forward that makes float32 tensors itself: torch.ones(4), x.float(), dtype=torch.float32 mean float64 inside.

Without it a network with a blur of constant weights or sinusoidal positions could not be the reference of the proof.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Doubled(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        made = function(*map(doubled, args), **{name: doubled(value) for name, value in (kwargs or {}).items()})
        if (
            isinstance(made, torch.Tensor) and made.dtype == torch.float32
        ):  # torch.from_numpy, and torch.tensor of an array
            return made.double()
        return made


def doubled(value: Any) -> Any:
    if value is torch.float32:
        return torch.float64
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.is_leaf and not value.requires_grad:
        return value.double()  # a constant that the network keeps beside its buffers
    return value


@contextmanager
def in_double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Doubled():
            yield
    finally:
        torch.set_default_dtype(before)
