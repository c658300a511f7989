"""Looks at a loader before any training: some of its images, their kind, and the view that the mentee has of them.

Axes: N samples, C channels, H height, W width.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from distill.library.reading import Keys, Reader, images_of, parts_of
from distill.mentors.pairs import IMAGES
from mentor_mentee.data.batches import Drawn
from mentor_mentee.data.splits import Batch, Split
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError

PART = 64  # items that are collated at a time


def some_batches(train: Any) -> list[Any]:
    """Batches of 512 samples in all: of a map-style data set evenly spread over it, else the loader's first.

    Leaves global random states as they are. Raises `UserError` for what is neither loader nor data set, and for one that
    yields nothing.
    """
    collate: Any = default_collate
    if isinstance(train, DataLoader):
        loader, data, collate = train, train.dataset, train.collate_fn
    else:
        loader, data = None, train
    if isinstance(data, str | bytes | dict | Tensor) or not (hasattr(data, "__getitem__") or hasattr(data, "__iter__")):
        raise UserError(f"train is a {type(data).__name__}; expected a torch DataLoader, or a data set")
    if not (isinstance(data, IterableDataset) or hasattr(data, "__getitem__")):
        raise UserError(
            f"train is a {type(data).__name__}; expected a torch DataLoader, an IterableDataset, or a data set"
        )
    with untouched_random_state():
        streamed = isinstance(data, IterableDataset) or not sized(data) or not hasattr(data, "__getitem__")
        if streamed or (loader is not None and loader.batch_sampler is None):
            found = first(loader if loader is not None else train)
        else:
            found = spread(data, collate)
    if not found:
        raise UserError("train yields no sample; expected a loader or a data set of at least two")
    return found


def sized(data: Any) -> bool:
    try:
        return len(data) >= 0
    except (TypeError, NotImplementedError):
        return False


def first(loader: Any) -> list[Any]:
    if not isinstance(loader, DataLoader):
        loader = DataLoader(loader, batch_size=PART)
    batches, seen = [], 0
    for batch in begun(loader):
        batches.append(batch)
        seen += len(parts_of(batch, None, "a batch")[0]) if not isinstance(batch, dict) else PART
        if seen >= IMAGES:
            break
    return batches


def begun(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches. Raises `UserError` where its sampler asks for a length that the data set has not."""
    try:
        yield from loader
    except TypeError as error:
        if sized(loader.dataset) or "len()" not in str(error):
            raise
        raise UserError(
            f"train's data set, a {type(loader.dataset).__name__}, has no length, which its loader needs to draw samples; give "
            "it __len__, make it an IterableDataset, or give the loader a sampler"
        ) from error


def spread(data: Dataset[Any], collate: Any) -> list[Any]:
    """The same samples that a command looks at."""
    size = len(data)  # type: ignore[arg-type]
    count = min(IMAGES, size)
    rows = (torch.arange(count) * size // max(1, count)).tolist()
    made = partial(of_items, collate=collate)
    return [batch_of(data, rows[at : at + PART], made) for at in range(0, count, PART)]


def batch_of(data: Any, rows: Sequence[int], made: Callable[[Any], Any]) -> Any:
    """The samples at `rows`; `made`: a batch of their items."""
    return made(data.__getitems__(rows) if hasattr(data, "__getitems__") else [data[row] for row in rows])


def of_items(items: Any, collate: Any) -> Any:
    """The batch of items, which the project's own data sets have made already, but for what the loader makes of it. Raises
    `UserError` as `collated` does."""
    whole = isinstance(items, Batch | Drawn) and collate is default_collate
    return items if whole else collated(items, collate)


def collated(items: Any, collate: Any) -> Any:
    """Raises `UserError` for items that no loader could put into a batch: PIL images, None, images of several sizes."""
    try:
        return collate(items)
    except (TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"items of train do not make a batch ({reason}); expected images of one size as tensors and whole numbers: let the "
            "data set make them (torchvision's PILToTensor, Resize), or give the loader a collate_fn"
        ) from error


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Restores what random transforms draw from: torch's, numpy's and Python's global states."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the state that others use)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def view_of(
    image_NCHW: Tensor, source: str | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[View, bool]:
    """The view that the mentee has of source images, and whether the loader has normalised uint8 pixels already.

    Raises `UserError` where it is not clear what the device will be fed.
    """
    shape, given = tuple(image_NCHW.shape[1:]), str(image_NCHW.dtype).removeprefix("torch.")
    if source not in (None, "uint8", "float32") or (given == "uint8" and source == "float32"):
        raise UserError(
            f'source={source!r} for a loader of {given} images; expected "uint8" or "float32": what the device will be fed'
        )
    normalised = given == "float32" and source == "uint8"
    for name, value in (("mean", mean), ("std", std)):
        if value is not None and not (
            isinstance(value, Iterable) and all(isinstance(one, SupportsFloat) for one in value)
        ):
            raise UserError(f"{name}={value!r}; expected a number for each channel: {name}={[0.5] * shape[0]}")
        if value is not None and len(list(value)) == shape[2] != shape[0]:
            raise UserError(
                f"images of shape {shape} with {shape[2]} values of {name}: the channels seem to stand last; expected "
                "[B, C, H, W]: let the data set or the loader permute them"
            )
    if (mean is None) != (std is None):
        raise UserError("mean without std, or std without mean; give both: one number of each for a channel")
    if mean is None or std is None:
        if given == "uint8" or normalised:
            which = "that the loader subtracts and divides by" if normalised else "to normalise by"
            raise UserError(
                f"uint8 images need the mean and std {which}, on the scale 0 to 1, one of each for a channel: "
                f"mean={[0.5] * shape[0]}, std={[0.25] * shape[0]} will do where none are known"
            )
        mean, std = [0.0] * shape[0], [1.0] * shape[0]
    view = View((shape[0], shape[1], shape[2]), tuple(map(float, mean)), tuple(map(float, std)), source or given)
    return view, normalised


def looked_at(
    train: Any,
    classes: int,
    source: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    keys: Keys | None,
) -> tuple[Reader, Split]:
    """How the loader's batches are read, and some 512 of its samples. Raises `UserError` as the parts do."""
    batches = some_batches(train)
    image_NCHW = images_of(parts_of(batches[0], keys, "train")[0], "train")
    view, normalised = view_of(image_NCHW, source, mean, std)
    reader = Reader(view, tuple(image_NCHW.shape[1:]), classes, keys, normalised)
    read = [reader(batch, "train") for batch in batches]
    images, labels = (torch.cat(part)[:IMAGES] for part in zip(*read, strict=True))
    if len(images) < 2:
        raise UserError("train has one sample; expected two or more")
    return reader, Split(images, labels)
