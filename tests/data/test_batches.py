from collections import Counter
from itertools import chain

import pytest
import torch
from torch.utils.data import DataLoader

from data.batches import EpochBatches
from data.errors import UserError
from data.splits import Split, identity


def at_epoch(batches: EpochBatches, epoch: int) -> list[list[int]]:
    batches.set_epoch(epoch)
    return list(batches)


@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"steps_per_epoch": 4}])
def test_batches_are_a_function_of_seed_and_epoch(options: dict[str, int]) -> None:
    walked = EpochBatches(23, 5, seed=7, **options)
    run = [at_epoch(walked, epoch) for epoch in range(4)]
    torch.manual_seed(99)
    assert at_epoch(EpochBatches(23, 5, seed=7, **options), 3) == run[3]
    assert at_epoch(walked, 1) == run[1]
    assert run[0] != run[1]
    assert at_epoch(EpochBatches(23, 5, seed=8, **options), 0) != run[0]
    assert all(len(epoch) == len(walked) for epoch in run)


def test_an_epoch_is_one_pass() -> None:
    batches = EpochBatches(23, 5)
    for epoch in range(3):
        found = at_epoch(batches, epoch)
        assert [len(batch) for batch in found] == [5, 5, 5, 5, 3]
        assert sorted(chain(*found)) == list(range(23))


def test_drop_last_leaves_out_the_rest_of_that_pass() -> None:
    dropped, kept = EpochBatches(23, 5, drop_last=True), EpochBatches(23, 5)
    assert [at_epoch(dropped, epoch) for epoch in (0, 1)] == [at_epoch(kept, epoch)[:4] for epoch in (0, 1)]


@pytest.mark.parametrize(("samples", "steps"), [(23, 3), (23, 30), (5, 2), (1, 3)])
def test_coverage_is_equal_at_any_step(samples: int, steps: int) -> None:
    batches = EpochBatches(samples, 5, seed=2, steps_per_epoch=steps)
    seen = Counter(dict.fromkeys(range(samples), 0))
    for epoch in range(6):
        found = at_epoch(batches, epoch)
        assert len(found) == steps
        for batch in found:
            assert len(batch) == 5
            seen.update(batch)
            assert max(seen.values()) - min(seen.values()) <= 1


def test_equal_steps_are_equal_batches_however_they_are_cut_into_epochs() -> None:
    short, long = EpochBatches(17, 4, steps_per_epoch=3), EpochBatches(17, 4, steps_per_epoch=6)
    assert [*chain(*(at_epoch(short, e) for e in range(4)))] == [*chain(*(at_epoch(long, e) for e in range(2)))]


@pytest.mark.parametrize("drop_last", [False, True])
def test_fewer_samples_than_a_batch_wrap_around(drop_last: bool) -> None:
    batches = EpochBatches(3, 8, drop_last=drop_last)
    (batch,) = at_epoch(batches, 0)
    assert len(batches) == 1
    assert sorted(Counter(batch).values()) == [2, 3, 3]


def test_an_epoch_that_has_begun_is_not_moved() -> None:
    batches = EpochBatches(20, 5)
    begun = iter(batches)
    batches.set_epoch(1)
    assert list(begun) == at_epoch(batches, 0)


def test_a_loader_and_its_epochs_as_lightning_sets_them() -> None:
    split = Split(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1), torch.zeros(12, dtype=torch.int64))
    loader = DataLoader(split, batch_sampler=EpochBatches(12, 4, seed=1), collate_fn=identity)
    loader.batch_sampler.sampler.set_epoch(2)
    assert [batch.index_B.tolist() for batch in loader] == at_epoch(EpochBatches(12, 4, seed=1), 2)


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 0}, {"batch_size": 0}, {"seed": -1}, {"steps_per_epoch": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_sizes_that_make_no_batches(wrong: dict[str, int]) -> None:
    given = {"samples": 8, "batch_size": 2, "seed": 0, "steps_per_epoch": 1} | wrong
    with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
        EpochBatches(**given)
