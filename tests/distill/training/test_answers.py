"""Augmented runs, cached answers, samples nobody answers for."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.run import ALONE, distill
from distill.schedules import constant
from distill.schema import CacheConfig, FitConfig
from distill.training.answers import answer_caches
from distill.training.loaders import epoch_batches
from distill.training.module import Distillation, fastest_layout
from mentor.mentor import Mentor
from mentor.networks import ResidualNet
from mentor_mentee.data.batches import Draws
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee
from tests.distill.conftest import MakeConfig

MOVED = [{"_target_": "RandomCrop", "padding": 1}, {"_target_": "RandomRotation", "degrees": 12}]
HOW = Augmentation(MOVED, views=2)


@pytest.mark.parametrize("how", [Augmentation(), HOW], ids=["plain", "two views"])
def test_cached_answers_train_as_asked_ones(
    how: Augmentation, make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    fit = FitConfig(max_epochs=2, steps_per_epoch=12, batch=90, learning_rate=5e-3, augment=how)
    asked, cached, again = (
        distill(make_config(tmp_path / name, trainer=fit, cache=CacheConfig(answers=keep)), machine, mentor=mentor)
        for name, keep in (("asked", False), ("cached", True), ("again", None))
    )
    for a, b, c in zip(asked.history, cached.history, again.history, strict=True):
        for name in a:
            if name != "ms_per_step":
                assert a[name] == pytest.approx(b[name], rel=2e-3, abs=2e-4), name
                assert b[name] == c[name], name
    assert len({row["train_loss"] for row in asked.history}) == 2


@pytest.mark.parametrize("keep", [False, True])
def test_mentor_and_mentee_see_the_same_view(
    keep: bool, make_config: MakeConfig, mentor: FoundMentor, digits_splits: Splits, machine: Machine, tmp_path: Path
) -> None:
    """A training step is told what the mentor says of the very images that the mentee is given."""
    config = make_config(tmp_path, cache=CacheConfig(answers=keep), trainer=FitConfig(augment=HOW))
    answering = Mentor(mentor.network, mentor.view)
    network = ResidualNet(1, 10, (8, 8))
    module = Distillation(
        ProbedMentee(network, [], "head"), mentor.view, constant(1, 1, 1, 4), config.trainer, 1, answering
    )
    module.caches = answer_caches(config, answering, digits_splits, machine)
    batch = Draws(digits_splits.train, HOW, seed=1).__getitems__([5, 7, 900 + 5, 900 * 3 + 800])
    assert not torch.equal(batch.image_BCHW[0], batch.image_BCHW[2])  # another view of one sample
    told = module.ask(batch)
    assert told is not None
    torch.testing.assert_close(told.logits, mentor.network(mentor.view(batch.image_BCHW)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {"val"}),  # 12 steps of 16 of 900 samples: asking is cheaper
        ({"trainer": FitConfig(max_epochs=2, batch=64)}, {"train", "val"}),
        ({"trainer": FitConfig(max_epochs=2, batch=64, augment=HOW)}, {"train", "val"}),
        (
            {"trainer": FitConfig(max_epochs=2, batch=64, augment=Augmentation(["RandomHorizontalFlip"]))},
            {"val"},
        ),  # endless views
        ({"trainer": FitConfig(max_epochs=2, batch=64), "cache": CacheConfig(max_gb=0)}, set()),
        ({"trainer": FitConfig(max_epochs=2, batch=64), "cache": CacheConfig(answers=False)}, set()),
        ({"cache": CacheConfig(answers=True)}, {"train", "val"}),
    ],
)
def test_what_is_cached(
    changes: dict[str, Any],
    parts: set[str],
    make_config: MakeConfig,
    mentor: FoundMentor,
    digits_splits: Splits,
    machine: Machine,
    tmp_path: Path,
) -> None:
    config = make_config(tmp_path, **changes)
    assert set(answer_caches(config, Mentor(mentor.network, mentor.view), digits_splits, machine)) == parts


def test_a_limit_that_is_too_small_is_said_with_the_one_that_suffices(
    make_config: MakeConfig, mentor: FoundMentor, digits_splits: Splits, tmp_path: Path
) -> None:
    """Nobody notices otherwise why each step asks the mentor."""
    said = io.StringIO()
    machine = Machine(console=Console(file=said, width=1000))
    answering = Mentor(mentor.network, mentor.view)
    config = make_config(tmp_path, trainer=FitConfig(max_epochs=64, augment=Augmentation(MOVED[:1], views=60)))
    config.cache.max_gb = 0
    needed = 0.0
    for part in ("val", "train"):  # the first one is said to need so much, then the other
        assert part not in answer_caches(config, answering, digits_splits, machine)
        line = next(line for line in said.getvalue().splitlines() if f"the {part} split" in line)
        assert ("asked again at each step" in line) == (part == "train")
        found = re.search(r"take (\S+) GB and are not cached: cache.max_gb=\S+ is less", line)
        assert found is not None
        needed += float(found[1])
        config.cache.max_gb = 1.02 * needed  # it is said in three digits
    assert set(answer_caches(config, answering, digits_splits, machine)) == {"val", "train"}


def test_views_that_few_labelled_samples_run_through_are_counted(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """Ten labels among 890 others: the others come three times in these steps, the ten sixty times, in all eight views; and
    a view is asked for of all 900."""
    data = {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 1, "keep_unlabelled": True}
    how = Augmentation(MOVED[:1], views=8)
    config = make_config(tmp_path, data=data, trainer=FitConfig(max_epochs=2, batch=64, augment=how))
    splits, answering = load_data(data), Mentor(mentor.network, mentor.view)
    assert set(answer_caches(config, answering, splits, machine)) == {"val"}  # 2,432 draws, 7,200 answers
    config.cache.answers = True
    cached = answer_caches(config, answering, splits, machine)["train"]
    batches = epoch_batches(splits.train, config.trainer, config.seed)
    seen: set[int] = set()
    for epoch in range(2):
        batches.set_epoch(epoch)
        for draws in batches:
            batch = Draws(splits.train, how, config.seed).__getitems__(draws)
            cached.answer(batch.index_B, batch.view_B)
            seen |= set(batch.view_B.tolist())
    assert seen == set(cached.views) == set(range(8))


def test_the_network_is_left_in_the_layout_of_one_that_is_read(
    make_config: MakeConfig, machine: Machine, tmp_path: Path
) -> None:
    network = {"_target_": "mentor.networks.ResidualNet", "widths": [8, 8]}
    config = make_config(tmp_path, cache_dir=str(tmp_path / "fresh"))
    config.mentor = replace(config.mentor, network=network)
    splits = load_data(config.data, whole=True)
    made, read = (find_mentor(config.mentor, splits, tmp_path / "fresh", machine) for _ in range(2))
    assert fastest_layout(made.network) is torch.channels_last  # which it was trained in
    assert made.origin != read.origin
    images = splits.test.images[:50]
    answers = [Mentor(one.network, one.view).answer(images).logits for one in (made, read)]
    assert torch.equal(*answers)
    for name, value in made.network.state_dict().items():
        assert value.stride() == read.network.state_dict()[name].stride(), name


def test_answers_that_cannot_be_cached(
    make_config: MakeConfig, mentor: FoundMentor, digits_splits: Splits, machine: Machine, tmp_path: Path
) -> None:
    answering = Mentor(mentor.network, mentor.view)
    endless = make_config(
        tmp_path, cache=CacheConfig(answers=True), trainer=FitConfig(augment=Augmentation(["RandomHorizontalFlip"]))
    )
    with pytest.raises(UserError, match=r"set trainer\.augment\.views=8"):
        answer_caches(endless, answering, digits_splits, machine)
    with pytest.raises(UserError, match=r"97 samples of the val split take \S+ GB: cache.max_gb=0 is less"):
        answer_caches(
            make_config(tmp_path, cache=CacheConfig(answers=True, max_gb=0)), answering, digits_splits, machine
        )


def test_without_a_mentor_unlabelled_samples_take_no_place(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    data = {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 3}
    results = [
        distill(
            make_config(tmp_path / str(keep), data={**data, "keep_unlabelled": keep}, schedule=ALONE),
            machine,
            mentor=mentor,
        )
        for keep in (False, True)
    ]
    states = [load_file(result.checkpoint_path) for result in results]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_nothing_to_learn_from(make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path) -> None:
    config = make_config(tmp_path, data={"_target_": "tests.distill.training.test_answers.unlabelled"}, schedule=ALONE)
    with pytest.raises(UserError, match="no training sample has a label"):
        distill(config, machine, mentor=mentor)
    assert not (tmp_path / "last.ckpt").exists()


def unlabelled() -> Splits:
    from mentor_mentee.data.datasets import digits
    from mentor_mentee.data.splits import Split

    splits = digits()
    return replace(splits, train=Split(splits.train.images, torch.full_like(splits.train.labels, -1)))


def test_the_layout_avoids_the_convolution_that_corrupts_memory() -> None:
    assert fastest_layout(ResidualNet(1, 10, (16, 32))) is torch.channels_last
    assert fastest_layout(ResidualNet(1, 10, (4, 8))) is torch.contiguous_format
    assert fastest_layout(nn.Conv2d(4, 8, 3, stride=2)) is torch.channels_last


@pytest.fixture(scope="module")
def digits_splits() -> Splits:
    from mentor_mentee.data.datasets import digits

    return digits()
