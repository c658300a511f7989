"""The owner's few images, each moved a little before a step learns from it, so that no pixel's place is learnt by heart.

Axes: B images of a step, C H W as in the bundle.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.core.learner import Learner


def shifted(input: NDArray[Any], most: int, learner: Learner) -> NDArray[Any]:
    """`input` [B, C, H, W], each image moved by whole pixels, -`most` to `most` down and to the right, as `learner` draws
    them; pixels of the edge repeat. What has a height or width of 1 is no image, and stays."""
    if not most or input.ndim != 4 or min(input.shape[2:]) == 1:
        return input
    B, _, H, W = input.shape
    down_right_B2 = learner.draw_whole(2 * most + 1, 2 * B).reshape(B, 2) - most
    row_BH = np.clip(np.arange(H) - down_right_B2[:, :1], 0, H - 1)
    column_BW = np.clip(np.arange(W) - down_right_B2[:, 1:], 0, W - 1)
    moved: NDArray[Any] = input[np.arange(B)[:, None, None], :, row_BH[:, :, None], column_BW[:, None]]
    return np.ascontiguousarray(np.moveaxis(moved, 3, 1))
