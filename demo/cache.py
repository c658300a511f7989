"""Figures of an earlier run of the demo, in a file that names what they were made with."""

import json
from pathlib import Path
from typing import Any

from mentor_mentee.files import write_json


def save_json(path: Path, key: str, content: dict[str, Any]) -> None:
    write_json(path, {"key": key, **content})


def cached_json(path: Path, key: str) -> dict[str, Any] | None:
    """Content that `save_json` left there, unless it was under another key."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content if content.pop("key", None) == key else None
