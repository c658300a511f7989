"""Every shipped YAML file composes, has the schema's shape, and binds to the signatures it names."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf

from distill.check import check_distill
from distill.curves import read_schedule
from distill.from_overrides import compose as compose_and_check
from distill.run import ALONE
from distill.schema import (
    CacheConfig,
    DistillConfig,
    EvaluateConfig,
    FitConfig,
    LearningRateCurve,
    MentorConfig,
    Optimizer,
)
from export.schema import ExportSettings, check_export
from mentor_mentee.config.compose import compose as compose_typed
from mentor_mentee.config.folder import CONFIGS
from mentor_mentee.data.load import load_data
from mentor_mentee.errors import UserError

GROUPS = ("mentor", "mentee", "data", "probes", "schedule", "trainer", "augment", "callbacks", "logger", "experiment")
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONFIGS / group).glob("*.yaml"))]


def composed(*overrides: str) -> DistillConfig:
    """Overrides for what a user must give (`???`)."""
    ConfigStore.instance().store(name="distill_schema", node=DistillConfig)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        run_dir = "run_dir=runs/here"  # the default names Hydra's own choices, known only to a command
        open_settings = OmegaConf.missing_keys(compose("distill", [run_dir, *overrides]))
        targets = {"data._target_": "mentor_mentee.data.datasets.digits"}
        models = {"timm": "resnet10t", "torchvision": "resnet18", "transformers": "resnet"}
        chosen = [override.partition("=")[2] for override in overrides]
        names = {"network.name": next((models[option] for option in chosen if option in models), "given")}
        network = "mentee.networks.PlainCNN"
        given = [
            f"{name}={targets.get(name, network) if name.endswith('_target_') else names.get(name.partition('.')[2], 'given')}"
            for name in sorted(open_settings)
        ]
        config = OmegaConf.to_object(compose("distill", [run_dir, *overrides, *given]))
    assert isinstance(config, DistillConfig)
    return config


@pytest.mark.parametrize("option", [pytest.param(option, id=option) for option in OPTIONS])
def test_every_option_of_every_group_composes_and_binds(option: str) -> None:
    config = composed(option)
    if option.endswith("=transformers") and find_spec("transformers") is None:
        with pytest.raises(UserError, match="is not installed"):
            check_distill(config)
        return
    check_distill(config)


def test_no_group_is_left_out() -> None:
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert folders <= set(GROUPS)
    assert set(GROUPS) - {"experiment"} <= folders


def test_the_default_is_what_the_reader_of_the_yaml_files_expects() -> None:
    config = composed()
    assert config.mentee.network["_target_"] == "mentee.networks.PlainCNN"
    assert config.data["_target_"] == "mentor_mentee.data.datasets.digits"
    assert isinstance(config.trainer, FitConfig)
    assert config.trainer.optimizer is Optimizer.adamw
    assert config.trainer.curve is LearningRateCurve.cosine
    assert config.probes == {"_auto_": True, "_adapter_": "auto", "_normalise_": False}


def test_overrides_reach_the_typed_configuration() -> None:
    config = composed(
        "seed=7",
        "trainer.batch=8",
        "trainer.optimizer=sgd",
        "mentor.fit.max_epochs=2",
        "schedule.temperature=2",
        "schedule=obedient",
    )
    assert (config.seed, config.trainer.batch, config.mentor.fit.max_epochs) == (7, 8, 2)
    assert config.trainer.optimizer is Optimizer.sgd
    assert config.schedule["temperature"] == 2


def test_each_seed_may_have_labels_of_its_own() -> None:
    """Without `data.budget_seed` all seeds of a sweep learn from the same labelled samples."""

    def labelled(seed: int, *overrides: str) -> set[int]:
        config = composed(f"seed={seed}", "++data.labels_per_class=10", *overrides)
        check_distill(config)
        return set(load_data(config.data).train.positions.tolist())

    shared, own = ([labelled(seed, *given) for seed in (1, 2)] for given in ((), ("++data.budget_seed=${seed}",)))
    assert [len(found) for found in (*shared, *own)] == 4 * [100]
    assert shared[0] == shared[1]
    assert len(own[0] & own[1]) < 30  # of 100; chance has some 11


def test_the_other_commands_configurations_compose() -> None:
    evaluation = compose_typed("evaluate", EvaluateConfig, ["checkpoint=a", "split=val", "data=digits"])
    assert (evaluation.checkpoint, evaluation.split) == ("a", "val")
    assert evaluation.data == {"_target_": "mentor_mentee.data.datasets.digits"}
    exported = compose_typed("export", ExportSettings, ["checkpoint=a", "bundle=b"])
    check_export(exported)
    assert (exported.checkpoint, exported.bundle) == ("a", "b")


@pytest.mark.parametrize(
    "override", ["trainer.epoch=3", "trainer.max_epochs=many", "trainer.optimizer=adam", "seeed=3", "schedule=obediant"]
)
def test_a_typo_or_a_wrong_type_does_not_compose(override: str) -> None:
    with pytest.raises((HydraException, ConfigCompositionException)):
        composed(override)


def experiment(folder: Path, text: str) -> list[str]:
    """A user's own experiment file, found by Hydra's search path."""
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    return [f"hydra.searchpath=[file://{folder}]", "experiment=mine"]


def test_an_experiment_file_overrides_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    text = "defaults: [{override /schedule: obedient}]\ntrainer: {max_epochs: 3}\nschedule: {temperature: 2.5}\n"
    config = composed(*experiment(tmp_path, text))
    check_distill(config)
    assert config.trainer == replace(composed().trainer, max_epochs=3)
    assert config.schedule == composed("schedule=obedient").schedule | {"temperature": 2.5}


@pytest.mark.parametrize(
    "text", ["trainer: {epoch: 3}", "traner: {epochs: 3}", "trainer: {max_epochs: many}", "mentor: {fit: {batches: 3}}"]
)
def test_a_typo_in_an_experiment_file_does_not_compose(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigCompositionException):
        composed(*experiment(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["schedule: {alfa: [[0, 1]]}", "data: {labels_pr_class: 3}", "mentee: {network: {widhts: [3]}}"]
)
def test_a_typo_in_an_open_part_of_an_experiment_file_does_not_bind(tmp_path: Path, text: str) -> None:
    config = composed(*experiment(tmp_path, text))
    with pytest.raises(UserError, match=r"has no option '\w+'; did you mean"):
        check_distill(config)


def changed(**changes: Any) -> DistillConfig:
    return replace(composed(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, r"seed=-1; expected 0 or more"),
        ({"trainer": FitConfig(max_epochs=0)}, r"trainer\.max_epochs=0; expected 1 or more"),
        ({"trainer": FitConfig(batch=0)}, r"trainer\.batch=0"),
        ({"trainer": FitConfig(steps_per_epoch=0)}, r"trainer\.steps_per_epoch=0"),
        ({"trainer": FitConfig(learning_rate=0.0)}, r"trainer\.learning_rate=0\.0; expected a finite number above 0"),
        ({"trainer": FitConfig(learning_rate=float("nan"))}, r"trainer\.learning_rate=nan"),
        ({"trainer": FitConfig(precision="8")}, r"trainer\.precision=8; expected 32-true or bf16-mixed or 16-mixed"),
        ({"trainer": FitConfig(strategy="dpp")}, r"trainer\.strategy=dpp; expected auto or ddp.*did you mean 'ddp'"),
        ({"trainer": FitConfig(accumulate_grad_batches=0)}, r"trainer\.accumulate_grad_batches=0; expected 1 or more"),
        ({"trainer": FitConfig(gradient_clip_val=0.0)}, r"trainer\.gradient_clip_val=0\.0; expected a number above 0"),
        ({"trainer": FitConfig(label_smoothing=1.0)}, r"trainer\.label_smoothing=1\.0; expected a fraction"),
        ({"trainer": FitConfig(class_weights="rare")}, r"trainer\.class_weights=rare; expected auto"),
        ({"trainer": FitConfig(class_weights="auto", class_balance=True)}, r"class_weights=auto with .* take one"),
        ({"trainer": FitConfig(layer_rates={"a": -1.0})}, r"trainer\.layer_rates: 'a' has -1\.0"),
        (
            {"mentor": MentorConfig(precision="bf16")},
            r"mentor\.precision=bf16; expected auto, 32-true, bf16-mixed, 16-mixed",
        ),
        ({"mentor": MentorConfig(shard=True)}, r"mentor\.shard=true in a training of one process; expected several"),
        (
            {"mentor": MentorConfig(shard=True), "trainer": FitConfig(devices=2), "cache": CacheConfig(answers=True)},
            r"mentor\.shard=true with cache\.answers=true",
        ),
        ({"logger": {"csv": True}}, r"logger\.csv=True; expected a recipe: logger\.csv\._target_="),
        ({"trainer": FitConfig(warmup=1.0)}, r"trainer\.warmup=1\.0; expected a fraction"),
        ({"trainer": FitConfig(warmup=-0.1)}, r"trainer\.warmup=-0\.1"),
        ({"schedule": {"_target_": "distill.schedules.obedint"}}, r"schedule\._target_: .*did you mean 'obedient'"),
        ({"schedule": {"_target_": "distill.schedules.independent"}}, r"schedule: .* needs representation"),
        ({"data": {"_target_": "mentor_mentee.data.datasets.digits", "labels": 3}}, r"data: .* has no option 'labels'"),
        (
            {"data": {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": "x"}},
            r"data\.labels_per_class=x",
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error_before_anything_starts(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_distill(changed(**changes))


def test_mentor_and_mentee_are_checked_like_the_rest() -> None:
    config = composed()
    with pytest.raises(UserError, match=r"mentor\.fit\.batch=0"):
        check_distill(replace(config, mentor=replace(config.mentor, fit=FitConfig(batch=0))))
    for part in ("mentor", "mentee"):
        own = getattr(config, part)
        with pytest.raises(UserError, match=rf"{part}\.network: .*did you mean 'widths'"):
            check_distill(replace(config, **{part: replace(own, network=own.network | {"widhts": [3]})}))
        with pytest.raises(UserError, match=rf"{part}\.network\._target_ is None"):
            check_distill(replace(config, **{part: replace(own, network={})}))


@pytest.mark.parametrize(
    ("given", "attribute", "expected"),
    [("schedule=alone", "schedule", ALONE), ("probes=none", "probes", {})],
)
def test_a_group_beside_the_demos_experiment_takes_the_place_of_its_own(
    given: str, attribute: str, expected: dict[str, object]
) -> None:
    """Numbers in an experiment file would stay: the lone mentee would have been a supervised one."""
    config = composed("experiment=mnist5k_demo", given)
    assert getattr(config, attribute) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mentor.least_accuracy=2", r"mentor\.least_accuracy=2.0; expected a fraction"),
        ("mentor.least_accuracy=nan", r"mentor\.least_accuracy=nan; expected a fraction"),
        ("cache.max_gb=-5", r"cache.max_gb=-5(.0)?; expected 0 or more"),
        ("cache.verify=2", r"cache.verify=2(.0)?; expected a share"),
        ("cache.activations=int7", r"did you mean .?int8"),
        ("mentor.view.size=-3", r"mentor\.view\.size=-3; expected 1 or more"),
        ("mentee.view.channels=0", r"mentee\.view\.channels=0; expected 1 or more"),
        ("mentor.view.mean=[0.5]", r"mentor\.view has mean without std"),
        ("mentee.view={mean:[0.5],std:[0]}", r"mentee\.view\.std=\[0.0\]; expected finite numbers above 0"),
        ("mentee.view={mean:[0.5],std:[nan]}", r"mentee\.view\.std=\[nan\]; expected finite numbers above 0"),
        ("mentor.view={mean:[0.5,1],std:[1]}", r"mentor\.view\.mean=\[0.5, 1.0\].* of each for a channel"),
        ("data.labels_per_class=true", r"data\.labels_per_class=True; expected a whole number"),
        ("schedule.alpha=[[0,true]]", r"schedule\.alpha = .*: expected a list of pairs"),
    ],
)
def test_what_was_told_after_a_mentors_training_or_never_is_told_at_once(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_schedule(compose_and_check([override]).schedule)
