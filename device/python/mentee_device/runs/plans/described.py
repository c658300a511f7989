"""Fields of a dataclass that say what they are: `--help` and the documentation print the line, checks read the bounds."""

from dataclasses import field
from typing import Any


def described(default: Any, text: str, **bounds: float) -> Any:
    """A field with this default. `bounds`: `least` and `most` a value may be equal to, `above` it must lie."""
    return field(default=default, metadata={"help": text, **bounds})
