"""Keeps what was typed where a setting is text: Hydra reads `classes=[1e3,true]` as 1000.0 and True before anybody is asked."""

import re
from dataclasses import fields, is_dataclass
from typing import get_args

NAMES = {  # settings inside free mappings, whose values are names, of classes, owners, arrays and files
    f"data.{name}"
    for name in (
        *("classes", "held_out", "owner_names", "val_owners", "test_owners"),
        *("inputs", "labels", "owners", "unlabelled", "root", "path"),
    )
}
LAYERS = re.compile(r"probes\.(?!_\w+_$)\w+$")  # a probe's pair; probes._normalise_ is a switch
OTHER_THAN_TEXT = re.compile(
    r"[+-]?(?:\d[\d_]*\.?[\d_]*(?:e[+-]?\d[\d_]*)?|\.\d[\d_]*(?:e[+-]?\d[\d_]*)?|inf|nan)|true|false|null",
    re.IGNORECASE,
)
QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
PART = re.compile(rf"{QUOTED}|[\[\],]|[^\[\],'\"]+")


def text_settings(schema: type, path: str = "") -> set[str]:
    """Dotted names of the settings whose type is text, and `NAMES`."""
    found = set(NAMES) if not path else set()
    for field in fields(schema):
        here = f"{path}{field.name}"
        kinds = set(get_args(field.type)) or {field.type}
        if kinds <= {str, type(None)}:
            found.add(here)
        elif isinstance(field.type, type) and is_dataclass(field.type):
            found |= text_settings(field.type, f"{here}.")
    return found


def as_typed(argument: str, settings: set[str]) -> str:
    """`data.classes=[1e3,true]` -> `data.classes=['1e3','true']`. `null` alone stays: it leaves a setting unset."""
    found = re.fullmatch(r"(\+*)([\w.]+)=(.*)", argument, re.DOTALL)
    if found is None or not (found[2] in settings or LAYERS.match(found[2])):
        return argument
    if re.search(r"[(){}$]", re.sub(QUOTED, "", found[3])):
        return argument  # Hydra's own words: choice(…), {key: value}, ${…}
    parts: list[str] = PART.findall(found[3])
    depth = 0
    if "".join(parts) != found[3]:
        return argument  # an open quote, of which Hydra says what is wrong
    for i, part in enumerate(parts):
        depth += (part == "[") - (part == "]")
        word = part.strip()
        if needs_quotes(word) and (depth or word.lower() != "null"):
            parts[i] = part.replace(word, f"'{word}'")
    return f"{found[1]}{found[2]}={''.join(parts)}"


def needs_quotes(word: str) -> bool:
    """Hydra reads it as a number, a switch or nothing, or cannot read it: its grammar has no letters beyond ASCII."""
    quoted = word[:1] in ("'", '"')
    return not quoted and (bool(OTHER_THAN_TEXT.fullmatch(word)) or not word.isascii())
