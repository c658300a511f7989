"""Which runtime's side a folder of graphs is of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from export.graph.optimizer_spec import Optimizer
from export.parity.backends.stock import StockBackend
from export.parity.backends.training import Backend as TrainingBackend
from export.parity.feeds import Feed
from export.stock.files import GRADIENTS_FILE


class Backend(Protocol):
    """Verbs of a runtime that the proof needs."""

    @property
    def rate_scale(self) -> float: ...  # of the learning rate that `step` is fed

    def __call__(self, feed: Feed, learning: bool) -> Sequence[NDArray[Any] | None]: ...
    def forget_gradients(self) -> None: ...
    def values(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]: ...
    def gradients(self, like: Mapping[str, Tensor | None]) -> dict[str, Tensor]: ...
    def set(self, name: str, value: NDArray[np.float32]) -> None: ...
    def open_optimizer(self, spec: Optimizer, after: int = 0, later: int = 0) -> None: ...
    def step(self, fed_rate: float) -> None: ...


def is_stock(folder: Path) -> bool:
    return (folder / GRADIENTS_FILE).exists()


def backend_of(folder: Path) -> Backend:
    return StockBackend(folder) if is_stock(folder) else TrainingBackend(folder)
