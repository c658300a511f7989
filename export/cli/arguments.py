"""`name=value` arguments of the verbs that need no Hydra: a dataclass of paths, flags, words and numbers says which there are.

What one would type elsewhere is read as well: `--json`, `--key FILE`, `--key=FILE`, and bare paths for what must be given.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from mentor_mentee.config.settings_help import described, for_terminal, own_default
from mentor_mentee.errors import UserError, did_you_mean

Settings = TypeVar("Settings")
SWITCH = {"true": True, "false": False}
NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}
PATHS: tuple[Any, ...] = (Path, Path | None)


def run(schema: type[Settings], words: Sequence[str], usage: str, act: Callable[[Settings], int]) -> int:
    """`act`'s exit code, or 2 after a user's mistake, which is one line on standard error, or 130 after Ctrl-C."""
    if {"-h", "--help"}.intersection(words):
        print(f"{usage}\n\n{for_terminal(described(schema))}")
        return 0
    try:
        return act(parsed(schema, words))
    except BrokenPipeError:
        raise  # to quiet_when_unread
    except (UserError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def parsed(schema: type[Settings], words: Sequence[str]) -> Settings:
    """Raises `UserError` for a name that `schema` lacks, a value that is none, and a setting that is missing."""
    types = {field.name: field.type for field in fields(schema)}  # type: ignore[arg-type]
    required = [field.name for field in fields(schema) if own_default(field) == "???"]  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for name, text in pairs(words, types, required):
        if name not in types:
            raise UserError(f"no setting '{name}'{did_you_mean(name, types)} (known: {', '.join(types)})")
        if name in given:
            raise UserError(f"{name} is given twice; expected it once")
        given[name] = value_of(name, text, types[name])
    for name in required:
        if name not in given:
            raise UserError(f"{name} is not set; give it as {name}=…")
    return schema(**given)


def pairs(words: Sequence[str], types: dict[str, Any], required: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of each argument, in whichever way it was written."""
    left, unnamed = list(words), list(required)
    while left:
        word = left.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if equals:
            yield name, text
        elif not word.startswith("-"):
            if not unnamed:
                raise UserError(f"'{word}' names no setting; write SETTING=VALUE (known: {', '.join(types)})")
            yield unnamed.pop(0), word
        elif types.get(name) in (bool, None):
            yield name, "true"
        elif left:
            yield name, left.pop(0)
        else:
            raise UserError(f"{name} is given no value; write {name}=…")


def value_of(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text not in SWITCH:
            raise UserError(f"{name}={text}{did_you_mean(text, SWITCH)}; expected true or false")
        return SWITCH[text]
    if kind in NUMBERS:
        try:
            return kind(text)
        except ValueError:
            raise UserError(f"{name}={text}; expected {NUMBERS[kind]}") from None
    optional = type(None) in getattr(kind, "__args__", ())
    if not text:
        raise UserError(f"{name}= is empty; expected a {'path' if kind in PATHS else 'value'}")
    if text == "null" and (optional or kind in PATHS):
        return None
    return Path(text) if kind in PATHS else text
