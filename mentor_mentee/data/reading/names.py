"""Names as a user writes them: of classes, owners and arrays. YAML makes numbers and switches of some; those are refused."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from mentor_mentee.data.reading.array_columns import as_text
from mentor_mentee.errors import UserError

Owners = str | int | Sequence[str | int]


def names_of(given: str | Sequence[str] | None, column: NDArray[Any] | None, where: str) -> tuple[str, ...] | None:
    """Those of a column, where `given` is its name, else those given."""
    if column is not None:
        return tuple(as_text(column, f"the array {given!r} of names").tolist())
    return None if given is None else tuple(as_typed(name, where) for name in given)


def listed_names(owners: Owners | None, where: str) -> list[str]:
    if owners is None:
        return []
    return [as_typed(owner, where) for owner in ([owners] if isinstance(owners, str | int | float) else owners)]


def as_typed(name: object, where: str) -> str:
    """A name is text, or a whole number. The text of YAML's `1e3`, `true` or `null` is not what was typed."""
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise UserError(f"{where} has {name!r}, as YAML reads it; expected a name: write it in quotes")
    return str(name)


def require_names_of_arrays(**given: object) -> None:
    for option, name in given.items():
        if name is not None and not isinstance(name, str):
            raise UserError(f"data.{option}={name!r}; expected the name of an array: write it in quotes")
