"""Cached answers are the mentor's own on that view, and only they are taken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mentor.cache.answers import AnswerCache, cached_logits
from mentor.cache.options import PRECISIONS, CacheOptions
from mentor.mentor import Answers, Mentor
from mentor.networks import ResidualNet
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.data.views.drawn import Views
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.progress import reporting

EXACT = CacheOptions("float32")
MOVED = [{"_target_": "RandomCrop", "padding": 2}, {"_target_": "RandomRotation", "degrees": 20}]
HOW = Augmentation(MOVED, views=3)


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 3)
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return self.head(self.conv(x).mean((2, 3)))


def make(seed: int = 0) -> tuple[Mentor, Counted, Split]:
    torch.manual_seed(seed)
    network = Counted()
    split = Split(torch.randint(0, 256, (300, 1, 6, 6)).to(torch.uint8), torch.arange(300) % 3, torch.arange(300) * 2)
    x = split.images[:2].float()
    probes = find_probes({"map": ["conv", "conv"]}, network, x, network, x)
    network.asked = 0
    return Mentor(network, View((1, 6, 6), (0.5,), (0.5,)), probes), network, split


def close(found: Answers, expected: Answers) -> None:
    torch.testing.assert_close(found.logits, expected.logits)
    assert found.activations.keys() == expected.activations.keys()
    for name, value in expected.activations.items():
        torch.testing.assert_close(found.activations[name], value)


def all_of(cache: AnswerCache, view: int) -> Answers:
    return cache.answer(cache.split.positions, torch.full((len(cache.split),), view))


def test_cached_answers_are_the_mentors_on_that_view() -> None:
    mentor, network, split = make()
    cache = AnswerCache(mentor, split, HOW, options=EXACT)
    rows = torch.tensor([7, 250, 7, 3])
    views = torch.tensor([0, 2, 1, 0])
    batch = split.__getitems__(rows)
    seen = Views(HOW, seed=0)(batch.image_BCHW, batch.index_B, views)
    found = cache.answer(batch.index_B, views)
    close(found, mentor.answer(seen))
    asked = network.asked
    for images in (None, seen):
        again = cache.answer(batch.index_B, views, images)
        assert torch.equal(again.logits, found.logits)
        assert torch.equal(again.activations["map"], found.activations["map"])
    assert network.asked == asked
    given = AnswerCache(mentor, split, HOW, options=EXACT).answer(batch.index_B, views, seen)
    assert torch.equal(given.activations["map"], found.activations["map"])


def test_what_is_cached_does_not_depend_on_who_asked_first() -> None:
    """Other samples beside it, more of them, in another order: the same bits."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (300, 1, 16, 16)).to(torch.uint8)
    split = Split(images, torch.arange(300) % 3)
    network = ResidualNet(1, 3, (16, 32), 1)
    x = images[:2].float()
    probes = find_probes({"map": ["stages.1", "stages.1"]}, network, x, network, x)
    mentor = Mentor(network, View((1, 16, 16), (0.5,), (0.5,)), probes)
    whole = all_of(AnswerCache(mentor, split, options=EXACT), 0)
    apart = AnswerCache(mentor, split, options=EXACT)
    for part in torch.randperm(300).split(37):
        apart.answer(part, torch.zeros(len(part), dtype=torch.int64))
    assert torch.equal(all_of(apart, 0).logits, whole.logits)
    assert torch.equal(all_of(apart, 0).activations["map"], whole.activations["map"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_answer_is_the_same_when_it_is_asked_cached_and_read_by_another_run(precision: str, tmp_path: Path) -> None:
    mentor, network, split = make()
    options = CacheOptions(precision)
    first = AnswerCache(mentor, split, HOW, tmp_path, options)
    asked, cached = all_of(first, 1), all_of(first, 1)
    count = network.asked
    read = all_of(AnswerCache(mentor, split, HOW, tmp_path, options), 1)
    more = Augmentation(MOVED, views=8)  # the first three of eight views are these three
    also = all_of(AnswerCache(mentor, split, more, tmp_path, options), 1)
    assert network.asked == count + 2  # a sample each, to see what it answers with
    for one in (cached, read, also):
        assert torch.equal(one.logits, asked.logits)
        assert torch.equal(one.activations["map"], asked.activations["map"])


def test_logits_are_found_without_probes_and_a_probe_beside_others(tmp_path: Path) -> None:
    mentor, network, split = make()
    logits = all_of(AnswerCache(mentor, split, None, tmp_path), 0).logits
    x = split.images[:2].float()
    both = find_probes({"other": ["conv", "conv"], "vector": ["head", "head"]}, network, x, network, x)
    network.asked = 0
    assert torch.equal(AnswerCache(Mentor(network, mentor.view), split, None, tmp_path).logits(), logits)
    assert network.asked == 1
    cache = AnswerCache(Mentor(network, mentor.view, both[:1]), split, None, tmp_path)
    assert all_of(cache, 0).activations.keys() == {"other"}  # the same layer under another name
    assert network.asked == 2
    assert torch.equal(cached_logits(Mentor(network, mentor.view, both), split, tmp_path), logits)
    assert network.asked > 300  # "vector" is new


def test_what_an_own_transform_imports_may_change_as_well(
    own_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = own_module("AMOUNT = 1  # as if imported\ndef moved(image):\n    return image.roll(AMOUNT, -1)")
    for transforms in ([f"{module}.moved"], [{"_target_": "RandomApply", "transforms": [f"{module}.moved"], "p": 1.0}]):
        mentor, network, split = make()
        how = Augmentation(transforms, views=1)
        monkeypatch.setattr(f"{module}.AMOUNT", 1)
        first = all_of(AnswerCache(mentor, split, how, tmp_path, EXACT), 0)
        network.asked = 0
        assert torch.equal(all_of(AnswerCache(mentor, split, how, tmp_path, EXACT), 0).logits, first.logits)
        assert network.asked == 1
        monkeypatch.setattr(f"{module}.AMOUNT", 3)
        again = all_of(AnswerCache(mentor, split, how, tmp_path, EXACT), 0)
        close(again, mentor.answer(split.images.roll(3, -1)))
        assert not torch.allclose(again.logits, first.logits)


@pytest.mark.parametrize("what", ["mentor", "images", "augmentation", "layer", "precision"])
def test_answers_of_something_else_are_not_taken(what: str, tmp_path: Path) -> None:
    mentor, network, split = make()
    all_of(AnswerCache(mentor, split, HOW, tmp_path), 0)
    how, options, weights_of = HOW, CacheOptions(), network.head
    if what == "mentor":
        with torch.no_grad():
            weights_of.bias[1] += 1e-3
    if what == "images":
        split = Split(split.images.flip(0), split.labels, split.positions)
    if what == "augmentation":
        how = Augmentation([MOVED[0], {"_target_": "RandomRotation", "degrees": 21}], views=3)
    if what == "layer":
        x = split.images[:2].float()
        mentor = Mentor(network, mentor.view, find_probes({"map": ["head", "head"]}, network, x, network, x))
    if what == "precision":
        options = CacheOptions("float16")
    network.asked = 0
    all_of(AnswerCache(mentor, split, how, tmp_path, options), 0)
    assert network.asked >= 300


def test_a_damaged_file_is_asked_anew_and_said(tmp_path: Path) -> None:
    mentor, network, split = make()
    before = all_of(AnswerCache(mentor, split, HOW, tmp_path), 0)
    files = sorted(tmp_path.iterdir())
    for file in files:
        content = bytearray(file.read_bytes())
        content[-3] ^= 0xFF  # of the last sample
        file.write_bytes(content)
    network.asked = 0
    said: list[str] = []
    with reporting(said.append):
        again = all_of(AnswerCache(mentor, split, HOW, tmp_path), 0)
    assert network.asked == 1 + 64
    assert torch.equal(again.logits, before.logits)
    assert torch.equal(again.activations["map"], before.activations["map"])
    assert said == [f"2 cached answers in {tmp_path} are damaged: the mentor is asked again"]
    assert sorted(tmp_path.iterdir()) == files  # mended, nothing half-written beside it


def test_answers_that_are_not_the_mentors_are_found_by_asking_again(tmp_path: Path) -> None:
    """Whole by their checksums, and wrong: only the mentor can tell. Of the first sample it is asked anyway."""
    mentor, _, split = make()
    right = all_of(AnswerCache(mentor, split, None, tmp_path), 0)
    cache = AnswerCache(mentor, split, None, tmp_path)
    table = cache._tables(0)["logits"]
    table.write(np.arange(300), table.packing.pack(-right.logits))
    said_first: list[str] = []
    with reporting(said_first.append):
        assert torch.equal(AnswerCache(mentor, split, None, tmp_path).logits(), right.logits)
    assert ["not what the mentor says now (logits)" in line for line in said_first] == [True]
    table.write(np.arange(1, 300), table.packing.pack(-right.logits[1:]))
    said: list[str] = []
    with reporting(said.append):
        believed = AnswerCache(mentor, split, None, tmp_path).logits()
        found = AnswerCache(mentor, split, None, tmp_path, CacheOptions(verify=0.05)).logits()
        after = AnswerCache(mentor, split, None, tmp_path, CacheOptions(verify=1.0)).logits()
    assert torch.equal(believed[1:], -right.logits[1:])
    assert torch.equal(found, right.logits)
    assert torch.equal(after, right.logits)
    assert [line for line in said if "not what the mentor says now (logits)" in line] == said
    assert len(said) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    mentor, _, split = make()
    (tmp_path / "file").write_text("")
    said: list[str] = []
    with reporting(said.append):
        logits = cached_logits(mentor, split, tmp_path / "file" / "answers")
    torch.testing.assert_close(logits, mentor.answer(split.images).logits)
    assert len(said) == 1
    assert "cannot be cached in" in said[0]


def test_the_bytes_it_takes_are_those_of_its_files(tmp_path: Path) -> None:
    mentor, _, split = make()
    cache = AnswerCache(mentor, split, HOW, tmp_path)
    cache.reserve(3)
    assert sorted(tmp_path.iterdir()) == sorted(cache.paths(3))
    headers = sum(8 + int.from_bytes(file.read_bytes()[:8], "little") for file in tmp_path.iterdir())
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == cache.bytes(3) + headers
