"""Decoded images on disk: equal to those in memory, and never silently others, whatever happens to their files."""

import multiprocessing
import os
import re
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mentor_mentee.data.image_folder import image_folder
from mentor_mentee.data.oddities import oddities
from mentor_mentee.data.reading import image_decode
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.store import store
from mentor_mentee.data.store.images import StoredImages
from mentor_mentee.data.views.view import normalisation
from mentor_mentee.errors import UserError
from mentor_mentee.progress import reporting
from tests.mentor_mentee.data.test_image_folder import fill

PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images or so in each, where a block has a thousand else."""
    monkeypatch.setattr(store, "BLOCK_BYTES", 7 * 3 * 8 * 8)


def read(folder: Path, cache: Path, **options: object) -> tuple[Splits, list[str]]:
    said: list[str] = []
    with reporting(said.append):
        return image_folder(folder, 8, cache=str(cache), memory_mb=0, **options), said  # type: ignore[arg-type]


def blocks(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.block"))


def times(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in blocks(cache)}


def test_what_is_read_from_disk_is_what_is_decoded_by_hand_and_held_in_memory(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 31, "b": 20, "unlabelled": 9})
    stored, said = read(tmp_path / "data", tmp_path / "cache")
    memory = image_folder(tmp_path / "data", 8)
    assert any(line.startswith("decoding 60 images once, into 0.0 MB of") for line in said)
    assert len(blocks(tmp_path / "cache")) > 3
    for part in PARTS:
        one, other = getattr(stored, part), getattr(memory, part)
        assert isinstance(one.images, StoredImages)
        assert one.images.shape == other.images.shape
        assert one.images.dtype == other.images.dtype
        for name in ("labels", "positions"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert torch.equal(one.images[:], other.images)
        assert torch.equal(one.images[1:3], other.images[1:3])
        assert torch.equal(one.images[2], other.images[2])
        rows = torch.tensor([2, 0, 2, 1])
        assert torch.equal(one.__getitems__(rows).image_BCHW, other.images[rows])
        assert torch.equal(one.subset([2, 1]).subset([1, 0, 1]).images[:], other.images[[1, 2, 1]])
        np.testing.assert_allclose(normalisation(one), normalisation(other), rtol=1e-12)
    with Image.open(tmp_path / "data" / "a" / "004.png") as image:
        pixels = np.asarray(image).transpose(2, 0, 1)
    everything = torch.cat([getattr(stored, part).images[:] for part in PARTS]).numpy()
    assert (everything == pixels).all((1, 2, 3)).sum() == 1
    assert list(oddities(stored)) == list(oddities(memory))


def test_a_second_start_decodes_nothing_and_has_the_same_fingerprints(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20})
    first, _ = read(tmp_path / "data", tmp_path / "cache")
    before = times(tmp_path / "cache")
    (tmp_path / "moved").mkdir()
    (tmp_path / "data").rename(tmp_path / "moved" / "data")
    second, said = read(tmp_path / "moved" / "data", tmp_path / "cache")
    assert times(tmp_path / "cache") == before
    assert said == []
    for part in PARTS:
        assert getattr(first, part).fingerprint() == getattr(second, part).fingerprint()
    assert len({split.fingerprint() for split in (first.train, first.val, first.train.subset([1, 0]))}) == 3
    assert first.train.relabelled(first.train.labels.flip(0)).fingerprint() != first.train.fingerprint()


def test_of_a_changed_listing_only_the_blocks_around_the_change_are_decoded_again(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 60, "b": 60})
    read(tmp_path / "data", tmp_path / "cache")
    before = times(tmp_path / "cache")
    fill(tmp_path / "data" / "a", {"../a/new": 1})
    (tmp_path / "data" / "a" / "new" / "000.png").rename(tmp_path / "data" / "a" / "030x.png")
    (tmp_path / "data" / "a" / "new").rmdir()
    os.utime(tmp_path / "data" / "b" / "050.png", ns=(1, 1))
    found, said = read(tmp_path / "data", tmp_path / "cache")
    after = times(tmp_path / "cache")
    assert before.items() <= after.items()
    assert 1 <= len(after) - len(before) <= 4 < len(before)
    assert any("others are there already; these are new, changed or of a run that was stopped" in line for line in said)
    assert any("of images that are not in this data set, or were changed since" in line for line in said)
    memory = image_folder(tmp_path / "data", 8)
    assert torch.equal(found.train.images[:], memory.train.images)


def test_a_damaged_block_is_decoded_again_and_said(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20})
    found, _ = read(tmp_path / "data", tmp_path / "cache")
    expected = [getattr(found, part).images[:] for part in PARTS]
    pixels, records, gone = blocks(tmp_path / "cache")[:3]
    flip(pixels, 5)
    gone.unlink()
    said: list[str] = []
    with reporting(said.append):
        assert all(map(torch.equal, [getattr(found, part).images[:] for part in PARTS], expected))
    assert [line.partition(":")[0] for line in said] == ["decoded images are damaged"] * 2
    flip(records, records.stat().st_size - 40)
    again, said = read(tmp_path / "data", tmp_path / "cache")
    assert said[0].startswith("1 of ")
    assert torch.equal(again.train.images[:], expected[0])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_damaged_block_whose_photos_are_others_by_now_stops_the_run(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20})
    found, _ = read(tmp_path / "data", tmp_path / "cache")
    for name in ("a", "b"):
        fill(tmp_path / "data", {name: 20}, seed=700)
    for path in blocks(tmp_path / "cache"):
        flip(path, 0)
    with pytest.raises(UserError, match=r"is damaged, and .*\.png is no longer what it was when this run began"):
        found.train.images[:]


def build_slowly(folder: Path, cache: Path, fingerprint: "multiprocessing.Queue[str]") -> None:
    one = image_decode.decode

    def slow(*given: Any) -> Any:
        time.sleep(0.01)
        return one(*given)

    os.setsid()  # its workers are killed with it
    image_decode.decode = slow
    fingerprint.put(read(folder, cache)[0].train.fingerprint())


def test_a_killed_build_goes_on_and_two_processes_build_together(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 80, "b": 80})
    fork = multiprocessing.get_context("fork")  # torch is imported there already
    prints: multiprocessing.Queue[str] = fork.Queue()
    killed, *both = (
        fork.Process(target=build_slowly, args=(tmp_path / "data", tmp_path / "cache", prints)) for _ in range(3)
    )
    killed.start()
    deadline = time.monotonic() + 60
    while len(blocks(tmp_path / "cache")) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(killed.pid or 0, signal.SIGKILL)
    killed.join()
    before = times(tmp_path / "cache")
    for process in both:
        process.start()
    found = {prints.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    after = times(tmp_path / "cache")
    assert 4 <= len(before) < len(after)
    assert before.items() <= after.items()
    stored, said = read(tmp_path / "data", tmp_path / "cache")
    assert found == {stored.train.fingerprint()}
    assert said == []
    assert torch.equal(stored.train.images[:], image_folder(tmp_path / "data", 8).train.images)


def build_on_a_full_disk(folder: Path, cache: Path, error: "multiprocessing.Queue[str]") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    try:
        read(folder, cache)
    except UserError as stopped:
        error.put(str(stopped))


def test_a_disk_that_takes_no_more_stops_in_a_line_and_leaves_no_half_block(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 40, "b": 40})
    fork = multiprocessing.get_context("fork")
    error: multiprocessing.Queue[str] = fork.Queue()
    process = fork.Process(target=build_on_a_full_disk, args=(tmp_path / "data", tmp_path / "cache", error))
    process.start()
    assert re.search(
        r"cannot be written to .*those decoded so far stay: free .* and start again", error.get(timeout=60)
    )
    process.join()
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert all(path.suffix == ".block" and path.stat().st_size <= 1500 for path in written)
    found, _ = read(tmp_path / "data", tmp_path / "cache")
    assert torch.equal(found.train.images[:], image_folder(tmp_path / "data", 8).train.images)


def test_a_cache_that_cannot_be_a_folder(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20})
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"cannot be written to .*\(Not a directory\); set data\.cache=\.\.\. to a folder"
    ):
        read(tmp_path / "data", tmp_path / "file" / "cache")


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_broken_photos_are_counted_and_named_or_skipped(tmp_path: Path, where: str) -> None:
    fill(tmp_path / "data", {"a": 20, "b": 20, "unlabelled": 10})
    broken = [tmp_path / "data" / name for name in ("a/003.png", "a/011.png", "unlabelled/004.png")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    options = {"cache": str(tmp_path / "cache"), "memory_mb": 256 if where == "memory" else 0}
    with pytest.raises(
        UserError, match=r"a/003\.png cannot be read .*the first of 3 of 50 images.*: data\.broken=skip leaves them out"
    ):
        image_folder(tmp_path / "data", 8, **options)  # type: ignore[arg-type]
    said: list[str] = []
    with reporting(said.append):
        found = image_folder(tmp_path / "data", 8, broken="skip", **options)  # type: ignore[arg-type]
    assert said[-1].startswith("warning: 3 of 50 images cannot be read and are left out (data.broken=skip), the first")
    assert not any("move it away" in line for line in said)  # it was left out already
    for path in broken:
        path.unlink()
    without = image_folder(tmp_path / "data", 8)
    for part in PARTS:
        assert torch.equal(getattr(found, part).images[:], getattr(without, part).images)
        assert torch.equal(getattr(found, part).labels, getattr(without, part).labels)
    assert torch.equal(found.train.positions, without.train.positions)


def test_an_unknown_way_with_broken_photos(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.broken=skp; did you mean 'skip'"):
        image_folder(tmp_path, 8, broken="skp")


def test_a_store_is_no_tensor_but_joins_one(tmp_path: Path) -> None:
    from mentor_mentee.data.store.images import joined

    fill(tmp_path / "data", {"a": 20, "b": 20})
    split = read(tmp_path / "data", tmp_path / "cache")[0].train
    both = joined(split.subset([0, 2]).images, split.images[4:5])
    assert torch.equal(both[:], split.images[torch.tensor([0, 2, 4])])
    assert Split(split.images, split.labels).on_disk
