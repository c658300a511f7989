"""Sources of a mentor: given weights, or trained once and cached by the hash of what went into it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.machine import Machine
from distill.mentors.find import FoundMentor, content_hash, find_mentor, require_accuracy
from distill.networks.build import view_for
from distill.schema import DistillConfig, FitConfig, MentorConfig, ViewConfig
from mentor.mentor import Mentor
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split, Splits, labels_per_class
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return digits()


@pytest.fixture
def config(make_config: MakeConfig) -> MentorConfig:
    return make_config(Path()).mentor


def same(a: Path, b: dict[str, torch.Tensor]) -> bool:
    cached = load_file(a)
    return cached.keys() == b.keys() and all(torch.equal(cached[key], b[key]) for key in cached)


def test_a_mentor_is_trained_once_and_then_read(
    mentor: FoundMentor, config: MentorConfig, splits: Splits, cache_dir: Path, machine: Machine
) -> None:
    os.utime(mentor.weights, ns=(1, 1))
    again = find_mentor(config, splits, cache_dir, machine)
    assert again.weights == mentor.weights
    assert again.weights.stat().st_mtime_ns == 1
    assert same(again.weights, again.network.state_dict())
    assert again.val_accuracy == mentor.val_accuracy
    assert (mentor.origin, again.origin) == ("mentor trained now and cached", "mentor cached by an earlier run")


def test_the_accuracy_is_that_of_its_logits_on_the_validation_split(mentor: FoundMentor, splits: Splits) -> None:
    with torch.no_grad():
        logits_NK = mentor.network(mentor.view(splits.val.images))
    assert mentor.val_accuracy == pytest.approx(float((logits_NK.argmax(1) == splits.val.labels).double().mean()))


def test_training_another_mentor_of_the_same_recipe_gives_the_same_bits(
    mentor: FoundMentor, config: MentorConfig, splits: Splits, tmp_path: Path, machine: Machine
) -> None:
    torch.manual_seed(999)
    other = find_mentor(config, splits, tmp_path, machine)
    assert other.weights.name == mentor.weights.name
    assert same(mentor.weights, other.network.state_dict())


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None], ids=["empty", "foreign", "cut"])
def test_a_damaged_file_in_the_cache_is_trained_again(
    mentor: FoundMentor, config: MentorConfig, splits: Splits, tmp_path: Path, machine: Machine, damage: bytes | None
) -> None:
    cached = tmp_path / "mentors" / mentor.weights.name
    cached.parent.mkdir()
    whole = mentor.weights.read_bytes()
    cached.write_bytes(whole[:-7] if damage is None else damage)
    found = find_mentor(config, splits, tmp_path, machine)
    assert found.origin == "mentor trained now and cached"
    assert cached.read_bytes() == whole
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]


def test_every_ingredient_is_in_the_hash(config: MentorConfig, splits: Splits) -> None:
    changed = [
        (replace(config, network=config.network | {"widths": [4, 9]}), splits),
        (replace(config, network=config.network | {"_target_": "mentee.networks.PlainCNN"}), splits),
        (replace(config, seed=1), splits),
        (replace(config, view=ViewConfig(size=16)), splits),
        (replace(config, fit=replace(config.fit, max_epochs=3)), splits),
        (replace(config, fit=replace(config.fit, learning_rate=0.02)), splits),
        (config, replace(splits, train=labels_per_class(splits.train, 50, 0, keep_unlabelled=True))),
        (config, replace(splits, train=Split(splits.train.images.flip(3), splits.train.labels))),
    ]
    hashes = [content_hash(*given) for given in [(config, splits), *changed]]
    assert len(set(hashes)) == len(hashes)
    assert content_hash(replace(config), digits()) == hashes[0]


def test_what_is_asked_of_the_trained_mentor_is_not_in_the_hash(config: MentorConfig, splits: Splits) -> None:
    assert content_hash(replace(config, least_accuracy=0.0), splits) == content_hash(config, splits)


def test_a_mentor_near_chance_is_refused_and_not_trained_again_for_a_lower_bound(
    config: MentorConfig, splits: Splits, tmp_path: Path, machine: Machine
) -> None:
    hopeless = replace(config, fit=FitConfig(max_epochs=1, steps_per_epoch=1, batch=2, learning_rate=1e-6))
    with pytest.raises(UserError, match=r"the mentor is right on \d+\.\d% of the validation split, less than 19\.3%"):
        find_mentor(hopeless, splits, tmp_path, machine)
    found = find_mentor(replace(hopeless, least_accuracy=0.0), splits, tmp_path, machine)
    assert found.origin == "mentor cached by an earlier run"
    assert found.val_accuracy < 0.2


class AlwaysTheFirst(torch.nn.Module):
    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.eye(10)[:1].expand(len(image_BCHW), 10)


def test_a_mentor_that_knows_the_most_frequent_class_alone_is_refused(
    config: MentorConfig, splits: Splits, machine: Machine, tmp_path: Path
) -> None:
    label_N = torch.zeros_like(splits.val.labels)
    label_N[::10] = 1
    uneven = replace(splits, val=Split(splits.val.images, label_N))
    mentor = Mentor(AlwaysTheFirst(), view_for(config.view, splits))
    with pytest.raises(UserError, match=r"right on 89\.7% of the validation split, less than 90\.7%"):
        require_accuracy(mentor, config, uneven, "mentor", machine, tmp_path)


def test_more_can_be_asked_of_a_mentor(
    mentor: FoundMentor, config: MentorConfig, splits: Splits, cache_dir: Path, machine: Machine
) -> None:
    with pytest.raises(UserError, match=r"less than 99\.9%"):
        find_mentor(replace(config, least_accuracy=0.999), splits, cache_dir, machine)
    assert find_mentor(replace(config, least_accuracy=mentor.val_accuracy), splits, cache_dir, machine)


def test_classes_in_another_order_are_noticed(
    mentor: FoundMentor, config: MentorConfig, splits: Splits, cache_dir: Path, machine: Machine
) -> None:
    val = Split(splits.val.images, (splits.val.labels + 1) % 10)
    given = replace(config, weights=str(mentor.weights))
    with pytest.raises(UserError, match="do its classes have this order"):
        find_mentor(given, replace(splits, val=val), cache_dir, machine)


def test_given_weights_are_read_and_nothing_is_trained(
    mentor: FoundMentor,
    config: MentorConfig,
    splits: Splits,
    tmp_path: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "mine.pt"
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({f"module.{key}": value for key, value in load_file(mentor.weights).items()}, path)
    found = find_mentor(replace(config, weights=str(path)), splits, tmp_path / "cache", machine)
    assert same(mentor.weights, found.network.state_dict())
    assert found.weights == path
    assert find_mentor(replace(config, weights="~/mine.pt"), splits, tmp_path / "cache", machine).weights == path
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["answers"]  # of the validation samples


def test_given_weights_that_do_not_fit_are_an_error_and_not_trained_again(
    config: MentorConfig, splits: Splits, tmp_path: Path, machine: Machine
) -> None:
    save_file({"head.weight": torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    for path, match in (
        (tmp_path / "w.safetensors", "do not fit ResidualNet"),
        (tmp_path / "none.pt", "no weights at"),
    ):
        with pytest.raises(UserError, match=match):
            find_mentor(replace(config, weights=str(path)), splits, tmp_path / "cache", machine)
    assert not (tmp_path / "cache").exists()
