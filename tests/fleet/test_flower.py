"""Flower is here in the version that this was written for."""

from importlib.metadata import version

import pytest


def test_flower_is_here() -> None:
    pytest.importorskip("flwr", reason="Flower has an environment of its own: `make test` runs these with .venv/fleet")
    assert version("flwr").startswith("1.42.")
