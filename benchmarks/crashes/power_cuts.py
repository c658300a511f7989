"""Power cuts that lose what was not synced, simulated on the record of all that a process asked of its disk: see kills.py."""

import copy
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crashes.acknowledged import Acknowledged, Count, child, examine, on
from benchmarks.crashes.disk_trace import OUTSIDE, Create, Event, Rename, Resize, Said, Sync, Unlink, Write, record

SECTOR = 512
NEVER_READ = "-shm"  # an index of the log: SQLite makes it anew when nobody had it open
LOG_PAGES = (30, 1000)  # written back to the database after so many pages: often, and as SQLite does it


@dataclass
class File:
    """A file on the drive: the synced part, and the writes since the last sync."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list)

    def sync(self) -> None:
        for one in self.pending:
            apply(one, self.synced)
        self.pending.clear()

    def lost(self, chance: random.Random) -> bytes:
        """Each sector holds what it held after the sync or after any write since, each resize was done or was not."""
        found, number = bytearray(self.synced), len(self.pending)
        how = chance.choice(("none", "all", "in order", "any order", "any order"))
        reached = {"none": 0, "all": number}.get(how, chance.randint(0, number))
        of_sector: dict[int, int] = {}

        def arrived(at: int, sector: int) -> bool:
            if how != "any order":
                return at < reached
            if sector not in of_sector:
                of_sector[sector] = number if chance.random() < 0.6 else chance.randint(0, number)
            return at < of_sector[sector]

        for at, one in enumerate(self.pending):
            if isinstance(one, Resize):
                if at < reached:
                    apply(one, found)
                continue
            for start, stop in sectors(one.at, one.at + len(one.data)):
                if arrived(at, start // SECTOR):
                    apply(Write(one.name, start, one.data[start - one.at : stop - one.at]), found)
        return bytes(found)


class Disk:
    """A folder's files, in what was asked and in what is sure, from `before` or from no folder. With `lying`, a drive that
    says synced and is not."""

    def __init__(self, before: dict[str, bytes] | None = None, lying: bool = False) -> None:
        self.names = {name: File(bytearray(data)) for name, data in (before or {}).items()}
        self._synced_names = dict(self.names)
        self._pending_names: list[dict[str, File]] = []  # the folder after each change since it was synced
        self._made = self._sure = before is not None  # the folder itself
        self._lying = lying

    def do(self, event: Event) -> None:
        match event:
            case Create(""):
                self._made = True
            case Create(name):
                if name not in self.names:
                    self.names[name] = File()
                    self._renamed()
            case Rename(name, to):
                self.names[to] = self.names.pop(name)
                self._renamed()
            case Unlink(name):
                del self.names[name]
                self._renamed()
            case Write(name) | Resize(name):
                self.names[name].pending.append(event)
            case Sync() if self._lying:
                pass
            case Sync(name) if name == OUTSIDE:
                self._sure = self._made
            case Sync(""):
                self._synced_names = dict(self.names)
                self._pending_names.clear()
            case Sync(name):
                self.names[name].sync()

    def _renamed(self) -> None:
        self._pending_names.append(dict(self.names))

    def kind(self) -> str:
        """Content that a cut now may lose."""
        log, backups_log = (self.names.get(f"{name}.sqlite-wal", File()).pending for name in ("state", "backup"))
        begun = any(isinstance(one, Resize) or one.at == 0 for one in log)
        found = {
            "the log begun anew" if begun else "the log": bool(log),
            "the database": bool(self.names.get("state.sqlite", File()).pending),
            "the backup": bool(backups_log or self.names.get("backup.sqlite", File()).pending),
            "a new file": any(file.pending for name, file in self.names.items() if ".unfinished-" in name),
            "names": bool(self._pending_names) or not self._sure,
        }
        return " and ".join(what for what, so in found.items() if so) or "nothing pending"

    def leave(self, folder: Path, chance: random.Random) -> None:
        """Makes `folder` what the cut left: names as they were after any change since they were synced."""
        if not self._sure and chance.random() < 0.5:
            return
        folder.mkdir()
        for name, file in chance.choice([self._synced_names, *self._pending_names]).items():
            if not name.endswith(NEVER_READ):
                (folder / name).write_bytes(file.lost(chance))

    def asked(self) -> dict[str, bytes]:
        """The files as a process that was not hit sees them."""
        found = {}
        for name, file in self.names.items():
            if not name.endswith(NEVER_READ):
                whole = bytearray(file.synced)
                for one in file.pending:
                    apply(one, whole)
                found[name] = bytes(whole)
        return found


def cut(
    bundle: Path,
    bundle_id: str,
    tries: int,
    scratch: Path,
    chance: random.Random,
    lying: bool = False,
    backends: Sequence[str] = (),
) -> tuple[Count, Acknowledged]:
    """`tries` simulated power cuts: with a log that is written back often and with SQLite's own, in a new folder and in one
    that an earlier cut had left."""
    count, heard = Count(), Acknowledged()
    folder, left = scratch / "recorded", scratch / "left"
    generations = 1 if lying else 2
    parts = len(LOG_PAGES) * generations
    shares = [tries // parts + (at < tries % parts) for at in range(parts)]
    for pages in LOG_PAGES:
        shutil.rmtree(folder, ignore_errors=True)
        heard = Acknowledged()
        for generation in range(generations):
            share = shares.pop()
            before = files(folder) if folder.exists() else None
            options = ["--turns", str(3 + share // 20), "--log-pages", str(pages), *on(backends, generation)]
            events = recorded(bundle, folder, options, scratch)
            shutil.rmtree(folder)
            goes_on, then = chance.randrange(max(share, 1)), heard
            for at, disk in enumerate(hits(events, share, heard, chance, Disk(before, lying))):
                shutil.rmtree(left, ignore_errors=True)
                disk.leave(left, chance)
                if at == goes_on:
                    then = copy.deepcopy(heard)
                    if left.exists():
                        shutil.copytree(left, folder)
                count.add(examine(left, bundle_id, heard), disk.kind())
            heard = then
    return count, heard


def recorded(bundle: Path, folder: Path, options: list[str], scratch: Path) -> list[Event]:
    """Events on the disk of a child that ended by itself; checked: played without a cut it gives the folder, byte for byte."""
    command, environment = child(bundle, folder, *options)
    disk = Disk(files(folder) if folder.exists() else None)
    events = record(command, environment, folder, scratch)
    for event in events:
        disk.do(event)
    asked, found = disk.asked(), files(folder)
    if asked != found:
        differ = sorted(name for name in {*found, *asked} if found.get(name) != asked.get(name))
        raise SystemExit(f"error: the record does not lead to the folder: {', '.join(differ)}")
    return events


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(NEVER_READ)}


def hits(events: list[Event], tries: int, heard: Acknowledged, chance: random.Random, disk: Disk) -> Iterator[Disk]:
    """`disk` at `tries` random instants, half of them just before a sync, a rename or a deletion; `heard` goes along."""
    turning = [at for at, event in enumerate(events) if isinstance(event, Sync | Rename | Unlink | Resize)]
    instants = sorted(
        chance.choice(turning) if chance.random() < 0.5 else chance.randrange(len(events)) for _ in range(tries)
    )
    done = 0
    for instant in instants:
        for event in events[done:instant]:
            if isinstance(event, Said):
                heard.hear(event.line)
            else:
                disk.do(event)
        done = instant
        yield disk


def sectors(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The parts of [start, stop) that lie in one sector each."""
    while start < stop:
        end = min(stop, (start // SECTOR + 1) * SECTOR)
        yield start, end
        start = end


def apply(one: Write | Resize, data: bytearray) -> None:
    if isinstance(one, Resize):
        data[:] = data[: one.size].ljust(one.size, b"\0")
        return
    if one.data:
        if len(data) < one.at:
            data.extend(bytes(one.at - len(data)))
        data[one.at : one.at + len(one.data)] = one.data
