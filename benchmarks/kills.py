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
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.acknowledged import ROOT, Acknowledged, Count, Lines, close, examine, start
from benchmarks.power_cuts import cut


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
    given = parser.parse_args()
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
