"""A few of the kills and power cuts of benchmarks/crashes/kills.py, and its examination failing on what was taken away."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Owner, Plan
from mentee_device.state.storage.store import Store

from benchmarks.crashes.acknowledged import Acknowledged, examine, samples_in
from benchmarks.crashes.disk_trace import STRACE, Create, Rename, Resize, Said, Sync, Unlink, Write, parse
from benchmarks.crashes.kills import kill
from benchmarks.crashes.power_cuts import Disk, File, cut

needs_strace = pytest.mark.skipif(STRACE is None, reason="needs strace")


def test_kills_lose_nothing(bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    count, heard = kill(bundle_folder, bundle.manifest.id, 6, tmp_path, random.Random(1))
    assert (count.tries, count.lost, count.unreadable, count.mended, heard.notes) == (6, [], [], [], [])
    assert heard.lines > 0

    with Owner(bundle, tmp_path / "killed") as me:  # under load a child may be killed before it has learnt anything
        me.add(bundle.golden().take(np.arange(3)))
        me.resume() if me.paused else me.learn(Plan(budget=Budget(steps=1)))
    heard.samples.add(10**6)
    heard.current = 10**6
    heard.gone.add(
        min(set.intersection(*(samples_in(tmp_path / "killed" / name) for name in ("state.sqlite", "backup.sqlite"))))
    )
    lost, unreadable, _ = examine(tmp_path / "killed", bundle.manifest.id, heard)
    assert (
        len(lost) == 5
    )  # the version; the sample, in the table and in the log; what is gone, in the state and its backup
    assert unreadable == []
    for name in ("state.sqlite", "backup.sqlite"):
        with closing(sqlite3.connect(tmp_path / "killed" / name)) as connection, connection:
            connection.execute("UPDATE versions SET checkpoint = zeroblob(100) WHERE status IN ('kept', 'candidate')")
    _, _, mended = examine(tmp_path / "killed", bundle.manifest.id, Acknowledged())
    assert "no whole copy of them is left" in mended[0]


@needs_strace
def test_power_cuts_lose_nothing(bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    wanted, seen = {"the log", "the database", "a new file", "names"}, set[str]()
    for more in range(5):  # where a cut falls depends on how long the traced commands took
        scratch = tmp_path / str(more)
        scratch.mkdir()
        count, _ = cut(bundle_folder, bundle.manifest.id, 80, scratch, random.Random(2 + more))
        assert (count.tries, count.lost, count.unreadable, count.mended) == (80, [], [], [])
        seen |= {one for kind in count.kinds for one in kind.split(" and ")}
        if wanted <= seen:
            break
    assert wanted <= seen


@needs_strace
def test_a_drive_that_lies_is_found_out(bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    count, _ = cut(bundle_folder, bundle.manifest.id, 20, tmp_path, random.Random(2), lying=True)
    assert count.lost
    assert count.unreadable


def test_what_is_synced_is_safe_and_the_rest_is_any_mixture_of_sectors() -> None:
    chance = random.Random(0)
    seen = set()
    for _ in range(200):
        file = File()
        file.pending += [Write("a", 0, b"s" * 1536)]
        file.sync()
        file.pending += [Write("a", 100, b"x" * 1000), Write("a", 1100, b"y" * 20), Resize("a", 1300)]
        found = file.lost(chance)
        assert len(found) in (1300, 1536)
        assert found[:100] == b"s" * 100
        assert found[1120:] in (b"s" * (len(found) - 1120),)
        first, second, third = found[100:512], found[512:1024], found[1024:1120]
        assert first in (b"s" * 412, b"x" * 412)
        assert second in (b"s" * 512, b"x" * 512)
        assert third in (b"s" * 96, b"x" * 76 + b"s" * 20, b"x" * 76 + b"y" * 20, b"s" * 76 + b"y" * 20)
        seen.add((len(found), first[:1], second[:1], third))
    assert len(seen) > 10


def test_names_are_of_any_moment_since_the_folder_was_synced(tmp_path: Path) -> None:
    disk = Disk()
    for event in (Create(""), Sync(".."), Create("a"), Write("a", 0, b"1"), Sync("a"), Sync("")):
        disk.do(event)
    for event in (Create("b"), Write("b", 0, b"2"), Sync("b"), Rename("b", "a"), Create("c"), Unlink("c")):
        disk.do(event)
    found = set()
    for at in range(60):
        disk.leave(tmp_path / str(at), random.Random(at))
        found.add(tuple(sorted((path.name, path.read_bytes()) for path in (tmp_path / str(at)).iterdir())))
    before, replaced = (("a", b"1"),), (("a", b"2"),)
    assert found == {before, (*before, ("b", b"2")), replaced, (*replaced, ("c", b""))}
    assert disk.asked() == {"a": b"2"}


def test_a_folder_is_there_only_once_the_one_it_is_in_was_synced(tmp_path: Path) -> None:
    disk = Disk()
    for event in (Create(""), Create("a"), Write("a", 0, b"1"), Sync("a"), Sync("")):
        disk.do(event)
    there = []
    for at in range(20):
        disk.leave(tmp_path / str(at), random.Random(at))
        there.append((tmp_path / str(at)).exists())
    assert set(there) == {True, False}
    disk.do(Sync(".."))
    disk.leave(tmp_path / "sure", random.Random(0))
    assert (tmp_path / "sure" / "a").read_bytes() == b"1"


def hexed(text: str) -> str:
    return "".join(f"\\x{one:02x}" for one in text.encode())


def test_strace_is_read() -> None:
    folder, name, other = hexed("/f"), hexed("/f/a"), hexed("/g/a")
    here = f"AT_FDCWD<{hexed('/')}>"
    lines = [
        f'7 mkdir("{folder}", 0700) = 0',
        f'7 mkdir("{folder}", 0700) = -1 EEXIST (File exists)',
        f"7 fsync(3<{hexed('/')}>) = 0",
        f'7 openat({here}, "{name}", O_RDWR|O_CREAT|O_TRUNC, 0600) = 5<{name}>',
        f'7 write(5<{name}>, "{hexed("abc")}", 3) = 3',
        f'7 write(5<{name}>, "{hexed("de")}", 2 <unfinished ...>',
        f'8 pwrite64(6<{other}>, "{hexed("zz")}", 2, 0) = 2',
        "7 <... write resumed>) = 1",
        f'7 pwrite64(5<{name}>, "{hexed("XY")}", 2, 4096) = 2',
        f"7 fdatasync(5<{name}>) = 0",
        f'7 write(1<{hexed("/dev/null")}>, "{hexed("one ")}", 4) = 4',
        f'7 write(1<{hexed("/dev/null")}>, "{hexed(chr(10) + "two")}", 4) = 4',
        f'7 rename("{name}", "{hexed("/f/b")}") = 0',
        f"7 fsync(3<{folder}>) = 0",
        f"7 ftruncate(5<{hexed('/f/b')}>, 2) = 0",
        f'7 unlink("{hexed("/f/b")}") = 0',
        f'7 pwrite64(5<{hexed("/f/b")}>(deleted), "{hexed("q")}", 1, 0) = 1',
        "7 +++ exited with 0 +++",
    ]
    assert list(parse(iter(lines), Path("/f"))) == [
        Create(""),
        Sync(".."),
        Create("a"),
        Resize("a", 0),
        Write("a", 0, b"abc"),
        Write("a", 3, b"d"),
        Write("a", 4096, b"XY"),
        Sync("a"),
        Said("one "),
        Rename("a", "b"),
        Sync(""),
        Resize("b", 2),
        Unlink("b"),
    ]
    for unknown in (
        f"7 fallocate(5<{name}>, 0, 0, 100) = 0",
        f'7 renameat2({here}, "{name}", {here}, "{name}", RENAME_EXCHANGE) = 0',
        f'7 rename("{name}", "{other}") = 0',
    ):
        with pytest.raises(ValueError, match=r"/f|of a"):
            list(parse(iter([unknown]), Path("/f")))


def test_a_cut_while_the_state_was_made_leaves_no_folder_that_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    for left in ("state.sqlite.abc.new", "state.sqlite.abc.new-journal"):
        (folder / left).write_bytes(b"begun")
    with Store(folder, bundle.manifest.id) as store:
        assert store.notes == []
    assert not list(folder.glob("*.new*"))
