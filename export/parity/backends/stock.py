"""Stock graphs' side of the proof, on any ONNX Runtime: the loop that a client has, in a few lines."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from export.graph.flat import read_layouts
from export.graph.optimizer_spec import Optimizer
from export.parity.backends.training import session_options
from export.parity.feeds import Feed
from export.stock.assemble import GRADIENT, PARAMETERS, STATISTICS
from export.stock.files import FORWARD_FILE, GRADIENTS_FILE, OPTIMIZER_FILE, STATE_FILE
from export.stock.masks import SEED
from export.stock.optimizer import moments_of

NO_DROPOUT = np.full(1, -1, np.float32)


def opened(path: Path) -> Any:
    """A session on a graph, which holds no state: the proof asks for each several times, and a long one takes seconds to open."""
    return session_on(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=3)  # one of each graph
def session_on(path: Path, _changed: int) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])


class StockBackend:
    """The three graphs of a folder on the state beside them. Dropout drops nothing: masks cannot be compared."""

    rate_scale = 1.0  # of what `step` is fed

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        layouts = read_layouts(folder / STATE_FILE)
        self.layout, self.statistics = layouts[PARAMETERS], layouts[STATISTICS]
        state = load_file(folder / STATE_FILE)
        self.state = {name: np.array(state[name]) for name in (PARAMETERS, STATISTICS) if name in state}
        self.learning, self.answering = opened(folder / GRADIENTS_FILE), opened(folder / FORWARD_FILE)
        self.outputs = [port.name for port in self.learning.get_outputs()]
        self.gradient = np.zeros(self.layout.size, np.float32)
        self.moments: dict[str, NDArray[np.float32]] = {}
        self.taken = self.leapt = 0

    def __call__(self, feed: Feed, learning: bool) -> list[NDArray[Any] | None]:
        """The outputs of the training graph; adds to the gradients where `learning`. Else logits and embedding are those of
        forward.onnx, and the loss is left out where BatchNorm would see the batch."""
        given = {name: value.numpy() for name, value in feed.named().items()}
        found = self.run(self.learning, {**self.state, **given, SEED: NO_DROPOUT})
        own = [name for name in self.outputs if name not in (GRADIENT, f"new_{STATISTICS}")]
        if learning:
            self.gradient = self.gradient + found[GRADIENT]
            if f"new_{STATISTICS}" in found:
                self.state[STATISTICS] = found[f"new_{STATISTICS}"]
            return [found[name] for name in own]
        answers = self.run(self.answering, {**self.state, **given})
        seen = answers if self.statistics.parts else {**found, **answers}
        return [seen.get(name) for name in own]

    def run(self, session: Any, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [port.name for port in session.get_outputs()]
        given = {port.name: feeds[port.name] for port in session.get_inputs()}
        return dict(zip(names, session.run(names, given), strict=True))

    def forget_gradients(self) -> None:
        self.gradient = np.zeros_like(self.gradient)

    def values(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        parts = self.layout.apart(self.state[PARAMETERS])
        if self.statistics.parts:
            parts |= self.statistics.apart(self.state[STATISTICS])
        return {name: np.array(parts[name]) for name in names}

    def gradients(self, like: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        parts = self.layout.apart(self.gradient.astype(np.float64))
        return {name: torch.from_numpy(parts[name]) for name in like}

    def set(self, name: str, value: NDArray[np.float32]) -> None:
        place = self.layout.apart(self.state[PARAMETERS])[name]
        place[...] = value.reshape(place.shape)

    def open_optimizer(self, spec: Optimizer, after: int = 0, later: int = 0) -> None:
        self.stepping = opened(self.folder / OPTIMIZER_FILE)
        kept = [f"moment{number + 1}" for number in range(moments_of(spec))]
        self.moments = {name: np.zeros(self.layout.size, np.float32) for name in kept}
        self.leap_after, self.leap = after, later

    def step(self, fed_rate: float) -> None:
        self.taken += 1
        number = self.taken + (self.leap if self.taken > self.leap_after else 0)
        scalars = {"learning_rate": np.full(1, fed_rate, np.float32), "step": np.full(1, number, np.float32)}
        found = self.run(self.stepping, {**self.state, **self.moments, GRADIENT: self.gradient, **scalars})
        self.state[PARAMETERS] = found[f"new_{PARAMETERS}"]
        self.moments = {name: found[f"new_{name}"] for name in self.moments}
        self.forget_gradients()
