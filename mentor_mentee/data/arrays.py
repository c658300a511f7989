"""Any npz or safetensors file with inputs and labels, as Splits: images, spectrograms, motion windows.

Axes: N samples, C channels, H height, W width, L length of a signal, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_mentee.data.oddities import require_taught
from mentor_mentee.data.owners import split_by_owner
from mentor_mentee.data.reading.array_columns import Codes, as_codes, as_images, as_labels
from mentor_mentee.data.reading.array_file import array_names, read_arrays
from mentor_mentee.data.reading.names import Owners, listed_names, names_of, require_names_of_arrays
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.stratify import stratified
from mentor_mentee.errors import UserError, did_you_mean


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
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Reads named arrays of one file.

    Inputs: uint8 stays uint8 (a view divides it by 255); floats, and whole numbers that float32 holds exactly, become
    float32 on their own scale. `layout` has a letter for each axis: NCHW, NHWC, NHW, NCL, NLC or NL. It may be left out
    where the shape says it: [N, L], [N, H, W] of uint8, and four axes one of which has 1 or 3 channels. Signals become
    [N, C, 1, L].

    Labels: class numbers 0 .. K-1, or strings; -1 or "" is no label, and such samples are in train. `classes`: the names,
    as a list or as an array of the file; by default a number is its own name, and strings are sorted. `unlabelled`: more
    inputs for train, without labels: an array of the file, or another file, which has `inputs` (and may have `owners`).

    Val and test are fractions, stratified by class. With `by_owner`, or once `val_owners` or `test_owners` are named, they
    are whole owners instead, see `mentor_mentee.data.owners`. An owner is a string, or a number that `owner_names` may name.

    - `path`: an .npz or .safetensors file
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
    - `val_fraction`: of the samples, or with `by_owner` of the owners
    - `test_fraction`: likewise
    - `seed`: of the split
    """
    path = Path(path).expanduser()
    require_names_of_arrays(inputs=inputs, labels=labels, owners=owners, unlabelled=unlabelled)
    if seed < 0:
        raise UserError(f"data.seed={seed}; expected 0 or more")
    columns = {"inputs": inputs, "labels": labels, "owners": owners, "classes": classes, "owner_names": owner_names}
    found = read_arrays(path, {option: name for option, name in columns.items() if isinstance(name, str)})
    image_NCHW = as_images(found["inputs"], layout, f"{inputs!r} in '{path}'")
    label = as_labels(
        found["labels"], names_of(classes, found.get("classes"), "data.classes"), f"{labels!r} in '{path}'"
    )
    owner_columns = [found["owners"]] if owners is not None else []
    for name, column in ((labels, label.code_N), *((str(owners), column) for column in owner_columns)):
        if len(column) != len(image_NCHW):
            raise UserError(
                f"'{path}' has {len(image_NCHW)} samples in {inputs!r} but {len(column)} in {name!r}; expected as many of both"
            )
    label_N = label.code_N
    if unlabelled is not None:
        more_NCHW, more_owners = _more(path, unlabelled, inputs, owners, layout, image_NCHW)
        image_NCHW = torch.cat([image_NCHW, more_NCHW])
        label_N = np.concatenate([label_N, np.full(len(more_NCHW), -1)])
        owner_columns += more_owners
    owner = _owners(
        owner_columns,
        names_of(owner_names, found.get("owner_names"), "data.owner_names"),
        f"{owners!r} in '{path}'",
        len(label_N),
    )
    whole = Split(
        image_NCHW,
        torch.from_numpy(label_N),
        owners=None if owner is None else torch.from_numpy(owner.code_N),
        owner_names=() if owner is None else owner.names,
    )
    held_out = {
        "val": listed_names(val_owners, "data.val_owners") or val_fraction,
        "test": listed_names(test_owners, "data.test_owners") or test_fraction,
    }
    rows = _rows(whole, held_out, by_owner, seed, path)
    train, val, test = (whole.subset(torch.from_numpy(part)) for part in rows)
    splits = Splits(train, val, test, label.names, path.stem)
    require_taught(splits)
    return splits


def _rows(
    whole: Split, held_out: dict[str, list[str] | float], by_owner: bool, seed: int, path: Path
) -> tuple[NDArray[np.int64], ...]:
    """Rows of train, val and test; what has no label is in train alone."""
    fractions = {part: share for part, share in held_out.items() if not isinstance(share, list)}
    if not all(0 < share < 1 for share in fractions.values()) or sum(fractions.values()) >= 1:
        given = ", ".join(f"{part}_fraction={share:g}" for part, share in fractions.items())
        raise UserError(f"{given} of '{path}'; expected fractions above 0 that leave some to train on")
    label_N = whole.labels.numpy()
    labelled = np.flatnonzero(label_N >= 0)
    if not len(labelled):
        raise UserError(f"no sample in '{path}' has a label; expected some to validate and test on: label a few")
    if by_owner or len(fractions) < len(held_out):
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
    shares = (fractions["val"], fractions["test"], 1.0 - sum(fractions.values()))
    parts = stratified(label_N[labelled], shares, seed, ("val", "test", "train"))
    val, test, train = (labelled[part] for part in parts)
    return np.sort(np.concatenate([train, np.flatnonzero(label_N < 0)])), val, test


def _more(
    path: Path, unlabelled: str, inputs: str, owners: str | None, layout: str | None, like_NCHW: Tensor
) -> tuple[Tensor, list[NDArray[Any]]]:
    """The inputs of `unlabelled`, and if it has any their owners."""
    known, other = array_names(path), Path(unlabelled).expanduser()
    if unlabelled in known:
        found, where = read_arrays(path, {"inputs": unlabelled}), f"{unlabelled!r} in '{path}'"
    elif other.is_file():
        has_owners = owners is not None and owners in array_names(other)
        found = read_arrays(other, {"inputs": inputs} | ({"owners": str(owners)} if has_owners else {}))
        where = f"{inputs!r} in '{other}'"
    else:
        raise UserError(
            f"data.unlabelled={unlabelled} is neither an array of '{path}' nor a file{did_you_mean(unlabelled, known)} "
            f"(it has {', '.join(known[:20])})"
        )
    image_NCHW = as_images(found["inputs"], layout, where)
    if image_NCHW.shape[1:] != like_NCHW.shape[1:] or image_NCHW.dtype != like_NCHW.dtype:
        raise UserError(
            f"{where} is {image_NCHW.dtype} of {list(image_NCHW.shape[1:])} a sample, those with labels {like_NCHW.dtype} of "
            f"{list(like_NCHW.shape[1:])}; expected the same [C, H, W] and dtype"
        )
    if "owners" in found and len(found["owners"]) != len(image_NCHW):
        raise UserError(f"'{other}' has {len(image_NCHW)} samples but {len(found['owners'])} owners; expected as many")
    return image_NCHW, [found["owners"]] if "owners" in found else []


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
