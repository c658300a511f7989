"""A fleet as it is deployed: SuperLink, ServerApp, two SuperNodes as processes, with TLS and node keys; one is killed mid-round.

The SuperNodes run where neither torch nor onnx is.
"""

import sys
from collections.abc import Callable
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


def test_a_fleet_of_processes_outlives_a_device_that_is_killed_mid_round(
    node: Callable[..., dict[str, Any]], bundle_folder: Path, tmp_path: Path
) -> None:
    if not (DEVICE / "bin" / "flower-supernode").exists():
        pytest.skip("no environment of devices with Flower in .venv/fleet/device: run `make env`")
    folder, out = tmp_path / "processes", tmp_path / "fleet.safetensors"
    folder.mkdir()
    processes = Processes(folder, SERVER, DEVICE)
    configs = {name: node(number) for number, name in enumerate(("stays", "dies"))}
    try:
        processes.superlink()
        for name, config in configs.items():
            key = node_key(folder / f"{name}.key")
            processes.flwr("supernode", "register", str(key.with_suffix(".pub")), "test")
            processes.supernode(name, " ".join(f'{key}="{value}"' for key, value in config.items()), key)
        settings = f'bundle="{bundle_folder}" rounds=1 steps=3 timeout=120.0 evaluate=false golden-drop=1.0 out="{out}"'
        processes.flwr("run", str(ROOT / "fleet" / "app"), "test", "--run-config", settings)
        processes.wait(lambda: "Receiving: train message" in processes.log("dies"), "no round", PATIENCE)
        processes.kill("dies")
        processes.wait(out.exists, "no result", PATIENCE)
    finally:
        processes.close()
    result = FleetResult.load(out)
    assert result.about["devices"] == 2
    assert result.about["bytes_from_devices"] * 2 == result.about["bytes_to_devices"]  # of one of the two
    rounds = {name: fleet_lines(bundle_folder, config) for name, config in configs.items()}
    assert (len(rounds["stays"]), len(rounds["dies"])) == (1, 0)
    assert "parameters left this device" in rounds["stays"][0]


def fleet_lines(bundle_folder: Path, config: dict[str, Any]) -> list[str]:
    """Lines of the device's log about rounds; its samples are all there."""
    with Bundle.open(bundle_folder) as bundle, Owner(bundle, config["state"], backend="stock") as owner:
        assert len(owner.samples.all()) >= 8
        return [entry.line for entry in owner.log() if entry.event == "fleet"]
