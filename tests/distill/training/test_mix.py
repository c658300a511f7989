"""Mixed samples in a training: the mentor is asked about the mixed ones, and a killed run goes on to the same weights."""

import io
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from distill.check import check_settings
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import distill
from distill.schema import CacheConfig, FitConfig, LossConfig
from distill.training.callbacks.checkpoints import LastCheckpoint
from mentor.mentor import Mentor
from mentor_mentee.data.batches import Draws, EpochBatches
from mentor_mentee.data.load import load_data
from mentor_mentee.data.pools import training_pools
from mentor_mentee.data.views.augmentation import Augmentation, Mix
from mentor_mentee.errors import UserError
from tests.distill.conftest import MakeConfig

CROP = {"_target_": "RandomCrop", "padding": 1}
HOW = Augmentation([CROP], Mix(mixup=0.3, cutmix=1.0), views=2)


def test_a_killed_run_goes_on_to_the_same_weights_and_the_mentor_sees_what_the_mentee_sees(
    make_config: MakeConfig, mentor: FoundMentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    machine = Machine("cpu", 1, Console(file=said, width=300))

    def config(name: str, **fit: Any) -> Any:
        trainer = FitConfig(max_epochs=3, steps_per_epoch=4, batch=16, learning_rate=5e-3, augment=HOW, **fit)
        return make_config(tmp_path / name, trainer=trainer)

    asked: list[torch.Tensor] = []
    answer = Mentor.answer
    with monkeypatch.context() as patch:
        patch.setattr(Mentor, "answer", lambda self, image: asked.append(image) or answer(self, image))
        whole = distill(config("whole"), machine, mentor=mentor)
    assert said.getvalue().count("the mentor is asked about each mixed sample") == 1
    split = load_data(config("whole").data).train
    batches = EpochBatches(training_pools(split.labels.numpy(), 16, 1), 4, pairs=True)
    first = next(iter(batches))
    assert any(torch.equal(image, Draws(split, HOW, 1).__getitems__(first).image_BCHW) for image in asked)

    handler, save = signal.getsignal(signal.SIGINT), LastCheckpoint.on_train_epoch_end

    def stopped(self: LastCheckpoint, *given: Any) -> None:
        save(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", stopped)
        with pytest.raises(KeyboardInterrupt):
            distill(config("stopped"), machine, mentor=mentor)
    signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    resumed = distill(replace(config("stopped", workers=1), resume=True), machine, mentor=mentor)
    for name, value in whole.checkpoint.state.items():
        assert torch.equal(value, resumed.checkpoint.state[name]), name


def test_what_mixing_excludes(make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path) -> None:
    config = make_config(tmp_path, trainer=FitConfig(augment=Augmentation(mix=Mix(cutmix=1.0))))
    with pytest.raises(UserError, match=r"cache\.answers=true, but trainer\.augment\.mix mixes samples anew"):
        distill(replace(config, cache=CacheConfig(answers=True)), machine, mentor=mentor)
    with pytest.raises(UserError, match=r"loss\.softmax=dkd splits the softmax at a sample's class"):
        check_settings(replace(config, loss=LossConfig(softmax="dkd")))
    for where, changes in (
        ("trainer", {"trainer": replace(config.trainer, batch=1)}),
        ("mentor.fit", {"mentor": replace(config.mentor, fit=replace(config.trainer, batch=1))}),
    ):
        with pytest.raises(UserError, match=rf"{where}\.batch=1 with {where}\.augment\.mix: a sample alone"):
            check_settings(replace(config, **changes))
    few = {**config.data, "labels_per_class": 2, "keep_unlabelled": True}
    with pytest.raises(UserError, match=r"augment\.mix with a batch of 1, 3 samples with and without a label"):
        distill(replace(config, data=few, trainer=replace(config.trainer, batch=4)), machine, mentor=mentor)
