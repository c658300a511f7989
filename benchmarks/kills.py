"""What is left of an owner's folder after SIGKILL, and after a power cut that loses what was not synced.

    python -m benchmarks.kills BUNDLE [--kills 500] [--cuts 500]

A process of its own learns in a folder without end (adds samples, saves the unfinished run every other step, lets the guard
decide every few steps) and prints a line, flushed, after each transaction that has been committed: an acknowledgement.

*Kills*: SIGKILL at a random time after the process begins to open the folder (three in ten) or has opened it, up to as long as
that took. Then a copy of the
folder is opened and held against the acknowledgements, and the next process goes on in the folder as it was left.

*Power cuts*: the process waits after each acknowledgement, so the files are copied while all is synced (A). It goes on, is
stopped at a random instant, and the files are copied again (B). The difference is what a drive may have lost in any part:
of what was appended to the write-ahead log since A, a random tail is cut off and random sectors of 512 bytes are zeros; if the
database itself has changed (SQLite has then synced the log first), each changed page is A's or B's at random, and the log is
B's. Unfinished files lose a random tail. What is put together so is opened: all acknowledged must be there.

Lost: an acknowledged sample, saved step or decided version is not there, or not with the digest it had. Unreadable: the folder
does not open, or a kept checkpoint is not intact. Mended: it opened, but had to say that it went back to something older.
"""

import argparse
import os
import platform
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEVICE_PYTHON = ROOT / ".venv" / "device" / "bin" / "python"
SECTOR, PAGE, WAL_SALT = 512, 4096, slice(16, 24)


def learn_for_ever(bundle: Path, folder: Path, wait: bool) -> None:
    """The child. With `wait` it reads a line after each acknowledgement before it goes on."""
    import numpy as np
    from mentee_device import Budget, Bundle, Owner, Progress, Samples

    def say(*words: object) -> None:
        print(*words, flush=True)
        if wait and not sys.stdin.readline():
            sys.exit()

    opened = Bundle.open(bundle)
    print("begin", flush=True)
    with Owner(opened, folder) as owner:
        if wait:  # write the log back often, so that cuts meet that as well
            owner.store.rows("PRAGMA wal_autocheckpoint = 30")
        owner.set(golden_drop=1.0, most_samples=40)
        golden = opened.golden()
        generator = np.random.default_rng()
        for note in owner.notes:
            print("note", note, flush=True)

        def watch(progress: Progress) -> None:
            if progress.saved == owner.learner.step and progress.fraction < 1:
                candidate = max(version.number for version in owner.versions.all())
                say("saved", candidate, progress.done.steps)

        def tell(number: int) -> None:
            say("decided", number, owner.versions.current)

        say("open", owner.versions.current)
        if owner.paused is not None:
            tell(owner.resume(watch).number)
        while True:
            rows = generator.integers(0, len(golden), 3)
            noisy = golden.input[rows] ^ generator.integers(0, 2, golden.input[rows].shape, dtype=np.uint8)
            say("samples", *owner.add(Samples(noisy, golden.labels[rows])))
            tell(owner.learn(Budget(steps=int(generator.integers(2, 9))), save_every=2, batch=4, watch=watch).number)


@dataclass
class Acknowledged:
    """What a child has said so far, of all children."""

    samples: set[int] = field(default_factory=set)
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
        elif word in ("decided", "open"):
            self.decided, self.current = max(self.decided, numbers[0]), numbers[-1]


def examine(folder: Path, bundle: str, heard: Acknowledged) -> tuple[list[str], list[str], list[str]]:
    """(lost, unreadable, mended) of one folder, which is used up by it."""
    from mentee_device import StateError
    from mentee_device.store import Store
    from mentee_device.versions import Versions

    lost, unreadable = [], []
    try:
        store = Store(folder, bundle)
    except StateError as error:
        return [], [str(error)], []
    with store:
        versions = Versions(store)
        for version in versions.all():
            if version.status in ("kept", "candidate"):
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
        lost += [f"sample {one}" for one in sorted(heard.samples - (present | evicted))]
        lost += [f"sample {one} is not in the log" for one in sorted(heard.samples - ever)]
        return lost, unreadable, list(store.notes)


