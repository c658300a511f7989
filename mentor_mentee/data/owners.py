"""Whole owners (speakers, writers, wearers) into train, val and test, so that nobody is in two of them.

What a mentee does for people it never met is only seen this way: samples of one person resemble each other.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.errors import UserError, did_you_mean

Rows = NDArray[np.int64]


def split_by_owner(
    owners_N: Rows,
    labels_N: Rows,
    names: Sequence[str],
    val: float | Sequence[str],
    test: float | Sequence[str],
    seed: int,
) -> tuple[Rows, Rows, Rows]:
    """Rows of train, val and test, ascending. `names` are those of owners 0, 1, ..., or empty: then they are numbers.

    `val` and `test` name their owners, or are fractions of all owners that have a label (rounded, at least one), drawn by
    `seed`. An owner without any label trains. Unlabelled samples of the owners of val and test are in no split: they cannot
    be judged, and to train on them would be to have met their owner.
    """
    labelled = np.unique(owners_N[labels_N >= 0])
    free = np.random.default_rng(seed).permutation(labelled)
    chosen: dict[str, Rows] = {}
    wanted = {"test": test, "val": val}
    for part in sorted(wanted, key=lambda part: isinstance(wanted[part], float)):  # those that are named come first
        asked = wanted[part]
        if isinstance(asked, float):
            chosen[part] = free[: max(1, round(asked * len(labelled)))]
        else:
            chosen[part] = _named(asked, owners_N, labelled, names, part)
            if twice := np.intersect1d(chosen[part], np.setdiff1d(labelled, free)).tolist():
                raise UserError(f"owner {_name(twice[0], names)} is both in test_owners and val_owners; name it once")
        free = free[~np.isin(free, chosen[part])]
    if not len(free) or not len(chosen["val"]):
        raise UserError(
            f"{len(labelled)} owners have labelled samples, {len(chosen['test'])} of them are for test and "
            f"{len(chosen['val'])} for val; expected at least one in each and one to train on: name fewer, or lower a fraction"
        )
    held_out = np.isin(owners_N, np.concatenate([chosen["val"], chosen["test"]]))
    judged = [np.flatnonzero(np.isin(owners_N, chosen[part]) & (labels_N >= 0)) for part in ("val", "test")]
    return np.flatnonzero(~held_out), judged[0], judged[1]


def _named(asked: Sequence[str], owners_N: Rows, labelled: Rows, names: Sequence[str], part: str) -> Rows:
    known = {_name(owner, names): owner for owner in np.unique(owners_N).tolist()}
    for name in asked:
        if name not in known:
            raise UserError(
                f"no owner {name!r} for {part}_owners{did_you_mean(name, known)} "
                f"(there are {len(known)}: {', '.join(list(known)[:10])}{', ...' if len(known) > 10 else ''})"
            )
        if known[name] not in labelled:
            raise UserError(f"owner {name!r} of {part}_owners has no labelled sample to judge by; name another")
    return np.array(sorted({known[name] for name in asked}), np.int64)


def _name(owner: int, names: Sequence[str]) -> str:
    return names[owner] if names else str(owner)
