"""Finds likely mistakes in a data set: classes without samples, samples in two splits, names that differ in case only.

Axes: N samples.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from mentor_mentee.data.reading.image_files import listed
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.store.images import digests, highest
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
    if splits.dtype == "uint8" and highest(splits.train.images) <= 1:
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
    key_N, label_N = digests(splits.train.images), splits.train.labels.numpy()
    labelled = label_N >= 0
    _, first, same_N = np.unique(key_N[labelled], return_index=True, return_inverse=True)
    contradicting = int((label_N[labelled] != label_N[labelled][first][same_N]).sum())
    if contradicting:
        yield f"warning: {contradicting:,} training samples of {splits.name} are copies of others that have another label"
    for part, split in (("val", splits.val), ("test", splits.test)):
        copies = int(np.isin(digests(split.images), key_N).sum())
        if copies:
            yield (
                f"warning: {copies:,} of {len(split):,} {part} samples of {splits.name} are copies of samples in train: what is "
                "measured on them is remembered"
            )


def alike(kind: str, names: Sequence[str]) -> Iterator[str]:
    """Names that are one but for case and blanks: two spellings of one class, or, as in EMNIST's letters, two classes."""
    folded = Counter(plain(name) for name in names)
    pairs = [name for name in names if folded[plain(name)] > 1]
    if pairs:
        shown = ", ".join(map(repr, pairs[:6])) + (", …" if len(pairs) > 6 else "")
        yield f"warning: {kind} {shown} differ in case or blanks only and are taken as different {kind}"


def plain(name: str) -> str:
    return " ".join(name.split()).casefold()
