"""A file is there whole or not at all."""

import stat
from pathlib import Path

import pytest
from mentee_device.files import UNFINISHED, replacing, sha256_of


def test_it_appears_at_the_end_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.write_text("before")
    with replacing(target) as new:
        new.write_text("after")
        assert target.read_text() == "before"
        assert new in tmp_path.glob(UNFINISHED.format("state"))  # what a killed process leaves is found by this
    assert target.read_text() == "after"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "state"

    def fail(new: Path) -> None:
        new.write_text("half")
        raise KeyError

    with pytest.raises(KeyError), replacing(target) as new:
        fail(new)
    assert list(tmp_path.iterdir()) == []


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2
