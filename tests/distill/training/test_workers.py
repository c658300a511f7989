"""Data on disk, and processes that read it, train the very weights that data in memory does."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.check import check_fit
from distill.machine import Machine
from distill.mentors.find import FoundMentor, content_hash, find_mentor
from distill.run import distill
from distill.schema import FitConfig
from distill.training.callbacks.checkpoints import LastCheckpoint
from distill.training.loaders import workers_for
from mentor.cache.answers import cached_logits
from mentor.mentor import Mentor
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError
from tests.distill.conftest import MakeConfig
from tests.mentor_mentee.data.test_image_folder import fill

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def photos(once: Once) -> Path:
    return once("photos", lambda folder: fill(folder / "photos", {"a": 40, "b": 40, "unlabelled": 20}))


@pytest.fixture
def config(make_config: MakeConfig, photos: Path, tmp_path: Path) -> Callable[..., Any]:
    def make(name: str, memory_mb: int, **fit: Any) -> Any:
        data = {
            "_target_": "mentor_mentee.data.image_folder.image_folder",
            "root": str(photos / "photos"),
            "size": 8,
            "memory_mb": memory_mb,
            "cache": str(tmp_path / "images"),
        }
        config = make_config(tmp_path / name, data=data, cache_dir=str(tmp_path / name), preflight=False)
        how = Augmentation([{"_target_": "RandomCrop", "padding": 1}, "RandomHorizontalFlip"])
        trainer = replace(config.trainer, max_epochs=2, augment=how, **fit)
        return replace(config, trainer=trainer, mentor=replace(config.mentor, least_accuracy=0))

    return make


def weights(result: Any) -> bytes:
    return b"".join(value.numpy().tobytes() for value in result.checkpoint.state.values())


@pytest.fixture
def found(config: Callable[..., Any], machine: Machine, tmp_path: Path) -> FoundMentor:
    one = config("mentor", 256)
    return find_mentor(one.mentor, load_data(one.data, whole=True), tmp_path, machine)


def test_the_weights_are_the_same_from_memory_and_from_disk_with_any_workers_and_after_a_resume(
    config: Callable[..., Any], machine: Machine, found: FoundMentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = distill(config("memory", 256), machine, mentor=found)
    assert not memory.splits.train.on_disk
    disk = distill(config("disk", 0, workers=0), machine, mentor=found)
    assert disk.splits.train.on_disk
    assert weights(disk) == weights(memory)
    handler, save = signal.getsignal(signal.SIGINT), LastCheckpoint.on_train_epoch_end

    def stopped(self: LastCheckpoint, *given: Any) -> None:
        save(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", stopped)
        with pytest.raises(KeyboardInterrupt):
            distill(config("stopped", 0, workers=2), machine, mentor=found)
    signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    resumed = distill(replace(config("stopped", 0, workers=1), resume=True), machine, mentor=found)
    assert weights(resumed) == weights(memory)


def test_workers_are_asked_for_where_data_is_on_disk(config: Callable[..., Any]) -> None:
    disk, memory = (load_data(config("any", megabytes).data).train for megabytes in (0, 256))
    assert workers_for(memory, FitConfig()) == 0
    assert workers_for(disk, FitConfig()) == max(1, min(8, (os.cpu_count() or 1) // 2))
    assert workers_for(memory, FitConfig(workers=3)) == 3
    assert workers_for(disk, FitConfig(workers=0)) == 0
    with pytest.raises(UserError, match=r"trainer\.workers=-1; expected 0 or more"):
        check_fit(FitConfig(workers=-1), "trainer")


def test_workers_are_no_part_of_what_a_cached_mentor_is(config: Callable[..., Any]) -> None:
    one = config("any", 256)
    splits = load_data(one.data)
    other = replace(one.mentor, fit=replace(one.mentor.fit, workers=2))
    assert content_hash(one.mentor, splits) == content_hash(other, splits)


@pytest.mark.parametrize("megabytes", [0, 256])
def test_a_mentor_is_judged_once(
    megabytes: float, config: Callable[..., Any], machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = config("judged", megabytes)
    splits = load_data(one.data, whole=True)
    found: FoundMentor = find_mentor(one.mentor, splits, tmp_path, machine)
    asked: list[int] = []
    answer = Mentor.answer
    monkeypatch.setattr(Mentor, "answer", lambda self, images: asked.append(len(images)) or answer(self, images))
    assert find_mentor(one.mentor, splits, tmp_path, machine).val_accuracy == found.val_accuracy
    assert asked == [1]  # a sample, to see what it answers with
    with torch.no_grad():
        next(found.network.parameters()).add_(1)
    cached_logits(Mentor(found.network, found.view), splits.val, tmp_path / "answers")
    assert sum(asked) >= len(splits.val)  # another mentor
