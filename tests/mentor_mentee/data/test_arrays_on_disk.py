"""Arrays that are not to be in memory, and a column that says which split a sample is in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mentor_mentee.data.arrays import arrays
from mentor_mentee.errors import UserError

RANDOM = np.random.default_rng(0)
INPUTS: dict[str, tuple[str, np.ndarray]] = {
    "uint8": ("NHWC", RANDOM.integers(0, 256, (60, 5, 4, 3), dtype=np.uint8)),
    "float64": ("NCL", RANDOM.normal(size=(60, 2, 9))),
    "int16": ("NLC", RANDOM.integers(-900, 900, (60, 7, 2), dtype=np.int16)),
    "fortran": ("NL", np.asfortranarray(RANDOM.normal(size=(60, 6)).astype(np.float32))),
}
LABELS = np.arange(60) % 3


def write(folder: Path, how: str, **content: np.ndarray) -> Path:
    if how == "npy":
        (folder / "many").mkdir()
        for name, array in content.items():
            np.save(folder / "many" / f"{name}.npy", array)
        return folder / "many"
    path = folder / f"many.{'safetensors' if how == 'safetensors' else 'npz'}"
    if how == "safetensors":
        save_file({name: np.ascontiguousarray(array) for name, array in content.items()}, path)
    else:
        (np.savez_compressed if how == "compressed" else np.savez)(path, **content)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("how", ["npz", "compressed", "safetensors", "npy"])
@pytest.mark.parametrize("kind", INPUTS)
def test_rows_that_are_read_where_they_lie_are_those_of_the_whole_array(tmp_path: Path, how: str, kind: str) -> None:
    layout, inputs = INPUTS[kind]
    path = write(tmp_path, how, inputs=inputs, labels=LABELS, more=inputs[:11])
    options: dict[str, Any] = {"layout": layout, "unlabelled": "more", "cache": str(tmp_path / "cache")}
    memory, disk = (arrays(path, memory_mb=megabytes, **options) for megabytes in (256, 0))
    assert disk.train.on_disk == (kind != "fortran" or how == "safetensors")
    for part in ("train", "val", "test"):
        one, other = getattr(disk, part), getattr(memory, part)
        assert torch.equal(one.images[:], other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.positions, other.positions)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_second_start_reads_no_array(tmp_path: Path) -> None:
    path = write(tmp_path, "compressed", inputs=INPUTS["uint8"][1], labels=LABELS)
    arrays(path, memory_mb=0, cache=str(tmp_path / "cache"))
    (block,) = (tmp_path / "cache").glob("*/*.block")
    before = block.stat().st_mtime_ns
    path.touch()  # an npz file is known again by its own checksum
    arrays(path, memory_mb=0, cache=str(tmp_path / "cache"))
    assert block.stat().st_mtime_ns == before


def test_an_npz_file_that_is_damaged_is_refused_by_its_checksum(tmp_path: Path) -> None:
    path = write(tmp_path, "npz", inputs=INPUTS["uint8"][1], labels=LABELS)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"many\.npz' cannot be read \(BadZipFile.*CRC"):
        arrays(path, memory_mb=0, cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("megabytes", [256, 0])
def test_numbers_that_cannot_be_are_refused_on_disk_as_in_memory(tmp_path: Path, megabytes: float) -> None:
    inputs = np.array(INPUTS["float64"][1])
    inputs[31, 1, 2] = np.nan
    cache = str(tmp_path / "cache")
    with pytest.raises(UserError, match=r"is nan at sample 31 .*; expected finite float32 numbers"):
        arrays(write(tmp_path, "npz", inputs=inputs, labels=LABELS), layout="NCL", memory_mb=megabytes, cache=cache)
    clock = 1.7e9 + np.linspace(0, 1, 60 * 18).reshape(60, 2, 9)
    with pytest.raises(UserError, match=r"too coarse for how little it varies"):
        arrays(write(tmp_path, "npz", inputs=clock, labels=LABELS), layout="NCL", memory_mb=megabytes, cache=cache)


def test_a_column_says_which_split_a_sample_is_in(tmp_path: Path) -> None:
    given = np.array(["train", "val", "test", "train"] * 15)
    inputs = INPUTS["uint8"][1]
    path = write(tmp_path, "npz", inputs=inputs, labels=LABELS, part=given, more=inputs[:5])
    found = arrays(path, split="part", unlabelled="more")
    for part in ("val", "test"):
        assert getattr(found, part).positions.tolist() == np.flatnonzero(given == part).tolist()
    assert found.train.positions.tolist() == [*np.flatnonzero(given == "train").tolist(), *range(60, 65)]


def test_a_split_that_the_column_lacks_is_a_fraction_of_train(tmp_path: Path) -> None:
    given = np.array(["train"] * 40 + ["test"] * 20)
    found = arrays(
        write(tmp_path, "npz", inputs=INPUTS["uint8"][1], labels=LABELS, part=given), split="part", val_fraction=0.25
    )
    assert found.test.positions.tolist() == list(range(40, 60))
    assert len(found.val) == 10
    assert sorted([*found.train.positions.tolist(), *found.val.positions.tolist()]) == list(range(40))


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (["train"] * 59 + ["vel"], {}, r"'part' in .* has 'vel'; expected train, val, test; did you mean 'val'"),
        (["train"] * 59, {}, r"has 60 samples in 'inputs' but 59 in 'part'"),
        (["val"] * 30 + ["test"] * 30, {}, r"no sample in .* has a label"),
        (["train"] * 60, {"by_owner": True}, r"data\.split=part and a split by owners; expected one of them"),
    ],
)
def test_a_column_that_says_something_else(
    tmp_path: Path, part: list[str], options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, "npz", inputs=INPUTS["uint8"][1], labels=LABELS, part=np.array(part))
    with pytest.raises(UserError, match=message):
        arrays(path, split="part", **options)


def test_a_folder_without_arrays(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no \.npy file in the folder .*; expected one for each array"):
        arrays(tmp_path / "none")
