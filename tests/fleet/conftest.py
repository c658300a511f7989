"""A fleet in this process, on the shared bundle: real devices with real states, real messages of Flower's.

Flower has an environment of its own. Where it is not, one test says so, and the others are not collected.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mentee_device import Bundle, Owner, Samples

if TYPE_CHECKING:
    from fleet.server.result import FleetResult

if find_spec("flwr") is None:
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.stem != "test_flower"]


@pytest.fixture(scope="session")
def bundle_folder(both_folder: Path) -> Path:
    """With both kinds of graphs."""
    return both_folder


def samples_of(bundle: Bundle, number: int) -> Samples:
    """Eight golden digits of device `number`, every class but two."""
    golden = bundle.golden()
    rows = np.random.default_rng(number).permutation(len(golden))[: 8 + number]  # counts differ
    return golden.take(rows)


@pytest.fixture
def node(bundle_folder: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`node(number, **config)`: the node config of a device with samples, whose guard lets the untrained mentee move."""

    def make(number: int, **config: Any) -> dict[str, Any]:
        folder = Path(config.pop("bundle", bundle_folder))
        with Bundle.open(folder) as bundle, Owner(bundle, tmp_path / f"state{number}") as owner:
            owner.add(samples_of(bundle, number))
            owner.set(golden_drop=1.0)
        return {"bundle": str(folder), "state": str(tmp_path / f"state{number}"), "backend": "stock", **config}

    return make


@pytest.fixture
def fleet(bundle_folder: Path) -> Callable[..., "FleetResult"]:
    """`fleet(nodes, tamper, **settings)`: the result of a run among `nodes`."""
    from fleet.client.app import app
    from fleet.local import LocalGrid
    from fleet.server.run import run
    from fleet.server.settings import FleetSettings

    def start(nodes: dict[int, dict[str, Any]], tamper: Any = None, **settings: Any) -> "FleetResult":
        usual = {
            "bundle": str(bundle_folder),
            "rounds": 1,
            "steps": 3,
            "min_devices": 1,
            "golden_drop": 1.0,
            "reply_drop": 1.0,
            "evaluate": False,
        }
        return run(LocalGrid(app, nodes, tamper=tamper), FleetSettings(**{**usual, **settings}))

    return start
