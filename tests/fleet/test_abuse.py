"""Updates that are unusable or poisoned, and noise: what is refused, what a robust strategy makes of it, which ε is said."""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from mentee_device import Bundle, Learner
from numpy.typing import NDArray

from fleet.server.golden import PublicLabels
from fleet.server.result import FleetResult
from fleet.server.settings import FleetSettings
from fleet.server.strategies import privacy_of, strategy_of
from fleet.wire.arrays import record_of
from fleet.wire.terms import ARRAYS, METRICS, Terms

Node = Callable[..., dict[str, Any]]
Fleet = Callable[..., FleetResult]


def sends(change: Callable[[str, NDArray[Any]], NDArray[Any]], liar: int = 1, count: int | None = None) -> Any:
    """Sends, in the name of device `liar`, other arrays or another count."""

    def tamper(number: int, reply: Message) -> Message:
        if number == liar and reply.has_content() and ARRAYS in reply.content:
            arrays = reply.content.array_records[ARRAYS]
            reply.content[ARRAYS] = record_of({name: change(name, one.numpy()) for name, one in arrays.items()})
            if count is not None:
                reply.content.metric_records[METRICS]["num-examples"] = count
        return reply

    return tamper


def spoils(bundle_folder: Path) -> Any:
    """Device 1 answers the golden set's rarest class to everything, and says that it has learnt from a million samples."""
    with Bundle.open(bundle_folder) as bundle:
        rarest = int(np.argmin(np.bincount(bundle.golden().labels, minlength=10)))
    wrong = np.where(np.arange(10) == rarest, 1e3, -1e3).astype(np.float32)
    return sends(lambda name, value: wrong if name == "head.bias" else value, count=10**6)


UNUSABLE: dict[
    int, tuple[Callable[[NDArray[Any]], NDArray[Any]], str]
] = {  # by device: what it sends, and what is said of it
    1: (lambda value: value * np.nan, "holds NaN"),
    2: (lambda value: value[..., :-1], "expected float32"),
    3: (lambda value: value.astype(np.float64), "float32"),
    4: (lambda value: value * np.float32(1e9), "beyond 1e"),
    5: (lambda value: np.zeros(1 << 16, np.float32), "more than float32"),
}


def test_unusable_updates_are_refused_and_their_devices_left_out(node: Node, fleet: Fleet) -> None:
    nodes = {number: node(number) for number in range(1, 7)}

    def tamper(number: int, reply: Message) -> Message:
        change, _ = UNUSABLE.get(number, (lambda value: value, ""))
        return sends(lambda name, value: change(value), number)(number, reply)

    honest, result = fleet({6: nodes[6]}), fleet(nodes, tamper)
    assert len(result.about["left_out"]) == len(UNUSABLE)
    for _, why in UNUSABLE.values():
        assert any(said.startswith("its reply is unusable: ") and why in said for said in result.about["left_out"]), why
    np.testing.assert_array_equal(result.arrays["head.weight"], honest.arrays["head.weight"])


