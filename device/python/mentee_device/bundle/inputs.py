"""The inputs of the training and eval graph, declared once: the manifest is checked against them and a batch is fed by them.

Axes: B samples of one batch, K classes, C H W of one sample.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

KNOBS = ("alpha", "beta", "gamma", "temperature")


class Batch(NamedTuple):
    """The feeds of one call of a graph. `labelled` weighs each label (0: it has none), `supervised` is 1 where the mentor
    answered; what they hide is zeros. `activations`: the mentor's, by probe."""

    input: NDArray[np.float32]  # [B, C, H, W], preprocessed
    labels: NDArray[np.int64]  # [B]
    labelled: NDArray[np.float32]  # [B]
    mentor_logits: NDArray[np.float32]  # [B, K]
    supervised: NDArray[np.float32]  # [B]
    activations: dict[str, NDArray[np.float32]]  # each [B, ...]
    alpha: NDArray[np.float32]  # [1], as the other knobs
    beta: NDArray[np.float32]
    gamma: NDArray[np.float32]
    temperature: NDArray[np.float32]

    def feeds(self) -> dict[str, NDArray[Any]]:
        """The arrays by the graph's names; a graph's own order is in the manifest."""
        arrays = self._asdict()
        layers: dict[str, NDArray[np.float32]] = arrays.pop("activations")
        return arrays | {activation_input(probe): value for probe, value in layers.items()}

    def rows(self, start: int, end: int) -> "Batch":
        """The samples from `start` up to `end`, under the same knobs."""
        parts = {
            name: value[start:end] for name, value in self._asdict().items() if name not in ("activations", *KNOBS)
        }
        layers = {probe: value[start:end] for probe, value in self.activations.items()}
        return self._replace(**parts, activations=layers)

    def scaled(self, share: np.float32) -> "Batch":
        """α, β and γ times `share`: the loss is linear in them."""
        return self._replace(alpha=self.alpha * share, beta=self.beta * share, gamma=self.gamma * share)


def activation_input(probe: str) -> str:
    """The name of the graph input that takes the mentor's activation of `probe`."""
    return f"mentor_{probe}"


def input_names(probes: Iterable[str]) -> set[str]:
    """All inputs of a training or eval graph."""
    return {*Batch._fields} - {"activations"} | {activation_input(probe) for probe in probes}
