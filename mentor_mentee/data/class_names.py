"""Checks names of classes before any training: a bundle and a model card carry them."""

from collections.abc import Sequence
from typing import Any

from mentor_mentee.errors import UserError


def require_class_names(classes: Sequence[Any], where: str) -> None:
    """Raises `UserError` for a name that is no text, that no file could hold, or that two classes have."""
    for label, name in enumerate(classes):
        if not isinstance(name, str):
            raise UserError(f"{where}: the name of class {label} is {name!r}; expected text, as '{name}'")
        try:
            name.encode()
        except UnicodeEncodeError:  # a folder whose name is not UTF-8
            raise UserError(
                f"{where}: the name of class {label}, {name!a}, is not UTF-8, so no file could hold it; rename it"
            ) from None
    twice = next((name for label, name in enumerate(classes) if name in classes[:label]), None)
    if twice is not None:
        raise UserError(f"{where}: two classes are called '{twice}'; expected a name of its own for each: rename one")
