"""Splits, their fingerprints, carving and label budgets."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mentor_mentee.data.splits import Batch, Split, Splits, carve, identity, labels_per_class
from mentor_mentee.errors import UserError


def made(samples: int, classes: int = 3, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    return Split(
        torch.randint(0, 256, (samples, 1, 4, 5), dtype=torch.uint8, generator=generator),
        torch.randint(0, classes, (samples,), generator=generator),
    )


def splits(**changes: Split) -> Splits:
    return replace(Splits(made(9), made(5, seed=1), made(4, seed=2), ("a", "b", "c"), "made"), **changes)


def test_a_batch_is_its_samples_one_by_one() -> None:
    split = made(10).subset([9, 3, 3, 0, 7])
    batch = split.__getitems__([4, 0, 2])
    singles = [split[i] for i in (4, 0, 2)]
    assert isinstance(batch, Batch)
    assert batch.index_B.tolist() == [7, 9, 3] == [int(one.index_B) for one in singles]
    assert torch.equal(batch.image_BCHW, torch.stack([one.image_BCHW for one in singles]))
    assert torch.equal(batch.label_B, torch.stack([one.label_B for one in singles]))
    assert (batch.image_BCHW.dtype, batch.label_B.dtype, batch.index_B.dtype) == (
        torch.uint8,
        torch.int64,
        torch.int64,
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_hands_out_whole_batches(workers: int) -> None:
    split = made(7)
    loader = DataLoader(split, batch_sampler=[[1, 2], [6]], collate_fn=identity, num_workers=workers)
    first, second = loader
    assert first.index_B.tolist() == [1, 2]
    assert torch.equal(second.image_BCHW, split.images[[6]])


def test_a_subset_of_a_subset_remembers_the_source() -> None:
    whole = made(10)
    inner = whole.subset([8, 6, 4, 2]).subset(torch.tensor([3, 0]))
    assert inner.positions.tolist() == [2, 8]
    assert torch.equal(inner.images, whole.images[[2, 8]])


def test_the_fingerprint_is_that_of_the_content() -> None:
    split = made(6)
    by_hand = hashlib.sha256(b"(6, 1, 4, 5)")
    for tensor in (split.positions, split.labels, split.images):
        by_hand.update(tensor.numpy().tobytes())
    assert split.fingerprint() == by_hand.hexdigest() == made(6).fingerprint()
    others = [Split(split.images, (split.labels + 1) % 3), Split(split.images.flip(3), split.labels)]
    others += [Split(split.images.transpose(2, 3), split.labels), split.subset([0, 1, 2, 3, 4])]
    others += [Split(split.images, split.labels, split.positions + 1)]
    assert len({split.fingerprint(), *(other.fingerprint() for other in others)}) == 6


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 4, 4, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), "float64"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"\[N, C, H, W\]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), "int64"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "2 images but 3 labels"),
    ],
)
def test_a_split_of_the_wrong_kind(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Split(images, labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": made(5).subset([])}, "the val split of made is empty"),
        (
            {"val": Split(made(5).images.float(), made(5).labels)},
            r"val split of made are torch\.float32, those of train torch\.uint8",
        ),
        ({"test": Split(torch.zeros(1, 3, 4, 5, dtype=torch.uint8), torch.tensor([0]))}, r"test.*\(3, 4, 5\)"),
        ({"train": Split(made(2).images, torch.tensor([0, 3]))}, "labels of the train split of made run from 0 to 3"),
        ({"train": Split(made(2).images, torch.tensor([-2, 1]))}, "expected -1 to 2 for 3 classes"),
        ({"val": Split(made(2).images, torch.tensor([-1, 1]))}, "only the train split may hold unlabelled"),
    ],
)
def test_splits_that_do_not_fit_together(changes: dict[str, Split], message: str) -> None:
    with pytest.raises(UserError, match=message):
        splits(**changes)


def test_unlabelled_samples_may_be_trained_on() -> None:
    held = splits(train=Split(made(2).images, torch.tensor([-1, 1])))
    assert held.shape == (1, 4, 5)


def owned(samples: int) -> Split:
    plain = made(samples)
    return Split(plain.images, plain.labels, owners=torch.arange(samples) % 4 - 1, owner_names=("a", "b", "c"))


def test_owners_go_with_their_samples() -> None:
    whole = owned(40)
    assert whole.owners is not None
    inner = whole.subset([30, 5, 8, 21]).subset(torch.tensor([3, 0, 2]))
    assert inner.owners is not None
    assert inner.owners.tolist() == [21 % 4 - 1, 30 % 4 - 1, 8 % 4 - 1]
    assert inner.owner_names == ("a", "b", "c")
    for budget in (labels_per_class(whole, 2, 0, keep) for keep in (False, True)):
        assert budget.owners is not None
        assert torch.equal(budget.owners, budget.positions % 4 - 1)
    assert made(5).subset([1]).owners is None


def test_the_fingerprint_covers_owners_where_there_are_any() -> None:
    split, plain = owned(6), made(6)
    by_hand = hashlib.sha256(b"(6, 1, 4, 5)")
    for tensor in (plain.positions, plain.labels, plain.images):
        by_hand.update(tensor.numpy().tobytes())
    by_hand.update(b"('a', 'b', 'c')" + (np.arange(6, dtype=np.int64) % 4 - 1).tobytes())
    assert split.fingerprint() == by_hand.hexdigest()
    assert split.owners is not None
    others = [Split(plain.images, plain.labels, owners=split.owners), plain]
    others += [Split(plain.images, plain.labels, owners=split.owners.flip(0), owner_names=split.owner_names)]
    assert len({split.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_the_fingerprint_of_float32_is_that_of_its_bytes() -> None:
    images = made(6).images.float() / 7
    negative = images.clone()
    negative[images == 0] = -0.0
    negative[0, 0, 0, 0] += 1e-6
    found = {Split(changed, made(6).labels).fingerprint() for changed in (images, images.clone(), negative)}
    assert len(found) == 2


@pytest.mark.parametrize(
    "owners", [torch.zeros(3), torch.zeros(3, dtype=torch.int32), torch.zeros(2, dtype=torch.int64)]
)
def test_owners_of_the_wrong_kind(owners: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"owners of a split are .*; expected torch\.int64 \[3\]"):
        Split(made(3).images, made(3).labels, owners=owners)


def test_splits_say_their_dtype() -> None:
    plain = splits()
    floats = {
        part: Split(getattr(plain, part).images.float(), getattr(plain, part).labels)
        for part in ("train", "val", "test")
    }
    assert (plain.dtype, splits(**floats).dtype) == ("uint8", "float32")


@pytest.mark.parametrize("parts", [(70, 20, 13), (51, 52), (1, 101, 1)])
def test_carving_is_exact_disjoint_and_stratified(parts: tuple[int, ...]) -> None:
    whole = made(103, classes=4)
    carved = carve(whole.images, whole.labels, parts, seed=5)
    assert [len(split) for split in carved] == list(parts)
    assert sorted(int(i) for split in carved for i in split.positions) == list(range(103))
    overall = Counter(whole.labels.tolist())
    for k, (split, count) in enumerate(zip(carved, parts, strict=True), start=1):
        assert torch.equal(split.images, whole.images[split.positions])
        assert torch.equal(split.labels, whole.labels[split.positions])
        found = Counter(split.labels.tolist())
        assert all(abs(found[label] - overall[label] * count / 103) < k for label in overall)


def test_carving_depends_on_its_seed_alone() -> None:
    whole = made(60)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = carve(whole.images, whole.labels, (0.75, 0.25), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = carve(whole.images, whole.labels, (45, 15), seed=0)
    other = carve(whole.images, whole.labels, (45, 15), seed=1)
    assert [split.fingerprint() for split in first] == [split.fingerprint() for split in again]
    assert first[1].fingerprint() != other[1].fingerprint()


def test_fractions_leave_nobody_out() -> None:
    whole = made(10)
    assert [len(split) for split in carve(whole.images, whole.labels, (0.35, 0.33, 0.32), seed=0)] == [4, 3, 3]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((5, 4), "add up to 9; expected counts that add up to 10"),
        ((0.5, 0.4), "add up to 0.9; expected fractions that add up to 1"),
        ((10, 0), "0 samples for part 1"),
        ((0.99, 0.01), "0 samples for part 1"),
        ((11, -1), "-1 samples for part 1"),
    ],
)
def test_parts_that_cannot_be_carved(parts: tuple[float, ...], message: str) -> None:
    whole = made(10)
    with pytest.raises(UserError, match=message):
        carve(whole.images, whole.labels, parts, seed=0)


def test_a_negative_seed() -> None:
    whole = made(10)
    with pytest.raises(UserError, match="seed -1 is negative"):
        carve(whole.images, whole.labels, (5, 5), seed=-1)


def test_a_label_budget_counts_and_nests() -> None:
    split = made(90).subset(range(80, 10, -1))
    budgets = [labels_per_class(split, p, seed=3, keep_unlabelled=False) for p in (1, 4, 9)]
    for p, budget in zip((1, 4, 9), budgets, strict=True):
        assert Counter(budget.labels.tolist()) == {0: p, 1: p, 2: p}
    one, four, nine = (set(budget.positions.tolist()) for budget in budgets)
    assert one < four < nine < set(split.positions.tolist())
    assert set(labels_per_class(split, 4, seed=4, keep_unlabelled=False).positions.tolist()) != four


def test_a_label_budget_may_keep_the_others_without_a_label() -> None:
    split = made(40)
    dropped = labels_per_class(split, 5, seed=0, keep_unlabelled=False)
    partly = labels_per_class(split, 5, seed=0, keep_unlabelled=True)
    labelled = partly.labels >= 0
    assert partly.positions[labelled].tolist() == dropped.positions.tolist()
    assert torch.equal(partly.labels[labelled], dropped.labels)
    assert torch.equal(partly.images, split.images)
    assert int((~labelled).sum()) == 40 - 15
    again = labels_per_class(partly, 5, seed=1, keep_unlabelled=False)
    assert again.positions.tolist() == dropped.positions.tolist()


def test_a_label_budget_that_is_not_there() -> None:
    split = Split(made(5).images, torch.tensor([0, 0, 0, 1, 1]))
    with pytest.raises(UserError, match="class 1 has 2 labelled samples, fewer than the budget of 3"):
        labels_per_class(split, 3, seed=0, keep_unlabelled=True)
    with pytest.raises(UserError, match="at least 1"):
        labels_per_class(split, 0, seed=0, keep_unlabelled=True)
