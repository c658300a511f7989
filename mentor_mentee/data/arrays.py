"""Any npz or safetensors file with inputs and labels, as Splits: images, spectrograms, motion windows.

Axes: N samples, C channels, H height, W width, L length of a signal, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mentor_mentee.data.oddities import require_taught
from mentor_mentee.data.owners import split_by_owner
from mentor_mentee.data.reading.array_columns import Codes, as_codes, as_labels, as_text
from mentor_mentee.data.reading.array_file import array_names, read_arrays, require_names
from mentor_mentee.data.reading.array_images import Place, array_images
from mentor_mentee.data.reading.names import Owners, listed_names, names_of, require_names_of_arrays
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.stratify import stratified
from mentor_mentee.errors import UserError, did_you_mean

Parts = NDArray[np.str_]  # "train", "val" or "test" of each sample


def arrays(
    path: str | Path,
    inputs: str = "inputs",
    labels: str = "labels",
    *,
    layout: str | None = None,
    classes: str | Sequence[str] | None = None,
    unlabelled: str | None = None,
    owners: str | None = None,
    owner_names: str | Sequence[str] | None = None,
    by_owner: bool = False,
    val_owners: Owners | None = None,
    test_owners: Owners | None = None,
    split: str | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    memory_mb: float = 256,
    cache: str = ".cache/images",
) -> Splits:
    """Reads named arrays of one file, or of a folder of npy files. Large inputs are read into a store on disk (docs/data.md).

    Inputs: uint8 stays uint8 (a view divides it by 255); floats, and whole numbers that float32 holds exactly, become
    float32 on their own scale. `layout` has a letter for each axis: NCHW, NHWC, NHW, NCL, NLC or NL. It may be left out
    where the shape says it: [N, L], [N, H, W] of uint8, and four axes one of which has 1 or 3 channels. Signals become
    [N, C, 1, L].

    Labels: class numbers 0 .. K-1, or strings; -1 or "" is no label, and such samples are in train. `classes`: the names,
    as a list or as an array of the file; by default a number is its own name, and strings are sorted. `unlabelled`: more
    inputs for train, without labels: an array of the file, or another file, which has `inputs` (and may have `owners`).

    Val and test are fractions, stratified by class. With `by_owner`, or once `val_owners` or `test_owners` are named, they
    are whole owners instead, see `mentor_mentee.data.owners`. An owner is a string, or a number that `owner_names` may name.
    With `split`, a column of "train", "val" and "test", they are as that says; one that does not occur is a fraction of train.

    - `path`: an .npz or .safetensors file, or a folder with an .npy file for each array
    - `inputs`: name of the array of samples
    - `labels`: name of the array of class numbers or strings; -1 or "" means unlabelled
    - `layout`: NCHW, NHWC, NHW, NCL, NLC or NL; null where the shape says it
    - `classes`: names of the classes, a list or an array of the file
    - `unlabelled`: more inputs for train, without labels: an array of the file, or another file
    - `owners`: name of the array that says whose each sample is
    - `owner_names`: what numbers in `owners` stand for, a list or an array of the file
    - `by_owner`: split by owner: nobody is in two splits
    - `val_owners`: owners to validate on, as [anna,6]
    - `test_owners`: owners to test on, as [anna,6]
    - `split`: name of the array that says train, val or test of each sample
    - `val_fraction`: of the samples, or with `by_owner` of the owners
    - `test_fraction`: likewise
    - `seed`: of the split
    - `memory_mb`: megabytes of inputs up to which they are held in memory; above, they are read from `cache`
    - `cache`: folder of inputs on disk
    """
    path = Path(path).expanduser()
    require_names_of_arrays(inputs=inputs, labels=labels, owners=owners, unlabelled=unlabelled, split=split)
    if split is not None and (by_owner or val_owners is not None or test_owners is not None):
        raise UserError(f"data.split={split} and a split by owners; expected one of them: leave the other out")
    if seed < 0:
        raise UserError(f"data.seed={seed}; expected 0 or more")
    columns = {"labels": labels, "owners": owners, "classes": classes, "owner_names": owner_names, "split": split}
    require_names(path, {"inputs": inputs}, array_names(path))
    found = read_arrays(path, {option: name for option, name in columns.items() if isinstance(name, str)})
    places = [Place(path, inputs, "inputs")]
    if unlabelled is not None:
        places.append(more_inputs(path, unlabelled, inputs))
    images, sizes = array_images(places, layout, path.stem, cache, memory_mb)
    label = as_labels(
        found["labels"], names_of(classes, found.get("classes"), "data.classes"), f"{labels!r} in '{path}'"
    )
    owner_columns = [found["owners"]] if owners is not None else []
    for name, column in ((labels, label.code_N), (owners, found.get("owners")), (split, found.get("split"))):
        if column is not None and len(column) != sizes[0]:
            raise UserError(
                f"'{path}' has {sizes[0]} samples in {inputs!r} but {len(column)} in {name!r}; expected as many of both"
            )
    label_N = np.concatenate([label.code_N, np.full(sum(sizes[1:]), -1)])
    if owners is not None and unlabelled is not None:
        owner_columns += more_owners(places[1], owners, sizes[1])
    owner = _owners(
        owner_columns,
        names_of(owner_names, found.get("owner_names"), "data.owner_names"),
        f"{owners!r} in '{path}'",
        len(label_N),
    )
    whole = Split(
        images,
        torch.from_numpy(label_N),
        owners=None if owner is None else torch.from_numpy(owner.code_N),
        owner_names=() if owner is None else owner.names,
    )
    held_out = {
        "val": listed_names(val_owners, "data.val_owners") or val_fraction,
        "test": listed_names(test_owners, "data.test_owners") or test_fraction,
    }
    given = None if split is None else parts_of(found["split"], f"{split!r} in '{path}'", len(whole))
    rows = _rows(whole, held_out, by_owner, seed, path, given)
    train, val, test = (whole.subset(torch.from_numpy(part)) for part in rows)
    splits = Splits(train, val, test, label.names, path.stem)
    require_taught(splits)
    return splits


def _rows(
    whole: Split, held_out: dict[str, list[str] | float], by_owner: bool, seed: int, path: Path, given: Parts | None
) -> tuple[NDArray[np.int64], ...]:
    """Rows of train, val and test; what has no label is in train alone. `given`: the parts that a column says."""
    known = {} if given is None else {part: np.flatnonzero(given == part) for part in ("val", "test") if part in given}
    fractions = {part: share for part, share in held_out.items() if not isinstance(share, list) and part not in known}
    if not all(0 < share < 1 for share in fractions.values()) or sum(fractions.values()) >= 1:
        asked = ", ".join(f"{part}_fraction={share:g}" for part, share in fractions.items())
        raise UserError(f"{asked} of '{path}'; expected fractions above 0 that leave some to train on")
    label_N = whole.labels.numpy()
    labelled = np.flatnonzero(label_N >= 0 if given is None else (label_N >= 0) & (given == "train"))
    if not len(labelled):
        raise UserError(f"no sample in '{path}' has a label; expected some to validate and test on: label a few")
    if by_owner or any(isinstance(share, list) for share in held_out.values()):
        if whole.owners is None:
            raise UserError(
                f"'{path}' is to be split by owner; set data.owners=<the array that says whose each sample is>"
            )
        if len(unknown := np.flatnonzero(whole.owners.numpy() < 0)):
            raise UserError(
                f"{len(unknown)} samples of '{path}' and data.unlabelled have no owner, the first is number {unknown[0]}; they "
                "might be of an owner in val or test: drop them, or give data.unlabelled as a file with owners"
            )
        owner_N, names = whole.owners.numpy(), whole.owner_names
        return split_by_owner(owner_N, label_N, names, held_out["val"], held_out["test"], seed)
    shares, names = (*fractions.values(), 1.0 - sum(fractions.values())), (*fractions, "train")
    drawn = stratified(label_N[labelled], shares, seed, names)
    parts = known | {part: labelled[rows] for part, rows in zip(names, drawn, strict=True)}
    unlabelled = np.flatnonzero(label_N < 0 if given is None else (label_N < 0) & (given == "train"))
    return np.sort(np.concatenate([parts["train"], unlabelled])), parts["val"], parts["test"]


def parts_of(column: NDArray[Any], where: str, samples: int) -> Parts:
    """ "train", "val" or "test" for each of all samples: those that come after the column's are to train on."""
    text_N = as_text(column, where)
    known = ("train", "val", "test")
    for name in np.unique(text_N).tolist():
        if name not in known:
            raise UserError(f"{where} has {name!r}; expected {', '.join(known)}{did_you_mean(name, known)}")
    return np.concatenate([text_N, np.full(samples - len(text_N), "train")])


