"""Fields of manifest.json, each read as the type that it must have. All of these raise BundleError with the field's name."""

import math
from typing import Any

from mentee_device.bundle.errors import BundleError

LARGEST = 3e38  # of float32, which everything becomes that a graph is fed
MAX_ELEMENTS = 1 << 24  # of one sample's tensor: what a manifest may make a phone allocate for it
MAX_AXES = 16  # of one sample's tensor; numpy ends at 64
MAX_COUNT = 1 << 53  # what JSON's numbers are exact to


def get(raw: dict[str, Any], key: str, kind: type, where: str = "") -> Any:
    field = f"{where}.{key}" if where else key
    if key not in raw:
        raise BundleError(f"manifest.json lacks {field!r}: it was not made by a program of this format, fetch it again")
    value = raw[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BundleError(f"manifest.json: {field} is a {type(value).__name__}, expected a {kind.__name__}")
    return value


def number(raw: dict[str, Any], key: str, where: str, least: float = 0.0, most: float = LARGEST) -> float:
    value: Any = raw.get(key)
    if not fits_float32(value) or not least <= value <= most:
        raise BundleError(
            f"manifest.json: {where}.{key} is {repr(value)[:70]}, expected a number from {least:g} to {most:g}"
        )
    return float(value)


def fits_float32(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -LARGEST <= value <= LARGEST  # false for NaN as well; no overflow for an int of 400 digits


def numbers(raw: dict[str, Any], key: str, where: str) -> list[float]:
    values = get(raw, key, list, where)
    if not all(map(fits_float32, values)):
        raise BundleError(f"manifest.json: {where}.{key} must be a list of float32 numbers, got {str(values)[:70]}")
    return [float(value) for value in values]


def strings(raw: dict[str, Any], key: str) -> list[str]:
    values = get(raw, key, list)
    if not all(isinstance(value, str) for value in values):
        raise BundleError(f"manifest.json: {key} must be a list of strings")
    return [str(value) for value in values]


def shape_of(raw: dict[str, Any], key: str, where: str) -> tuple[int, ...]:
    sizes = tuple(whole(size, f"{where}.{key}") for size in get(raw, key, list, where))
    if len(sizes) > MAX_AXES or not 0 < math.prod(sizes) <= MAX_ELEMENTS:
        raise BundleError(
            f"manifest.json: {where}.{key} is {str(sizes)[:70]}, expected 1 to {MAX_ELEMENTS} numbers on "
            f"at most {MAX_AXES} axes"
        )
    return sizes


def choice(raw: dict[str, Any], key: str, known: tuple[str, ...]) -> str:
    """The first of `known` where the manifest has no such key."""
    value = raw.get(key, known[0])
    if value not in known:
        raise BundleError(
            f"manifest.json: {key} is {repr(value)[:70]}, this program knows {', '.join(known)}: update the program"
        )
    return str(value)


def whole(value: Any, where: str, least: int = 0, most: int = MAX_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        expected = f"a whole number of at least {least}" if most == MAX_COUNT else f"{least} to {most}"
        raise BundleError(f"manifest.json: {where} is {repr(value)[:70]}, expected {expected}")
    return value
