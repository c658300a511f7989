"""Distillation through Flower's messages: what travels, what is averaged, and what the devices learn under."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message
from mentee_device import Bundle, Learner, Owner

from export.bundle.write import export_bundle
from fleet.client import kept
from fleet.server.result import FleetResult
from fleet.wire.arrays import bytes_of, record_of
from fleet.wire.public import rows_of
from fleet.wire.terms import ARRAYS, LOGITS
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.recipe import build
from tests.conftest import MENTEE, SETTINGS, Once, seeded

Node = Callable[..., dict[str, Any]]
Fleet = Callable[..., FleetResult]


def test_only_logits_travel_and_the_average_is_theirs(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    seen: dict[int, Any] = {}

    def watch(number: int, reply: Message) -> Message:
        if reply.has_content() and reply.content.array_records:
            seen[number] = reply.content
        return reply

    result = fleet({1: node(0), 2: node(4)}, watch, mode="distil", ask=12, holdout=0.0)
    assert {content.array_records[ARRAYS].keys() == {LOGITS} for content in seen.values()} == {True}
    assert {bytes_of(content.array_records[ARRAYS]) for content in seen.values()} == {12 * 10 * 2 + 128}
    first, second = (seen[number].array_records[ARRAYS][LOGITS].numpy().astype(np.float64) for number in (1, 2))
    with Bundle.open(bundle_folder) as bundle:
        public = bundle.supervision()
    rows = rows_of(len(public), 12, 0, 1)
    np.testing.assert_allclose(result.arrays["logits"][rows], (8 * first + 12 * second) / 20, atol=2e-2)
    assert result.arrays["answered"].sum() == 12
    others = result.arrays["answered"] == 0
    np.testing.assert_array_equal(result.arrays["logits"][others], public.mentor_logits[others])


def test_mentees_of_different_sizes_learn_together(
    node: Node, fleet: Fleet, checkpoint: MenteeCheckpoint, bundle_folder: Path, once: Once
) -> None:
    recipe = {**MENTEE, "widths": [6, 10]}
    with seeded(1):
        smaller = replace(checkpoint, recipe=recipe, state=build(recipe, "a test").state_dict(), probes=())
        settings = replace(SETTINGS, backend="stock")
        folder = once("smaller", lambda folder: export_bundle(smaller, folder / "base", settings)) / "base"
    configs = {1: node(0), 2: node(1, bundle=folder)}
    result = fleet(configs, mode="distil", ask=12)
    assert (result.about["devices"], result.about["left_out"]) == (2, [])
    sizes = []
    for config in configs.values():
        with Bundle.open(config["bundle"]) as bundle, Owner(bundle, config["state"], backend="stock") as owner:
            mine, base = kept.read(owner, "fleet"), owner.learner.parameters()
            assert all((mine[name] != base[name]).any() for name in ("head.weight", "head.bias"))
            sizes.append(sum(value.size for value in mine.values()))
    assert sizes[1] < sizes[0]


def test_a_device_keeps_its_mentee_and_learns_under_the_average(node: Node, fleet: Fleet, bundle_folder: Path) -> None:
    """No label counts, and the other device's answers, here a firm class 3, are all there is to learn in the second round."""
    firm = np.full((12, 10), -8.0, np.float16)
    firm[:, 3] = 8.0

    def answer(number: int, reply: Message) -> Message:
        if number == 2 and reply.has_content() and reply.content.array_records:
            reply.content[ARRAYS] = record_of({LOGITS: firm})
        return reply

    config = node(0)
    settings = {"mode": "distil", "ask": 12, "alpha": 0.0, "gamma": 1.0, "steps": 30, "learning_rate": 0.01}
    fleet({1: config, 2: node(1)}, answer, rounds=3, strategy="median", **settings)
    with Bundle.open(bundle_folder) as bundle, Owner(bundle, config["state"], backend="stock") as owner:
        mine = kept.read(owner, "fleet")
        assert owner.versions.all() == []
        public = bundle.supervision().samples.input
        with Learner(bundle, backend="stock") as learner:
            before = float((learner.predict(public, checked=True).logits.argmax(1) == 3).mean())
            learner.set_parameters(mine)
            after = float((learner.predict(public, checked=True).logits.argmax(1) == 3).mean())
    assert after > max(0.3, 2 * before)
