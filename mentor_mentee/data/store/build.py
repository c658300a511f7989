"""Decodes a source into memory, or where it is large into a store on disk, by several processes.

A build that is stopped, by whatever, goes on later with the blocks that are missing. Several processes may build one store:
each takes the missing blocks in an order of its own and passes over those that another has written by then.
Axes: N images.
"""

import errno
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mentor_mentee.data.store.block import BROKEN, Table
from mentor_mentee.data.store.folder import free_bytes, in_bytes, say_others, store_folder
from mentor_mentee.data.store.images import Images, StoredImages
from mentor_mentee.data.store.source import CACHE, MEMORY_MB, Source, fault, sample_bytes, total_bytes
from mentor_mentee.data.store.store import Layout, Store
from mentor_mentee.errors import UserError
from mentor_mentee.progress import Progress, remark

TITLE = "reading images"
AT_ONCE = 16  # images decoded between two looks at the clock
MARGIN = 2**26  # bytes of a disk that stay free


class Held(NamedTuple):
    images: Images
    mark_N: NDArray[np.uint8]
    label_N: NDArray[np.int64]


def held(source: Source, name: str, cache: str | Path = CACHE, memory_mb: float = MEMORY_MB) -> Held:
    """All images of a source: in memory up to `memory_mb` megabytes (2^20 bytes) of pixels, above in the folder `cache`.

    `name` is for people who look into that folder. Raises `UserError` where the source does, and where the folder cannot be
    written or the disk is full; what was decoded by then is not lost.
    """
    if total_bytes(source) <= memory_mb * 2**20:
        return in_memory(source)
    store = opened(source, Path(cache).expanduser(), name)
    return Held(StoredImages(store), store.table["mark"], store.table["label"].astype(np.int64))


def in_memory(source: Source) -> Held:
    pixels_NCHW = np.empty((len(source), *source.shape), source.dtype)
    marks, labels, progress = list[int](), list[int](), Progress(TITLE, len(source))
    for start in range(0, len(source), AT_ONCE):
        found = source.decoded(start, min(start + AT_ONCE, len(source)))
        pixels_NCHW[start : start + len(found.mark_N)] = found.pixels_NCHW
        marks += found.mark_N
        labels += found.label_N
        progress.at(len(marks))
    return Held(torch.from_numpy(pixels_NCHW), np.array(marks, np.uint8), np.array(labels, np.int64))


def opened(source: Source, cache: Path, name: str) -> Store:
    layout = Layout(source, store_folder(source, cache, name))
    tables = [layout.table(block) for block in range(len(layout))]
    missing = [block for block, table in enumerate(tables) if table is None]
    if missing:
        require_room(layout, missing, cache)
        with layout.decoding():
            build(layout, missing)
        for block in missing:
            tables[block] = layout.table(block)
    whole = [table for table in tables if table is not None]
    if len(whole) < len(tables):
        raise UserError(
            f"blocks of '{layout.folder}' were damaged or removed as soon as they were written; start again"
        )
    return Store(layout, whole)


def build(layout: Layout, missing: list[int]) -> None:
    """Makes the missing blocks, and says how far it is."""
    images = sum(map(layout.size, missing))
    order = missing.copy()
    random.Random().shuffle(order)  # several processes that build one store seldom take the same block
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(order))
    loader = DataLoader(
        Blocks(layout),
        batch_size=None,
        sampler=order,
        num_workers=workers if images > AT_ONCE * workers else 0,
        collate_fn=as_it_is,
        generator=torch.Generator(),  # else it draws from torch's global random state
    )
    progress, done, warned = Progress(TITLE, images), 0, False
    for block, outcome in made(loader):
        if isinstance(outcome, OSError):
            raise UserError(stopped(layout, outcome, images - done)) from None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None and not warned:
            warned = True
            remark(
                f"{fault(layout.source.reason(outcome))}; the others are decoded first, then all that are broken are counted"
            )
        done += layout.size(block)
        progress.at(done)


def require_room(layout: Layout, missing: list[int], cache: Path) -> None:
    """Makes the folder, says what will be written to it, and raises `UserError` where it cannot be, or does not fit."""
    images = sum(map(layout.size, missing))
    folder, needed = layout.folder, images * sample_bytes(layout.source)
    damaged = sum(layout.path(block).exists() for block in missing)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        free = free_bytes(folder)
    except OSError as error:
        raise UserError(
            f"decoded images cannot be written to '{folder}' ({error.strerror}); set data.cache=... to a folder that can be "
            "written"
        ) from None
    if damaged:
        remark(f"{damaged} of {len(layout)} blocks of decoded images in '{folder}' are damaged and made again")
    before = len(layout.source) - images
    known = (
        f" ({before:,} others are there already; these are new, changed or of a run that was stopped)" if before else ""
    )
    remark(
        f"decoding {images:,} images once, into {in_bytes(needed)} of '{folder}', where {in_bytes(free)} are free{known}"
    )
    say_others(cache, layout)
    if needed + MARGIN > free:
        raise UserError(
            f"the decoded images need {in_bytes(needed)} of '{folder}', of which {in_bytes(free)} are free; free some, set "
            "data.cache=... to another disk, or make the images smaller (data.size)"
        )


def stopped(layout: Layout, error: OSError, left: int) -> str:
    why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
    return (
        f"decoded images cannot be written to '{layout.folder}' ({why}); {left:,} images are left, those decoded so far stay: "
        f"free {in_bytes(left * sample_bytes(layout.source))} and start again, or set data.cache=... to another disk"
    )


def remove_leftovers(folder: Path) -> None:
    """Files that a killed process was writing; not those of the last hour, which another may be writing now."""
    for path in folder.glob("*.partial"):
        try:
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()
        except FileNotFoundError:
            continue


def made(loader: "DataLoader[Outcome]") -> "Iterator[Outcome]":
    try:
        yield from loader
    except RuntimeError as error:  # a process was killed, mostly for want of memory
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"a process that decoded images ended ({reason}); those decoded so far stay: start again, with less else running"
        ) from None


def as_it_is(outcome: Any) -> Any:
    return outcome


class Outcome(NamedTuple):
    block: int
    broken: int | Exception | None  # the first row that could not be decoded, or what went wrong


class Blocks(Dataset[Outcome]):
    """Item i: block i is made, or found to be there. What goes wrong is returned: a worker would raise it as another error."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def __getitem__(self, block: int) -> Outcome:
        try:
            table: Table | None = self.layout.table(block)
            if table is None:
                table = self.layout.make(block)
        except (OSError, UserError) as error:
            return Outcome(block, error)
        broken = np.flatnonzero(table["mark"] == BROKEN)
        return Outcome(block, int(self.layout.starts[block] + broken[0]) if len(broken) else None)
