"""Tables of settings for `--help` and for the docs: name, default, what it does. Imports neither torch nor Hydra.

The descriptions stand in the schemas, one a field: see `mentor_mentee.settings.setting`.
"""

import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

from mentor_mentee.config.folder import CONFIGS
from mentor_mentee.settings import HELP
from mentor_mentee.settings import setting as setting

REQUIRED = "???"
DEFAULT_WIDTH = 24
PIPED_WIDTH = 120  # of the table where nobody's terminal says how wide it is


class Described(NamedTuple):
    """One row: the dotted name as it is given on a command line, the default as it would be written there."""

    name: str
    default: str
    about: str


def described(schema: type, values: Any = None, path: str = "") -> list[Described]:
    """A row for each setting of a dataclass, those of a dataclass inside it after it, dotted.

    `values` are defaults that differ from the schema's own: an instance of it, or a (nested) mapping, as YAML files give it.
    The settings of a list's items are named `groups[].match`.
    """
    hints, rows = get_type_hints(schema), list[Described]()
    for each in fields(schema):
        name, kind, about = path + each.name, hints[each.name], each.metadata.get(HELP, "")
        default = own_default(each)
        value = values.get(each.name, default) if isinstance(values, Mapping) else getattr(values, each.name, default)
        if isinstance(kind, type) and is_dataclass(kind):
            rows += described(kind, value, f"{name}.")
            continue
        rows.append(Described(name, written(value), about))
        inside = "" if isinstance(kind, UnionType) else "[]"  # `Budget | None` is one of them, `list[Group]` many
        for item in get_args(kind):
            if isinstance(item, type) and is_dataclass(item):
                rows += described(item, None, f"{name}{inside}.")
    return rows


def own_default(each: Any) -> Any:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return REQUIRED if each.default is MISSING else each.default


def written(value: Any) -> str:
    """The value as on a command line: `null`, `true`, `[0.9,0.999]`; a recipe by its target."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "required" if value == REQUIRED else value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return str(
            value.get("_target_") or "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, Sequence):
        return "[" + ",".join(map(written, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def choices(schema: type, folder: Path = CONFIGS) -> dict[str, list[str]]:
    """Names of the YAML files that a setting chooses from: those of the folder of its name, as `augment` of `trainer.augment`."""
    names = dict.fromkeys(part for row in described(schema) for part in row.name.split("."))
    found = {name: sorted(file.stem for file in (folder / name).glob("*.yaml")) for name in names}
    return {name: options for name, options in found.items() if options}


def for_terminal(rows: Sequence[Described]) -> str:
    """Aligned columns, as wide as the terminal, descriptions wrapped."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("setting", no_wrap=True)
    table.add_column("default", overflow="fold", max_width=DEFAULT_WIDTH)
    table.add_column("what it does", min_width=30)
    for row in rows:
        table.add_row(*row)
    width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if sys.stdout.isatty() else PIPED_WIDTH
    console = Console(file=StringIO(), width=width, highlight=False, markup=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def as_markdown(rows: Sequence[Described]) -> str:
    """A table for the docs (Markdown and MyST)."""
    return "\n".join(markdown_lines(rows)) + "\n"


def markdown_lines(rows: Sequence[Described]) -> Iterator[str]:
    yield "| setting | default | what it does |"
    yield "|---|---|---|"
    for name, default, about in rows:
        yield (
            "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", f"`{default}`", literal(about))) + " |"
        )


def literal(text: str) -> str:
    """Plain text in which only `code` is Markdown: `last:<n>` or `_target_` outside of it mean themselves."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"[\\*_<>\[\]]", r"\\\g<0>", part) for part in parts)
