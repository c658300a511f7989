"""A folder of images, one subfolder per class, as Splits.

Axes: N samples, C channels, H height, W width.
"""

from pathlib import Path

import torch
from torch import Tensor

from mentor_mentee.data.reading.image_decode import decoded
from mentor_mentee.data.reading.image_files import GROUNDS, UNLABELLED, ImageFiles, list_images, passed_over, rows_of
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.progress import remark


def image_folder(
    root: str | Path,
    size: int,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    unlabelled: str | Path | None = UNLABELLED,
    ground: str = "gray",
) -> Splits:
    """RGB images 3 x size x size: the central square of each, scaled. All of them are held in memory.

    Either `root/train/<class>/*`, with `root/val` and `root/test` likewise, or `root/<class>/*`. A split that has no
    folder of its own is carved from the training images, stratified. Hidden files and other suffixes are passed over.

    `root/unlabelled` is taken where it is there, beside `train` or beside the classes, and is never a class.

    - `root`: folder with train/<class>/* (val and test likewise), or with <class>/*
    - `size`: height and width that every image is scaled and cropped to
    - `val_fraction`: of the training images, where there is no folder val
    - `test_fraction`: of the training images, where there is no folder test
    - `seed`: of that split
    - `unlabelled`: folder of more images for train, without labels, at any depth; in root, or an absolute path; null: none
    - `ground`: gray, white or black, under transparent pixels
    """
    root = Path(root).expanduser()
    if size < 1:
        raise UserError(f"data.size={size} for the images of {root}; expected 1 or more pixels")
    if ground not in GROUNDS:
        raise UserError(f"data.ground={ground}{did_you_mean(ground, GROUNDS)} (there are {', '.join(GROUNDS)})")
    found = list_images(root, val_fraction, test_fraction, seed, unlabelled)
    if (line := passed_over(root, found)) is not None:
        remark(line)
    content, more_NCHW = _read(found, size, ground)
    whole = Split(*content["train"])
    rows = rows_of(found, root, seed)
    splits = {part: Split(*content[part]) for part in content} | {
        part: whole.subset(torch.from_numpy(taken)) for part, taken in rows.items()
    }
    train = _with_unlabelled(splits["train"], len(whole), more_NCHW)
    return Splits(train, splits["val"], splits["test"], found.classes, root.resolve().name)


def _read(found: ImageFiles, size: int, ground: str) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """uint8 [N, 3, size, size] and int64 [N] of each folder, and the images without labels."""
    files = [file for labelled in found.labelled.values() for file, _ in labelled]
    images_NCHW = decoded([*files, *found.unlabelled], size, ground)  # in one go: what is said of them is said of all
    sizes = [len(labelled) for labelled in found.labelled.values()]
    parts = torch.split(images_NCHW, [*sizes, len(found.unlabelled)])
    content = {
        part: (images, torch.tensor([label for _, label in labelled], dtype=torch.int64))
        for (part, labelled), images in zip(found.labelled.items(), parts[:-1], strict=True)
    }
    return content, parts[-1]


def _with_unlabelled(train: Split, source: int, images_NCHW: Tensor) -> Split:
    """`source`: samples that `train` was cut from; the new ones' positions go on from there."""
    if not len(images_NCHW):
        return train
    added = len(images_NCHW)
    return Split(
        torch.cat([train.images, images_NCHW]),
        torch.cat([train.labels, torch.full((added,), -1)]),
        torch.cat([train.positions, torch.arange(source, source + added)]),
    )
