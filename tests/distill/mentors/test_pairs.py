"""From the `probes` group to the probes of a run, and what the run leaves of them."""

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from distill.check import check_distill
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.mentors.pairs import choose_probes, some_images
from distill.mentors.probe_options import read_probes
from distill.run import distill
from distill.schema import DistillConfig
from mentee.checkpoint import MenteeCheckpoint
from mentee.networks import PlainCNN
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probe_spec import Pairing

MakeConfig = Callable[..., DistillConfig]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"_auto_": "measurd"}, r"probes\._auto_=measurd; expected true or false"),
        ({"_adapter_": "regressr"}, r"probes\._adapter_ asks for the adapter 'regressr'; did you mean 'regressor'"),
        ({"_normalise_": "yes"}, r"probes\._normalise_=yes; expected true or false"),
        ({"_normalize_": True}, r"probes has no option '_normalize_'; did you mean '_normalise_'"),
        ({"p": {"mentor": "a", "mente": "b"}}, r"probe 'p' has no option 'mente'; did you mean 'mentee'"),
    ],
)
def test_a_typo_is_an_error_before_anything_starts(
    make_config: MakeConfig, tmp_path: Path, group: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_distill(make_config(tmp_path, probes=group))


def test_the_groups_defaults_reach_the_probes_that_say_nothing_themselves() -> None:
    own = {"mentor": "c", "mentee": "d", "normalise": False}
    options = read_probes(
        {"_adapter_": "regressor", "_normalise_": True, "a": ["a", "b"], "c": own, "_own": ["e", "f"]}
    )
    assert options.search is False
    assert options.by_hand == {
        "a": Pairing("a", "b", "regressor", True),
        "c": Pairing("c", "d", "regressor", False),
        "_own": Pairing("e", "f", "regressor", True),
    }


def test_a_few_images_of_a_split_are_the_same_ones_each_time_from_all_over_it(make_config: MakeConfig) -> None:
    train = load_data(make_config(Path()).data, whole=True).train
    before = torch.random.get_rng_state()
    picked = some_images(train, 90)
    assert torch.equal(picked, some_images(train, 90))
    assert torch.equal(before, torch.random.get_rng_state())
    places = [next(i for i, image in enumerate(train.images) if torch.equal(image, one)) for one in picked]
    assert sorted(places) == list(range(0, 900, 10))
    assert places != sorted(places)
    assert len(some_images(train, 10**6)) == 900


def test_pairs_that_are_found_are_printed_with_their_reason_and_stand_beside_those_by_hand(
    make_config: MakeConfig, mentor: FoundMentor
) -> None:
    train = load_data(make_config(Path()).data, whole=True).train
    view = View((1, 8, 8), *normalisation(train))
    console = Console(file=io.StringIO(), width=200)
    torch.manual_seed(0)
    mentee = PlainCNN(1, 10, (4, 6))
    group = {
        "_auto_": True,
        "_adapter_": "regressor",
        "mine": {"mentor": "head", "mentee": "head", "adapter": "identity"},
    }
    chosen = choose_probes(group, mentor, mentee, view, train, Machine("cpu", 1, console))
    assert [one.probe.name for one in chosen] == ["stage1", "stage2", "mine"]
    assert [one.probe.adapter.kind for one in chosen] == ["regressor", "regressor", "identity"]
    assert chosen[0].reason == "resolution 1/1 in both"
    assert chosen[2].reason == "by hand"
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f"{one.probe.mentor} " in printed and one.reason in printed for one in chosen)


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["probes=none"], []),
        ([], [("stage1", "stages.0", "features.0"), ("stage2", "stages.1", "features.1")]),
    ],
)
def test_an_override_is_the_one_probe_under_none_and_one_more_under_the_default(
    mentor: FoundMentor, machine: Machine, overrides: list[str], found: list[tuple[str, str, str]]
) -> None:
    given = ["run_dir=here", *overrides, "probes.conv=[stages.1,features.1]"]
    config = compose("distill", DistillConfig, given)
    train = load_data(config.data).train
    view = View((1, 8, 8), *normalisation(train))
    chosen = choose_probes(config.probes, mentor, PlainCNN(1, 10, (4, 6)), view, train, machine)
    pairs = [(one.probe.name, one.probe.mentor, one.probe.mentee) for one in chosen]
    assert pairs == [*found, ("conv", "stages.1", "features.1")]
    assert [one.probe.name for one in chosen if one.reason == "by hand"] == ["conv"]


