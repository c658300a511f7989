"""Mixed samples against torchvision's MixUp and CutMix, and pairs that processes agree on."""

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mentor_mentee.data.batches import Draws, EpochBatches, Pair
from mentor_mentee.data.pools import training_pools
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augmentation import Augmentation, Mix
from mentor_mentee.data.views.mix import drawn, mixed, mixing
from mentor_mentee.data.views.replayed import seed_all

SPLIT = Split(
    torch.randint(0, 256, (30, 2, 7, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8),
    torch.arange(30) % 3,
)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_a_box_is_torchvisions(alpha: float) -> None:
    images, labels = SPLIT.images.float(), SPLIT.labels
    theirs = v2.CutMix(alpha=alpha, num_classes=3)
    for step in range(20):
        seed_all(1, 2, step)
        expected, soft = theirs(images, labels)
        seed_all(1, 2, step)
        how = drawn(alpha, (7, 9))
        found = mixed(images, images.roll(1, 0), how)
        assert torch.equal(found, expected)
        one = (found == images).flatten(1).double().mean(1)  # counted pixels: of random images, those that are its own
        assert float((one - how.share).abs().max()) < 0.05
        both = how.share * torch.eye(3)[labels] + (1 - how.share) * torch.eye(3)[labels.roll(1)]
        torch.testing.assert_close(both, soft)


def test_a_blend_is_torchvisions() -> None:
    images = SPLIT.images.float()
    seed_all(1, 2, 3)
    expected, _ = v2.MixUp(alpha=0.4, num_classes=3)(images, SPLIT.labels)
    seed_all(1, 2, 3)
    how = drawn(0.4, None)
    assert 0 < how.share < 1
    torch.testing.assert_close(mixed(images, images.roll(1, 0), how), expected)
    pixels = mixed(SPLIT.images, SPLIT.images.roll(1, 0), how)
    assert pixels.dtype == torch.uint8
    assert float((pixels.float() - expected).abs().max()) <= 0.5 + 1e-4


def test_a_signal_gives_a_part_of_its_length() -> None:
    signal = torch.arange(200.0).view(2, 1, 1, 100)
    for step in range(20):
        how = mixing(Mix(cutmix=1.0), signal.shape, 0, step)
        own = (mixed(signal, signal.roll(1, 0), how) == signal).flatten(1).double().mean(1)
        assert own.tolist() == pytest.approx([how.share] * 2)
    assert {mixing(Mix(cutmix=1.0), signal.shape, 0, step).share == 1 for step in range(20)} != {True}


def test_batches_are_of_one_kind_or_the_other() -> None:
    both = Mix(mixup=0.2, cutmix=1.0)
    kinds = [mixing(both, (7, 9), 0, step).box is None for step in range(200)]
    assert 70 < sum(kinds) < 130
    assert mixing(both, (7, 9), 0, 5) == mixing(both, (7, 9), 0, 5)
    assert mixing(both, (7, 9), 0, 5) != mixing(both, (7, 9), 1, 5)


def test_labelled_samples_are_mixed_with_labelled_ones_and_shares_make_up_the_batch() -> None:
    labels = np.array([0, 1, 2] * 4 + [-1] * 18)
    split = Split(SPLIT.images, torch.from_numpy(labels))
    how = Augmentation([{"_target_": "RandomCrop", "padding": 1}], mix=Mix(cutmix=1.0))

    def batches(rank: int = 0, ranks: int = 1) -> EpochBatches:
        made = EpochBatches(training_pools(labels, 9, 1, labelled_share=0.4), 3, pairs=True)
        made.share(rank, ranks)
        made.set_epoch(2)
        return made

    draws = Draws(split, how, 4)
    plain: Any = EpochBatches(training_pools(labels, 9, 1, labelled_share=0.4), 3)
    plain.set_epoch(2)
    for step, (whole, unmixed, *shares) in enumerate(
        zip(batches(), plain, batches(0, 2), batches(1, 2), strict=True), 6
    ):
        assert all(isinstance(pair, Pair) and pair.step == step for pair in whole)
        assert [pair.draw for pair in whole] == unmixed
        found = draws.__getitems__(whole)
        assert found.other_B is not None
        assert ((found.label_B >= 0) == (found.other_B >= 0)).all()
        own, other = (draws._drawn([pair[side] for pair in whole]) for side in (0, 1))
        expected = mixed(own.image_BCHW, other.image_BCHW, mixing(how.mix, (7, 9), 4, step))
        assert torch.equal(found.image_BCHW, expected)
        assert torch.equal(found.other_B, other.label_B)
        for rank, share in enumerate(shares):
            part = draws.__getitems__(share)
            assert torch.equal(part.image_BCHW, found.image_BCHW[rank::2])
            assert part.share == found.share
