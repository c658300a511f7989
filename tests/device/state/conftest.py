"""A state that all tests of the owner's folder start from."""

from pathlib import Path

import pytest
from mentee_device import Budget, Bundle, Plan, Samples

from tests.device.state.folders import lenient


@pytest.fixture
def state(bundle: Bundle, owner: Samples, tmp_path: Path) -> Path:
    """Two accepted versions, of two steps and of three."""
    with lenient(bundle, tmp_path / "me") as me:
        me.add(owner)
        me.learn(Plan(budget=Budget(steps=2)))
        me.learn(Plan(budget=Budget(steps=1)))
    return tmp_path / "me"
