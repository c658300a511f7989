"""Random state of the batches: one that an earlier program wrote goes on number for number, a spoilt one is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Learner, LearningError

# written, with the draws below, by the program whose PCG64 was its own; between two halves of a number
STATE = """{"bit_generator": "PCG64", "has_uint32": 0, "state": {"inc": 16450919397810582319219321886622321693,
 "state": 144225951344714357109537442438105405374}, "uinteger": 2587717402}"""
THEN = [
    (37, [31, 33, 10, 25, 12, 1, 16, 20]),
    (37, [29, 27, 30, 35, 1, 26, 31, 15]),
    (12000, [6686, 11119, 1315, 8035, 2080]),
]


def test_a_state_of_before_goes_on_as_it_would_have(bundle: Bundle) -> None:
    with Learner(bundle) as learner:
        learner.restore(replace(learner.snapshot(), random=json.loads(STATE)))
        for rows, drawn in THEN:
            assert learner.draw(np.arange(rows), len(drawn)).tolist() == drawn
        again = json.loads(json.dumps(learner.snapshot().random))
    expected = np.random.default_rng()
    expected.bit_generator.state = json.loads(STATE)
    for rows, drawn in THEN:
        expected.choice(rows, len(drawn), replace=False)
    assert again == expected.bit_generator.state


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.clear(),
        lambda state: state.update(bit_generator="MT19937"),
        lambda state: state.update(state=7),
        lambda state: state["state"].update(inc=None),
        lambda state: state["state"].update(state=1 << 128),
        lambda state: state.update(uinteger=-1),
    ],
)
def test_a_spoilt_state_is_refused_and_changes_nothing(bundle: Bundle, spoil: Callable[[dict[str, Any]], None]) -> None:
    with Learner(bundle) as learner:
        before = learner.snapshot()
        state = json.loads(json.dumps(before.random))
        spoil(state)
        with pytest.raises(LearningError, match="random state cannot be continued"):
            learner.restore(replace(before, random=state))
        assert learner.snapshot() == before
