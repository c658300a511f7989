"""Lightning's options under its names: what they do to the weights, and what this machine cannot do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distill.machine import Machine
from distill.mentors.find import FoundMentor, content_hash
from distill.run import ALONE, distill
from distill.schema import CacheConfig, Clipping, DistillConfig, FitConfig, Optimizer
from distill.training.trainer import require_trainer
from mentor_mentee.data.load import load_data
from mentor_mentee.errors import UserError
from tests.distill.training.by_hand import by_hand

MakeConfig = Callable[..., DistillConfig]
SGD = FitConfig(max_epochs=2, steps_per_epoch=5, batch=16, learning_rate=0.1, optimizer=Optimizer.sgd)
RARE = [0.5, 2.0, *[1.0] * 8]


def trained(config: DistillConfig, machine: Machine, mentor: FoundMentor) -> dict[str, Tensor]:
    return load_file(distill(config, machine, mentor=mentor).checkpoint_path)


def far_apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_clip_val": 0.1},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": Clipping.value},
        {"accumulate_grad_batches": 2},  # of five batches: the last step has one
        {"label_smoothing": 0.2},
        {"class_weights": {"0": 0.5, "1": 2}},
        {"class_weights": RARE, "label_smoothing": 0.1},
        {"layer_rates": {"features.0.*": 0.1, "*.bias": 0.5}},
    ],
    ids=lambda options: " ".join(options),
)
def test_an_option_does_what_one_would_write_in_torch(
    options: dict[str, Any], make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path, trainer=replace(SGD, **options), schedule=ALONE)
    found = trained(config, machine, mentor)
    expected = by_hand(config, weight_K=RARE if "class_weights" in options else None)
    assert far_apart(found, expected) < 2e-6
    plain = by_hand(replace(config, trainer=SGD))
    assert far_apart(expected, plain) > 1e-3  # the option made a difference


def test_half_precision_trains_the_mentee_in_it_and_leaves_mentor_and_loss(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "half", cache=CacheConfig(answers=False))
    half = replace(config, trainer=replace(config.trainer, precision="bf16-mixed"))
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def note(_module: Any, _given: Any, put_out: Tensor) -> None:
        seen.append((put_out.dtype, next(mentor.network.parameters()).dtype))

    handle = mentor.network.register_forward_hook(note)
    result = distill(half, machine, mentor=mentor)
    handle.remove()
    assert set(seen) == {(torch.float32, torch.float32)}
    found = load_file(result.checkpoint_path)
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
    whole = distill(replace(config, run_dir=str(tmp_path / "whole")), machine, mentor=mentor)
    assert 1e-5 < far_apart(found, load_file(whole.checkpoint_path)) < 0.1
    assert result.history[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], rel=0.05)


@pytest.mark.parametrize("how", list(Clipping))
def test_a_gradient_is_clipped_in_half_precision_as_well(
    how: Clipping, make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """Lightning refuses to clip for a fused optimizer there, which AdamW is else."""
    fit = FitConfig(
        max_epochs=1, steps_per_epoch=2, precision="bf16-mixed", gradient_clip_val=1.0, gradient_clip_algorithm=how
    )
    result = distill(make_config(tmp_path, trainer=fit), machine, mentor=mentor)
    assert result.history[-1]["step"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "16-mixed"}, r"trainer\.precision=16-mixed on a CPU.*expected bf16-mixed or 32-true"),
        ({"devices": 2, "sync_batchnorm": True}, r"trainer\.sync_batchnorm=true on CPUs.*expected false"),
        ({"devices": 4096}, r"trainer\.devices=4096 on a CPU of \d+ cores; expected \d+ at most"),
    ],
)
def test_what_this_machine_cannot_do_is_one_line_before_any_training(
    options: dict[str, Any],
    message: str,
    make_config: MakeConfig,
    machine: Machine,
    tmp_path: Path,
) -> None:
    config = make_config(tmp_path, trainer=FitConfig(**options), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=message):
        distill(config, machine)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_accelerator_that_is_not_here_is_one_line(machine: Machine) -> None:
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    with pytest.raises(
        UserError, match=r"^accelerator=gpu trainer\.devices=2: .*; accelerator=auto takes what there is$"
    ):
        require_trainer(FitConfig(devices=2), "trainer", replace(machine, accelerator="gpu"))


def test_a_pattern_or_a_class_that_there_is_not_is_named_before_any_training(
    make_config: MakeConfig, machine: Machine, tmp_path: Path
) -> None:
    for options, message in (
        (
            {"layer_rates": {"feature.*": 0.1}},
            r"layer_rates: no parameter matches 'feature\.\*'; expected .*features\.0",
        ),
        ({"class_weights": {"one": 2}}, r"class_weights: digits has no class 'one'"),
        ({"class_weights": [1.0, 2.0]}, r"class_weights has 2 numbers, digits 10 classes"),
    ):
        config = make_config(tmp_path, trainer=FitConfig(**options), cache_dir=str(tmp_path / "cache"))
        with pytest.raises(UserError, match=message):
            distill(config, machine)


def test_auto_weights_make_each_class_weigh_the_same() -> None:
    from distill.training.class_weights import class_weights

    splits = load_data({"_target_": "mentor_mentee.data.datasets.digits"})
    labels = splits.train.labels
    weights = class_weights(FitConfig(class_weights="auto"), splits, "trainer")
    assert weights is not None
    per_class = torch.tensor(weights)[labels].new_zeros(10).index_add_(0, labels, torch.tensor(weights)[labels])
    torch.testing.assert_close(per_class, torch.full((10,), len(labels) / 10))


def test_a_mentor_that_was_cached_before_there_were_these_options_is_found_again(make_config: MakeConfig) -> None:
    config = make_config(Path()).mentor
    splits = load_data({"_target_": "mentor_mentee.data.datasets.digits"}, whole=True)
    key = content_hash(config, splits)
    assert content_hash(replace(config, fit=replace(config.fit, log_every_n_steps=1)), splits) == key
    for options in ({"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}, {"max_epochs": 7}):
        assert content_hash(replace(config, fit=replace(config.fit, **options)), splits) != key


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_training_leaves_the_bare_networks_names_and_the_same_weights(
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the C++ compiler, which would take a minute: what is traced and when is the same."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: whole(module, backend="eager"))
    plain, compiled = (
        trained(make_config(tmp_path / str(on), trainer=replace(SGD, compile=on)), machine, mentor)
        for on in (False, True)
    )
    assert plain.keys() == compiled.keys()
    assert far_apart(plain, compiled) < 1e-6
