"""An average of a run's weights that is of use from the first steps on."""

from functools import partial

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from mentor_mentee.errors import UserError


class WarmAverage(WeightAveraging):
    """After step n the average moves by 1 - d towards the weights, d = min(decay, (1 + n) / (10 + n)): with a fixed decay of
    .99 a run of a hundred steps would be judged by the random weights that it began with. BatchNorm's statistics likewise.

    (The warm-up is that of TensorFlow's ExponentialMovingAverage.)
    """

    def __init__(self, decay: float = 0.99) -> None:
        """Raises `UserError` for a decay that is no average."""
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay} of an average of weights; expected 0 or more, below 1")
        super().__init__(use_buffers=True, avg_fn=partial(warm, decay=decay))


def warm(averaged: Tensor, current: Tensor, count: Tensor | int, decay: float) -> Tensor:
    """`count`: averages that were taken before."""
    steps = int(count)
    return averaged + (current - averaged) * (1 - min(decay, (1 + steps) / (10 + steps)))
