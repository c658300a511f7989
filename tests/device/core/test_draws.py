"""The program's own draws against numpy's generator, number for number."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mentee_device.core.draws import Draws

SEEDS = [0, 1, 7, 2**31, 2**32 - 1, 2**32, 2**64 + 5, 2**130 + 3, 2**200 + 99]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_begins_where_numpys_does(seed: int) -> None:
    assert Draws(seed).state == np.random.default_rng(seed).bit_generator.state


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_and_integers_are_numpys_one_after_the_other(seed: int) -> None:
    draws, numpys, chosen = Draws(seed), np.random.default_rng(seed), np.random.default_rng(3)
    for _ in range(40):
        N = int(chosen.choice([1, 2, 3, 17, 100, 10_000, 10_001]))
        size = int(chosen.choice([0, 1, min(N, 8), N // 50, N // 50 + 1, N]))
        rows = np.arange(N) * 3
        np.testing.assert_array_equal(draws.sample(rows, size), numpys.choice(rows, size, replace=False))
        end = int(
            chosen.choice([1, 2, 3, 10, 2**31 + 1, 2**32 - 1, 2**32])
        )  # 2**31 + 1: half of the numbers are refused
        assert draws.integer(end) == numpys.integers(end)
    assert draws.state == numpys.bit_generator.state


def test_each_continues_what_the_other_began() -> None:
    """States of before were numpy's; they are kept as JSON."""
    numpys, draws = np.random.default_rng(5), Draws()
    numpys.integers(10)  # leaves half a number
    draws.state = json.loads(json.dumps(numpys.bit_generator.state))
    rows = np.arange(90)
    for _ in range(3):
        np.testing.assert_array_equal(draws.sample(rows, 7), numpys.choice(rows, 7, replace=False))
    back = np.random.default_rng()
    back.bit_generator.state = draws.state
    np.testing.assert_array_equal(draws.sample(rows, 7), back.choice(rows, 7, replace=False))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.clear(),
        lambda state: state.update(bit_generator="MT19937"),
        lambda state: state.update(state=7),
        lambda state: state["state"].update(inc=None),
        lambda state: state["state"].update(state=1 << 128),
        lambda state: state.update(uinteger=-1),
        lambda state: state.update(has_uint32=2),
    ],
)
def test_a_spoilt_state_is_refused_and_changes_nothing(spoil: Callable[[dict[str, Any]], None]) -> None:
    draws = Draws(4)
    before, state = draws.state, draws.state
    spoil(state)
    with pytest.raises(ValueError, match="no state of PCG64"):
        draws.state = state
    assert draws.state == before


def test_more_than_there_is_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="3 of 2 rows"):
        Draws().sample(np.arange(2), 3)
    with pytest.raises(ValueError, match="seed -1"):
        Draws(-1)
