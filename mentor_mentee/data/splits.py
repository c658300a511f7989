"""Images, or other arrays, with labels, cut into splits and handed out in batches; in memory or on disk (`data.store`).

Axes: N samples of a split, B samples of a batch, C channels, H height, W width, K classes. A signal is an image of
height 1.

Everything here is a pure function of its arguments and a seed. None of it reads or moves torch's global random state.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mentor_mentee.data.class_names import require_class_names
from mentor_mentee.data.store.images import Images, StoredImages, contents, joined, picked
from mentor_mentee.data.stratify import generator, stratified
from mentor_mentee.errors import UserError

DTYPES = (torch.uint8, torch.float32)


class Batch(NamedTuple):
    """Source images: decoded, not resized, not normalised. A `View` turns them into what one network takes."""

    index_B: Tensor  # int64, position in the source the split was cut from (what recorded answers are filed under)
    image_BCHW: Tensor  # uint8 or float32, as in the split
    label_B: Tensor  # int64, -1 where there is no label


def identity(batch: Batch) -> Batch:
    """The `collate_fn` for a Split: `__getitems__` already returns a whole batch."""
    return batch


class Split(Dataset[Batch]):
    """N images with their labels. Not to be written to: `fingerprint()` is computed once."""

    def __init__(
        self,
        images: Images,
        labels: Tensor,
        positions: Tensor | None = None,
        owners: Tensor | None = None,
        owner_names: tuple[str, ...] = (),
    ) -> None:
        """images [N, C, H, W], a tensor or `StoredImages`, uint8 pixels or float32 on whatever scale they were measured; labels
        int64 [N]; positions int64 [N], by default 0 .. N-1; owners int64 [N], who each sample is of (-1: not known), an
        index into `owner_names` where there are any."""
        if images.dtype not in DTYPES or images.ndim != 4:
            raise UserError(
                f"images of a split are {images.dtype} of shape {tuple(images.shape)}; "
                "expected torch.uint8 or torch.float32 [N, C, H, W]: pass what was decoded or measured, not normalised"
            )
        if labels.dtype != torch.int64 or labels.ndim != 1:
            raise UserError(
                f"labels of a split are {labels.dtype} of shape {tuple(labels.shape)}; "
                "expected torch.int64 [N]: pass class indices, with -1 for no label"
            )
        if len(images) != len(labels):
            raise UserError(f"a split has {len(images)} images but {len(labels)} labels; pass one label for each image")
        self.images = images
        if owners is not None and (owners.dtype != torch.int64 or owners.shape != labels.shape):
            raise UserError(
                f"owners of a split are {owners.dtype} of shape {tuple(owners.shape)}; expected torch.int64 "
                f"[{len(labels)}]: pass one owner for each image, with -1 for not known"
            )
        self.labels = labels
        self.owners = owners
        self.owner_names = owner_names
        self.positions = torch.arange(len(images)) if positions is None else positions
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Batch:
        """One sample, without the batch axis."""
        return Batch(self.positions[i], self.images[i], self.labels[i])

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        # One indexing operation per tensor and batch; stacking B single samples costs more than a small mentee's step.
        index_B = torch.as_tensor(indices, dtype=torch.int64)
        return Batch(self.positions[index_B], self.images[index_B], self.labels[index_B])

    def subset(self, indices: Sequence[int] | Tensor) -> "Split":
        """The samples at `indices` of this split, in that order; each keeps its position in the source. On disk no pixel is
        read."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        owners = None if self.owners is None else self.owners[rows]
        return Split(picked(self.images, rows), self.labels[rows], self.positions[rows], owners, self.owner_names)

    def relabelled(self, labels: Tensor) -> "Split":
        """A copy with other labels: the same samples of the same owners."""
        return Split(self.images, labels, self.positions, self.owners, self.owner_names)

    @property
    def on_disk(self) -> bool:
        return isinstance(self.images, StoredImages)

    def fingerprint(self) -> str:
        """sha256 over shape, positions, labels and pixels (on disk their digests), and over owners where there are any, in
        hex."""
        if self._fingerprint is None:
            digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
            for tensor in (self.positions, self.labels):
                digest.update(tensor.contiguous().numpy().data)
            digest.update(contents(self.images))
            if self.owners is not None:
                digest.update(repr(self.owner_names).encode())
                digest.update(self.owners.contiguous().numpy().data)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