def test_a_run_keeps_its_adapters_and_says_which_layers_it_paired(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    how = {"mentor": "stages.1", "mentee": "features.1"}
    probes = {
        "taught": how | {"adapter": "regressor", "normalise": True},
        "axes": how | {"adapter": "pca"},
        "chosen": how | {"adapter": "select"},
        "plain": {"mentor": "stages.0", "mentee": "features.0", "adapter": "identity"},
    }
    config = make_config(tmp_path / "run", probes=probes)
    result = distill(config, machine, mentor=mentor)
    loaded = MenteeCheckpoint.load(tmp_path / "run" / "mentee.safetensors")
    assert loaded.probes == result.checkpoint.probes
    assert set(loaded.state) == set(loaded.network().state_dict())
    taught, axes, chosen, plain = (probe.adapter.constants.tensors for probe in loaded.probes)
    assert {name: tuple(value.shape) for name, value in taught.items()} == {
        "weight": (8, 6, 1, 1),
        "bias": (8,),
        "mean": (8,),
        "std": (8,),
    }
    assert tuple(axes["projection"].shape) == (6, 8)
    torch.testing.assert_close(axes["projection"] @ axes["projection"].T, torch.eye(6), atol=1e-5, rtol=0)
    assert chosen["channels"].dtype == torch.int64
    assert len(set(chosen["channels"].tolist())) == 6
    assert plain == {}
    assert result.history[-1]["train_rmse_taught"] < result.history[0]["train_rmse_taught"]

    rows = json.loads((tmp_path / "run" / "probes.json").read_text())
    assert [(row["name"], row["adapter"], row["normalise"], row["compared"]) for row in rows] == [
        ("taught", "regressor", True, [8, 4, 4]),
        ("axes", "pca", False, [6, 4, 4]),
        ("chosen", "select", False, [6, 4, 4]),
        ("plain", "identity", False, [4, 8, 8]),
    ]
    assert rows[0]["mentor"] == {"layer": "stages.1", "shape": [8, 4, 4]}
    assert rows[0]["reason"] == "by hand"


def test_a_regressor_resumes_where_it_was(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    probes = {"p": {"mentor": "stages.1", "mentee": "features.1", "adapter": "regressor", "normalise": True}}
    config = make_config(tmp_path / "run", probes=probes)
    distill(config, machine, mentor=mentor)
    before = MenteeCheckpoint.load(tmp_path / "run" / "mentee.safetensors")
    resumed = distill(replace(config, resume=True), machine, mentor=mentor)  # nothing is left to do
    assert resumed.checkpoint.probes == before.probes
    other = {"p": probes["p"] | {"normalise": False}}
    with pytest.raises(UserError, match="is of a run with probes"):
        distill(replace(config, resume=True, probes=other), machine, mentor=mentor)


@pytest.mark.parametrize("units", [True, False], ids=["strength", "beta"])
@pytest.mark.parametrize("adapter", ["slice", "projector"])
@pytest.mark.parametrize(("value", "message"), [(3.0, "the same for every image"), (float("nan"), "NaN or infinity")])
def test_a_layer_with_nothing_to_teach_is_refused_whatever_beta_is_in(
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    value: float,
    message: str,
    adapter: str,
    units: bool,
) -> None:
    train = load_data(make_config(Path()).data, whole=True).train
    network = copy.deepcopy(mentor.network)
    network.stages[0].register_forward_hook(lambda module, given, output: torch.full_like(output, value))
    mentee, view = PlainCNN(1, 10, widths=[4, 8]), View((1, 8, 8), *normalisation(train))
    choose = partial(choose_probes, mentee=mentee, view=view, train=train, machine=machine, units=units)
    group = {"early": {"mentor": "stages.0", "mentee": "features.0", "adapter": adapter}}
    with pytest.raises(UserError, match=rf"probe 'early': the mentor's layer 'stages\.0' puts out {message}"):
        choose(group, replace(mentor, network=network))
    assert len(choose(group, mentor)) == 1


def test_a_run_without_beta_learns_ships_and_resumes_under_weights_in_the_mentors_units(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """The loss in its history, put together again from its terms and the weights in its checkpoint."""
    curves = {"alpha": [[0, 0.7]], "strength": [[0, 5.0]], "gamma": [[0, 0.4]], "temperature": [[0, 3.0]]}
    schedule = {"_target_": "distill.schedules.piecewise", "beta": None, **curves}
    probes = {"early": ["stages.0", "features.0"], "late": ["stages.1", "features.1"]}
    console = Console(file=io.StringIO(), width=200)
    config = make_config(tmp_path / "run", schedule=schedule, probes=probes)
    result = distill(config, replace(machine, console=console), mentor=mentor)
    loaded = MenteeCheckpoint.load(tmp_path / "run" / "mentee.safetensors")
    weights = {probe.name: probe.weight for probe in loaded.probes}
    assert all(weight > 0 and weight != 1 for weight in weights.values())
    rows = json.loads((tmp_path / "run" / "probes.json").read_text())
    assert {row["name"]: row["weight"] for row in rows} == weights
    assert "layers' strength 5 → 5 → 5" in console.file.getvalue()  # type: ignore[attr-defined]
    for row in result.history:
        layers = sum(weight * row[f"train_rmse_{name}"] for name, weight in weights.items())
        expected = 0.7 * row["train_ce"] + 5 * layers + 0.4 * 9 * row["train_kl"]
        assert row["train_loss"] == pytest.approx(expected, rel=1e-4)
    resumed = distill(replace(config, resume=True), machine, mentor=mentor)  # nothing is left to do
    assert resumed.checkpoint.probes == loaded.probes
    other = replace(config, resume=True, schedule=schedule | {"strength": None, "beta": [[0, 5.0]]})
    with pytest.raises(UserError, match="is of a run with schedule"):
        distill(other, machine, mentor=mentor)
