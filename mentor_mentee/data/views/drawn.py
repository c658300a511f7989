"""Draws views of samples: each a pure function of (seed, position of the sample, number of the view), so what a mentor said of
it can be cached and the very same view drawn again, alone or among others. Axes: B samples, C channels, H W space.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from mentor_mentee.data.views.augmentation import Augmentation, own_code
from mentor_mentee.data.views.replayed import replayed
from mentor_mentee.errors import UserError

TRIED = 4  # samples, and views of each
REMEMBERED = 256 * 10**6  # bytes of views that are drawn once and held in memory


class Views:
    """`where`: the place of the settings, for messages."""

    def __init__(self, how: Augmentation, seed: int, where: str = "trainer.augment") -> None:
        self.how, self.seed, self.where = how, seed, where
        self._transforms: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which build the transforms themselves: those of a user may not be such as can be sent."""
        return {**vars(self), "_transforms": None}

    def __call__(self, image_BCHW: Tensor, index_B: Tensor, view_B: Tensor) -> Tensor:
        """uint8 or float32 source images -> the same dtype and shape: sample `index_B` in its version `view_B`. Raises
        `UserError` as `Transforms` does."""
        if not self.how.active():
            return image_BCHW
        if self._transforms is None:
            from mentor_mentee.data.views.transforms import Transforms  # torchvision takes a second to import

            shape, where = image_BCHW.shape[1:], f"{self.where}.transforms"
            self._transforms = Transforms(self.how.transforms, shape, image_BCHW.dtype, where)
        drawn_BCHW = torch.empty_like(image_BCHW)
        with replayed() as seed:
            for i, (index, view) in enumerate(zip(index_B.tolist(), view_B.tolist(), strict=True)):
                seed(self.seed, index, view)
                drawn_BCHW[i] = self._transforms(image_BCHW[i])
        return drawn_BCHW

    def digest(self, images: Any, index_N: Tensor) -> str:
        """Hashes some views where transforms are a user's, whose imports may change while their own code stays; else empty."""
        if not own_code(self.how.transforms):
            return ""
        row_B, view_B = tried(images)
        return hashlib.sha256(self(images[row_B], index_N[row_B], view_B).numpy().tobytes()).hexdigest()

    def remembers(self, images: Any) -> bool:
        """Whether all views of so many images are few enough to be held in memory."""
        if not self.how.active() or self.how.views is None:
            return False
        bytes_of_one = images[:1].numel() * images[:1].element_size()
        return bool(self.how.views * len(images) * bytes_of_one <= REMEMBERED)


def tried(images: Any) -> tuple[Tensor, Tensor]:
    """Rows of some samples, and numbers of views that differ."""
    row_B = torch.arange(min(len(images), TRIED)).repeat_interleave(TRIED)
    return row_B, torch.arange(len(row_B))


def require_drawable(how: Augmentation, images: Any, where: str) -> None:
    """Draws some views of some samples. Raises `UserError` for transforms that cannot serve them, or that draw another view the
    second time, before anything trains."""
    if not how.active():
        return
    row_B, view_B = tried(images)
    image_BCHW = images[row_B]
    views, index_B = Views(how, seed=0, where=where), torch.zeros_like(view_B)
    first, again = (views(image_BCHW.clone(), index_B, view_B) for _ in range(2))
    if not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise UserError(
            f"{where}.transforms: the same view drawn twice is not the same, so no run could be repeated or resumed: a transform "
            "of your own counts its calls, or draws from a generator of its own; let it draw from torch, random or numpy.random"
        )


class Remembered:
    """The views of a split's N samples, each drawn once."""

    def __init__(self, views: Views, images: Any) -> None:
        one, count = images[:1], views.how.views or 1
        self.views = views
        self.image_VNCHW = torch.empty((count, len(images), *one.shape[1:]), dtype=one.dtype)
        self.there_VN = torch.zeros((count, len(images)), dtype=torch.bool)

    def __call__(self, image_BCHW: Tensor, index_B: Tensor, view_B: Tensor, row_B: Tensor) -> Tensor:
        missing = torch.nonzero(~self.there_VN[view_B, row_B]).flatten()
        if len(missing):
            view, row = view_B[missing], row_B[missing]
            self.image_VNCHW[view, row] = self.views(image_BCHW[missing], index_B[missing], view)
            self.there_VN[view, row] = True
        return self.image_VNCHW[view_B, row_B]
