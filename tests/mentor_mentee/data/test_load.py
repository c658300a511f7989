"""A data recipe: the source, and beside its options the label budget."""

from typing import Any

import pytest
import torch

from mentor_mentee.data.datasets import digits
from mentor_mentee.data.load import check_data, load_data, require_budget, source_of
from mentor_mentee.errors import UserError

DIGITS = {"_target_": "mentor_mentee.data.datasets.digits"}


def test_without_a_budget_the_source_is_loaded_as_it_is() -> None:
    found, source = load_data(DIGITS), digits()
    for part in ("train", "val", "test"):
        assert getattr(found, part).fingerprint() == getattr(source, part).fingerprint()
    assert load_data(DIGITS | {"seed": 3}).train.fingerprint() == digits(seed=3).train.fingerprint()
    assert load_data(DIGITS | {"labels_per_class": None}).train.fingerprint() == source.train.fingerprint()


def test_a_budget_keeps_so_many_labels_of_each_class_and_touches_train_alone() -> None:
    found, source = load_data(DIGITS | {"labels_per_class": 7}), digits()
    assert torch.bincount(found.train.labels).tolist() == [7] * 10
    assert found.val.fingerprint() == source.val.fingerprint()
    assert found.test.fingerprint() == source.test.fingerprint()
    truth = dict(zip(source.train.positions.tolist(), source.train.labels.tolist(), strict=True))
    labelled = zip(found.train.positions.tolist(), found.train.labels.tolist(), strict=True)
    assert all(truth[position] == label for position, label in labelled)


def test_the_others_can_stay_as_unlabelled() -> None:
    found = load_data(DIGITS | {"labels_per_class": 7, "keep_unlabelled": True})
    assert len(found.train) == 900
    assert int((found.train.labels == -1).sum()) == 900 - 70
    assert torch.bincount(found.train.labels[found.train.labels >= 0]).tolist() == [7] * 10


def test_the_budget_has_a_seed_of_its_own() -> None:
    seeds = [load_data(DIGITS | {"labels_per_class": 7, "budget_seed": seed}).train for seed in (0, 1, 0)]
    assert seeds[0].fingerprint() == seeds[2].fingerprint()
    assert seeds[0].fingerprint() != seeds[1].fingerprint()


def test_the_whole_source_leaves_the_budget_out() -> None:
    found = load_data(DIGITS | {"labels_per_class": 1, "keep_unlabelled": True}, whole=True)
    assert found.train.fingerprint() == digits().train.fingerprint()


def test_the_budget_is_no_option_of_the_source() -> None:
    recipe = DIGITS | {"labels_per_class": 7, "keep_unlabelled": True, "budget_seed": 1, "seed": 2}
    assert source_of(recipe) == DIGITS | {"seed": 2}
    check_data(recipe)


def test_keeping_unlabelled_what_loses_no_label_is_a_mistake_of_a_new_run_and_not_of_a_checkpoint() -> None:
    require_budget(DIGITS | {"keep_unlabelled": False, "labels_per_class": None})
    require_budget(DIGITS | {"keep_unlabelled": True, "labels_per_class": 10})
    for none in ({}, {"labels_per_class": None}):
        recipe = DIGITS | {"keep_unlabelled": True} | none
        with pytest.raises(UserError, match=r"without data\.labels_per_class, .* does nothing; set .*=10, or leave"):
            require_budget(recipe)
        check_data(recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_per_clas": 3}, "did you mean 'labels_per_class'"),
        ({"sed": 3}, "did you mean 'seed'"),
        ({"labels_per_class": "ten"}, r"data\.labels_per_class=ten; expected a whole number"),
        ({"labels_per_class": 2.5}, r"data\.labels_per_class=2\.5; expected a whole number"),
        ({"labels_per_class": 0}, r"data\.labels_per_class=0; expected a whole number, 1 or more"),
        ({"labels_per_class": 3, "budget_seed": -1}, r"data\.budget_seed=-1; expected"),
        ({"_target_": "mentor_mentee.data.datasets.digit"}, "did you mean 'digits'"),
    ],
)
def test_a_mistake_is_found_before_anything_is_loaded(change: dict[str, Any], message: str) -> None:
    for read in (check_data, load_data):
        with pytest.raises(UserError, match=message):
            read(DIGITS | change)


def test_a_budget_above_what_there_is_is_an_error() -> None:
    with pytest.raises(UserError, match="ask for at most"):
        load_data(DIGITS | {"labels_per_class": 500})


def no_splits() -> tuple[int, int]:
    return 1, 2


def test_a_source_that_returns_something_else_is_an_error() -> None:
    with pytest.raises(UserError, match=r"a tuple; expected .*Splits"):
        load_data({"_target_": "tests.mentor_mentee.data.test_load.no_splits"})
