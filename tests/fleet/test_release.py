"""A fleet's result as the next base: proved, signed, and devices migrate to it with what they have learnt themselves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, Owner, Plan

from export.bundle.reading.signature import make_keys
from fleet.release.networks import Public, distilled
from fleet.release.release import release
from fleet.server.result import FleetResult
from fleet.wire.errors import FleetError
from mentee.checkpoint import MenteeCheckpoint
from mentor.restore import restore_mentor
from tests.conftest import SETTINGS, seeded

Node = Callable[..., dict[str, Any]]
Fleet = Callable[..., FleetResult]


def test_the_next_base_is_the_fleets_and_a_device_carries_its_own_learning_over(
    node: Node, fleet: Fleet, bundle_folder: Path, checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    config, made = node(0), tmp_path / "next"
    result = fleet({1: config, 2: node(1)}, steps=10)
    checkpoint.save(tmp_path / "mentee.safetensors")
    make_keys(tmp_path / "private.pem", tmp_path / "public.pem")
    paths = (bundle_folder, tmp_path / "mentee.safetensors", made)
    with seeded(0):
        release(result, *paths, sign_key=str(tmp_path / "private.pem"), golden_drop=1.0)
    plan = Plan(budget=Budget(steps=5), replay="mentor", rounds=0)
    with (
        Bundle.open(bundle_folder) as old,
        Bundle.open(made, tmp_path / "public.pem") as new,
        Learner(new, backend="stock") as learner,
        Owner(old, config["state"], backend="stock") as owner,
    ):
        for name, value in learner.parameters().items():
            np.testing.assert_array_equal(value, result.arrays[name])
        assert owner.learn(plan).status == "accepted"
        migrated = owner.migrate(new)
        assert migrated.taken in ("replay", "delta")
        assert len(owner.samples.all()) == 8
        assert owner.bundle.manifest.id == new.manifest.id
    with pytest.raises(FleetError, match="the result is of base"):
        release(replace(result, about={**result.about, "base": "0" * 64}), *paths)


def test_the_guard_refuses_a_result_before_there_is_a_bundle(
    fleet: Fleet, node: Node, bundle_folder: Path, checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    result = fleet({1: node(0)})
    spoilt = {**result.arrays, "head.bias": np.where(np.arange(10) == 0, 1e3, -1e3).astype(np.float32)}
    checkpoint.save(tmp_path / "mentee.safetensors")
    with pytest.raises(FleetError, match="the guard refuses the result, no bundle is made"):
        release(
            FleetResult(spoilt, result.about),
            bundle_folder,
            tmp_path / "mentee.safetensors",
            tmp_path / "b",
            golden_drop=0.0,
        )
    assert not (tmp_path / "b").exists()


def test_mentor_and_mentee_are_distilled_from_the_average(
    bundle_folder: Path, checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    """The average is firm on one class for every public sample, which neither network had said before."""
    with Bundle.open(bundle_folder) as bundle:
        samples = bundle.supervision()
        logits = np.full((len(samples), 10), -6.0, np.float32)
        logits[:, 4] = 6.0
        arrays = {"logits": logits, "answered": np.ones(len(samples), np.uint8)}
        with seeded(0):
            made = distilled(checkpoint, SETTINGS, bundle, arrays, tmp_path / "next", steps=60)
        public = Public.of(bundle, arrays)
    assert made.mentor is not None
    assert (tmp_path / "next.mentee.safetensors").exists()
    mentors = [restore_mentor(one.mentor, ()) for one in (checkpoint, made)]  # type: ignore[arg-type]
    answers = [one.answer(public.images_NCHW).logits.argmax(1) for one in mentors]
    mentees = [one.network()(one.view(public.images_NCHW)).argmax(1) for one in (checkpoint, made)]
    for before, after in (answers, mentees):
        assert float((after == 4).float().mean()) > 0.5 > float((before == 4).float().mean())
