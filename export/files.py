"""Writing a bundle so that it is there whole or not at all, and the zip of it."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data.errors import UserError


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A folder that takes the name `path`, its zip beside it, when the block ends well, and is gone when it does not.

    Raises `UserError` where the disk is full or the place is not writable.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.partial")
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    zipped = path.with_name(f".{path.name}.{os.getpid()}.zip")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
        zip_folder(staging, zipped)
        if path.exists():
            path.rename(aside)
        staging.rename(path)
        try:
            zipped.replace(path.with_name(path.name + ".zip"))
        except OSError:
            path.rename(staging)  # back out: the folder and its zip go together
            raise
    except OSError as error:
        raise UserError(f"the bundle '{path}' cannot be written: {error}; nothing was changed") from None
    finally:
        if aside.exists() and not path.exists():
            aside.rename(path)
        for leftover in (staging, aside):
            shutil.rmtree(leftover, ignore_errors=True)
        with suppress(OSError):
            zipped.unlink()


def write_json(path: Path, content: Any) -> None:
    path.write_bytes((json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    """`files` of the manifest: sha256 and bytes of every file in `folder`."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    contents = {name: (folder / name).read_bytes() for name in names}
    return {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}


def zip_folder(folder: Path, path: Path) -> None:
    """The same folder gives the same bytes: sorted names, one date, no compression (weights do not compress)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
