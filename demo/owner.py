"""An owner made from the data at hand: the same digits, by a hand that leans.

Axes: N samples, C H W as in the source images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mentor_mentee.data.splits import Split

LEAN = 0.5  # columns a row moves for each row from the middle: a slant of 27 degrees


@dataclass(frozen=True)
class People:
    """Cut from the test split, which neither mentor nor mentee was trained on: one owner, and everybody else."""

    learn: Split  # the owner's labelled samples
    held_out: Split  # the owner's others
    everybody: Split  # not slanted


def meet(test: Split, classes: int, learn_per_class: int = 10, held_out: int = 300, seed: int = 0) -> People:
    """Disjoint parts of `test`; the owner's two are slanted."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(test), generator=random)
    labels = test.labels[order]
    first = torch.cat([torch.nonzero(labels == label).flatten()[:learn_per_class] for label in range(classes)])
    taken = torch.zeros(len(test), dtype=torch.bool)
    taken[first] = True
    others = order[~taken]
    return People(
        slanted(test.subset(order[first])), slanted(test.subset(others[:held_out])), test.subset(others[held_out:])
    )


def slanted(split: Split) -> Split:
    return Split(lean(split.images, LEAN), split.labels, split.positions)


def lean(image_NCHW: Tensor, columns_per_row: float) -> Tensor:
    """uint8 -> uint8: each row shifted sideways in proportion to its distance from the middle; what enters is black."""
    _, _, height, width = image_NCHW.shape
    matrix_23 = torch.tensor([[1.0, columns_per_row * height / width, 0.0], [0.0, 1.0, 0.0]])
    grid = F.affine_grid(matrix_23.expand(len(image_NCHW), 2, 3), list(image_NCHW.shape), align_corners=False)
    return F.grid_sample(image_NCHW.float(), grid, align_corners=False).round().to(torch.uint8)
