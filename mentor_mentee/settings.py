"""A setting and its description in one place: the field of a dataclass."""

import copy
from dataclasses import field
from typing import Any

HELP = "help"  # the key of a field's metadata


def setting(default: Any, about: str) -> Any:
    """A dataclass field with a one-line description: `epochs: int = setting(20, "passes over the data")`.

    A list or mapping is copied for each instance. A class stands for settings of its own:
    `schedule: Schedule = setting(Schedule, "…")`. `"???"` means that it must be given.
    """
    metadata = {HELP: about}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
