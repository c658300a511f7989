"""Keeps the folder of cached answers within its bound."""

import shutil
from collections.abc import Collection
from pathlib import Path


def lacking_room(folder: Path, wanted: Collection[Path], needed: int, limit: float) -> int:
    """Bytes that are missing for the files `wanted`, of `needed` bytes in all, once others were removed; 0: they fit.

    What was not used for longest is removed first, and nothing where it would not suffice. A process that still reads a
    removed file goes on reading it.
    """
    found = {path: path.stat() for path in folder.glob("*.safetensors")} if folder.is_dir() else {}
    new = needed - sum(found[path].st_size for path in wanted if path in found)
    others = sorted((path for path in found if path not in wanted), key=lambda path: found[path].st_mtime)
    taken = sum(found[path].st_size for path in others)
    free = shutil.disk_usage(existing(folder)).free
    if needed > limit or new > free + taken:
        return int(max(needed - limit, new - free - taken))
    for path in others:
        if taken + needed <= limit and new <= free:
            break
        path.unlink(missing_ok=True)
        taken -= found[path].st_size
        free += found[path].st_size
    return 0


def existing(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
