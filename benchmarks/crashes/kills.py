"""Counts what an owner's folder has lost after SIGKILL, and after a power cut that loses what was not synced.

    python -m benchmarks.crashes.kills BUNDLE [--kills 500] [--cuts 500] [--lying]

A process of its own learns in a folder without end (adds samples, saves the unfinished run every other step, lets the guard
decide every few steps, now and then unlearns a sample or rolls back) and prints a line, flushed, after each transaction that
has been committed: an acknowledgement. Of a bundle for both backends each process goes on with the other one.

*Kills*: SIGKILL at a random time after the process begins to open the folder (three in ten) or has opened it, up to as long as
that took. Then a copy of the
folder is opened and held against the acknowledgements, and the next process goes on in the folder as it was left.

*Power cuts*: a process like it, which ends by itself, runs under strace: every write, resize, sync, creation, rename and
deletion in the folder and every acknowledgement, in the order in which the kernel was asked. Played to its end, the record
gives the folder byte for byte. It is stopped at random instants, half of them just before a sync or a change of names, and
the folder is made as a drive may have it then: what was synced is there; of what a file was given since, nothing, all, the
first part, or for each sector of 512 bytes what any of the writes made of it; names as they were after any change since the
folder was synced. What is left so is opened: all that was acknowledged before the instant must be there. One that is left
then goes on, recorded as well. What it takes for granted: sectors are whole, and a drive that says synced has synced.
--lying is the control: cuts with a drive that has synced nothing; they must lose something.

Lost: an acknowledged sample, saved step or decided version is not there, or not with the digest it had, or a sample that was
unlearned is. Unreadable: the folder or its backup does not open, or an accepted checkpoint is not intact. Mended: it opened, but
had to say that it went back to something older.
"""

import argparse
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.crashes.acknowledged import Acknowledged, Count, Lines, close, examine, on, start
from benchmarks.crashes.power_cuts import cut


def kill(
    bundle: Path, bundle_id: str, tries: int, scratch: Path, chance: random.Random, backends: Sequence[str] = ()
) -> tuple[Count, Acknowledged]:
    """SIGKILL `tries` times in one folder, which each process goes on with on another of the `backends`."""
    folder, copied = scratch / "killed", scratch / "copied"
    heard, count = Acknowledged(), Count()
    while count.tries < tries:
        process = start(bundle, folder, *on(backends, count.tries))
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


def report(what: str, count: Count, heard: Acknowledged, seconds: float) -> bool:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(count.kinds.items()))
    print(
        f"{what}: {count.tries} ({kinds}); {heard.lines} acknowledgements, {heard.decided} decided versions, {seconds:.0f} s"
    )
    mended = count.mended + heard.notes
    print(
        f"  lost {len(count.lost)}, unreadable {len(count.unreadable)}, mended {len(mended)}, in {count.bad} tries",
        flush=True,
    )
    for line in (*count.lost, *count.unreadable, *mended)[:20]:
        print(f"  {line}")
    return not count.lost and not count.unreadable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes.kills", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--cuts", type=int, default=500, help="power cuts simulated")
    parser.add_argument("--lying", action="store_true", help="the control: power cuts alone, and no sync took place")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    import sqlite3

    from mentee_device import Bundle, BundleError

    try:
        manifest = Bundle.open(given.bundle).manifest
    except BundleError as error:
        parser.error(str(error))
    print(f"{platform.system()} {platform.release()}, SQLite {sqlite3.sqlite_version}, bundle {manifest.id[:12]}")
    print(f"python -m benchmarks.crashes.kills {' '.join(sys.argv[1:])}\n", flush=True)
    chance = random.Random(given.seed)
    good = True
    kills = 0 if given.lying else given.kills
    for what, tries, run in (("kills", kills, kill), ("power cuts", given.cuts, partial(cut, lying=given.lying))):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.monotonic()
            if tries:
                count, heard = run(given.bundle, manifest.id, tries, Path(scratch), chance, backends=manifest.backends)
                good &= report(what, count, heard, time.monotonic() - began) is not given.lying
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
