"""A setting and its description in one place: the field of a dataclass. Without torch, on the device as well."""

from dataclasses import field
from typing import Any


def described(default: Any, about: str, *, least: float | None = None, above: float | None = None) -> Any:
    """A dataclass field with its description and bounds."""
    return field(default=default, metadata={"help": about, "least": least, "above": above})
