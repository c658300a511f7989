"""A user's mistake, and the nearest known name to a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake its maker can mend: the commands print it as one line, without a traceback, and exit with 2.

    Written as: what was wrong, where, what was expected, what to do.
    """


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`"; did you mean 'layer4'?"` when a known name is close to the given one, else the empty string."""
    close = get_close_matches(given, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