@dataclass(frozen=True)
class Photo:
    """How an image file became a source image: the central square (`fit` "cover"), scaled to the source's size by Pillow's filter
    `interpolation`, transparent pixels laid on the gray level `ground`."""

    fit: str = "cover"
    interpolation: str = "bilinear"
    ground: int = 128


@dataclass(frozen=True)
class Splits:
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    name: str
    photo: Photo | None = None  # None where they came as arrays, or at the size that they had

    def __post_init__(self) -> None:
        require_class_names(self.classes, f"the classes of {self.name}")
        for part, split, lowest in (("train", self.train, -1), ("val", self.val, 0), ("test", self.test, 0)):
            where = f"the {part} split of {self.name}"
            if len(split) == 0:
                raise UserError(f"{where} is empty; expected at least one sample: give it a larger share of the data")
            if split.images.shape[1:] != self.train.images.shape[1:]:
                raise UserError(
                    f"images of {where} are {tuple(split.images.shape[1:])}, those of train {self.shape}; "
                    "expected one [C, H, W] for all splits: bring them to one size first"
                )
            if split.images.dtype != self.train.images.dtype:
                raise UserError(
                    f"images of {where} are {split.images.dtype}, those of train {self.train.images.dtype}; "
                    "expected one dtype for all splits"
                )
            least, most = int(split.labels.min()), int(split.labels.max())
            if least < lowest or most >= len(self.classes):
                raise UserError(
                    f"labels of {where} run from {least} to {most}; expected {lowest} to {len(self.classes) - 1} "
                    f"for {len(self.classes)} classes"
                    + ("; only the train split may hold unlabelled samples (-1)" if least == -1 else "")
                    + ": correct the labels or the list of classes"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of a source image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def dtype(self) -> str:
        """`"uint8"` or `"float32"`, of the source images."""
        return str(self.train.images.dtype).removeprefix("torch.")


def carve(images_NCHW: Tensor, labels_N: Tensor, parts: Sequence[float], seed: int) -> tuple[Split, ...]:
    """Disjoint splits that cover everything, each with the classes in the proportions of the whole: see `stratified`.

    Samples keep their order.
    """
    whole = Split(images_NCHW, labels_N)
    return tuple(whole.subset(torch.from_numpy(rows)) for rows in stratified(labels_N.numpy(), parts, seed))


def with_unlabelled(train: Split, source: int, images: Images) -> Split:
    """`source`: samples that `train` was cut from; the positions of the new ones go on from there."""
    if not len(images):
        return train
    added = len(images)
    return Split(
        joined(train.images, images),
        torch.cat([train.labels, torch.full((added,), -1)]),
        torch.cat([train.positions, torch.arange(source, source + added)]),
    )


def labels_per_class(split: Split, p: int, seed: int, keep_unlabelled: bool) -> Split:
    """The label budget: p random samples of every class keep their label.

    All others, those without a label too, are dropped, or with `keep_unlabelled` stay with label -1. For one seed a
    smaller budget is contained in every larger one, so the points of a curve over p differ only in what was added.
    """
    if p < 1:
        raise UserError(f"label budget of {p} samples per class; expected at least 1")
    labels = split.labels.numpy()
    kept = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        if len(members) < p:
            raise UserError(
                f"class {label} has {len(members)} labelled samples, fewer than the budget of {p} per class; "
                f"ask for at most {len(members)}"
            )
        kept[generator(seed, int(label)).permutation(members)[:p]] = True
    if not keep_unlabelled:
        return split.subset(torch.from_numpy(np.flatnonzero(kept)))
    return split.relabelled(torch.from_numpy(np.where(kept, labels, -1)))
