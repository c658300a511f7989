"""Checks of a record that somebody else wrote: each takes a value and where it stands, and raises Misfit for what is none.

They are strict, so that every client says the same of a file: no other keys, whole numbers without a point.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from mentee_device.bundle.fields import MAX_COUNT

Check = Callable[[Any, str], None]


class Misfit(ValueError):
    """A value that no program of this format writes; one line."""


def whole(least: int = 0, most: int = MAX_COUNT) -> Check:
    """A whole number, written without a point."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _misfit(value, where, f"a whole number from {least} to {most}")

    return check


def number(
    least: float = -math.inf, most: float = math.inf, above: float = -math.inf, below: float = math.inf
) -> Check:
    """A finite number; `above` and `below` leave out the bounds themselves."""

    def check(value: Any, where: str) -> None:
        if not is_number(value) or not (least <= value <= most and above < value < below):
            raise _misfit(value, where, "a finite number in its range")

    return check


def is_number(value: Any) -> bool:
    """Whether it is one that float64 holds, a whole one that it holds exactly."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_COUNT if isinstance(value, int) else math.isfinite(value)


def text(value: Any, where: str) -> None:
    """Any text."""
    if not isinstance(value, str):
        raise _misfit(value, where, "a text")


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _misfit(value, where, "true or false")


def matching(pattern: str, what: str) -> Check:
    """A text that is `pattern` from end to end."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise _misfit(value, where, what)

    return check


def one_of(*known: Any) -> Check:
    """One of these values, of its type."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(one) and value == one for one in known):
            raise _misfit(value, where, f"one of {', '.join(map(str, known))}")

    return check


def maybe(check: Check) -> Check:
    """Null, or what `check` takes."""

    def either(value: Any, where: str) -> None:
        if value is not None:
            check(value, where)

    return either


def list_of(check: Check, most: int = MAX_COUNT, least: int = 0) -> Check:
    """A list of `least` to `most` of them."""

    def each(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _misfit(value, where, f"a list of {least} to {most}")
        for place, one in enumerate(value):
            check(one, f"{where}[{place}]")

    return each


def pair(first: Check, second: Check) -> Check:
    """A list of two."""

    def both(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != 2:
            raise _misfit(value, where, "a list of two")
        first(value[0], f"{where}[0]")
        second(value[1], f"{where}[1]")

    return both


def keys(always: Mapping[str, Check], sometimes: Mapping[str, Check] | None = None) -> Check:
    """An object with all keys of `always`, and none besides but those of `sometimes`."""
    known = {**always, **(sometimes or {})}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _misfit(value, where, "an object")
        if lacking := always.keys() - value.keys():
            raise Misfit(f"{where or 'it'} lacks {sorted(lacking)[0]!r}")
        for name, one in value.items():
            if name not in known:
                raise Misfit(f"{where or 'it'} has {name[:70]!r}, which this program does not know")
            known[name](one, f"{where}.{name}".lstrip("."))

    return check


def table_of(name: Check, check: Check) -> Check:
    """An object whose keys are `name` and whose values `check` takes."""

    def each(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _misfit(value, where, "an object")
        for key, one in value.items():
            name(key, where)
            check(one, f"{where}.{key[:40]}")

    return each


def anything(value: Any, where: str) -> None:
    """JSON whose numbers are finite."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            anything(one, where)
    elif value is not None and not isinstance(value, str | bool) and not is_number(value):
        raise _misfit(value, where, "finite numbers")


def _misfit(value: Any, where: str, expected: str) -> Misfit:
    return Misfit(f"{where or 'it'} is {repr(value)[:70]}, expected {expected}")