def more_inputs(path: Path, unlabelled: str, inputs: str) -> Place:
    """Where the inputs of `unlabelled` are: in the same file, or in another."""
    known, other = array_names(path), Path(unlabelled).expanduser()
    if unlabelled in known:
        return Place(path, unlabelled, "unlabelled")
    if other.exists():
        return Place(other, inputs, "inputs")
    raise UserError(
        f"data.unlabelled={unlabelled} is neither an array of '{path}' nor a file{did_you_mean(unlabelled, known)} "
        f"(it has {', '.join(known[:20])})"
    )


def more_owners(place: Place, owners: str, samples: int) -> list[NDArray[Any]]:
    """The owners of unlabelled inputs, where another file has some."""
    if place.option == "unlabelled" or owners not in array_names(place.path):
        return []
    column = read_arrays(place.path, {"owners": owners})["owners"]
    if len(column) != samples:
        raise UserError(f"'{place.path}' has {samples} samples but {len(column)} owners; expected as many")
    return [column]


def _owners(columns: list[NDArray[Any]], names: tuple[str, ...] | None, where: str, samples: int) -> Codes | None:
    """Owners of the samples of all columns; those after the last column's are not known."""
    if not columns:
        return None
    if len({column.dtype.kind in "US" for column in columns}) > 1:
        raise UserError(
            f"{where} and the owners of data.unlabelled are {columns[0].dtype} and {columns[1].dtype}; use one"
        )
    owner = as_codes(np.concatenate(columns), names, where)
    rest = np.full(samples - len(owner.code_N), -1)
    return Codes(np.concatenate([owner.code_N, rest]), owner.names)