def start(bundle: Path, folder: Path, wait: bool) -> "subprocess.Popen[bytes]":
    python = DEVICE_PYTHON if DEVICE_PYTHON.is_file() else sys.executable
    return subprocess.Popen(
        [python, __file__, str(bundle), "--child", str(folder), *(["--wait"] if wait else [])],
        env={**os.environ, "PYTHONPATH": str(ROOT / "device"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def close(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class Lines:
    """Whole lines of a child, without waiting for more than there is."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self._handle, self._rest = process.stdout.fileno(), b""

    def waiting(self) -> bool:
        return bool(select.select([self._handle], [], [], 0)[0])

    def read(self, seconds: float) -> list[str]:
        if select.select([self._handle], [], [], seconds)[0]:
            self._rest += os.read(self._handle, 1 << 16)
        *whole, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in whole]


@dataclass
class Count:
    """What came of all kills, or cuts."""

    tries: int = 0
    lost: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, found: tuple[list[str], list[str], list[str]], kind: str) -> None:
        self.tries += 1
        for kept, new in zip((self.lost, self.unreadable, self.mended), found, strict=True):
            kept += [f"{self.tries}: {one}" for one in new]
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


def kill(bundle: Path, bundle_id: str, tries: int, scratch: Path, chance: random.Random) -> tuple[Count, Acknowledged]:
    """SIGKILL `tries` times in one folder."""
    folder, copied = scratch / "killed", scratch / "copied"
    heard, count = Acknowledged(), Count()
    while count.tries < tries:
        process = start(bundle, folder, wait=False)
        lines = Lines(process)
        wanted = "begin" if chance.random() < 0.3 else "open"
        started = time.monotonic()
        begun, deadline = False, started + 60
        while not begun and time.monotonic() < deadline:
            for line in lines.read(1.0):
                begun = begun or line.startswith(wanted)
                heard.hear(line)
        now = time.monotonic()
        end = now + chance.uniform(0, now - started)
        while (left := end - time.monotonic()) > 0:
            for line in lines.read(left):
                heard.hear(line)
        process.send_signal(signal.SIGKILL)
        process.wait()
        while rest := lines.read(0.0):  # what was said before the end and not read yet
            for line in rest:
                heard.hear(line)
        close(process)
        if not (folder / "state.sqlite").exists():
            count.add(([], [], []), "before the folder was made")
            continue
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(folder, copied)
        count.add(examine(copied, bundle_id, heard), "killed")
    return count, heard


def cut(bundle: Path, bundle_id: str, tries: int, scratch: Path, chance: random.Random) -> tuple[Count, Acknowledged]:
    """A power cut simulated `tries` times, in one process that lives on."""
    folder, synced, copied = scratch / "cut", scratch / "synced", scratch / "copied"
    heard, count = Acknowledged(), Count()
    process = start(bundle, folder, wait=True)
    lines = Lines(process)
    assert process.stdin is not None
    try:
        while count.tries < tries:
            said = lines.read(60.0)
            for line in said:
                heard.hear(line)
            if not any(line.split()[0] in ("open", "samples", "saved", "decided") for line in said):
                if process.poll() is not None:
                    raise SystemExit("error: the child ended")
                continue
            shutil.rmtree(synced, ignore_errors=True)
            shutil.copytree(folder, synced)
            process.stdin.write(b"go\n")
            for _ in range(3):  # looks at the same stretch up to three times
                time.sleep(chance.uniform(0, 0.006))
                process.send_signal(signal.SIGSTOP)
                os.waitpid(process.pid, os.WUNTRACED)
                shutil.rmtree(copied, ignore_errors=True)
                shutil.copytree(folder, copied)
                waiting = lines.waiting()
                process.send_signal(signal.SIGCONT)
                if waiting:  # it has acknowledged more meanwhile: all of B is synced
                    break
                kind = lose(synced, copied, chance)
                count.add(examine(copied, bundle_id, heard), kind)
    finally:
        close(process)
    return count, heard


def lose(synced: Path, copied: Path, chance: random.Random) -> str:
    """Takes from `copied` what a drive may not have had yet; which kind of loss it was."""
    for unfinished in copied.glob("*.new"):
        os.truncate(unfinished, chance.randint(0, unfinished.stat().st_size))
    names = ("state.sqlite", "state.sqlite-wal")
    before, after = ([folder / name for name in names] for folder in (synced, copied))
    if not all(path.exists() for path in (*before, *after)):
        return "the log was just being made or removed"
    (old_db, old_wal), (new_db, new_wal) = ([path.read_bytes() for path in pair] for pair in (before, after))
    (copied / "state.sqlite-shm").unlink(missing_ok=True)  # never synced; SQLite makes it anew
    if old_wal[WAL_SALT] != new_wal[WAL_SALT]:  # begun anew: the database was synced before, of the log nothing is sure
        after[1].write_bytes(damaged_tail(new_wal, 0, chance))
        return "the log had begun anew"
    if old_db != new_db:  # being written back: SQLite synced the log first
        after[0].write_bytes(mixed_pages(old_db, new_db, chance))
        return "the database was being written"
    if old_wal == new_wal:
        return "nothing was being written"
    same = next((at for at, (a, b) in enumerate(zip(old_wal, new_wal, strict=False)) if a != b), len(old_wal))
    frame = 32 + (same - 32) // (PAGE + 24) * (PAGE + 24)  # the log is overwritten in place once it has begun anew
    after[1].write_bytes(damaged_tail(new_wal, frame, chance))
    return "the log was being appended to"


def damaged_tail(data: bytes, keep: int, chance: random.Random) -> bytes:
    """`data` whose first `keep` bytes are safe: cut off somewhere behind, and some sectors there never arrived."""
    found = bytearray(data[: chance.randint(keep, len(data))] if chance.random() < 0.7 else data)
    for at in range(keep, len(found), SECTOR):
        if chance.random() < 0.2:
            found[at : at + SECTOR] = bytes(len(found[at : at + SECTOR]))
    return bytes(found)


def mixed_pages(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """Each page that differs is the old or the new one; the file is as long as either."""
    found = bytearray(new[: max(len(old), chance.randint(min(len(old), len(new)), len(new)) // PAGE * PAGE)])
    for at in range(0, min(len(old), len(found)), PAGE):
        if chance.random() < 0.5:
            found[at : at + PAGE] = old[at : at + PAGE]
    return bytes(found)


def report(what: str, count: Count, heard: Acknowledged, seconds: float) -> bool:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(count.kinds.items()))
    print(
        f"{what}: {count.tries} ({kinds}); {heard.lines} acknowledgements, {heard.decided} decided versions, {seconds:.0f} s"
    )
    mended = count.mended + heard.notes
    print(f"  lost {len(count.lost)}, unreadable {len(count.unreadable)}, mended {len(mended)}", flush=True)
    for line in (*count.lost, *count.unreadable, *mended)[:20]:
        print(f"  {line}")
    return not count.lost and not count.unreadable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--cuts", type=int, default=500, help="power cuts simulated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--wait", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        learn_for_ever(given.bundle, given.child, given.wait)
        return 0
    sys.path.insert(0, str(ROOT / "device"))
    import sqlite3

    from mentee_device import Bundle

    bundle_id = Bundle.open(given.bundle).manifest.id
    print(f"{platform.system()} {platform.release()}, SQLite {sqlite3.sqlite_version}, bundle {bundle_id[:12]}")
    print(f"python -m benchmarks.kills {' '.join(sys.argv[1:])}\n", flush=True)
    chance = random.Random(given.seed)
    good = True
    for what, tries, run in (("kills", given.kills, kill), ("power cuts", given.cuts, cut)):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.monotonic()
            if tries:
                good &= report(
                    what, *run(given.bundle, bundle_id, tries, Path(scratch), chance), time.monotonic() - began
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
