"""Batches are functions of seed and epoch; shares, coverage and balance are counted."""

from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mentor_mentee.data.batches import Draws, EpochBatches
from mentor_mentee.data.pools import Pool, labelled_pool, training_pools
from mentor_mentee.data.splits import Split, identity
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError


def plain(samples: int, batch: int, seed: int = 0) -> list[Pool]:
    return training_pools(np.zeros(samples, dtype=np.int64), batch, seed)


def at_epoch(batches: EpochBatches, epoch: int) -> list[list[int]]:
    """The rows of the split, without how often each came before."""
    return [[draw % batches.samples for draw in batch] for batch in draws_at(batches, epoch)]


def draws_at(batches: EpochBatches, epoch: int) -> list[list[int]]:
    batches.set_epoch(epoch)
    return list(batches)


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("kind", ["plain", "half labelled", "balanced"])
def test_batches_are_a_function_of_seed_and_epoch(kind: str, steps: int | None) -> None:
    labels = np.arange(23) % 3 - (kind == "half labelled")

    def batches(seed: int) -> EpochBatches:
        return EpochBatches(training_pools(labels, 5, seed, class_balance=kind == "balanced"), steps)

    walked = batches(7)
    run = [draws_at(walked, epoch) for epoch in range(4)]
    torch.manual_seed(99)
    assert draws_at(batches(7), 3) == run[3]
    assert draws_at(walked, 1) == run[1]
    assert run[0] != run[1]
    assert draws_at(batches(8), 0) != run[0]
    assert all(len(epoch) == len(walked) for epoch in run)


def test_an_epoch_is_one_pass() -> None:
    batches = EpochBatches(plain(23, 5))
    for epoch in range(3):
        found = draws_at(batches, epoch)
        assert [len(batch) for batch in found] == [5, 5, 5, 5, 3]
        assert sorted(chain(*found)) == [epoch * 23 + row for row in range(23)]


@pytest.mark.parametrize(("samples", "steps"), [(23, 3), (23, 30), (5, 2), (1, 3)])
def test_coverage_is_equal_at_any_step(samples: int, steps: int) -> None:
    batches = EpochBatches(plain(samples, 5, 2), steps)
    seen = Counter(dict.fromkeys(range(samples), 0))
    for epoch in range(6):
        found = draws_at(batches, epoch)
        assert len(found) == steps
        for batch in found:
            assert len(batch) == 5
            for draw in batch:
                number, row = divmod(draw, samples)
                assert number == seen[row]  # a draw says how often its sample came before
                seen[row] += 1
            assert max(seen.values()) - min(seen.values()) <= 1


def test_equal_steps_are_equal_batches_however_they_are_cut_into_epochs() -> None:
    labels = np.array([-1] * 30 + [0, 1, 2, 0, 1])
    for pools in (plain(17, 4), training_pools(labels, 4, 3), training_pools(labels[30:], 4, 3, class_balance=True)):
        short, long = EpochBatches(pools, 3), EpochBatches(pools, 6)
        assert [*chain(*(draws_at(short, e) for e in range(4)))] == [*chain(*(draws_at(long, e) for e in range(2)))]


def test_fewer_samples_than_a_batch_wrap_around() -> None:
    batches = EpochBatches(plain(3, 8))
    (batch,) = at_epoch(batches, 0)
    assert len(batches) == 1
    assert sorted(Counter(batch).values()) == [2, 3, 3]


