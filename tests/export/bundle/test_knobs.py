"""α β γ T of a bundle: the run's at its last step, unless they are given."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill.curves import Schedule
from distill.handover import last_knobs
from distill.schedules import constant, gullible, independent, obedient, piecewise, two_stage
from export.bundle.knobs import Knobs, device_knobs, in_words
from export.bundle.write import export_bundle
from export.schema import ExportSettings, Loss, check_export
from mentee.checkpoint import LastKnobs, MenteeCheckpoint
from mentor_mentee.errors import UserError

FOLLOW = Loss(beta=None)  # γ and T are null by default
DEFAULT = piecewise([[0, 1]], None, None, None).over(300, 100).under(8.0)
HELD = piecewise([[0, 1]], None, [[0, 0.5]], 6, strength=[[0, 10]])
FALLING = piecewise([[0, 1]], [[0, 2], [1, 0.3]], [[0, 3], [1, 1]], [[0, 8], [1, 2]])


@pytest.mark.parametrize(
    ("schedule", "beta", "gamma", "temperature"),
    [
        (DEFAULT, 0.0, 0.417, 9.6),  # T 1.2 · 8, γ 4 / T to three digits; the strength has fallen to 0
        (HELD, 10.0, 0.5, 6.0),
        (FALLING, 0.3, 1.0, 2.0),
        (constant(1, 10, 0.3, 16), 10.0, 0.3, 16.0),
        (obedient(0.4, 0.8, 4.0), 0.5, 1.0, 4.0),  # γ falls from 1 to 0 by R: the highest stands
        (two_stage(0.4, 1.0, 0.444, 0.0, 3.0), 0.0, 0.444, 3.0),
        (gullible(0.4, 4.0, 7.0), 0.0, 1.0, 4.0),  # never under the mentor's softmax: its T means nothing
        (independent(0.4), 0.0, 1.0, 4.0),
    ],
    ids=["default", "strength held", "curves", "constant", "obedient", "two_stage", "gullible", "independent"],
)
def test_null_is_the_runs_last_step(
    checkpoint: MenteeCheckpoint, schedule: Schedule, beta: float, gamma: float, temperature: float
) -> None:
    ran = replace(checkpoint, knobs=last_knobs(schedule))
    assert vars(device_knobs(FOLLOW, ran)) == pytest.approx(vars(Knobs(1.0, beta, gamma, temperature)))


def test_beta_is_0_by_default_whatever_the_run_had(checkpoint: MenteeCheckpoint) -> None:
    ran = replace(checkpoint, knobs=last_knobs(HELD))
    assert device_knobs(Loss(), ran) == Knobs(1.0, 0.0, 0.5, 6.0)


def test_given_numbers_stand(checkpoint: MenteeCheckpoint) -> None:
    ran = replace(checkpoint, knobs=last_knobs(DEFAULT))
    assert device_knobs(Loss(0.5, 2.0, 0.0, 3.0), ran) == Knobs(0.5, 2.0, 0.0, 3.0)
    assert device_knobs(Loss(temperature=3.0), ran) == Knobs(1.0, 0.0, 0.417, 3.0)


def test_a_checkpoint_that_does_not_say_has_the_former_softmax_and_no_layers(checkpoint: MenteeCheckpoint) -> None:
    assert checkpoint.knobs is None
    assert device_knobs(FOLLOW, checkpoint) == Knobs(1.0, 0.0, 1.0, 4.0)


def test_whose_they_are_is_said(checkpoint: MenteeCheckpoint) -> None:
    ran = replace(checkpoint, knobs=last_knobs(DEFAULT))
    assert in_words(Loss(), ran) == ("alpha 1, beta 0, gamma 0.417, temperature 9.6; gamma, temperature as in the run")
    assert in_words(Loss(1, 2, 3, 4), ran) == "alpha 1, beta 2, gamma 3, temperature 4"
    assert in_words(Loss(), checkpoint).endswith("; gamma, temperature by default, an older checkpoint")


@pytest.mark.parametrize(
    ("given", "knobs", "message"),
    [
        (Loss(temperature=1e-4), {}, "loss.temperature=0.0001; devices take 0.001 to 1e+06: give another"),
        (Loss(gamma=2e9), {}, "loss.gamma=2e+09; devices take 0 to 1e+09: give another"),
        (Loss(), {"temperature": 2e6}, "loss.temperature=2e+06, which the run had at its last step; devices take"),
    ],
)
def test_a_number_that_no_device_takes_is_named_before_any_work(
    checkpoint: MenteeCheckpoint, tmp_path: Path, given: Loss, knobs: dict[str, Any], message: str
) -> None:
    ran = replace(checkpoint, recipe={}, knobs=replace(last_knobs(DEFAULT), **knobs))  # of no network
    with pytest.raises(UserError, match=re.escape(message)):
        export_bundle(ran, tmp_path / "b", ExportSettings(loss=given))


def test_null_is_no_mistake_and_a_negative_one_is() -> None:
    check_export(ExportSettings(loss=Loss(beta=None, gamma=None, temperature=None)))
    for name in ("alpha", "beta", "gamma", "temperature"):
        with pytest.raises(UserError, match=f"loss.{name}=-1"):
            check_export(ExportSettings(loss=replace(Loss(), **{name: -1.0})))


def test_manifest_and_expected_loss_have_the_runs_knobs(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    """`expected` is checked by hand: α ce + β Σ rmse + γ T² kl of its own terms."""
    ran = replace(checkpoint, knobs=LastKnobs(1.0, 0.25, 0.5, 6.0, highest_gamma=2.0, in_units=True))
    settings = ExportSettings(supervision_per_class=4, golden_per_class=4, loss=Loss(beta=None), backend="stock")
    exported = export_bundle(ran, tmp_path / "bundle", settings)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert {name: manifest["loss"][name] for name in ("alpha", "beta", "gamma", "temperature")} == {
        "alpha": 1.0, "beta": 0.25, "gamma": 0.5, "temperature": 6.0
    }  # fmt: skip
    assert exported.knobs == "alpha 1, beta 0.25, gamma 0.5, temperature 6; beta, gamma, temperature as in the run"
    terms = manifest["expected"]
    layers = sum(value for name, value in terms.items() if name.startswith("rmse_"))
    assert terms["loss"] == pytest.approx(terms["ce"] + 0.25 * layers + 0.5 * 36 * terms["kl"], rel=1e-5)
    assert manifest["settings"]["loss"] == {"alpha": 1.0, "beta": None, "gamma": None, "temperature": None}
