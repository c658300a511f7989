"""Splits by owner: nobody is in two of them, and a split that cannot be made is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mentor_mentee.data.arrays import arrays
from mentor_mentee.errors import UserError
from tests.mentor_mentee.data.columns import PARTS, Columns, rising, rows, saved


@pytest.fixture
def people(tmp_path: Path) -> Columns:
    """200 samples of 11 owners of different diligence, numbered and named; every sixth has no label; owner 10 has none at all."""
    random = np.random.default_rng(3)
    who = np.r_[random.choice(10, 190, p=np.arange(1, 11) / 55), np.full(10, 10)]
    labels = random.integers(0, 3, 200)
    labels[::6] = -1
    labels[who == 10] = -1
    order = random.permutation(200)
    names = np.array([f"p{i:02}" for i in range(11)])
    columns: Columns = {"inputs": rising(200, 6), "labels": labels[order], "who": who[order], "names": names}
    columns["called"] = names[columns["who"]]
    return columns | {"path": saved(tmp_path, **columns)}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"val_fraction": 0.3, "test_fraction": 0.4},
        {"test_owners": [3, 5]},
        {"test_owners": [2, 4], "val_owners": [9]},
        {"val_owners": 7},
    ],
)
@pytest.mark.parametrize("named", ["no", "column", "names"])
def test_no_owner_is_in_two_splits_and_nobody_is_lost(people: Columns, asked: Columns, named: str) -> None:
    """By brute force over every sample."""
    call: Columns = {"owners": "called" if named == "column" else "who", "by_owner": True}
    if named == "names":
        call["owner_names"] = "names"
    for part in ("val_owners", "test_owners"):
        if part in asked:
            numbers = asked[part] if isinstance(asked[part], list) else [asked[part]]
            call[part] = numbers if named == "no" else [f"p{number:02}" for number in numbers]
    call |= {key: value for key, value in asked.items() if key.endswith("fraction")}
    named_both = {"val_owners", "test_owners"} <= asked.keys()
    seen: set[str] = set()
    for seed in range(20):
        splits = arrays(people["path"], seed=seed, **call)
        place: dict[int, set[str]] = {}
        for part in PARTS:
            split = getattr(splits, part)
            assert split.owners.tolist() == people["who"][split.positions.numpy()].tolist()
            assert split.labels.tolist() == people["labels"][split.positions.numpy()].tolist()
            for owner in split.owners.tolist():
                place.setdefault(owner, set()).add(part)
            assert split.owner_names == (() if named == "no" else tuple(people["names"].tolist()))
        assert all(len(parts) == 1 for parts in place.values())
        assert place.keys() == set(range(11))
        assert place[10] == {"train"}
        where = {owner: next(iter(parts)) for owner, parts in place.items()}
        counts = Counter(where.values())
        for part, default in (("val", 0.1), ("test", 0.2)):
            owners = asked.get(f"{part}_owners")
            if owners is None:
                assert counts[part] == max(1, round(asked.get(f"{part}_fraction", default) * 10))
            else:
                listed = set(owners) if isinstance(owners, list) else {owners}
                assert {owner for owner, of in where.items() if of == part} == listed
        for position, (owner, label) in enumerate(zip(people["who"], people["labels"], strict=True)):
            expected = [] if label < 0 and where[owner] != "train" else [where[owner]]
            assert [part for part, held in rows(splits).items() if position in held] == expected
        again = arrays(people["path"], seed=seed, **call)
        assert all(getattr(again, part).fingerprint() == getattr(splits, part).fingerprint() for part in PARTS)
        seen.add(str(rows(splits)))
    assert len(seen) == 1 if named_both else len(seen) > 5


def test_naming_owners_is_asking_for_the_split_by_owner(people: Columns) -> None:
    said = arrays(people["path"], owners="who", by_owner=True, test_owners=[6])
    assert rows(arrays(people["path"], owners="who", test_owners=[6])) == rows(said)


def test_without_asking_owners_are_known_but_do_not_decide(people: Columns) -> None:
    plain, known = arrays(people["path"]), arrays(people["path"], owners="called")
    assert rows(plain) == rows(known)
    assert plain.train.owners is None
    assert known.train.owners is not None
    assert plain.train.fingerprint() != known.train.fingerprint()


def test_owners_of_more_inputs_keep_those_of_test_out(tmp_path: Path, people: Columns) -> None:
    more = saved(
        tmp_path, "more.npz", inputs=-rising(6, 6), called=np.array(["p03", "p04", "new", "p03", "p05", "new"])
    )
    splits = arrays(people["path"], owners="called", unlabelled=str(more), test_owners=["p03"], val_owners=["p05"])
    assert splits.train.owners is not None
    added = splits.train.positions >= 200
    assert splits.train.positions[added].tolist() == [201, 202, 205]
    assert [splits.train.owner_names[i] for i in splits.train.owners[added].tolist()] == ["p04", "new", "new"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"by_owner": True}, r"is to be split by owner; set data\.owners="),
        ({"test_owners": ["p01"]}, r"set data\.owners="),
        ({"owners": "wo"}, r"no array 'wo' in '.*' for data\.owners; did you mean 'who'\?"),
        (
            {"owners": "called", "test_owners": ["p1"]},
            r"no owner 'p1' for test_owners; did you mean 'p\d\d'\? \(there are 11: p00, ",
        ),
        ({"owners": "who", "test_owners": [10]}, r"owner '10' of test_owners has no labelled sample"),
        ({"owners": "who", "test_owners": [1, 2], "val_owners": [2]}, r"owner 2 is both in test_owners and val_owners"),
        (
            {"owners": "who", "test_owners": [*range(9)], "val_owners": [9]},
            r"10 owners have labelled samples, 9 of them",
        ),
        ({"owners": "who", "test_owners": [*range(10)]}, r"10 of them are for test and 0 for val"),
        ({"owners": "inputs", "by_owner": True}, r"'inputs' in .* is float32 of shape \[200, 6\]; expected \[N\]"),
        ({"owners": "names"}, r"200 samples in 'inputs' but 11 in 'names'"),
        ({"owners": "who", "owner_names": ["a", "b"]}, r"runs from 0 to 10; expected 0 to 1 for 2 names"),
        (
            {"owners": "who", "by_owner": True, "unlabelled": "inputs"},
            r"200 samples of .* have no owner, the first is number 200",
        ),
        ({"val_fraction": 0.0}, r"val_fraction=0, test_fraction=0\.2 of .*; expected fractions above 0"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "expected fractions above 0 that leave some"),
        ({"seed": -1}, r"data\.seed=-1; expected 0 or more"),
    ],
)
def test_a_split_that_cannot_be_made(people: Columns, call: Columns, message: str) -> None:
    with pytest.raises(UserError, match=message):
        arrays(people["path"], **call)