@pytest.mark.parametrize(("share", "quota"), [(0.25, 4), (0.5, 8), (0.001, 1), (0.999, 15)])
def test_each_batch_holds_its_share_of_labelled_samples(share: float, quota: int) -> None:
    labels = np.full(200, -1)
    labels[::20] = np.arange(10)
    batches = EpochBatches(training_pools(labels, 16, 1, share))
    assert len(batches) == max(-(-10 // quota), -(-190 // (16 - quota)))  # one pass over what takes longest
    seen: Counter[int] = Counter()
    for batch in at_epoch(batches, 0):
        assert sum(labels[row] >= 0 for row in batch) == quota
        assert len(batch) == 16
        seen.update(batch)
    assert len(seen) == 200
    for kind in (labels >= 0, labels < 0):
        counts = [seen[int(row)] for row in np.flatnonzero(kind)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("balance", [False, True])
def test_batches_of_labelled_samples_alone_in_the_steps_that_ask_for_them(balance: bool) -> None:
    labels = np.full(60, -1)
    labels[::6] = np.arange(10)
    only = labelled_pool(labels, 8, 3, balance)
    batches = EpochBatches(training_pools(labels, 8, 3, class_balance=balance), 7, only, lambda step: step >= 10)
    without = EpochBatches(training_pools(labels, 8, 3, class_balance=balance), 7)
    found = [batch for epoch in range(5) for batch in at_epoch(batches, epoch)]
    mixed = [batch for epoch in range(5) for batch in at_epoch(without, epoch)]
    assert found[:10] == mixed[:10]
    assert all(len(batch) == 8 and (labels[batch] >= 0).all() for batch in found[10:])
    seen = Counter(row for batch in found[10:] for row in batch)
    assert set(seen.values()) == {20}  # 25 batches of 8 among ten
    assert draws_at(batches, 3) == draws_at(EpochBatches(batches.pools, 7, only, lambda step: True), 3)


def test_balanced_classes_come_equally_often_and_all_of_each() -> None:
    labels = np.array([0] * 50 + [1] * 6 + [2] * 2)
    pools = training_pools(labels, 6, 4, class_balance=True)
    seen: Counter[int] = Counter()
    for epoch in range(5):
        for batch in at_epoch(EpochBatches(pools, 10), epoch):
            assert Counter(labels[batch]) == {0: 2, 1: 2, 2: 2}
            seen.update(batch)
    assert [sum(seen[int(row)] for row in np.flatnonzero(labels == k)) for k in range(3)] == [100, 100, 100]
    for k in range(3):
        counts = [seen[int(row)] for row in np.flatnonzero(labels == k)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("draws", [1, 5, 6, 17, 60, 61])
def test_the_passes_that_a_stream_reaches_into(draws: int) -> None:
    labels = np.array([0] * 20 + [1] * 6 + [2] * 2)
    for pool in (*training_pools(labels, 4, 1), *training_pools(labels, 4, 1, class_balance=True)):
        walked = [number for _, number in islice(pool.stream(0), draws)]
        assert pool.passes(draws) == max(walked) + 1


def test_draws_become_batches_and_views() -> None:
    split = Split(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1), torch.arange(12) % 3, torch.arange(12) + 100)
    batch = Draws(split, Augmentation(), 0).__getitems__([3, 11, 12 * 5 + 3])
    assert batch.index_B.tolist() == [103, 111, 103]
    assert batch.image_BCHW.flatten().tolist() == [3, 11, 3]
    assert batch.label_B.tolist() == [0, 2, 0]
    assert batch.view_B.tolist() == [0, 0, 0]  # without augmentation there is one view
    endless, two = Augmentation(["RandomHorizontalFlip"]), Augmentation(["RandomHorizontalFlip"], views=2)
    assert Draws(split, endless, 0).__getitems__([3, 12 * 5 + 3]).view_B.tolist() == [0, 5]
    assert Draws(split, two, 0).__getitems__([3, 12 * 5 + 3]).view_B.tolist() == [0, 1]


def test_views_are_shared_by_seeds_only_where_their_number_is_fixed() -> None:
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = Split(images, torch.zeros(40, dtype=torch.int64))

    def drawn(seed: int, views: int | None) -> torch.Tensor:
        return (
            Draws(split, Augmentation([{"_target_": "RandomCrop", "padding": 2}], views=views), seed)
            .__getitems__(range(40))
            .image_BCHW
        )

    assert torch.equal(drawn(1, 4), drawn(2, 4))
    assert not torch.equal(drawn(1, None), drawn(2, None))
    assert torch.equal(drawn(1, None), drawn(1, None))


def test_an_epoch_that_has_begun_is_not_moved() -> None:
    batches = EpochBatches(plain(20, 5))
    begun = iter(batches)
    batches.set_epoch(1)
    assert list(begun) == draws_at(batches, 0)


def test_a_loader_and_its_epochs_as_lightning_sets_them() -> None:
    split = Split(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1), torch.zeros(12, dtype=torch.int64))
    draws = Draws(split, Augmentation(), 1)
    loader = DataLoader(draws, batch_sampler=EpochBatches(plain(12, 4, 1)), collate_fn=identity)
    loader.batch_sampler.sampler.set_epoch(2)
    assert [batch.index_B.tolist() for batch in loader] == at_epoch(EpochBatches(plain(12, 4, 1)), 2)


def test_sizes_that_make_no_batches() -> None:
    labels = np.zeros(8, dtype=np.int64)
    for samples, batch in ((0, 2), (8, 0)):
        with pytest.raises(UserError, match="expected 1 or more"):
            EpochBatches(training_pools(labels[:samples], batch, 0))
    with pytest.raises(UserError, match="steps_per_epoch=0"):
        EpochBatches(training_pools(labels, 2, 0), 0)
    with pytest.raises(UserError, match="labelled_share=1"):
        training_pools(labels, 2, 0, labelled_share=1)
    with pytest.raises(UserError, match="batch of 1"):
        training_pools(np.array([-1, 0]), 1, 0)
