"""Reads the batches of any DataLoader: (image, label) pairs, named tuples, mappings; uint8 pixels, floats, normalised or not.

Axes: B samples of a batch, C channels, H height, W width, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mentor_mentee.data.batches import Drawn
from mentor_mentee.data.reading.items import described
from mentor_mentee.data.splits import Batch
from mentor_mentee.data.views.view import View
from mentor_mentee.data.views.whole_pixels import whole_pixels
from mentor_mentee.errors import UserError

Keys = tuple[Any, Any]  # where image and label are in a batch: keys of a mapping, or places in a tuple
IMAGES = ("image", "images", "img", "pixel_values", "input", "inputs", "x")
LABELS = ("label", "labels", "target", "targets", "fine_label", "y")
UNKNOWN = 2**31  # classes, before a network said how many
EXPECTED = 'expected (images, labels), or a mapping with both: name them with keys=("image", "label")'


def parts_of(batch: Any, keys: Keys | None, where: str) -> tuple[Any, Any]:
    """The images and the labels (None: there are none) of a batch. Raises `UserError` where they cannot be told."""
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping):
        found = keys or tuple(next((name for name in names if name in batch), None) for names in (IMAGES, LABELS))
        if found[0] in batch and (found[1] is None or found[1] in batch):
            return batch[found[0]], None if found[1] is None else batch[found[1]]
    elif isinstance(batch, Batch | Drawn):
        return batch.image_BCHW, batch.label_B
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        image, label = keys or (0, 1)
        try:
            return batch[image], (batch[label] if keys is not None or len(batch) > 1 else None)
        except (IndexError, TypeError):
            pass
    raise UserError(f"{where} is a {type(batch).__name__}{described(batch)}; {EXPECTED}")


def images_of(found: Any, where: str) -> Tensor:
    """uint8 or float32 [B, C, H, W]. Raises `UserError` for anything else."""
    kinds = (torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16)
    if not isinstance(found, Tensor) or found.ndim != 4 or found.dtype not in kinds or not found.numel():
        given = f"{found.dtype} of {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(
            f"the images of {where} are {given}; expected uint8 or float [B, C, H, W] (gray images have C = 1, signals H = 1): "
            "unsqueeze what lacks an axis, and let the data set make tensors (torchvision's PILToTensor, ToTensor)"
        )
    return found if found.dtype == torch.uint8 else found.float()


def labels_of(found: Any, count: int, classes: int, where: str) -> Tensor:
    """int64 [B], -1 where there is no label. Raises `UserError` for what is no class number."""
    if found is None:
        return torch.full((count,), -1, dtype=torch.int64)
    try:
        label_B = found if isinstance(found, Tensor) else torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"the labels of {where} are no numbers ({str(found)[:60]}); expected one whole number a sample: let the data set "
            "turn names into the numbers of classes"
        ) from None
    if label_B.is_floating_point() or label_B.dtype == torch.bool or label_B.shape != (count,):
        raise UserError(
            f"the labels of {where} are {label_B.dtype} of {list(label_B.shape)}; expected one whole number a sample, -1 where "
            "there is none (mixed or soft labels are not taken: the mentor gives those)"
        )
    label_B = label_B.long()
    least, most = int(label_B.min()), int(label_B.max())
    if least < -1 or most >= classes:
        known = f"0 to {classes - 1}, {classes} classes," if classes < UNKNOWN else "0 or more,"
        raise UserError(f"the labels of {where} run from {least} to {most}; expected {known} and -1 for none")
    return label_B


@dataclass(frozen=True)
class Reader:
    """Batches of a loader as source images of `view`'s dtype."""

    view: View
    shape: tuple[int, ...]  # C, H, W of the first image; every other has it
    classes: int
    keys: Keys | None = None
    normalised: bool = False  # floats that `view.mean` and `view.std` were taken off of uint8 pixels

    def __call__(self, batch: Any, where: str) -> tuple[Tensor, Tensor]:
        """(images, labels). Raises `UserError` as the parts do, and for images of another size or type than the first."""
        found, labels = parts_of(batch, self.keys, where)
        image_BCHW = self.source(images_of(found, where), where)
        return image_BCHW, labels_of(labels, len(image_BCHW), self.classes, where)

    def source(self, image_BCHW: Tensor, where: str) -> Tensor:
        if tuple(image_BCHW.shape[1:]) != self.shape:
            raise UserError(
                f"the images of {where} are {list(image_BCHW.shape[1:])}, the first were {list(self.shape)}; expected one size: "
                "resize or crop in the data set"
            )
        if self.normalised and image_BCHW.is_floating_point():
            return whole_pixels(image_BCHW, self.view.mean, self.view.std, f"an image of {where}")
        if str(image_BCHW.dtype) != f"torch.{self.view.dtype}":
            raise UserError(
                f"the images of {where} are {image_BCHW.dtype}, the first were {self.view.dtype}; expected one type throughout"
            )
        return image_BCHW
