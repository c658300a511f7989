"""Rows on disk: those that are whole are found, those that are not are not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mentor.cache.checksums import checksums, weights_of
from mentor.cache.packing import Packing
from mentor.cache.table import Table

PACKING = Packing((3, 2), "int8")


def value(rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows).view(-1, 1, 1) + torch.arange(6.0).view(1, 3, 2)


def filled(path: Path, rows: list[int]) -> Table:
    table = Table(PACKING, 10, path, "of a test")
    table.write(np.array(rows), PACKING.pack(value(rows)))
    return table


def test_what_is_written_is_read_by_another(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.safetensors"
    before = filled(path, [7, 2])
    after = Table(PACKING, 10, path, "of a test")
    rows = np.array([2, 3, 7, 7])
    assert after.has(rows).tolist() == [True, False, True, True]
    torch.testing.assert_close(PACKING.unpack(after.read(np.array([2, 7]))), value([2, 7]), rtol=1 / 254, atol=1 / 20)
    after.write(np.array([3]), PACKING.pack(value([3])))
    assert before.has(rows).all()  # two at a time
    assert set(load_file(path)) == {"checksum", "scales", "values"}  # any reader of safetensors
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("where", range(6))
def test_a_changed_byte_costs_one_row(where: int, tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    filled(path, list(range(10)))
    content = bytearray(path.read_bytes())
    content[len(content) - 60 + 6 * 4 + where] ^= 0x80  # values stand last, six bytes a row
    path.write_bytes(content)
    table = Table(PACKING, 10, path, "of a test")
    assert np.flatnonzero(~table.has(np.arange(10))).tolist() == [4]
    assert table.damaged == 1


def test_any_flipped_bit_of_a_row_changes_its_checksum() -> None:
    random = np.random.default_rng(0)
    row, weights = random.integers(0, 256, 29, dtype=np.uint8), weights_of(29)
    flipped = np.repeat(row[None], 29 * 8, 0)
    for bit in range(29 * 8):
        flipped[bit, bit // 8] ^= 1 << bit % 8
    (whole,) = checksums(np.array([3]), (row[None],), weights, salt=5)
    found = checksums(np.full(29 * 8, 3), (flipped,), weights, salt=5)
    assert not (found == whole).any()
    assert len(set(found.tolist())) == 29 * 8


def test_a_checksum_is_the_sum_that_its_module_says() -> None:
    random = np.random.default_rng(1)
    scales, values = random.random((4, 3), np.float32), random.integers(-9, 9, (4, 5, 2), dtype=np.int8)
    rows, weights = np.array([0, 2, 7, 2**40]), weights_of(22)
    found = checksums(rows, (values, scales), weights, salt=11)
    for i, row in enumerate(rows.tolist()):
        content = values[i].tobytes() + scales[i].tobytes() + row.to_bytes(8, "little") + bytes(2)
        words = [int.from_bytes(content[start : start + 4], "little") for start in range(0, 32, 4)]
        total = 11 + sum(word * weight for word, weight in zip(words, weights.tolist(), strict=True))
        assert found[i] == total % 2**64 >> 32


@pytest.mark.parametrize("how", ["cut", "longer", "header", "rows swapped", "of another table", "zeros"])
def test_a_changed_file_is_not_believed(how: str, tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    filled(path, list(range(10)))
    content = bytearray(path.read_bytes())
    about = "of a test"
    if how == "cut":
        content = content[:-7]
    if how == "longer":
        content += b"x"
    if how == "header":
        content[20] ^= 1
    if how == "rows swapped":  # with their checksums
        for start, size in ((len(content) - 60, 6), (len(content) - 60 - 120, 12), (len(content) - 60 - 120 - 40, 4)):
            one, other = content[start : start + size], content[start + size : start + 2 * size]
            content[start : start + 2 * size] = other + one
    if how == "of another table":
        about = "of another"
    if how == "zeros":
        content[-220:] = bytes(220)
    path.write_bytes(content)
    there = Table(PACKING, 10, path, about).has(np.arange(10))
    assert not there[:2].any()
    assert there.any() == (how == "rows swapped")


def test_emptied(tmp_path: Path) -> None:
    table = filled(tmp_path / "table.safetensors", [1, 2])
    table.forget()
    assert not table.has(np.arange(10)).any()
    assert not Table(PACKING, 10, tmp_path / "table.safetensors", "of a test").has(np.arange(10)).any()


FILL = """
import sys, numpy as np, torch
from pathlib import Path
from mentor.cache.packing import Packing
from mentor.cache.table import Table
packing = Packing((300, 20), "float16")
table = Table(packing, 400, Path(sys.argv[1]), "of a test")
print("made", flush=True)
while True:
    for row in range(400):
        table.write(np.array([row]), packing.pack(torch.full((1, 300, 20), float(row + 1))))
"""


def test_a_killed_process_leaves_whole_rows(tmp_path: Path) -> None:
    path, packing = tmp_path / "table.safetensors", Packing((300, 20), "float16")
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", FILL, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            table = Table(packing, 400, path, "of a test")
            while not table.has(np.array([50])).all():
                pass
            os.kill(process.pid, signal.SIGKILL)
        table = Table(packing, 400, path, "of a test")
        there = np.flatnonzero(table.has(np.arange(400)))
        assert len(there) > 50
        expected = torch.from_numpy(there + 1.0).float().view(-1, 1, 1).expand(-1, 300, 20)
        torch.testing.assert_close(packing.unpack(table.read(there)), expected)


def test_a_full_disk_is_met_before_anything_is_written(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from mentor.cache.packing import Packing; "
        "from mentor.cache.table import Table; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: Table(Packing((100,), 'float32'), 1000, Path(sys.argv[1]))\n"
        "except OSError as error: print(error.strerror)"
    )
    path = tmp_path / "table.safetensors"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "File too large"), done.stderr
    assert list(tmp_path.iterdir()) == []
