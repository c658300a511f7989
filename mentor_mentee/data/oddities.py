"""Finds likely mistakes in a data set: classes without samples, samples in two splits, names that differ in case only.

Axes: N samples.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

from mentor_mentee.data.reading.image_files import listed
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError


def require_taught(splits: Splits) -> None:
    """Raises `UserError` where a class is judged that no training sample has; not where train has no label at all."""
    taught = set(splits.train.labels.tolist()) - {-1}
    for part, split in (("val", splits.val), ("test", splits.test)):
        untaught = sorted(set(split.labels.tolist()) - taught - {-1})
        if taught and untaught:
            names = [splits.classes[label] for label in untaught]
            raise UserError(
                f"{listed(names, len(splits.classes))} of {splits.name} have samples in {part} but no labelled one in train; "
                "use another data.seed, smaller fractions, or other owners"
            )


def oddities(splits: Splits) -> Iterator[str]:
    """A line for each."""
    yield from missing_classes(splits)
    if splits.dtype == "uint8" and int(splits.train.images.max()) <= 1:
        yield (
            f"warning: no pixel of {splits.name} is above 1, where uint8 runs from 0 to 255: resizing and augmentation round to "
            "whole levels; multiply by 255, or save them as float32"
        )
    yield from repeated(splits)
    yield from alike("classes", splits.classes)
    yield from alike("owners", splits.train.owner_names)


def missing_classes(splits: Splits) -> Iterator[str]:
    consequence = {
        "train": "nothing teaches them",
        "val": "an export refuses that, its golden set needs one of each; give val a larger share",
        "test": "what the mentee does with them is not measured",
    }
    for part, why in consequence.items():
        labels = getattr(splits, part).labels
        present = set(labels.tolist()) - {-1}
        missing = [name for label, name in enumerate(splits.classes) if label not in present]
        if missing and present:
            yield f"warning: {listed(missing, len(splits.classes))} of {splits.name} have no sample in {part}: {why}"


def repeated(splits: Splits) -> Iterator[str]:
    """Samples of which an exact copy is in train as well, and copies in train under another label."""
    keys_N, labels_N = keys(splits.train), splits.train.labels.tolist()
    label_of: dict[bytes, int] = {}
    contradicting = 0
    for key, label in zip(keys_N, labels_N, strict=True):
        contradicting += label >= 0 and label_of.setdefault(key, label) != label
    if contradicting:
        yield f"warning: {contradicting:,} training samples of {splits.name} are copies of others that have another label"
    known = set(keys_N)
    for part, split in (("val", splits.val), ("test", splits.test)):
        copies = sum(key in known for key in keys(split))
        if copies:
            yield (
                f"warning: {copies:,} of {len(split):,} {part} samples of {splits.name} are copies of samples in train: what is "
                "measured on them is remembered"
            )


def keys(split: Split) -> list[bytes]:
    """A digest for each sample's pixels."""
    pixels = split.images.contiguous().numpy()
    return [blake2b(np.ascontiguousarray(sample).data, digest_size=16).digest() for sample in pixels]


def alike(kind: str, names: Sequence[str]) -> Iterator[str]:
    """Names that are one but for case and blanks: two spellings of one class, or, as in EMNIST's letters, two classes."""
    folded = Counter(plain(name) for name in names)
    pairs = [name for name in names if folded[plain(name)] > 1]
    if pairs:
        shown = ", ".join(map(repr, pairs[:6])) + (", …" if len(pairs) > 6 else "")
        yield f"warning: {kind} {shown} differ in case or blanks only and are taken as different {kind}"


def plain(name: str) -> str:
    return " ".join(name.split()).casefold()
