"""Writing a bundle so that it is there whole or not at all, and the zip of it."""

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mentor_mentee.errors import UserError

CLOCKS = 2.0  # seconds by which the system's two clocks may differ


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A folder that takes the name `path`, its zip beside it, when the block ends well, and is gone when it does not.

    Raises `UserError` where the disk is full, the place is not writable, or another process is writing there.
    """
    staging, aside, zipped = leftovers(path, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
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


def leftovers(path: Path, process: int) -> tuple[Path, Path, Path]:
    """Dotted names beside `path` under which `process` makes the new folder, sets the older one aside, and makes the zip."""
    place = [path.with_name(f".{path.name}.{process}.{end}") for end in ("partial", "old", "zip")]
    return place[0], place[1], place[2]


def recover(path: Path) -> None:
    """Ends what a process that was killed had begun at `path`, so that it holds one whole bundle and its own zip, or none.

    Killed before the new folder got its name, the older bundle comes back; killed after it, the new zip takes its place.
    Raises `UserError` where the other process is still alive.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.(partial|old|zip)")
    found = [pattern.fullmatch(name) for name in os.listdir(path.parent)] if path.parent.is_dir() else []
    for process in sorted({int(match[1]) for match in found if match}):
        if is_writing(process, leftovers(path, process)):
            if process == os.getpid():
                continue
            raise UserError(
                f"process {process} is writing '{path}'; wait for it, choose another bundle=…, or where it is no export "
                f"remove {path.parent}/.{path.name}.{process}.*"
            )
        staging, aside, zipped = leftovers(path, process)
        if aside.is_dir() and not path.exists():
            aside.rename(path)
        elif zipped.is_file() and path.is_dir() and not staging.exists() and is_zip_of(zipped, path):
            zipped.replace(path.with_name(path.name + ".zip"))
        for folder in (staging, aside):
            shutil.rmtree(folder, ignore_errors=True)
        zipped.unlink(missing_ok=True)


def is_writing(process: int, places: Iterable[Path]) -> bool:
    """Whether the living process of that number wrote them: numbers come round again, in a container that starts anew at once."""
    if not is_alive(process):
        return False
    began = started(process)
    written = [place.stat().st_mtime for place in places if place.exists()]
    return began is None or began <= max(written, default=began) + CLOCKS


def started(process: int) -> float | None:
    """Seconds since 1970; None where the system does not tell."""
    try:
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        (booted,) = (
            line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, ValueError, IndexError):
        return None
    return int(booted) + ticks / os.sysconf("SC_CLK_TCK")


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_zip_of(zipped: Path, folder: Path) -> bool:
    try:
        with zipfile.ZipFile(zipped) as archive:
            names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
            return set(archive.namelist()) == names and all(
                archive.read(name) == (folder / name).read_bytes() for name in names
            )
    except (OSError, zipfile.BadZipFile):
        return False


def as_json(content: Any) -> str:
    """Strict JSON, which every client parses: a NaN raises."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    """`files` of the manifest: sha256 and bytes of every file in `folder`."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    contents = {name: (folder / name).read_bytes() for name in names}
    return {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}


def zip_folder(folder: Path, path: Path) -> None:
    """Writes a zip whose bytes depend on the folder alone: sorted names, one date, no compression (weights do not compress)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
