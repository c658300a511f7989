"""The folder of cached answers stays within its bound."""

import os
from pathlib import Path

import pytest

from mentor.cache.room import lacking_room


def made(folder: Path, sizes: dict[str, int]) -> None:
    for age, (name, size) in enumerate(sizes.items()):  # the first is the oldest
        (folder / f"{name}.safetensors").write_bytes(bytes(size))
        os.utime(folder / f"{name}.safetensors", (age + 1e9, age + 1e9))


@pytest.mark.parametrize(
    ("needed", "limit", "left"),
    [
        (50, 1000, ["a", "b", "c"]),
        (200, 500, ["b", "c"]),  # 300 are there: 100 of them go
        (210, 500, ["c"]),
        (500, 500, []),
    ],
)
def test_the_oldest_go_first(needed: int, limit: int, left: list[str], tmp_path: Path) -> None:
    made(tmp_path, {"a": 100, "b": 100, "c": 200})
    assert lacking_room(tmp_path, [tmp_path / "new.safetensors"], needed, limit) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == left


def test_those_that_are_wanted_stay_and_count_once(tmp_path: Path) -> None:
    made(tmp_path, {"a": 100, "b": 100, "c": 200})
    wanted = [tmp_path / "a.safetensors", tmp_path / "new.safetensors"]
    assert lacking_room(tmp_path, wanted, 150, 350) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c"]


@pytest.mark.parametrize("needed", [501, 10**18])
def test_what_cannot_fit_removes_nothing(needed: int, tmp_path: Path) -> None:
    made(tmp_path, {"a": 100})
    assert lacking_room(tmp_path, [tmp_path / "new.safetensors"], needed, 500) == needed - 500
    assert (tmp_path / "a.safetensors").exists()


def test_more_than_the_disk_has(tmp_path: Path) -> None:
    assert lacking_room(tmp_path / "not yet", [tmp_path / "new.safetensors"], 10**18, 2e18) > 10**17
