"""npz and safetensors files that are missing, damaged, pickled or compressed."""

import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mentor_mentee.data.arrays import arrays
from mentor_mentee.errors import UserError
from tests.mentor_mentee.data.columns import classes_of, rising, saved


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("1,2")
    (tmp_path / "text.npz").write_text("1,2")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name, message in (
        ("none.npz", r"no file '.*none\.npz'; set data\.path="),
        ("file.csv", r"neither \.npz nor \.safetensors"),
        ("text.npz", r"cannot be read"),
        ("one.npz", r"cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            arrays(tmp_path / name)


@pytest.mark.parametrize("name", ["file.npz", "file.safetensors"])
def test_names_that_are_not_in_the_file(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name, inputs=rising(30, 6), label=classes_of(30))
    with pytest.raises(
        UserError, match=r"no array 'labels' in .* for data\.labels; did you mean 'label'\? \(it has inputs, label\)"
    ):
        arrays(path)
    with pytest.raises(UserError, match=r"no array 'names' in .* for data\.classes"):
        arrays(path, labels="label", classes="names")


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    path = saved(tmp_path, inputs=rising(30, 6), labels=np.array([Trap()] * 30, dtype=object))
    with pytest.raises(UserError, match=r"'labels' in '.*' holds Python objects"):
        arrays(path)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["file.npz", "file.safetensors"])
def test_a_damaged_file_is_an_error_or_reads_as_what_it_is(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name, inputs=rising(30, 6), labels=classes_of(30))
    whole = path.read_bytes()
    for size in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="cannot be read"):
            arrays(path)
    random = np.random.default_rng(0)
    for _ in range(100):  # a flipped byte of safetensors' numbers is just another number
        broken = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            broken[at] ^= int(random.integers(1, 256))
        path.write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with suppress(UserError):
                arrays(path)


def test_compressed_and_with_foreign_members(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=rising(30, 6), labels=classes_of(30), note=np.array("made by hand"))
    (tmp_path / "file.npz").write_bytes(buffer.getvalue())
    assert len(arrays(tmp_path / "file.npz").train) == 21
