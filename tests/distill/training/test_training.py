"""A run of the framework against the same run written out in plain torch.

Axes: B samples, C channels, H W space, K classes.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from distill.handover import RunResult
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import alone, distill
from distill.schema import DistillConfig, FitConfig, LearningRateCurve, Optimizer
from distill.training.optimizer import rate_factor
from mentee.networks import PlainCNN
from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.pools import training_pools

MakeConfig = Callable[..., DistillConfig]


@pytest.fixture(scope="module")
def result(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    return distill(make_config(tmp_path_factory.mktemp("run")), machine, mentor=mentor)


def written_out(config: DistillConfig, mentor: nn.Module | None) -> tuple[dict[str, Tensor], list[float]]:
    """The mentee's weights after the run and the loss at each step. The widths (4, 8 against 4, 6) make `late` a slice."""
    splits = digits()
    pixels = splits.train.images.double() / 255
    mean, std = pixels.mean(), pixels.std(correction=0)
    torch.manual_seed(config.seed)
    net = PlainCNN(1, 10, (4, 6)).train()
    fit = config.trainer
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), weight_decay=fit.weight_decay)
    if fit.optimizer is Optimizer.sgd:
        optimizer = torch.optim.SGD(net.parameters(), 1.0, momentum=fit.momentum, weight_decay=fit.weight_decay)
    steps = fit.max_epochs * (fit.steps_per_epoch or 0)
    losses = []
    for epoch in range(fit.max_epochs):
        batches = EpochBatches(training_pools(splits.train.labels.numpy(), fit.batch, config.seed), fit.steps_per_epoch)
        batches.set_epoch(epoch)
        for indices in ([draw % 900 for draw in drawn] for drawn in batches):
            step = len(losses)
            warm = fit.warmup * steps
            factor = (
                (step + 1) / (warm + 1)
                if step < warm
                else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))
            )
            optimizer.param_groups[0]["lr"] = fit.learning_rate * factor
            x = ((pixels[indices] - mean) / std).float()
            early = net.features[0](x)
            late = net.features[1](early)
            logits = net.head(late.mean((2, 3)))
            loss = F.cross_entropy(logits, splits.train.labels[indices])
            if mentor is not None:
                t = step / (steps - 1)
                with torch.no_grad():
                    taught_early = mentor.stages[0](mentor.stem(x))
                    taught_late = mentor.stages[1](taught_early)
                    taught = mentor.head(taught_late.mean((2, 3)))
                temperature = 4 - 2 * t
                kl = F.kl_div(
                    F.log_softmax(logits / temperature, 1), F.softmax(taught / temperature, 1), reduction="batchmean"
                )
                rmse = F.mse_loss(early, taught_early).sqrt() + F.mse_loss(late, taught_late[:, :6]).sqrt()
                loss = (1 - t / 2) * loss + (2 - 1.5 * t) * rmse + (0.5 + t / 2) * temperature**2 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return net.state_dict(), losses


def weights(result: RunResult) -> dict[str, Tensor]:
    return load_file(result.checkpoint_path)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "ms_per_step"} for row in history]


def close(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float) -> None:
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-3, atol=atol, msg=lambda m, k=key: f"{k}: {m}")


