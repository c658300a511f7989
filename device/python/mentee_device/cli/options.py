"""Options of a command from the fields of a dataclass, each with the line that the field says of itself."""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_args, get_type_hints


def add_fields(
    command: argparse.ArgumentParser,
    kind: type,
    leave_out: Iterable[str] = (),
    choices: Mapping[str, Iterable[str]] | None = None,
    flags: Mapping[str, str] | None = None,
) -> None:
    """An option for each field of `kind`; one that is not given is None. `flags`: those whose option has another name."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        if one.name in leave_out:
            continue
        flag = (flags or {}).get(one.name, f"--{one.name.replace('_', '-')}")
        if one.default is False:
            command.add_argument(flag, action="store_const", const=True, help=one.metadata["help"])
        else:
            command.add_argument(
                flag,
                type=_reader(one, hints[one.name]),
                choices=(choices or {}).get(one.name),
                metavar=None if one.name in (choices or {}) else "N",
                help=_help(one),
            )


def given_fields(
    given: argparse.Namespace, kind: type, leave_out: Iterable[str] = (), flags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Values that the command line gives for fields of `kind`; for the rest the defaults of `kind` hold."""
    found = {}
    for one in fields(kind):
        place = (flags or {}).get(one.name, one.name).lstrip("-").replace("-", "_")
        value = None if one.name in leave_out else getattr(given, place, None)
        if value is not None:
            found[one.name] = value
    return found


def described_fields(kind: type) -> str:
    """A line for each field: name, default, description."""
    lines = []
    for one in fields(kind):
        default = "none" if one.default is None else one.default
        lines.append(f"  {one.name:<20} {default!s:<10} {one.metadata['help']}")
    return "\n".join(lines)


def _help(one: "Field[Any]") -> str:
    text = str(one.metadata["help"]).replace("%", "%%")
    return text if one.default in (None, MISSING) else f"{text} (default {one.default})"


def _reader(one: "Field[Any]", hint: Any) -> Any:
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    if kinds[0] is int:
        return at_least(int(one.metadata.get("least", 1)))
    return kinds[0]


def curve(text: str) -> Any:
    """A number, or `[[0, 2], [1, 0.1]]` over the run."""
    try:
        return json.loads(text) if text.lstrip().startswith("[") else float(text)
    except RecursionError:
        raise ValueError("lists within lists") from None


def at_least(lowest: int) -> Any:
    """Reads a whole number from there on."""

    def whole_number(text: str) -> int:
        if (value := int(text)) < lowest:
            raise ValueError
        return value

    whole_number.__name__ = f"whole number of at least {lowest}"  # argparse shows it: "invalid … value: '0'"
    return whole_number
