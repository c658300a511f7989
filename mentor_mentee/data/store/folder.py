"""The folder of all stores: which is whose, what is free, and what lies there that this run does not use."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from mentor_mentee.data.store.block import SUFFIX
from mentor_mentee.data.store.source import Source
from mentor_mentee.data.store.store import FORMAT, Layout
from mentor_mentee.progress import remark


def store_folder(source: Source, cache: Path, name: str) -> Path:
    """One for all listings of a data set under the same options: where it grew or was moved it finds its blocks again."""
    about = f"{FORMAT} {source.shape} {source.dtype} {source.options}"
    readable = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:40] or "images"
    return cache / f"{readable}-{hashlib.sha256(about.encode(errors='surrogateescape')).hexdigest()[:12]}"


def free_bytes(folder: Path) -> int:
    """Raises `OSError` where no file can be written there."""
    probe = folder / f"writable.{os.getpid()}.partial"
    probe.touch()
    probe.unlink()
    return shutil.disk_usage(folder).free


def say_others(cache: Path, layout: Layout) -> None:
    """Names what else the cache holds, with its size; nothing is removed, for another run may use it."""
    used = {layout.path(block).name for block in range(len(layout))}
    stale = sum(entry.stat().st_size for entry in blocks_in(layout.folder) if entry.name not in used)
    others = {folder.name: sum(entry.stat().st_size for entry in blocks_in(folder)) for folder in stores_in(cache)}
    others.pop(layout.folder.name, None)
    if stale:
        remark(
            f"'{layout.folder}' also holds {in_bytes(stale)} of images that are not in this data set, or were changed since; "
            "where no other run uses them, delete the folder and have it made again"
        )
    if total := sum(others.values()):
        named = ", ".join(sorted(others, key=lambda name: -others[name])[:5])
        remark(
            f"'{cache}' holds {in_bytes(total)} of other decoded images ({named}); delete the folders that are no longer used"
        )


def stores_in(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def blocks_in(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name.endswith(SUFFIX)]


def in_bytes(count: float) -> str:
    """`431 MB`, `1.2 GB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
