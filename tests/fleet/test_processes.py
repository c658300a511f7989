"""A fleet as it is deployed: SuperLink, ServerApp, SuperNodes as processes, with TLS and node keys, of which some are killed.

The SuperNodes run where neither torch nor onnx is.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mentee_device import Bundle, Owner

from fleet.server.result import FleetResult
from tests.fleet.processes import Processes, node_key
from tests.paths import ROOT
from tests.waiting import PATIENCE

SERVER = Path(sys.prefix)
DEVICE = SERVER / "device"
Node = Callable[..., dict[str, Any]]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    if not (DEVICE / "bin" / "flower-supernode").exists():
        pytest.skip("no environment of devices with Flower in .venv/fleet/device: run `make env`")
    (tmp_path / "processes").mkdir()
    made = Processes(tmp_path / "processes", SERVER, DEVICE)
    try:
        yield made
    finally:
        made.close()


def start(processes: Processes, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """A SuperLink and a SuperNode for each of `configs`."""
    processes.superlink()
    for name, config in configs.items():
        key = node_key(processes.folder / f"{name}.key")
        processes.flwr("supernode", "register", str(key.with_suffix(".pub")), "test")
        processes.supernode(name, " ".join(f'{key}="{value}"' for key, value in config.items()), key)


def begin(processes: Processes, bundle_folder: Path, fleet: str = "fleet", **settings: Any) -> Path:
    """Begins a run; the file that its result will be in."""
    out = processes.folder / f"{fleet}.safetensors"
    usual = {"rounds": 1, "steps": 3, "timeout": 120.0, "evaluate": "false", "golden-drop": 1.0, "reply-drop": 1.0}
    words = {"bundle": f'"{bundle_folder}"', "fleet": f'"{fleet}"', "out": f'"{out}"', **usual, **settings}
    config = " ".join(f"{key}={value}" for key, value in words.items())
    processes.flwr("run", str(ROOT / "fleet" / "app"), "test", "--run-config", config)
    return out


def test_a_fleet_outlives_a_device_that_is_killed_mid_round(
    node: Node, bundle_folder: Path, processes: Processes
) -> None:
    configs = {name: node(number) for number, name in enumerate(("stays", "dies"))}
    start(processes, configs)
    out = begin(processes, bundle_folder)
    processes.wait(lambda: "Receiving: train message" in processes.log("dies"), "no round", PATIENCE)
    processes.kill("dies")
    processes.wait(out.exists, "no result", PATIENCE)
    processes.close()
    result = FleetResult.load(out)
    assert result.about["devices"] == 2
    assert result.about["bytes_from_devices"] * 2 == result.about["bytes_to_devices"]  # of one of the two
    rounds = {name: fleet_lines(bundle_folder, config) for name, config in configs.items()}
    assert (len(rounds["stays"]), len(rounds["dies"])) == (1, 0)
    assert "parameters left this device" in rounds["stays"][0]


def test_two_fleets_on_one_superlink_outlive_its_kill_mid_round(
    node: Node, bundle_folder: Path, processes: Processes
) -> None:
    """A killed SuperLink changes no byte of a device's state; a SuperNode connects to the new one by itself."""
    configs = {name: node(number, fleet=name) for number, name in enumerate(("ours", "theirs"))}
    before = {name: rows_of(config) for name, config in configs.items()}
    start(processes, configs)
    begin(processes, bundle_folder, fleet="ours", steps=1000, **{"min-devices": 1})
    processes.wait(lambda: "Receiving: train message" in processes.log("ours"), "no round", PATIENCE)
    processes.kill("superlink")
    assert {name: rows_of(config) for name, config in configs.items()} == before
    processes.superlink()
    outs = [begin(processes, bundle_folder, fleet=name, **{"min-devices": 1}) for name in configs]
    processes.wait(lambda: all(out.exists() for out in outs), "no result", PATIENCE)
    processes.close()
    for name, out in zip(configs, outs, strict=True):
        about = FleetResult.load(out).about
        (other,) = set(configs) - {name}
        assert (about["devices"], len(about["left_out"])) == (1, 1)
        assert about["left_out"][0].startswith(f"this device is in the fleet {other!r}, the round is of {name!r}")
    assert {name: rows_of(config) for name, config in configs.items()} == before


def rows_of(config: Mapping[str, Any]) -> list[list[tuple[Any, ...]]]:
    """The device's versions, samples and settings as its state has them."""
    with sqlite3.connect(f"file:{config['state']}/state.sqlite?mode=ro", uri=True) as state:
        return [state.execute(f"SELECT * FROM {table}").fetchall() for table in ("versions", "samples", "settings")]


def fleet_lines(bundle_folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Lines of the device's log about rounds; its samples are all there."""
    with Bundle.open(bundle_folder) as bundle, Owner(bundle, config["state"], backend="stock") as owner:
        assert len(owner.samples.all()) >= 8
        return [entry.line for entry in owner.log() if entry.event == "fleet"]
