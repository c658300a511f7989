"""Acknowledgements of a process that was hit, and what its folder still holds of them."""

import contextlib
import os
import select
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.device_process import ENVIRONMENT, PYTHON

VICTIM = Path(__file__).with_name("victim.py")


@dataclass
class Acknowledged:
    """All that the children have acknowledged so far."""

    samples: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    saved: tuple[int, int] = (0, 0)
    decided: int = 0
    current: int = 0
    lines: int = 0
    notes: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        word, *rest = line.split()
        if word == "note":
            self.notes.append(line)
        if word in ("note", "begin"):
            return
        self.lines += 1
        numbers = [int(one) for one in rest]
        if word == "samples":
            self.samples.update(numbers)
        elif word == "saved":
            self.saved = (numbers[0], numbers[1])
        elif word == "undoing":  # until it is done, any version and either is right
            self.saved, self.current = (0, 0), 0
            self.samples.difference_update(numbers)
        elif word == "undone":
            self.current = numbers[0]
            self.gone.update(numbers[1:])
        elif word in ("decided", "open"):
            self.decided, self.current = max(self.decided, numbers[0]), numbers[-1]


def examine(folder: Path, bundle: str, heard: Acknowledged) -> tuple[list[str], list[str], list[str]]:
    """(lost, unreadable, mended) of one folder, which is used up by it."""
    from mentee_device import StateError
    from mentee_device.state.storage.schema import BACKUP, DATABASE
    from mentee_device.state.storage.store import Store
    from mentee_device.state.versions import Versions

    lost, unreadable = [], []
    try:
        store = Store(folder, bundle)
    except StateError as error:
        return [], [str(error)], []
    with store:
        versions = Versions(store)
        for version in versions.all():
            if version.status in ("accepted", "candidate"):
                try:
                    versions.snapshot(version.number)
                except StateError as error:
                    unreadable.append(str(error))
        known = {version.number: version for version in versions.all()}
        number, steps = heard.saved
        if number and (
            number not in known
            or (known[number].status == "candidate" and int(known[number].progress.get("steps", 0)) < steps)
        ):
            lost.append(f"step {steps} of v{number}")
        if heard.decided and (heard.decided not in known or known[heard.decided].status == "candidate"):
            lost.append(f"v{heard.decided} was decided")
        if versions.current < heard.current:
            lost.append(f"v{heard.current} was current, now v{versions.current}")
        ever = {row for entry in store.log() for row in entry.details.get("came", [])}
        evicted = {row for entry in store.log() for row in entry.details.get("went", [])}
        present = {row for (row,) in store.rows("SELECT number FROM samples")}
        for copy in [path for name in (DATABASE, BACKUP) if (path := store.folder / name).is_file()]:
            try:
                lost += [f"sample {one} is still in {copy.name}" for one in sorted(heard.gone & samples_in(copy))]
            except sqlite3.Error as error:
                unreadable.append(f"{copy.name}: {error}")
        lost += [f"sample {one}" for one in sorted(heard.samples - (present | evicted))]
        lost += [f"sample {one} is not in the log" for one in sorted(heard.samples - ever)]
        return lost, unreadable, list(store.notes)


def samples_in(database: Path) -> set[int]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {number for (number,) in connection.execute("SELECT number FROM samples")}


def child(bundle: Path, folder: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """(command, environment)"""
    return [PYTHON, str(VICTIM), str(bundle), str(folder), *options], ENVIRONMENT


def start(bundle: Path, folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    command, environment = child(bundle, folder, *options)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, bufsize=0)


def on(backends: Sequence[str], number: int) -> list[str]:
    """Options of the child `number`, whose backend takes turns."""
    return ["--backend", backends[number % len(backends)]] if backends else []


def close(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


class Lines:
    """Whole lines of a child, without waiting for more than there is."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self._handle, self._rest = process.stdout.fileno(), b""

    def read(self, seconds: float) -> list[str]:
        if select.select([self._handle], [], [], seconds)[0]:
            self._rest += os.read(self._handle, 1 << 16)
        *whole, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in whole]


@dataclass
class Count:
    """The findings after all kills, or cuts."""

    tries: int = 0
    lost: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    bad: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, found: tuple[list[str], list[str], list[str]], kind: str) -> None:
        self.tries += 1
        self.bad += any(found)
        for kept, new in zip((self.lost, self.unreadable, self.mended), found, strict=True):
            kept += [f"{self.tries}: {one}" for one in new]
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
