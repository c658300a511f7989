"""A few of the kills and power cuts of benchmarks/kills.py; that its examination can fail is shown on what was taken away."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from mentee_device import Bundle

from benchmarks.acknowledged import Acknowledged, examine
from benchmarks.kills import kill
from benchmarks.power_cuts import cut, damaged_tail, mixed_pages


def test_kills_lose_nothing(bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    count, heard = kill(bundle_folder, bundle.manifest.id, 6, tmp_path, random.Random(1))
    assert (count.tries, count.lost, count.unreadable, count.mended, heard.notes) == (6, [], [], [], [])
    assert heard.lines > 0

    heard.samples.add(10**6)
    heard.current = 10**6
    lost, unreadable, _ = examine(tmp_path / "killed", bundle.manifest.id, heard)
    assert len(lost) == 3  # the version; the sample, in the table and in the log
    assert unreadable == []


def test_power_cuts_lose_nothing(bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    count, _ = cut(bundle_folder, bundle.manifest.id, 40, tmp_path, random.Random(2))
    assert (count.tries, count.lost, count.unreadable, count.mended) == (40, [], [], [])
    assert len(count.kinds) > 1
    database = tmp_path / "cut" / "state.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE versions SET checkpoint = zeroblob(100) WHERE status IN ('kept', 'candidate')")
    _, unreadable, _ = examine(tmp_path / "cut", bundle.manifest.id, Acknowledged())
    assert "damaged" in unreadable[0]


def test_what_is_safe_is_left_alone() -> None:
    chance = random.Random(0)
    data = chance.randbytes(5000)
    for _ in range(50):
        assert damaged_tail(data, 3000, chance)[:3000] == data[:3000]
        old, new = chance.randbytes(8192), chance.randbytes(12288)
        found = mixed_pages(old, new, chance)
        assert len(found) in (8192, 12288)
        for at in range(0, 8192, 4096):
            assert found[at : at + 4096] in (old[at : at + 4096], new[at : at + 4096])
