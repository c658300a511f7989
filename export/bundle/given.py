"""Data sets and a mentor that a script gives to an export, of a checkpoint that names none.

Axes: N samples, C channels, H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor_mentee.data.load import OWN_OPTIONS
from mentor_mentee.data.oddities import require_taught
from mentor_mentee.data.own import own_data, parts_of
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.view import View
from mentor_mentee.data.views.whole_pixels import whole_pixels
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import as_classifier

NO_TEST = "no test split was given: base.test is measured on the validation samples, which may flatter it"


def given_mentor(mentor: Mentor | nn.Module, checkpoint: MenteeCheckpoint) -> Mentor:
    """The mentor, answering at the checkpoint's probes; a bare network sees samples as the mentee does."""
    if isinstance(mentor, Mentor):
        return Mentor(mentor.network, mentor.view, checkpoint.probes, mentor.identity, mentor.precision)
    if not isinstance(mentor, nn.Module):
        raise UserError(f"mentor is a {type(mentor).__name__}; expected student.mentor, or a torch.nn.Module")
    return Mentor(as_classifier(mentor), checkpoint.view, checkpoint.probes)


def given_data(
    data: Any, checkpoint: MenteeCheckpoint, keys: tuple[Any, Any] | None = None
) -> tuple[Splits, list[str]]:
    """Splits, and lines on what was taken for what. `data`: Splits, or data sets (or loaders of them) by train, val and test;
    `keys`: where image and label are in an item.

    Without `test`, val stands for both. Raises `UserError` for data sets that cannot be read item by item, or twice alike.
    """
    if isinstance(data, Splits):
        return data, []
    if not isinstance(data, Mapping) or not {"train", "val"} <= {str(name) for name in data}:
        raise UserError(
            f"data is a {type(data).__name__}{f' of {list(data)}' if isinstance(data, Mapping) else ''}; expected data sets by "
            "name: {'train': …, 'val': …, 'test': …}: samples of train are replayed on the device, those of val guard it"
        )
    sets = {name: one.dataset if isinstance(one, DataLoader) else one for name, one in data.items()}
    notes = [] if "test" in sets else [NO_TEST]
    parts = parts_of(sets | ({} if "test" in sets else {"test": sets["val"]}), "data")
    parts = {name: OfBytes(part, checkpoint.view) for name, part in parts.items()}
    options: dict[str, Any] = {name: default for name, (default, _) in OWN_OPTIONS.items()}
    options |= {"image": keys[0], "label": keys[1]} if keys is not None else {}
    found = own_data(parts, "the data that was given", "given", options)
    if str(found.train.images.dtype) != f"torch.{checkpoint.view.dtype}":
        raise UserError(
            f"the data's images are {found.train.images.dtype}, the checkpoint's mentee is fed {checkpoint.view.dtype}; give the "
            "data sets that it was trained on"
        )
    if names(parts) is None and len(found.classes) <= len(checkpoint.classes):
        found = replace(found, classes=checkpoint.classes)
    require_taught(found)
    return found, notes


def names(parts: Mapping[str, Any]) -> Sequence[str] | None:
    return getattr(parts["train"], "classes", None) or getattr(parts["train"], "features", None)


class OfBytes:
    """A data set as the device sees it: where that is fed uint8 and items are normalised floats, the pixels they came from."""

    def __init__(self, data: Any, view: View) -> None:
        self.data, self.view = data, view
        for name in ("classes", "features", "_fingerprint"):
            if hasattr(data, name):
                setattr(self, name, getattr(data, name))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Any:
        item = self.data[row]
        if self.view.dtype != "uint8":
            return item
        if isinstance(item, Mapping):
            return {name: self.pixels(value, row) for name, value in item.items()}
        return tuple(self.pixels(value, row) for value in item) if isinstance(item, tuple | list) else item

    def pixels(self, value: Any, row: int) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 3:
            value = torch.from_numpy(value)
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.ndim != 3:
            return value
        return whole_pixels(value[None], self.view.mean, self.view.std, f"item {row}")[0]
