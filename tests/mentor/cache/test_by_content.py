"""Answers that are filed by what a sample is: exact, there after a kill, bounded, and absent where a disk altered them."""

import sqlite3
from pathlib import Path

import numpy as np
import torch

from mentor.cache.by_content import FILE, ByContent, digest_of_sample
from mentor.cache.packing import Packing

PACKINGS = {"logits": Packing((3,), "float32"), "map": Packing((4, 2, 2), "float16")}
KEYS = {"logits": "a", "map": "b"}


def written(cache: ByContent, count: int) -> tuple[list[bytes], dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    values = {name: torch.randn(count, *packing.shape, generator=random) for name, packing in PACKINGS.items()}
    samples = [digest_of_sample(np.array([number])) for number in range(count)]
    cache.write(samples, {name: packing.pack(values[name]) for name, packing in PACKINGS.items()})
    return samples, values


def test_what_was_written_is_read_by_another_process_that_asks_the_same(tmp_path: Path) -> None:
    samples, values = written(ByContent(tmp_path, KEYS, PACKINGS, 1e9), 5)  # never closed, as after a kill
    found = ByContent(tmp_path, KEYS, PACKINGS, 1e9).read([samples[3], b"another", samples[0]])
    assert found[1] is None
    for place, number in ((0, 3), (2, 0)):
        rows = found[place]
        assert rows is not None
        assert rows["logits"].values.tolist() == values["logits"][number].tolist()
        unpacked = torch.from_numpy(rows["map"].values.astype(np.float32) * rows["map"].scales).permute(2, 0, 1)
        torch.testing.assert_close(unpacked, values["map"][number], atol=2e-3, rtol=0)
    assert ByContent(tmp_path, {**KEYS, "map": "of another mentor"}, PACKINGS, 1e9).read(samples) == [None] * 5


def test_a_row_that_a_disk_altered_is_not_there(tmp_path: Path) -> None:
    cache = ByContent(tmp_path, KEYS, PACKINGS, 1e9)
    samples, _ = written(cache, 3)
    with sqlite3.connect(tmp_path / FILE) as database:
        (content,) = database.execute(
            "SELECT content FROM answers WHERE sample = ? AND key = 'b'", (samples[1],)
        ).fetchone()
        altered = content[:9] + bytes([content[9] ^ 1]) + content[10:]
        database.execute("UPDATE answers SET content = ? WHERE sample = ? AND key = 'b'", (altered, samples[1]))
    database.close()
    assert [rows is None for rows in cache.read(samples)] == [False, True, False]


def test_the_oldest_go_where_the_bound_is_reached_and_no_folder_is_no_error(tmp_path: Path) -> None:
    cache = ByContent(tmp_path / "a", KEYS, PACKINGS, 60_000)
    for start in range(0, 2000, 100):
        samples = [digest_of_sample(np.array([number])) for number in range(start, start + 100)]
        cache.write(
            samples, {name: packing.pack(torch.zeros(100, *packing.shape)) for name, packing in PACKINGS.items()}
        )
    assert all(rows is not None for rows in cache.read(samples))
    assert cache.read([digest_of_sample(np.array([0]))]) == [None]
    (tmp_path / "file").touch()
    unwritable = ByContent(tmp_path / "file", KEYS, PACKINGS, 1e9)
    written(unwritable, 2)
    assert unwritable.read(samples[:1]) == [None]


def test_a_full_disk_leaves_what_is_there_and_is_tried_again(tmp_path: Path) -> None:
    cache = ByContent(tmp_path, KEYS, PACKINGS, 1e9)
    samples, _ = written(cache, 3)
    assert cache._database is not None
    (pages,) = cache._database.execute("PRAGMA page_count").fetchone()
    cache._database.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then says what a full disk says
    more, _ = written(cache, 500)
    assert [rows is None for rows in cache.read([*samples, more[400]])] == [False, False, False, True]
    cache._database.execute("PRAGMA max_page_count = 100000")
    written(cache, 500)
    assert cache.read([more[400]]) != [None]
