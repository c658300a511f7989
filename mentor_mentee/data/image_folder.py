"""A folder of images, one subfolder per class, as Splits.

Axes: N samples.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mentor_mentee.data.reading.image_decode import FileSource, say_changes
from mentor_mentee.data.reading.image_files import (
    GROUNDS,
    UNLABELLED,
    ImageFiles,
    list_images,
    passed_over,
    require_every_class,
    rows_of,
)
from mentor_mentee.data.splits import Photo, Split, Splits, with_unlabelled
from mentor_mentee.data.store.block import BROKEN
from mentor_mentee.data.store.build import held
from mentor_mentee.data.store.images import Images, picked, section
from mentor_mentee.data.store.source import fault
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.progress import remark

ON_BROKEN = ("refuse", "skip")


def image_folder(
    root: str | Path,
    size: int,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    unlabelled: str | Path | None = UNLABELLED,
    ground: str = "gray",
    broken: str = "refuse",
    memory_mb: float = 256,
    cache: str = ".cache/images",
) -> Splits:
    """RGB images 3 x size x size: the central square of each, scaled. Small data is held in memory, other is decoded once
    into files (docs/data.md).

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
    - `broken`: refuse or skip images that cannot be read
    - `memory_mb`: megabytes of decoded images up to which they are held in memory; above, they are read from `cache`
    - `cache`: folder of decoded images
    """
    root = Path(root).expanduser()
    if size < 1:
        raise UserError(f"data.size={size} for the images of {root}; expected 1 or more pixels")
    for option, value, known in (("ground", ground, GROUNDS), ("broken", broken, ON_BROKEN)):
        if value not in known:
            raise UserError(f"data.{option}={value}{did_you_mean(value, known)} (there are {', '.join(known)})")
    found = list_images(root, val_fraction, test_fraction, seed, unlabelled)
    if (line := passed_over(root, found)) is not None:
        remark(line)
    files = [file for labelled in found.labelled.values() for file, _ in labelled]
    source = FileSource(root, [*files, *found.unlabelled], size, ground)
    all_images, mark_N, _ = held(source, root.resolve().name, cache, memory_mb)
    say_changes(mark_N, ground)
    intact_N = mark_N != BROKEN
    images = cut(all_images, found, intact_N)
    if not intact_N.all():
        say_broken(source, np.flatnonzero(~intact_N), broken)
        found = without(found, intact_N)
        require_every_class(found, root, seed)
    whole, *others = (Split(images[part], labels_of(found, part)) for part in found.labelled)
    splits = dict(zip(list(found.labelled)[1:], others, strict=True))
    rows = rows_of(found, root, seed)
    splits |= {part: whole.subset(torch.from_numpy(taken)) for part, taken in rows.items()}
    train = with_unlabelled(splits["train"], len(whole), images[UNLABELLED])
    photo = Photo(ground=GROUNDS[ground])
    return Splits(train, splits["val"], splits["test"], found.classes, root.resolve().name, photo)


def labels_of(found: ImageFiles, part: str) -> torch.Tensor:
    return torch.tensor([label for _, label in found.labelled[part]], dtype=torch.int64)


def cut(images: Images, found: ImageFiles, intact_N: NDArray[np.bool_]) -> dict[str, Images]:
    """The intact images of each folder, the unlabelled ones last."""
    sizes = {part: len(labelled) for part, labelled in found.labelled.items()} | {UNLABELLED: len(found.unlabelled)}
    parts: dict[str, Images] = {}
    start = 0
    for part, size in sizes.items():
        whole = bool(intact_N[start : start + size].all())
        rows = start + np.flatnonzero(intact_N[start : start + size])
        parts[part] = section(images, start, start + size) if whole else picked(images, torch.from_numpy(rows))
        start += size
    return parts


def without(found: ImageFiles, intact_N: NDArray[np.bool_]) -> ImageFiles:
    """The listing without the images that are not intact."""
    intact = iter(intact_N.tolist())
    labelled = {part: [pair for pair in pairs if next(intact)] for part, pairs in found.labelled.items()}
    return found._replace(labelled=labelled, unlabelled=[file for file in found.unlabelled if next(intact)])


def say_broken(source: FileSource, rows: NDArray[np.int64], broken: str) -> None:
    """Raises `UserError` unless they are to be skipped."""
    of_all = f"{len(rows):,} of {len(source):,} images"
    first = source.reason(int(rows[0]))
    if broken == "skip":
        remark(f"warning: {of_all} cannot be read and are left out (data.broken=skip), the first: {fault(first)}")
        return
    if len(rows) == 1:
        raise UserError(f"{first}; data.broken=skip leaves it out")
    raise UserError(f"{first}; it is the first of {of_all} that cannot be read: data.broken=skip leaves them out")