def test_one_poisoned_in_five_moves_robust_strategies_little(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    """Scaled and flipped: away from where the round began, twenty times as far. FedAvg is there to show that it matters. Two more
    devices were asked and failed."""
    with Bundle.open(bundle_folder) as bundle, Learner(bundle, backend="stock") as learner:
        base = learner.parameters()
    replies: dict[int, Message] = {}

    def keep(number: int, reply: Message) -> Message:
        replies[number] = reply
        return reply

    honest = fleet({number: node(number) for number in range(1, 6)}, keep).arrays
    poison = sends(lambda name, value: (base[name] - 20 * (value - base[name])).astype(np.float32))
    poison(1, replies[1])
    far = {}
    for strategy in ("fedavg", "median", "trimmed-mean", "krum", "multi-krum"):
        settings = FleetSettings(bundle="x", strategy=strategy, poisoned=1, trim=0.2, min_devices=7)
        arrays, _ = strategy_of(settings).aggregate_train(1, copy.deepcopy([*replies.values()]))
        assert arrays is not None
        far[strategy] = sum(float(np.square(arrays[name].numpy() - honest[name]).sum()) for name in base)
    assert all(far[strategy] < 0.05 * far["fedavg"] for strategy in far if strategy != "fedavg"), far


def test_the_servers_guard_refuses_a_round_that_spoils_the_golden_set(
    node: Node, fleet: Fleet, bundle_folder: Path
) -> None:
    with Bundle.open(bundle_folder) as bundle, Learner(bundle, backend="stock") as learner:
        base, right = learner.parameters(), learner.evaluate_golden()
    assert right > 0.1
    result = fleet({1: node(0), 2: node(1)}, spoils(bundle_folder), golden_drop=0.0)
    (said,) = result.about["refused"]
    assert said.startswith("round 1: golden accuracy")
    np.testing.assert_array_equal(result.arrays["head.bias"], base["head.bias"])


def test_a_reply_below_the_rounds_start_is_left_out_of_that_round(
    node: Node, fleet: Fleet, bundle_folder: Path
) -> None:
    """The fleet has learnt something when device 1 begins to lie; from there on it is as if that device had failed."""
    lie = spoils(bundle_folder)

    def from_the_second(change: Callable[[int, Message], Message]) -> Callable[[int, Message], Message]:
        seen = Counter[int]()

        def tamper(number: int, reply: Message) -> Message:
            seen[number] += reply.has_content() and ARRAYS in reply.content
            return change(number, reply) if number == 1 and seen[number] > 1 else reply

        return tamper

    settings = {"rounds": 3, "steps": 40, "learning_rate": 0.01, "reply_drop": 0.05}
    nodes = {1: node(0), 2: node(1)}
    lied = fleet(nodes, from_the_second(lie), **settings)
    failed = fleet(
        nodes, from_the_second(lambda number, reply: Message(Error(2, "it fails"), reply_to=reply)), **settings
    )
    said = [line.partition(": accuracy")[0] for line in lied.about["screened"]]
    assert said == ["round 2, device 1", "round 3, device 1"]
    assert (failed.about["screened"], lied.about["left_out"]) == ([], [])
    for name, value in failed.arrays.items():
        np.testing.assert_array_equal(lied.arrays[name], value)


@pytest.mark.parametrize("labelled", [True, False])
def test_logits_are_judged_by_labels_or_by_the_mentors_answers(bundle_folder: Path, labelled: bool) -> None:
    terms = Terms("fleet", mode="distil", ask=1000)
    with Bundle.open(bundle_folder) as bundle:
        judge = PublicLabels(bundle, terms, 1.0, 0.0)  # the untrained base is seldom right
    samples = judge.public.samples
    right = samples.labels if labelled else judge.public.mentor_logits.argmax(axis=1)
    if not labelled:
        judge.public = replace(judge.public, samples=replace(samples, labels=np.full_like(right, -1)))
    judge.begin({}, 1)
    firm = 8 * np.eye(10, dtype=np.float16)[right]
    assert judge.against({"logits": firm}, 1) == ""
    assert judge.against({"logits": -firm}, 1).startswith(f"accuracy 0.0000 on the server's {len(samples)} samples")


def test_noise_is_clipped_counted_alike_and_its_epsilon_is_flowers(
    node: Node, fleet: Fleet, bundle_folder: Path
) -> None:
    """Two releases of a Gaussian mechanism with multiplier 4, against the closed form of its Rényi divergence."""
    pytest.importorskip("dp_accounting")
    with Bundle.open(bundle_folder) as bundle, Learner(bundle, backend="stock") as learner:
        base = learner.parameters()
    nodes = {number: node(number) for number in range(1, 4)}
    result = fleet(nodes, noise=4.0, clip=0.01, min_devices=3, rounds=2, delta=1e-3)
    size = sum(value.size for value in base.values())
    moved = np.sqrt(sum(np.square(value - base[name]).sum() for name, value in result.arrays.items()))
    noise = 4.0 * 0.01 / 3 * np.sqrt(2 * size)
    assert abs(moved / noise - 1) < 0.15
    orders = np.linspace(1.01, 200, 20000)
    renyi = 2 * orders / (2 * 4.0**2)
    bound = renyi + np.log1p(-1 / orders) - (np.log(1e-3) + np.log(orders)) / (orders - 1)
    assert result.about["privacy"]["releases"] == 2
    assert result.about["privacy"]["epsilon"] == pytest.approx(bound.min(), rel=0.02)
    assert privacy_of(strategy_of(FleetSettings(bundle="x"))) is None


def test_a_device_can_add_noise_of_its_own(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    with Bundle.open(bundle_folder) as bundle, Learner(bundle, backend="stock") as learner:
        base = learner.parameters()
    config = {"dp-epsilon": 1.0, "dp-delta": 1e-5, "dp-clip": 0.01}
    result = fleet({1: {**node(0), **config}})
    spread = np.concatenate([(value - base[name]).ravel() for name, value in result.arrays.items()]).std()
    assert spread == pytest.approx(2 * 0.01 * np.sqrt(2 * np.log(1.25e5)), rel=0.1)