def test_a_supervised_run_is_the_loop_one_would_write(
    result: RunResult, make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """SGD, since AdamW moves a weight whose gradient is rounding error by a whole learning rate."""
    config = make_config(tmp_path)
    fit = replace(config.trainer, optimizer=Optimizer.sgd, learning_rate=0.05)
    by_sgd = distill(replace(config, trainer=fit), machine, mentor=mentor)
    expected, losses = written_out(replace(config, trainer=fit), mentor.network)
    close(weights(by_sgd), expected, 1e-4)
    by_epoch = [sum(losses[i : i + 4]) / 4 for i in (0, 4, 8)]
    assert [row["train_loss"] for row in by_sgd.history] == pytest.approx(by_epoch, rel=1e-4)
    _, losses = written_out(config, mentor.network)
    by_epoch = [sum(losses[i : i + 4]) / 4 for i in (0, 4, 8)]
    assert [row["train_loss"] for row in result.history] == pytest.approx(by_epoch, rel=2e-3)


def test_a_run_alone_is_the_same_loop_without_a_mentor_and_of_as_many_steps(
    result: RunResult, make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path)
    fit = replace(config.trainer, optimizer=Optimizer.sgd, learning_rate=0.05)
    lone = distill(alone(replace(config, trainer=fit), str(tmp_path / "alone")), machine, mentor=mentor)
    expected, losses = written_out(replace(config, trainer=fit), None)
    close(weights(lone), expected, 1e-4)
    assert [row["train_loss"] for row in lone.history] == pytest.approx(
        [sum(losses[i : i + 4]) / 4 for i in (0, 4, 8)], rel=1e-4
    )
    for name in ("epoch", "step"):
        assert [row[name] for row in lone.history] == [row[name] for row in result.history]
    assert lone.history[-1]["step"] == 12
    assert {row["train_kl"] for row in lone.history} == {0.0}
    assert not any("rmse" in name for row in lone.history for name in row)  # no layer is compared with anything
    assert lone.checkpoint.probes == ()
    assert (tmp_path / "alone" / "mentee.safetensors") == lone.checkpoint_path


def test_history_obeys_the_formula_of_the_loss(
    make_config: MakeConfig, constant_schedule: dict[str, Any], mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    found = distill(make_config(tmp_path, schedule=constant_schedule), machine, mentor=mentor)
    assert [row["epoch"] for row in found.history] == [0, 1, 2]
    assert [row["step"] for row in found.history] == [4, 8, 12]
    for row in found.history:
        assert (row["alpha"], row["beta"], row["gamma"], row["temperature"]) == (0.75, 1.5, 0.25, 3.0)
        for part in ("train", "val"):
            assert min(row[f"{part}_{name}"] for name in ("ce", "rmse_early", "rmse_late", "kl")) > 0
            rmse = row[f"{part}_rmse_early"] + row[f"{part}_rmse_late"]
            loss = 0.75 * row[f"{part}_ce"] + 1.5 * rmse + 0.25 * 9 * row[f"{part}_kl"]
            assert row[f"{part}_loss"] == pytest.approx(loss, rel=1e-5)
            assert 0 <= row[f"{part}_accuracy"] <= 1
    assert json.loads((tmp_path / "history.json").read_text()) == found.history


def test_the_checkpoint_holds_the_last_steps_mentee_and_what_was_seen_of_it(
    result: RunResult, mentor: FoundMentor
) -> None:
    checkpoint, splits = result.checkpoint, digits()
    network = checkpoint.network()
    for part, split in (("val", splits.val), ("test", splits.test)):
        with torch.no_grad():
            predicted = network(checkpoint.view(split.images)).argmax(1)
        seen = {"accuracy": float((predicted == split.labels).double().mean()), "samples": len(split)}
        assert checkpoint.accuracy[part] == pytest.approx(seen, abs=1e-6)
    assert result.history[-1]["val_accuracy"] == checkpoint.accuracy["val"]["accuracy"]
    assert checkpoint.head == "head"
    assert [(p.name, p.mentor, p.mentee, p.adapter.shape) for p in checkpoint.probes] == [
        ("early", "stages.0", "features.0", (4, 8, 8)),
        ("late", "stages.1", "features.1", (6, 4, 4)),
    ]
    assert checkpoint.mentor is not None
    assert checkpoint.mentor["weights"] == str(mentor.weights.absolute())
    wrong = result.mentee.confusion_KK.clone().fill_diagonal_(0).sum()
    assert result.mentee.accuracy == pytest.approx(1 - int(wrong) / 800)


def test_no_weight_of_the_mentor_is_in_what_a_run_leaves(result: RunResult, mentor: FoundMentor) -> None:
    mentees = {key: tuple(value.shape) for key, value in PlainCNN(1, 10, (4, 6)).state_dict().items()}
    assert {key: tuple(value.shape) for key, value in weights(result).items()} == mentees
    last = torch.load(result.checkpoint_path.with_name("last.ckpt"), weights_only=True)
    assert set(last["state_dict"]) == {f"student.mentee.{key}" for key in mentees}
    needles = [value.numpy().tobytes() for value in mentor.network.state_dict().values() if value.numel() >= 16]
    for name in ("last.ckpt", "mentee.safetensors"):
        content = result.checkpoint_path.with_name(name).read_bytes()
        assert not any(needle in content for needle in needles), name
    cached = mentor.weights.read_bytes()
    assert all(needle in cached for needle in needles)  # so they would have been found


def test_one_seed_gives_the_same_bits_and_another_others(
    result: RunResult, make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    torch.manual_seed(12345)  # whatever was drawn before
    again = distill(make_config(tmp_path / "again"), machine, mentor=mentor)
    assert same(weights(again), weights(result))
    assert without_time(again.history) == without_time(result.history)
    other = distill(make_config(tmp_path / "other", seed=2), machine, mentor=mentor)
    assert not same(weights(other), weights(result))


def test_a_run_does_not_change_the_mentor(result: RunResult, mentor: FoundMentor) -> None:
    assert same(mentor.network.state_dict(), load_file(mentor.weights))
    assert not any(module.training for module in mentor.network.modules())


def test_unlabelled_samples_are_taught_by_the_mentor_alone(
    make_config: MakeConfig, constant_schedule: dict[str, Any], mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """One step with everything in the batch, so its loss is that of the untrained mentee."""
    data = {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 1, "keep_unlabelled": True}
    fit = FitConfig(max_epochs=1, steps_per_epoch=1, batch=900, labelled_share=10 / 900)
    config = make_config(tmp_path, data=data, schedule=constant_schedule, trainer=fit)
    found = distill(config, machine, mentor=mentor)
    torch.manual_seed(config.seed)
    mentee, train = PlainCNN(1, 10, (4, 6)).train(), found.splits.train
    with torch.no_grad():
        x = found.checkpoint.view(train.images)
        logits, taught = mentee(x), mentor.network(x)
    has_label = train.labels >= 0
    assert int(has_label.sum()) == 10
    row = found.history[0]
    assert row["train_ce"] == pytest.approx(
        float(F.cross_entropy(logits[has_label], train.labels[has_label])), rel=1e-4
    )
    everyone = F.kl_div(F.log_softmax(logits / 3, 1), F.softmax(taught / 3, 1), reduction="batchmean")
    assert row["train_kl"] == pytest.approx(float(everyone), rel=1e-3)
    hits = int((logits.argmax(1) == train.labels).sum())
    assert row["train_accuracy"] == pytest.approx(hits / 10)


def test_rate_factors_worked_out_by_hand() -> None:
    config = FitConfig(warmup=0.25, curve=LearningRateCurve.cosine)
    found = [rate_factor(step, 8, config) for step in range(9)]
    root = math.sqrt(3) / 2
    assert found == pytest.approx([1 / 3, 2 / 3, 1, (1 + root) / 2, 0.75, 0.5, 0.25, (1 - root) / 2, 0], abs=1e-12)
    flat = replace(config, curve=LearningRateCurve.constant)
    assert [rate_factor(step, 8, flat) for step in (0, 1, 2, 7, 8)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert rate_factor(0, 8, replace(config, warmup=0.0)) == 1
    assert rate_factor(0, 1, replace(config, warmup=0.9)) == pytest.approx(1 / 1.9)


def test_the_rate_in_the_history_is_the_curves(result: RunResult) -> None:
    fit = FitConfig(learning_rate=5e-3)
    expected = [5e-3 * 0.5 * (1 + math.cos(math.pi * (step - 0.6) / 11.4)) for step in (4, 8, 12)]
    assert fit.warmup * 12 == pytest.approx(0.6)
    assert [row["learning_rate"] for row in result.history] == pytest.approx(expected, abs=1e-9)
