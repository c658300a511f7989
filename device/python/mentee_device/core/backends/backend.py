"""The verbs that every backend has. A gradient step has two halves, so that a loss can be looked at before it changes anything:
`forward_backward` computes, then either `apply` moves the parameters or `discard` drops the gradients.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.inputs import Batch

Outputs = dict[str, NDArray[np.float32]]

LARGEST_GRADIENT = 1e18  # its square must fit float32, or AdamW's second moment is Inf for good
GROWTH = 1.25  # of the largest parameter, after which a forward shows whether the graph still computes finite numbers
NOT_FINITE = "parameter {!r} holds NaN or Inf: refused, the runtime's pooling may not see one"


class Backend(Protocol):
    """One live session: parameters, gradients and moments."""

    learning_rate: float
    """The rate that a schedule, which is in the optimizer graph, multiplies; it is in no `dump`."""

    @property
    def name(self) -> str:
        """As `--backend` has it."""

    def forward(self, batch: Batch) -> Outputs:
        """`logits` and `embedding`, and what else the same graph gives; changes nothing."""

    def evaluate(self, batch: Batch) -> Outputs:
        """The loss and its terms too, as at evaluation; without them where the backend cannot tell (stock graphs with BatchNorm
        on the statistics of the batch). Changes nothing."""

    def forward_backward(self, batch: Batch, step: int = 0) -> Outputs:
        """Loss, terms, logits and embedding; adds to the gradients that `apply` or `discard` end. `step` is what Dropout's masks
        depend on, so that a state that is resumed draws those it would have drawn."""

    def gradients_usable(self) -> bool:
        """Whether every gradient is finite and small enough to square."""

    def apply(self) -> None:
        """One step of the optimizer, or where the bundle accumulates one with every so many calls: the others keep the
        gradients for it, which are in no `dump`."""

    @property
    def collecting(self) -> bool:
        """Whether gradients wait for the rest of their step."""

    def end_collecting(self) -> None:
        """Takes the step that gradients wait for with those there are, each batch at the share of a whole step."""

    def discard(self) -> None:
        """Drops the gradients at hand, those collected for a step included. Running statistics are as before the last
        `forward_backward` that no `apply` followed, if there is one."""

    def not_finite(self) -> str | None:
        """The first parameter or running statistic that holds NaN or Inf; None where all are finite."""

    @property
    def trusted(self) -> bool:
        """Whether a forward was finite with parameters of about this size. A training graph must not be run where it is not: on a
        window of NaN the runtime's MaxPool gives an index of −5, and its gradient writes there."""

    def trust(self) -> None:
        """Says that a forward with the parameters at hand was finite."""

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the trainable parameters and of running statistics by name; what is frozen is constants of the graphs."""

    def set_parameters(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Other values for those named; moments stay. Raises KeyError, ValueError for another name or shape."""

    def export_inference(self, path: Path) -> None:
        """Writes the bundle's inference graph on the parameters and running statistics at hand. Raises OSError."""

    def dump(self) -> bytes:
        """Parameters, running statistics, moments and the optimizer's step; the same state gives the same bytes."""
