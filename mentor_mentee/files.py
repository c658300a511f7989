"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames it to `path` at the end.

    If the block raises, `path` stays as it was and the temporary file is removed. Two processes may write the same path.
    """
    with scratch(path) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yields a name beside `path` that is this process's own; what is left there at the end is removed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
