"""A folder of images, one subfolder per class, as Splits.

Axes: N samples, C channels, H height, W width.
"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mentor_mentee.data.present import require_folder
from mentor_mentee.data.splits import Split, Splits, carve
from mentor_mentee.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = ("train", "val", "test")
UNLABELLED = "unlabelled"


def image_folder(
    root: str | Path,
    size: int,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    unlabelled: str | Path | None = UNLABELLED,
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
    """
    root = Path(root).expanduser()
    if size < 1:
        raise UserError(f"size={size} for the images of {root}; expected 1 or more pixels")
    require_folder(root)
    more = _unlabelled_folder(root, unlabelled)
    folders = {"train": root, **{part: root / part for part in PARTS if (root / part).is_dir()}}
    if len(folders) > 1 or folders["train"] != root:
        _check_layout(root, more)
    classes = tuple(_classes(folders["train"], more))
    if len(classes) < 2:
        raise UserError(
            f"{len(classes)} class folders in {folders['train']}; expected two or more: "
            "put the images of each class into a folder that bears its name"
        )
    unlabelled_files = _unlabelled_files(more, [folder / name for folder in folders.values() for name in classes])
    content = {part: _read(folder, classes, size, whole=part == "train") for part, folder in folders.items()}

    wanted = {"val": val_fraction, "test": test_fraction}
    absent = {part: fraction for part, fraction in wanted.items() if part not in content}
    if not all(0 < fraction < 1 for fraction in absent.values()) or sum(absent.values()) >= 1:
        raise UserError(
            f"{', '.join(f'{part}_fraction={fraction:g}' for part, fraction in absent.items())} of the images in "
            f"{folders['train']}; expected fractions above 0 that leave some to train on"
        )
    carved = carve(*content["train"], (*absent.values(), 1.0 - sum(absent.values())), seed)
    splits = {part: Split(*content[part]) for part in content} | dict(zip((*absent, "train"), carved, strict=True))
    train = _with_unlabelled(splits["train"], len(content["train"][1]), _decoded(unlabelled_files, size))
    return Splits(train, splits["val"], splits["test"], classes, root.resolve().name)


def _unlabelled_folder(root: Path, unlabelled: str | Path | None) -> Path | None:
    folder = None if unlabelled is None else root / Path(unlabelled).expanduser()
    if folder is None or folder.is_dir():
        return folder and folder.resolve()
    if folder == root / UNLABELLED:
        return None
    raise UserError(
        f"no folder {folder}; set data.unlabelled=... to one in data.root or to an absolute path, or leave it out"
    )


def _unlabelled_files(folder: Path | None, labelled: list[Path]) -> list[Path]:
    """Lists the files at all depths. Raises `UserError` where there is none, and where labelled ones would be among them."""
    if folder is None:
        return []
    for other in labelled:
        place = other.resolve()
        if other.is_dir() and (place.is_relative_to(folder) or folder.is_relative_to(place)):
            raise UserError(
                f"the unlabelled images in {folder} and those of {other} overlap, which would be trained on without their "
                "label, or tested on as well; keep them in folders apart"
            )
    found = (file for file in folder.rglob("*") if _is_image(file))
    files = sorted(file for file in found if not any(p.startswith(".") for p in file.relative_to(folder).parts))
    if not files:
        raise UserError(
            f"no image in {folder}; expected files that end in {', '.join(SUFFIXES)}: add some, or remove the folder"
        )
    return files


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


def _check_layout(root: Path, more: Path | None) -> None:
    found = _subfolders(root)
    if "train" not in found:
        raise UserError(
            f"{root} has {' and '.join(found)} but no train; expected train beside them, or one folder per class: "
            "add the training images as train/<class>/*"
        )
    known = (*PARTS, UNLABELLED)
    for name in found:
        if name not in known and not (more and more.is_relative_to((root / name).resolve())):
            raise UserError(
                f"folder {name!r} beside train in {root}; expected only {', '.join(known)}"
                f"{did_you_mean(name, known)}: rename it or move it away"
            )
    misplaced = root / "train" / UNLABELLED
    if misplaced.is_dir() and misplaced.resolve() != more:
        raise UserError(f"{misplaced} is taken for no class; move it beside train, or rename it if it is one")


def _classes(folder: Path, more: Path | None) -> list[str]:
    return [name for name in _subfolders(folder) if name != UNLABELLED and (folder / name).resolve() != more]


def _read(folder: Path, classes: tuple[str, ...], size: int, whole: bool) -> tuple[Tensor, Tensor]:
    """uint8 [N, 3, size, size] and int64 [N]; `whole`: every class must be there."""
    for name in _subfolders(folder):
        if not whole and name not in classes:
            raise UserError(
                f"class {name!r} in {folder} is not among those to train on ({', '.join(classes)})"
                f"{did_you_mean(name, classes)}: rename it, or add it to the training images"
            )
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        if not whole and not (folder / name).is_dir():
            continue
        images = [file for file in sorted((folder / name).iterdir()) if _is_image(file)]
        if not images:
            raise UserError(f"no image in {folder / name}; expected files that end in {', '.join(SUFFIXES)}: add some")
        files += [(file, label) for file in images]
    if not files:
        raise UserError(f"no class folder in {folder}; expected some of {', '.join(classes)}: fill it or remove it")
    return _decoded([file for file, _ in files], size), torch.tensor([label for _, label in files], dtype=torch.int64)


def _decoded(files: list[Path], size: int) -> Tensor:
    """uint8 [N, 3, size, size]."""
    images_NCHW = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for i, file in enumerate(files):
        images_NCHW[i] = _decode(file, size)
    return images_NCHW


def _decode(file: Path, size: int) -> Tensor:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as stored:
            image = ImageOps.exif_transpose(stored)
            image.load()
    except (EOFError, OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as an image ({error}); replace it or move it away") from error
    if image.mode[0] in "IF":  # Pillow clips these to 255 on conversion: a 16-bit photograph comes out white
        raise UserError(f"{file} has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
    return torch.from_numpy(np.array(_central_square(_rgb(image), size))).permute(2, 0, 1)


def _rgb(image: "Image.Image") -> "Image.Image":
    # Pillow warns of a palette with transparency unless it goes by way of RGBA.
    return (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")


def _central_square(image: "Image.Image", size: int) -> "Image.Image":
    """Shorter side to `size`, then centre crop; in one step, so a long strip is never scaled up whole."""
    from PIL import Image

    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_image(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
