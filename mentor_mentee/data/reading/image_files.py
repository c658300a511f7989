"""Lists the images of a folder by split and class, and refuses what is wrong in it. Imports no torch: said at once.

Files are strings, and found by `os.scandir`: a million `Path`s would take .7 GB, and asking each what it is 10 s.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mentor_mentee.data.stratify import stratified
from mentor_mentee.errors import UserError, did_you_mean

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = ("train", "val", "test")
UNLABELLED = "unlabelled"
GROUNDS = {"gray": 128, "white": 255, "black": 0}
NAMED = 5  # classes that a message names

Labelled = list[tuple[str, int]]


class ImageFiles(NamedTuple):
    classes: tuple[str, ...]
    labelled: dict[str, Labelled]  # by split, of those that have a folder; train is always one
    unlabelled: list[str]
    carved: dict[str, float]  # the share of each split that is taken from the training images


def list_images(
    root: Path, val_fraction: float, test_fraction: float, seed: int, unlabelled: str | Path | None
) -> ImageFiles:
    """Raises `UserError` for a layout that is neither of the two, a class without images, a class that would have none to
    train on, and fractions that leave a split empty."""
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
    content = {part: _labelled(folder, classes, whole=part == "train") for part, folder in folders.items()}
    absent = {part: share for part, share in (("val", val_fraction), ("test", test_fraction)) if part not in content}
    if not all(0 < fraction < 1 for fraction in absent.values()) or sum(absent.values()) >= 1:
        raise UserError(
            f"{', '.join(f'{part}_fraction={fraction:g}' for part, fraction in absent.items())} of the images in "
            f"{folders['train']}; expected fractions above 0 that leave some to train on"
        )
    found = ImageFiles(classes, content, unlabelled_files, absent)
    require_every_class(found, folders["train"], seed)
    return found


def rows_of(found: ImageFiles, folder: Path, seed: int) -> dict[str, np.ndarray]:
    """Rows of the training images that each carved split, and train itself, take."""
    labels = np.array([label for _, label in found.labelled["train"]], np.int64)
    names = (*found.carved, "train")
    shares = (*found.carved.values(), 1.0 - sum(found.carved.values()))
    try:
        return dict(zip(names, stratified(labels, shares, seed, names), strict=True))
    except UserError as error:
        raise UserError(f"the images in {folder} ({_sizes(found)}): {error}") from None


def passed_over(root: Path, found: ImageFiles) -> str | None:
    """Lists what the folders of classes hold but is not read, hidden files apart: other suffixes, and images deeper down."""
    others, deeper = Counter[str](), Counter[str]()
    folders = {os.path.dirname(file) for labelled in found.labelled.values() for file, _ in labelled}
    for entry in (entry for folder in sorted(folders) for entry in _entries(folder)):
        if entry.is_dir():
            deeper[os.path.relpath(entry, root)] += sum(1 for _ in _images_below(entry.path, hidden=True))
        elif not _is_image(entry):
            others[os.path.splitext(entry.name)[1].lower() or entry.name] += 1
    parts = [f"{count:,} {suffix}" for suffix, count in others.most_common(NAMED)]
    if images := +deeper:
        parts.append(f"{images.total():,} images in folders inside a class ({', '.join(list(images)[:NAMED])})")
    return f"warning: passed over in {root}: {', '.join(parts)}" if parts else None


def require_every_class(found: ImageFiles, folder: Path, seed: int) -> None:
    labels = np.array([label for _, label in found.labelled["train"]], np.int64)
    held = np.bincount(labels[rows_of(found, folder, seed)["train"]], minlength=len(found.classes))
    if missing := [name for name, count in zip(found.classes, held, strict=True) if not count]:
        shares = ", ".join(f"data.{part}_fraction={share:g}" for part, share in found.carved.items())
        raise UserError(
            f"{listed(missing, len(found.classes))} would have no image to train on: the folders in {folder} hold few "
            f"({_sizes(found)}) and {shares} are taken from them; add images, or give folders train, val and test"
        )


def _sizes(found: ImageFiles) -> str:
    sizes = np.bincount([label for _, label in found.labelled["train"]], minlength=len(found.classes))
    fewest = np.argsort(sizes, kind="stable")[:NAMED]
    each = ", ".join(f"{found.classes[label]}: {sizes[label]}" for label in fewest)
    return f"{each}{', …' if len(sizes) > NAMED else ''}"


def listed(missing: Sequence[str], of: int) -> str:
    """`2 of 10 classes (cat, dog)`."""
    more = ", …" if len(missing) > NAMED else ""
    return f"{len(missing)} of {of} classes ({', '.join(missing[:NAMED])}{more})"


def require_folder(root: Path) -> None:
    if not root.is_dir():
        raise UserError(f"no folder {root}; set data.root=... to a folder with one subfolder of images per class")


def require_images(recipe: Mapping[str, Any]) -> None:
    """`list_images` of a recipe whose options have been checked, with the defaults of `image_folder`."""
    defaults = {"val_fraction": 0.1, "test_fraction": 0.2, "seed": 0, "unlabelled": UNLABELLED}
    given: dict[str, Any] = {**defaults, **recipe}
    list_images(
        Path(given["root"]).expanduser(),
        given["val_fraction"],
        given["test_fraction"],
        given["seed"],
        given["unlabelled"],
    )


def _unlabelled_folder(root: Path, unlabelled: str | Path | None) -> Path | None:
    folder = None if unlabelled is None else root / Path(unlabelled).expanduser()
    if folder is None or folder.is_dir():
        return folder and folder.resolve()
    if folder == root / UNLABELLED:
        return None
    raise UserError(
        f"no folder {folder}; set data.unlabelled=... to one in data.root or to an absolute path, or leave it out"
    )


def _unlabelled_files(folder: Path | None, labelled: list[Path]) -> list[str]:
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
    files = sorted(_images_below(str(folder)), key=lambda file: file.split(os.sep))
    if not files:
        raise UserError(
            f"no image in {folder}; expected files that end in {', '.join(SUFFIXES)}: add some, or remove the folder"
        )
    return files


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


def _labelled(folder: Path, classes: tuple[str, ...], whole: bool) -> Labelled:
    """Each image with its class, sorted; `whole`: every class must be there."""
    for name in _subfolders(folder):
        if not whole and name not in classes:
            raise UserError(
                f"class {name!r} in {folder} is not among those to train on ({', '.join(classes)})"
                f"{did_you_mean(name, classes)}: rename it, or add it to the training images"
            )
    files: Labelled = []
    for label, name in enumerate(classes):
        if not whole and not (folder / name).is_dir():
            continue
        images = sorted(entry.path for entry in _entries(str(folder / name)) if _is_image(entry))
        if not images:
            raise UserError(f"no image in {folder / name}; expected files that end in {', '.join(SUFFIXES)}: add some")
        files += [(file, label) for file in images]
    if not files:
        raise UserError(f"no class folder in {folder}; expected some of {', '.join(classes)}: fill it or remove it")
    return files


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Lists a folder without its hidden files and folders."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _images_below(folder: str, hidden: bool = False) -> Iterator[str]:
    """At any depth; links to folders are not followed. `hidden`: in hidden folders too."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if hidden or not entry.name.startswith("."):
                    yield from _images_below(entry.path, hidden)
            elif _is_image(entry):
                yield entry.path


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1]
    return suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
