"""Imports a package of an extra, or says in one line which to install."""

from importlib import import_module
from typing import Any

from mentor_mentee.errors import UserError


def optional(package: str, extra: str, what: str) -> Any:
    """The module `package`. Raises `UserError` where it is not installed, or cannot be imported."""
    try:
        return import_module(package)
    except ImportError as error:
        missing = error.name in (None, package.partition(".")[0])
        reason = "is not installed" if missing else f"cannot be imported ({' '.join(str(error).split())[:200]})"
        raise UserError(
            f"{what} needs the package {package.partition('.')[0]}, which {reason}: pip install 'mentor-mentee[{extra}]'"
        ) from None
