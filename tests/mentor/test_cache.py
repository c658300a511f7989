"""Cached answers are the mentor's own on that view, and only they are taken."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mentor.cache import AnswerCache, answer_bytes
from mentor.mentor import Answers, Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augment import augment
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.probes import find_probes

HOW = Augmentation(shift=0.2, rotate=20, views=3)


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


def test_cached_answers_are_the_mentors_on_that_view() -> None:
    mentor, network, split = make()
    cache = AnswerCache(mentor, split, HOW)
    rows = torch.tensor([7, 250, 7, 3])
    views = torch.tensor([0, 2, 1, 0])
    batch = split.__getitems__(rows)
    found = cache.answer(batch.index_B, views)
    asked = network.asked
    close(found, mentor.answer(augment(batch.image_BCHW, batch.index_B, views, HOW, seed=0)))
    network.asked = asked
    again = cache.answer(batch.index_B, views)
    assert network.asked == asked == 900  # three views of 300 samples, once
    assert torch.equal(again.logits, found.logits)


def test_what_is_cached_does_not_depend_on_who_asked_first(tmp_path: Path) -> None:
    mentor, _, split = make()
    first, second = AnswerCache(mentor, split, HOW), AnswerCache(mentor, split, HOW)
    some, others = torch.tensor([10, 4]), torch.tensor([500, 4, 598])
    first.answer(some, torch.zeros(2, dtype=torch.int64))
    a = first.answer(others, torch.ones(3, dtype=torch.int64))
    b = second.answer(others, torch.ones(3, dtype=torch.int64))
    assert torch.equal(a.logits, b.logits)
    assert torch.equal(a.activations["map"], b.activations["map"])


def test_answers_on_disk_are_read_again_bit_for_bit(tmp_path: Path) -> None:
    mentor, network, split = make()
    before = AnswerCache(mentor, split, HOW, tmp_path).view(1)
    asked = network.asked
    after = AnswerCache(mentor, split, HOW, tmp_path).view(1)
    assert network.asked == asked
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.activations["map"], before.activations["map"])
    more = Augmentation(shift=0.2, rotate=20, views=8)  # the first three of eight views are these three
    assert torch.equal(AnswerCache(mentor, split, more, tmp_path).view(1).logits, before.logits)
    assert network.asked == asked


@pytest.mark.parametrize("what", ["mentor", "images", "augmentation", "probes"])
def test_answers_of_something_else_are_not_taken(what: str, tmp_path: Path) -> None:
    mentor, network, split = make()
    AnswerCache(mentor, split, HOW, tmp_path).view(0)
    asked, how = network.asked, HOW
    if what == "mentor":
        with torch.no_grad():
            network.head.bias[1] += 1e-3
    if what == "images":
        split = Split(split.images.flip(0), split.labels, split.positions)
    if what == "augmentation":
        how = Augmentation(shift=0.2, rotate=21, views=3)
    if what == "probes":
        mentor = Mentor(network, mentor.view)
    AnswerCache(mentor, split, how, tmp_path).view(0)
    assert network.asked == asked + 300


def test_a_damaged_file_is_asked_anew(tmp_path: Path) -> None:
    mentor, network, split = make()
    before = AnswerCache(mentor, split, HOW, tmp_path).view(0)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    asked = network.asked
    again = AnswerCache(mentor, split, HOW, tmp_path).view(0)
    assert network.asked == asked + 300
    assert torch.equal(again.logits, before.logits)
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]  # mended, nothing half-written beside it


def test_the_bytes_it_takes_are_those_of_its_tables() -> None:
    mentor, _, split = make()
    cache = AnswerCache(mentor, split, HOW)
    tables = [cache.view(number) for number in range(3)]
    held = sum(table.logits.nbytes + sum(value.nbytes for value in table.activations.values()) for table in tables)
    assert answer_bytes(mentor, split, 3) == held
