"""Somebody's own data as Splits: map-style data sets of torch, and those of Hugging Face `datasets`.

Axes: N samples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mentor_mentee.data.reading.array_columns import as_labels
from mentor_mentee.data.reading.image_files import GROUNDS
from mentor_mentee.data.reading.items import GROUND, ItemSource, Keys
from mentor_mentee.data.splits import Photo, Split, Splits, with_unlabelled
from mentor_mentee.data.store.build import held
from mentor_mentee.data.store.images import section
from mentor_mentee.data.stratify import stratified
from mentor_mentee.errors import UserError

PARTS = {  # names that the parts of a data set go by
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
    "unsupervised": "unlabelled",
}
IMAGES, LABELS = ("image", "img", "pixel_values"), ("label", "labels", "fine_label", "target")
EXPECTED = (
    "expected a map-style data set (with __len__ and __getitem__), a mapping of such by train, val and test, or "
    "mentor_mentee.data.splits.Splits"
)


def own_data(found: Any, name: str, identity: str, options: Mapping[str, Any]) -> Splits:
    """Splits of what a callable returned. `identity`: of that callable and its options; `options`: `load.OWN_OPTIONS`.

    Classes are those of `classes` or of the features, else the numbers that occur. Raises `UserError` for what is no such
    data set, and for items that are none of the known kinds, of other sizes, or change between two readings.
    """
    parts = parts_of(found, name)
    first = next(iter(parts.values()))
    prints = [str(getattr(part, "_fingerprint", "")) for part in parts.values()]  # of Hugging Face, by content
    source = ItemSource(parts, keys_of(first, options), options["size"], f"{identity} {prints}")
    images, _, label_N = held(source, name, options["cache"], options["memory_mb"])
    label = as_labels(label_N, classes_of(first, options["label"]), f"the labels of {name}")
    splits: dict[str, Split] = {}
    start = 0
    for part, content in parts.items():
        stop = start + len(content)
        labels = torch.from_numpy(label.code_N[start:stop])
        splits[part] = Split(
            section(images, start, stop), torch.full_like(labels, -1) if part == "unlabelled" else labels
        )
        start = stop
    more = splits.pop("unlabelled", None)
    splits |= carved(splits, options, name)
    train = splits["train"] if more is None else with_unlabelled(splits["train"], len(parts["train"]), more.images)
    photo = Photo(ground=GROUNDS[GROUND]) if source.scaled else None
    return Splits(train, splits["val"], splits["test"], label.names, name, photo)


def parts_of(found: Any, name: str) -> dict[str, Any]:
    """By our names, train first."""
    given = dict(found) if isinstance(found, Mapping) else {"train": found}
    parts: dict[str, Any] = {}
    for key, part in given.items():
        ours = PARTS.get(str(key).casefold())
        if ours is None or ours in parts:
            raise UserError(
                f"{name} has a part {key!r}{' twice' if ours else ''}; expected train, val, test, unlabelled"
            )
        if not hasattr(part, "__getitem__") or isinstance(part, str | bytes | Mapping | tuple):
            raise UserError(f"{name} is a {type(part).__qualname__}; {EXPECTED}")
        try:
            length = len(part)
        except (TypeError, NotImplementedError):
            raise UserError(
                f"{name} is a {type(part).__qualname__}, which has no length; {EXPECTED}: samples are drawn by their index, so "
                "that a run can be repeated and resumed"
            ) from None
        if not length:
            raise UserError(
                f"the part {key!r} of {name} is empty; expected at least one sample: leave it out, or fill it"
            )
        parts[ours] = part
    if "train" not in parts:
        raise UserError(
            f"{name} has {', '.join(map(repr, given)) or 'no part'} but no train; expected train among them"
        )
    return {"train": parts.pop("train"), **parts}


def keys_of(part: Any, options: Mapping[str, Any]) -> Keys:
    """By the features of Hugging Face; by usual names in a mapping; else the first and the second of a tuple."""
    image, label = options["image"], options["label"]
    features = getattr(part, "features", None)
    columns: Mapping[str, Any] = features if isinstance(features, Mapping) else {}
    if not columns:
        first = part[0]
        if not isinstance(first, Mapping):
            return Keys(0 if image is None else image, 1 if label is None else label)
        columns = first
    for option, value in (("image", image), ("label", label)):
        if value is not None and value not in columns:
            raise UserError(f"no column {value!r} for data.{option} (there are {', '.join(map(repr, columns))})")
    kinds = {key: type(kind).__name__ for key, kind in columns.items()}
    found = image if image is not None else only(kinds, "Image", IMAGES, "image")
    if found is None:
        raise UserError(f"no column of images among {', '.join(map(repr, columns))}; set data.image=<its name>")
    return Keys(found, label if label is not None else only(kinds, "ClassLabel", LABELS, "label"))


def only(kinds: Mapping[str, str], kind: str, usual: tuple[str, ...], option: str) -> str | None:
    """The one column of a kind of feature, else the first by a usual name. Raises `UserError` where there are several."""
    fitting = [key for key, of in kinds.items() if of == kind]
    if len(fitting) > 1:
        raise UserError(f"{', '.join(map(repr, fitting))} could be the {option}; set data.{option}={fitting[0]}")
    return next(iter(fitting), next((key for key in usual if key in kinds), None))


def classes_of(part: Any, label: Any) -> tuple[str, ...] | None:
    features = getattr(part, "features", None)
    if isinstance(features, Mapping):
        key = label if label is not None else keys_of(part, {"image": None, "label": None}).label
        names = getattr(features.get(key), "names", None)
    else:
        names = getattr(part, "classes", None)
    if not isinstance(names, list | tuple) or not names:
        return None
    # torchvision's MNIST has "0 - zero"; some data sets have a tuple of synonyms
    return tuple(", ".join(map(str, one)) if isinstance(one, list | tuple) else str(one) for one in names)


def carved(splits: Mapping[str, Split], options: Mapping[str, Any], name: str) -> dict[str, Split]:
    """The splits that are taken from the training samples, stratified, and what is left to train on."""
    shares = {part: options[f"{part}_fraction"] for part in ("val", "test") if part not in splits}
    if not shares:
        return {}
    if not all(0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        given = ", ".join(f"{part}_fraction={share:g}" for part, share in shares.items())
        raise UserError(f"{given} of {name}; expected fractions above 0 that leave some to train on")
    train, names = splits["train"], (*shares, "train")
    label_N: NDArray[np.int64] = train.labels.numpy()
    labelled = np.flatnonzero(label_N >= 0)
    if not len(labelled):
        raise UserError(f"no sample of {name} has a label; expected some to validate and test on: set data.label=...")
    seed = options["split_seed"]
    rows = [
        labelled[part]
        for part in stratified(label_N[labelled], (*shares.values(), 1 - sum(shares.values())), seed, names)
    ]
    rows[-1] = np.sort(np.concatenate([rows[-1], np.flatnonzero(label_N < 0)]))
    return {part: train.subset(torch.from_numpy(taken)) for part, taken in zip(names, rows, strict=True)}
