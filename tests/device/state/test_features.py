"""Rows of a part of the program follow the samples and the base, or nothing changes."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples
from mentee_device.relocate.migrate import migrate
from mentee_device.runs.unlearn import unlearn_samples
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.store import Store

from tests.device.sealing import edit_manifest


class Notes(Feature):
    """A note for each sample, that names the base."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def on_unlearn(self, store: Store, samples: Collection[int]) -> None:
        for number in samples:
            store.delete(f"note {number}")
        if self.fails:
            raise RuntimeError("no")

    def on_new_base(self, store: Store, change: NewBase) -> None:
        store.put("note 2", f"{change.old.bundle} {change.manifest.id} {change.embedding_size}".encode())
        if self.fails:
            raise RuntimeError("no")


@pytest.fixture
def noted(bundle: Bundle, mine: Samples, tmp_path: Path) -> Owner:
    me = Owner(bundle, tmp_path / "me")
    me.set(golden_drop=1.0)
    me.add(mine.take(np.arange(6)))
    me.learn(Plan(budget=Budget(steps=2)))
    for number in range(1, 7):
        me.store.put(f"note {number}", b"note")
    return me


def test_unlearning_asks_each_feature(noted: Owner) -> None:
    unlearn_samples(noted.runs, [Notes()], {1, 3}, None)
    assert [noted.store.get(f"note {number}") is None for number in range(1, 7)] == [True, False, True] + 3 * [False]
    assert [one.number for one in noted.samples.all()] == [2, 4, 5, 6]
    noted.close()


def test_a_feature_that_fails_leaves_everything_as_it_was(noted: Owner, altered: Path) -> None:
    revision = noted.store.revision
    with pytest.raises(RuntimeError):
        unlearn_samples(noted.runs, [Notes(fails=True)], {1, 3}, None)
    edit_manifest(altered, lambda content: content.update(name="another"))
    with pytest.raises(RuntimeError):
        migrate(noted.store, Bundle.open(altered), [Notes(fails=True)], budget=Budget(steps=1))
    assert noted.store.revision == revision
    assert (noted.store.get("note 1"), noted.store.get("note 2")) == (b"note", b"note")
    assert len(noted.samples.all()) == 6
    noted.close()


def test_migrating_asks_each_feature(noted: Owner, altered: Path) -> None:
    edit_manifest(altered, lambda content: content.update(name="another"))
    new, old = Bundle.open(altered), noted.bundle.manifest.id
    D = noted.predict(noted.bundle.golden().input[:1]).embedding.shape[1]
    migrate(noted.store, new, [Notes()], budget=Budget(steps=1))
    assert noted.store.get("note 2") == f"{old} {new.manifest.id} {D}".encode()
    noted.close()


def test_statuses_keep_the_names_that_the_format_has(noted: Owner) -> None:
    """A program of before reads this state, and this one reads its states."""
    assert [version.status for version in noted.versions.all()] == ["accepted"]
    assert noted.store.rows("SELECT status FROM versions") == [("kept",)]
    before = noted.versions.get(1)
    noted.unlearn([1])
    assert noted.versions.get(1) == replace(before, status="unlearned", why="learnt from samples that were unlearned")
    assert noted.store.rows("SELECT status FROM versions") == [("forgotten",), ("kept",)]
    assert noted.roll_back() == 0
    assert noted.roll_back(2) == 2
    noted.close()
