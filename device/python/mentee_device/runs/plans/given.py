"""Values as a caller hands them over, numpy's among them, as plain Python: what a version stores is JSON."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np

from mentee_device.bundle.fields import LARGEST
from mentee_device.core.step import LearningError

MOST_WHOLE = 1 << 63  # what SQLite and numpy hold


def plain(value: Any) -> Any:
    """A copy with Python's numbers and lists in place of numpy's, at any depth."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def plain_number(name: str, value: Any, kind: Any, error: type[Exception] = LearningError) -> Any:
    """`value` as `kind`: `int`, `float`, or one of them or None. Raises `error`."""
    kinds, found = get_args(kind) or (kind,), plain(value)
    whole = int in kinds
    if found is None and type(None) in kinds:
        return None
    if isinstance(found, bool) or not isinstance(found, int if whole else int | float):
        raise error(f"{name} is {repr(value)[:70]}, expected a {'whole ' if whole else ''}number")
    if isinstance(found, int) and abs(found) >= MOST_WHOLE:
        raise error(f"{name} is {repr(value)[:70]}, expected a number below 2⁶³")
    return found


def plain_numbers(given: Any, error: type[Exception]) -> None:
    """Makes every number of a frozen dataclass Python's own, and checks its bounds (described.py). Raises `error`."""
    for one in fields(given):
        if not {int, float}.intersection({one.type, *get_args(one.type)}):
            continue
        value = plain_number(one.name, getattr(given, one.name), one.type, error)
        least, most, above = (one.metadata.get(bound) for bound in ("least", "most", "above"))
        if value is not None and not _within(value, least, most, above):
            limits = [
                f"of at least {least:g}" if least is not None else "",
                f"above {above:g}" if above is not None else "",
            ]
            limits += [f"at most {most:g}" if most is not None else ""]
            raise error(
                f"{one.name} is {value}, expected a finite number {' and '.join(filter(None, limits))}".rstrip()
            )
        object.__setattr__(given, one.name, value)  # it is frozen for everybody else


def _within(value: float, least: float | None, most: float | None, above: float | None) -> bool:
    return (
        -LARGEST < value < LARGEST
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
    )
