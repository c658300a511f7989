"""Devices and servers that do not fit: another bundle, another fleet, settings that make no sense, a guard that refuses."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Owner

from fleet.client.settings import DeviceSettings
from fleet.server.result import FleetResult
from fleet.server.settings import FleetSettings
from fleet.wire.arrays import record_of
from fleet.wire.errors import FleetError, TooFewDevices
from fleet.wire.terms import ARRAYS
from tests.paths import ROOT

Node = Callable[..., dict[str, Any]]
Fleet = Callable[..., FleetResult]


def test_who_is_on_another_bundle_or_in_another_fleet_is_left_out_with_the_reason(
    node: Node, fleet: Fleet, stock_folder: Path
) -> None:
    """Both fleets have the same SuperLink."""
    nodes = {1: node(0), 2: node(1, bundle=stock_folder), 3: node(2, fleet="theirs"), 4: node(3, fleet="ours")}
    result = fleet(nodes, fleet="ours")
    assert result.about["devices"] == 2
    assert sorted(result.about["left_out"])[0].startswith(
        "this device is in the fleet 'theirs', the round is of 'ours'"
    )
    assert "migrate the device, or give the server this bundle" in sorted(result.about["left_out"])[1]
    with Bundle.open(stock_folder) as bundle, Owner(bundle, nodes[2]["state"]) as owner:
        assert len(owner.samples.all()) == 9
        assert [entry for entry in owner.log() if entry.event == "fleet"] == []


def test_a_run_that_is_left_with_too_few_devices_ends_with_the_rounds_that_it_had(node: Node, fleet: Fleet) -> None:
    theirs = {1: node(0), 2: node(1, fleet="theirs")}
    with pytest.raises(TooFewDevices, match=r"^1 of 2 devices .* 1 were left out .*is in the fleet 'theirs'.*0\.5 s"):
        fleet(theirs, fleet="ours", min_devices=2, wait=0.5)
    replies = []

    def spoil_the_third(number: int, reply: Any) -> Any:
        if number == 1 and reply.has_content() and ARRAYS in reply.content:
            replies.append(reply)
            if len(replies) == 3:
                reply.content[ARRAYS] = record_of({"head.bias": np.zeros(1, np.float32)})
        return reply

    ours = {1: node(2), 2: node(3)}
    result = fleet(ours, spoil_the_third, min_devices=2, wait=0.5, rounds=5, evaluate=True)
    assert result.about["rounds"] == 3
    assert result.about["ended"].startswith("1 of 2 devices (min-devices) are here, 1 were left out of this run")
    assert list(result.about["evaluate"]) == ["1", "2"]
    replies.clear()
    whole = fleet(ours, spoil_the_third, min_devices=1, rounds=3)
    assert "ended" not in whole.about
    np.testing.assert_array_equal(result.arrays["head.weight"], whole.arrays["head.weight"])


def test_a_device_whose_guard_refuses_what_it_learnt_sends_nothing(
    node: Node, fleet: Fleet, bundle_folder: Path
) -> None:
    nodes = {1: node(0), 2: node(1)}
    with Bundle.open(bundle_folder) as bundle, Owner(bundle, nodes[1]["state"]) as owner:
        owner.set(golden_drop=0.0, agreement_least=1.0)
    seen: list[str] = []

    def watch(number: int, reply: Any) -> Any:
        seen.extend([reply.error.reason] if reply.has_error() else [])
        return reply

    result = fleet(nodes, watch, steps=20)
    assert seen[0].startswith("the device's guard refuses what it learnt, and sends nothing: ")
    assert result.about["bytes_from_devices"] == result.about["bytes_to_devices"] // 2  # of the other


def test_a_state_in_use_or_a_bundle_that_is_gone_is_one_line(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    busy, gone = node(0), node(1)
    gone["bundle"] = str(bundle_folder.with_name("nowhere"))
    with Bundle.open(bundle_folder) as bundle, Owner(bundle, busy["state"]):
        result = fleet({1: busy, 2: gone, 3: node(2)})
    assert result.about["devices"] == 1
    assert any("is in use" in why or "another process" in why for why in result.about["left_out"])
    assert any(why.startswith("no bundle at ") for why in result.about["left_out"])


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"state": "x"}, "the node config has no 'bundle'"),
        ({"bundle": "x", "stat": "y"}, "did you mean 'state'?"),
        ({"bundle": "x", "state": "y", "private": "body"}, 'expected "head" or nothing'),
        ({"bundle": "x", "state": "y", "most-steps": "3"}, "most-steps = '3', expected int"),
        ({"partition-id": 3}, "the run has no folder of devices"),
    ],
)
def test_a_node_config_that_makes_no_sense(config: dict[str, Any], line: str) -> None:
    with pytest.raises(FleetError) as error:
        DeviceSettings.read(config, {})
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({}, "the run has no bundle"),
        ({"bundle": "x", "stratgy": "krum"}, "did you mean 'strategy'?"),
        ({"bundle": "x", "strategy": "kurm"}, "expected fedavg, fedprox"),
        ({"bundle": "x", "rounds": 0}, "rounds is 0; expected at least 1"),
        ({"bundle": "x", "learning-rate": float("nan")}, "expected a finite number"),
        ({"bundle": "x", "noise": 1.0, "strategy": "krum"}, "noise is accounted for with"),
        ({"bundle": "x", "mode": "distil", "strategy": "fedadam"}, "choose another strategy"),
        ({"bundle": "x", "reply-drop": 10}, "golden-drop and reply-drop are shares"),
        ({"bundle": "x", "checkpoint": "y"}, "checkpoint and release belong together"),
    ],
)
def test_a_run_config_that_makes_no_sense(config: dict[str, Any], line: str) -> None:
    with pytest.raises(FleetError) as error:
        FleetSettings.read(config)
    assert line in str(error.value)


def test_the_apps_defaults_are_the_settings_own() -> None:
    app = tomllib.loads((ROOT / "fleet" / "app" / "pyproject.toml").read_text())
    settings = FleetSettings.read({**app["tool"]["flwr"]["app"]["config"], "bundle": "x"})
    assert settings == FleetSettings(bundle="x")
