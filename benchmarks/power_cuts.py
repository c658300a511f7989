"""Power cuts that lose what was not synced, simulated on copies of a living process's folder: see kills.py."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from benchmarks.acknowledged import Acknowledged, Count, Lines, close, examine, start

SECTOR, PAGE, WAL_SALT = 512, 4096, slice(16, 24)


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
