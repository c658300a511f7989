"""FedAvg through Flower's messages, against the same learning and the same mean made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from mentee_device import Bundle, Learner, Owner

from fleet.client import kept
from fleet.client.learning import learn, plan_of
from fleet.server.result import FleetResult
from fleet.wire.errors import FleetError
from fleet.wire.terms import ARRAYS, Terms

Node = Callable[..., dict[str, Any]]
Fleet = Callable[..., FleetResult]


def learnt_alone(config: dict[str, Any], terms: Terms) -> tuple[dict[str, Any], int]:
    """Parameters and count of one device's first round."""
    with (
        Bundle.open(config["bundle"]) as bundle,
        Owner(bundle, config["state"], backend="stock") as owner,
        owner.state.base() as learner,
    ):
        found = learn(owner, learner, plan_of(owner, terms, 1000), terms.seed + 1)
        return learner.parameters(), found.count


def test_a_round_is_the_mean_of_what_devices_learn_weighed_by_their_counts(node: Node, fleet: Fleet) -> None:
    nodes = {7: node(0), 9: node(4)}
    terms = Terms("fleet", steps=3, holdout=0.0)
    alone = [learnt_alone(config, terms) for config in nodes.values()]
    result = fleet(nodes, holdout=0.0)
    total = sum(count for _, count in alone)
    assert [count for _, count in alone] == [8, 12]
    assert result.arrays.keys() == alone[0][0].keys()
    for name, value in result.arrays.items():
        mean = sum(arrays[name].astype(np.float64) * count / total for arrays, count in alone)
        np.testing.assert_allclose(value, mean, atol=1e-6)


def test_the_device_keeps_its_own_versions_and_notes_what_left_it(node: Node, fleet: Fleet) -> None:
    config = node(0)
    result = fleet({1: config})
    with Bundle.open(config["bundle"]) as bundle, Owner(bundle, config["state"], backend="stock") as owner:
        assert owner.versions.all() == []
        (entry,) = [entry for entry in owner.log() if entry.event == "fleet"]
        assert f"{result.about['bytes_from_devices']:,} bytes of parameters left this device" in entry.line
        base = Learner(bundle, backend="stock").parameters()
        assert any((result.arrays[name] != base[name]).any() for name in base)
        np.testing.assert_array_equal(owner.learner.parameters()["head.weight"], base["head.weight"])


@pytest.mark.parametrize("shared", ["all", "body"])
def test_a_private_head_never_leaves_and_is_there_in_the_next_round(node: Node, fleet: Fleet, shared: str) -> None:
    """`all`: a device that keeps its head in a fleet that shares it sends back the one that came."""
    mine = node(0, private="head") if shared == "all" else node(0)
    result = fleet({1: mine}, shared=shared, rounds=2)
    with Bundle.open(mine["bundle"]) as bundle, Owner(bundle, mine["state"], backend="stock") as owner:
        base = Learner(bundle, backend="stock").parameters()
        own = kept.read(owner, "fleet")
        assert own.keys() == {"head.weight", "head.bias"}
        assert (own["head.weight"] != base["head.weight"]).any()
        if shared == "all":
            np.testing.assert_array_equal(result.arrays["head.weight"], base["head.weight"])
        else:
            assert result.arrays.keys() == base.keys() - own.keys()
        owner.unlearn([owner.samples.all()[0].number])
        assert kept.read(owner, "fleet") == {}  # it may have been learnt from what is gone


def test_fedprox_stays_nearer_to_where_the_round_began(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    nodes = {1: node(0)}
    free, held = fleet(nodes), fleet(nodes, strategy="fedprox", proximal_mu=200.0)
    with Bundle.open(bundle_folder) as bundle, Learner(bundle, backend="stock") as learner:
        base = learner.parameters()

    def moved(result: FleetResult) -> float:
        return float(sum(np.square(value - base[name]).sum() for name, value in result.arrays.items()))

    assert 0 < moved(held) < 0.5 * moved(free)


def test_fedadam_takes_adams_step_along_what_devices_learnt(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    """By hand, as Flower has it: m ← β₁m + (1−β₁)Δ, v ← β₂v + (1−β₂)Δ², η corrected for both with t = round + 1."""
    sent: list[dict[str, Any]] = []

    def watch(number: int, reply: Message) -> Message:
        if reply.has_content() and ARRAYS in reply.content:
            sent.append({name: one.numpy() for name, one in reply.content.array_records[ARRAYS].items()})
        return reply

    result = fleet({1: node(0)}, watch, strategy="fedadam", eta=0.01, rounds=2)
    with Bundle.open(bundle_folder) as bundle, Learner(bundle, backend="stock") as learner:
        base = learner.parameters()
    assert len(sent) == 2
    for name, first in base.items():
        now, m, v = first.astype(np.float64), 0.0, 0.0
        for t, learnt in enumerate(sent, 2):
            delta = learnt[name] - now
            m, v = 0.9 * m + 0.1 * delta, 0.99 * v + 0.01 * delta**2
            now += 0.01 * np.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-3)
        np.testing.assert_allclose(result.arrays[name], now, atol=2e-5)
        assert np.abs(now - first).max() > 1e-3


def test_the_result_can_be_read_again_and_says_what_it_is(node: Node, fleet: Fleet, tmp_path: Path) -> None:
    result = fleet({1: node(0)})
    result.save(tmp_path / "fleet.safetensors")
    again = FleetResult.load(tmp_path / "fleet.safetensors")
    assert again.about == result.about
    assert again.about["mode"] == "average"
    np.testing.assert_array_equal(again.arrays["head.bias"], result.arrays["head.bias"])
    (tmp_path / "cut").write_bytes((tmp_path / "fleet.safetensors").read_bytes()[:100])
    with pytest.raises(FleetError, match="is not the file of a fleet's run"):
        FleetResult.load(tmp_path / "cut")
