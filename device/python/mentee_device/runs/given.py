"""Values as a caller hands them over, numpy's among them, as plain Python: what a version stores is JSON."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from mentee_device.core.learner import LearningError


def plain(value: Any) -> Any:
    """A copy with Python's numbers and lists in place of numpy's, at any depth."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def plain_number(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`: `int`, `float`, or one of them or None. Raises LearningError."""
    kinds, found = get_args(kind) or (kind,), plain(value)
    whole = int in kinds
    if found is None and type(None) in kinds:
        return None
    if isinstance(found, bool) or not isinstance(found, int if whole else int | float):
        raise LearningError(f"{name} is {value!r}, expected a {'whole ' if whole else ''}number")
    return found
