"""Networks, settings and samples of what is cached, resumed or read again are the very ones it is taken for."""

import linecache
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.machine import Machine
from distill.mentors.find import FoundMentor, content_hash
from distill.mentors.train import learn_labels, train_mentor
from distill.networks.build import build_network, complete, view_for
from distill.run import distill
from distill.schema import FitConfig, MenteeConfig, MentorConfig
from mentor.networks import ResidualNet
from mentor.restore import restore_mentor
from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.data.load import load_data
from mentor_mentee.data.pools import training_pools
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import build, recipe_identity
from tests.distill.conftest import MakeConfig

OWN = """
from torch import nn
class Own(nn.Module):
    def __init__(self, num_classes, in_channels, sharp=False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.head = nn.Linear(4, num_classes)
    def forward(self, x):
        return self.head((SIGN * self.conv(x)).relu().mean((2, 3)))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`own(sign)`: the recipe of a user's module whose forward was edited."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    monkeypatch.syspath_prepend(tmp_path)

    def write(sign: int, source: str = OWN) -> dict[str, Any]:
        (tmp_path / f"{name}.py").write_text(source.replace("SIGN", f"{sign:+d}"))
        sys.modules.pop(name, None)
        import importlib

        importlib.invalidate_caches()
        linecache.clearcache()
        return {"_target_": f"{name}.Own"}

    return write


def test_an_identity_is_of_options_of_sources_and_of_what_stands_inside(own: Any) -> None:
    one = recipe_identity(own(1), "here")
    assert recipe_identity(own(1), "here") == one
    assert recipe_identity({**own(1), "sharp": True}, "here") != one
    members = {"_target_": "mentor.ensemble.Ensemble", "members": [own(1), own(1)]}
    inside = recipe_identity(members, "here")
    own(-1)
    assert recipe_identity(own(-1), "here") != one
    assert recipe_identity(members, "here") != inside


def test_modules_of_ones_own_that_a_module_imports_are_part_of_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: Splits
) -> None:
    """At any depth, under a relative name as well; of a mentor that is trained under a transform of one's own, too."""
    name = f"pack_{tmp_path.name}".replace("-", "_")
    package = tmp_path / name
    (package / "deep").mkdir(parents=True)
    (package / "nets.py").write_text(
        "import numpy\nfrom .deep import blocks\ndef moved(image):\n    return blocks.by(image)\n"
    )
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "blocks.py").write_text(
        f"from {name}.amount import FAR\ndef by(image):\n    return image.roll(FAR)\n"
    )
    (package / "amount.py").write_text("FAR = 1  # pixels\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = {"_target_": f"{name}.nets.moved"}
    config = MentorConfig(network={"_target_": "mentor.networks.ResidualNet"})
    config.fit.augment.transforms = [recipe["_target_"]]
    one, trained = recipe_identity(recipe, "here"), content_hash(config, splits)
    (package / "amount.py").write_text("FAR = 1\n")
    assert (recipe_identity(recipe, "here"), content_hash(config, splits)) == (one, trained)
    (package / "amount.py").write_text("FAR = 2\n")
    assert recipe_identity(recipe, "here") != one
    assert content_hash(config, splits) != trained


def test_words_and_layout_of_a_source_are_no_part_of_its_identity(own: Any) -> None:
    one = recipe_identity(own(1), "here")
    worded = OWN.replace(
        "        super().__init__()", '        """Small."""  # as small as can be\n\n        super().__init__()'
    )
    worded = worded.replace("class Own(nn.Module):", 'class Own(nn.Module):\n    """A network."""\n')
    assert worded.count('"""') == 4
    assert recipe_identity(own(1, worded), "here") == one
    assert recipe_identity(own(-1, worded), "here") != one


def test_a_lambda_over_several_lines_of_a_notebooks_cell_has_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines alone, as `inspect` gives them, are no statement: the last one closes what none of them opened."""
    cell = "keep = lambda f: f\nclass Net:\n    act = keep(\n        lambda self, x: (x +\n            1))\n"
    notebook = ModuleType("notebook_with_a_lambda")
    monkeypatch.setitem(linecache.cache, "<lambda-cell>", (len(cell), None, cell.splitlines(True), "<lambda-cell>"))
    exec(compile(cell, "<lambda-cell>", "exec"), notebook.__dict__)
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    assert len(recipe_identity({"_target_": "notebook_with_a_lambda.Net"}, "here")) == 64


def test_answers_of_a_mentor_whose_forward_was_edited_are_not_taken(own: Any) -> None:
    network = ResidualNet(1, 3, [4])
    found = FoundMentor(network, own(1), None, Path(), 1.0, "")  # type: ignore[arg-type]
    before = found.mentor().fingerprint()
    assert found.mentor().fingerprint() == before
    own(2)
    assert found.mentor().fingerprint() != before


def test_a_mentor_of_a_notebooks_cell_can_be_trained(monkeypatch: pytest.MonkeyPatch, splits: Splits) -> None:
    notebook = ModuleType("notebook_of_a_user")
    exec(compile(OWN.replace("SIGN", "1"), "<cell>", "exec"), notebook.__dict__)
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    config = MentorConfig(network={"_target_": "notebook_of_a_user.Own"})
    before = content_hash(config, splits)
    assert content_hash(config, splits) == before
    exec(compile(OWN.replace(".relu()", ".tanh()").replace("SIGN", "1"), "<cell>", "exec"), notebook.__dict__)
    assert content_hash(config, splits) != before


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_data({"_target_": "mentor_mentee.data.datasets.digits"})


def test_a_run_is_not_resumed_with_another_mentee_of_the_same_shapes(
    own: Any, make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", probes={}, mentee=MenteeConfig(network=own(1)))
    distill(config, machine, mentor=mentor)
    edited = r" = .*Own.*, this one has the same, but its source code was changed since \(.*; start again without resume=true"
    for other, message in ((own(1) | {"sharp": True}, r"\.sharp = nothing, this one has True"), (own(-1), edited)):
        changed = replace(config, mentee=MenteeConfig(network=other), resume=True)
        with pytest.raises(UserError, match=rf"is of a run with mentee\.network{message}"):
            distill(changed, machine, mentor=mentor)
    own(1)
    distill(replace(config, resume=True), machine, mentor=mentor)


@pytest.mark.parametrize("word", ["no", "off", "yes", "False"])
def test_a_word_is_no_switch(word: str) -> None:
    with pytest.raises(UserError, match=rf"here\.batch_norm={word}; expected true or false"):
        build({"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 2, "batch_norm": word}, "here")
    with pytest.raises(UserError, match=r"data\.keep_unlabelled=.*; expected true or false"):
        load_data({"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 2, "keep_unlabelled": word})


def test_a_fresh_start_does_not_let_the_run_before_speak_for_it(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path)
    distill(config, machine, mentor=mentor)
    assert (tmp_path / "run.json").is_file()
    with pytest.raises(UserError, match=r"features\.9"):
        distill(replace(config, probes={"early": ["stages.0", "features.9"]}), machine, mentor=mentor)
    assert (tmp_path / "run.json").is_file()  # nothing had begun

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("distill.training.fit.fit", die)
    with pytest.raises(KeyboardInterrupt):
        distill(config, machine, mentor=mentor)
    assert not (tmp_path / "run.json").is_file()
    assert (tmp_path / "mentee.safetensors").is_file()


def test_a_mentor_learns_from_labelled_samples_alone(
    splits: Splits, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = splits.train
    labels = train.labels.clone()
    labels[100:] = -1
    part = replace(splits, train=Split(train.images, labels, train.positions))
    seen: list[Splits] = []
    monkeypatch.setattr("distill.mentors.train.fit", lambda module, given, *_: seen.append(given))
    config = MentorConfig(
        network={"_target_": "mentor.networks.ResidualNet", "widths": [4]}, fit=FitConfig(max_epochs=1)
    )
    view = view_for(config.view, splits)
    network = build_network(complete(config.network, "mentor.network", splits, view), "mentor.network", splits, view)
    train_mentor(network, view, config, part, machine, tmp_path / "mentor.ckpt")
    assert torch.equal(seen[0].train.labels, labels[:100])
    none = replace(splits, train=Split(train.images, torch.full_like(labels, -1), train.positions))
    with pytest.raises(UserError, match=r"no mentor can be trained here: give mentor\.weights"):
        learn_labels(network, view, config.fit, 0, none, "mentor", machine, tmp_path / "mentor.ckpt")


@pytest.mark.parametrize(
    "schedule",
    [
        {"_target_": "distill.schedules.gullible", "stage": 0.4, "beta": 4.0, "temperature": 4.0},
        {
            "_target_": "distill.schedules.two_stage",
            "hint": 0.4,
            "beta": 4.0,
            "gamma": 1.0,
            "gamma_end": 1.0,
            "temperature": 4.0,
        },
    ],
)
def test_a_stage_in_which_nothing_is_learnt_is_an_error(
    schedule: dict[str, Any], make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path, probes={}, schedule=schedule)
    with pytest.raises(UserError, match=r"α = β = γ = 0 from 0% to 40% of the run, for probes=none leaves β no layer"):
        distill(config, machine, mentor=mentor)


def test_beta_is_no_supervision_where_there_is_no_layer(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    recipe = {"_target_": "distill.schedules.constant", "alpha": 1.0, "beta": 4.0, "gamma": 0.0, "temperature": 4.0}
    data = {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 3, "keep_unlabelled": True}
    found = distill(make_config(tmp_path, probes={}, schedule=recipe, data=data), machine, mentor=mentor)
    assert not found.schedule.supervised()
    assert bool((found.splits.train.labels >= 0).all())


def test_another_file_in_the_mentors_place_is_told(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    weights = tmp_path / "mentor.safetensors"
    state = load_file(mentor.weights)
    save_file(state, weights)
    checkpoint = distill(make_config(tmp_path / "run"), machine, mentor=replace(mentor, weights=weights)).checkpoint
    assert checkpoint.mentor is not None
    restore_mentor(checkpoint.mentor, ())
    save_file({name: value + 1 for name, value in state.items()}, weights)
    with pytest.warns(UserWarning, match="another mentor answers now"):
        restore_mentor(checkpoint.mentor, ())


def test_a_mentor_that_blows_up_is_told_where_its_own_settings_are_and_not_cached(
    splits: Splits, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from distill.mentors.find import cache_weights, find_mentor

    fit = FitConfig(max_epochs=1, learning_rate=1e30, batch=32)
    config = MentorConfig(network={"_target_": "mentor.networks.ResidualNet", "widths": [4]}, fit=fit)
    with pytest.raises(UserError, match=r"through ce \(.*lower mentor\.fit\.learning_rate") as told:
        find_mentor(config, splits, tmp_path, machine)
    assert "checkpoint" not in str(told.value)
    network = ResidualNet(1, 2, [4])
    with torch.no_grad():
        network.head.bias[0] = torch.inf
    with pytest.raises(UserError, match=r"the mentor's head\.bias is not finite: lower mentor\.fit\.learning_rate"):
        cache_weights(network, tmp_path / "cached.safetensors")
    assert not (tmp_path / "cached.safetensors").exists()


@pytest.mark.parametrize(
    ("samples", "batch", "sizes"),
    [(129, 64, [64, 65]), (65, 64, [65]), (130, 64, [64, 64, 2]), (3, 1, [1, 1, 1]), (1, 1, [1]), (128, 64, [64, 64])],
)
def test_no_last_batch_is_of_one_sample(samples: int, batch: int, sizes: list[int]) -> None:
    batches = EpochBatches(training_pools(np.zeros(samples, np.int64), batch, 0))
    for epoch in (0, 3):
        batches.set_epoch(epoch)
        drawn = list(batches)
        assert [len(one) for one in drawn] == sizes
        assert len(batches) == len(sizes)
        assert sorted(draw % samples for one in drawn for draw in one) == list(range(samples))
