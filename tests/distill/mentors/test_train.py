"""Weights of other classes than the data's: a new head is trained under them, and the whole is cached and restored."""

import io
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from distill.check import check_transfer
from distill.machine import Machine
from distill.mentors.find import FoundMentor, content_hash, find_mentor
from distill.run import distill
from distill.schema import DistillConfig, FitConfig, MentorConfig, TransferConfig, ViewConfig
from mentee.checkpoint import MenteeCheckpoint
from mentor.networks import ResidualNet
from mentor.restore import restore_mentor
from mentor.torchvision_models import classifier, find_weights
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]
HEAD_ONLY = TransferConfig(epochs=8, learning_rate=0.1, least_steps=0)


@pytest.fixture(scope="module")
def ten() -> Splits:
    return digits()


@pytest.fixture(scope="module")
def pairs(ten: Splits) -> Splits:
    """The digits in five classes: 0 and 1, 2 and 3, …"""
    halved = {part: Split(split.images, split.labels // 2) for part, split in splits_of(ten).items()}
    return replace(ten, **halved, classes=("01", "23", "45", "67", "89"))


def splits_of(splits: Splits) -> dict[str, Split]:
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def few(splits: Splits, count: int) -> Splits:
    return replace(splits, **{part: split.subset(range(count)) for part, split in splits_of(splits).items()})


@pytest.fixture
def config(make_config: MakeConfig, mentor: FoundMentor) -> MentorConfig:
    """Starts from a mentor of all ten digits."""
    return replace(make_config(Path()).mentor, weights=str(mentor.weights), transfer=HEAD_ONLY)


def test_the_new_head_comes_near_the_best_one_there_is_on_a_body_that_stays_as_it_was(
    config: MentorConfig, mentor: FoundMentor, pairs: Splits, tmp_path: Path, machine: Machine
) -> None:
    found = find_mentor(config, pairs, tmp_path, machine)
    before, after = load_file(mentor.weights), load_file(found.weights)
    assert {key for key in before if not torch.equal(before[key], after[key])} == {"head.weight", "head.bias"}
    assert any(key.endswith("running_mean") for key in after)  # so the statistics were looked at as well
    assert after["head.weight"].shape == (5, 8)

    def embedding(split: Split) -> Any:
        with torch.no_grad():
            return mentor.network.stages(mentor.network.stem(mentor.view(split.images))).mean((2, 3)).numpy()

    x, labels = embedding(pairs.train), pairs.train.labels
    optimum = LogisticRegression(C=1e4, max_iter=2000).fit(x, labels.numpy())
    least = float(F.nll_loss(torch.from_numpy(optimum.predict_log_proba(x)), labels))
    with torch.no_grad():
        reached = float(F.cross_entropy(found.network(found.view(pairs.train.images)), labels))
    assert 0.99 * least < reached < least + 0.15 * (math.log(5) - least)  # from chance, 85 % of the way to the optimum


def test_all_layers_learn_once_the_head_has(
    config: MentorConfig, mentor: FoundMentor, pairs: Splits, tmp_path: Path, machine: Machine
) -> None:
    both = replace(config, transfer=replace(HEAD_ONLY, all_epochs=2, all_learning_rate=3e-3))
    found, head_only = (find_mentor(given, pairs, tmp_path, machine) for given in (both, config))
    before, after = load_file(mentor.weights), load_file(found.weights)
    still = {key for key in before if torch.equal(before[key], after[key])}
    assert still == set()  # the running statistics and the count of batches as well
    assert found.val_accuracy > head_only.val_accuracy + 0.02
    assert not any(module.training for module in found.network.modules())


def test_a_transferred_mentor_is_cached_by_what_went_into_it(
    config: MentorConfig, pairs: Splits, tmp_path: Path, machine: Machine
) -> None:
    found = find_mentor(config, pairs, tmp_path / "cache", machine)
    assert found.origin == f"mentor from {config.weights}, its new head trained now and cached"
    moved = Path(shutil.copy(str(config.weights), tmp_path / "moved.safetensors"))
    torch.manual_seed(77)
    again = find_mentor(replace(config, weights=str(moved)), pairs, tmp_path / "cache", machine)
    assert (again.origin, again.weights) == ("mentor cached by an earlier run", found.weights)
    assert again.val_accuracy == found.val_accuracy

    other = {key: value + 1e-3 for key, value in load_file(moved).items()}
    save_file(other, tmp_path / "other.safetensors")
    changed = [
        replace(config, weights=str(tmp_path / "other.safetensors")),
        replace(config, transfer=replace(HEAD_ONLY, epochs=7)),
        replace(config, transfer=replace(HEAD_ONLY, all_epochs=1)),
        replace(config, weights=None, transfer=TransferConfig()),
    ]
    assert len({content_hash(given, pairs) for given in [config, *changed]}) == 5
    unused = replace(changed[-1], transfer=TransferConfig(learning_rate=0.3))
    assert content_hash(unused, pairs) == content_hash(changed[-1], pairs)


def test_another_class_count_is_an_error_that_names_the_setting(
    config: MentorConfig, pairs: Splits, tmp_path: Path, machine: Machine
) -> None:
    untransferred = replace(config, transfer=TransferConfig())
    message = r"the weights '.*' are for 10 classes, digits has 5; mentor\.transfer\.epochs=10 trains a new head"
    with pytest.raises(UserError, match=message):
        find_mentor(untransferred, pairs, tmp_path, machine)
    fixed = replace(untransferred, network=config.network | {"num_classes": 10})  # as a factory that takes no count
    with pytest.raises(UserError, match=r"puts out \[2, 10\].*expected \[2, 5\].*mentor\.transfer\.epochs=10"):
        find_mentor(fixed, pairs, tmp_path, machine)
    transferred = replace(fixed, transfer=TransferConfig(epochs=1, least_steps=0), least_accuracy=0.0)
    found = find_mentor(transferred, pairs, tmp_path, machine)
    assert found.network(found.view(pairs.val.images[:3])).shape == (3, 5)


def test_weights_that_fit_no_body_are_an_error_with_transfer_too(
    config: MentorConfig, pairs: Splits, tmp_path: Path, machine: Machine
) -> None:
    wider = replace(config, network=config.network | {"widths": [4, 9]})
    with pytest.raises(UserError, match=r"do not fit ResidualNet: of another shape stages\.1"):
        find_mentor(wider, pairs, tmp_path, machine)
    with pytest.raises(UserError, match="no weights at"):
        find_mentor(replace(config, weights="nowhere.pt"), pairs, tmp_path, machine)
    small = replace(config, network={"_target_": "mentor.torchvision_models.classifier", "name": "inception_v3"})
    with pytest.raises(UserError, match=r"fails on an input of \[3, 8, 8\] \(mentor\.view sets it\)"):
        find_mentor(replace(small, view=ViewConfig(channels=3)), pairs, tmp_path, machine)


def test_export_restores_a_transferred_mentor_from_the_checkpoint_alone(
    make_config: MakeConfig, tmp_path: Path, machine: Machine, ten: Splits
) -> None:
    torch.manual_seed(0)
    seven = tmp_path / "seven.safetensors"
    save_file(ResidualNet(1, 7, widths=(4, 8)).state_dict(), seven)
    config = make_config(tmp_path / "run", cache_dir=str(tmp_path / "cache"))
    own = replace(
        config.mentor, weights=str(seven), transfer=TransferConfig(epochs=1, least_steps=0), least_accuracy=0.0
    )
    result = distill(
        replace(config, mentor=own, trainer=FitConfig(max_epochs=1, steps_per_epoch=2, batch=16)), machine, "mentee"
    )
    seven.unlink()
    checkpoint = MenteeCheckpoint.load(result.checkpoint_path)
    assert checkpoint.mentor is not None
    restored = restore_mentor(checkpoint.mentor, checkpoint.probes)
    answers = restored.answer(ten.test.images)
    torch.testing.assert_close(answers.logits, result.mentor.logits_NK, rtol=1e-4, atol=1e-5)
    assert set(answers.activations) == {"early", "late"}
    right = (restored.answer(ten.val.images).logits.argmax(1) == ten.val.labels).double().mean()
    assert checkpoint.mentor["val_accuracy"] == pytest.approx(float(right))


def test_accuracy_is_printed_before_anything_is_distilled(
    config: MentorConfig, mentor: FoundMentor, ten: Splits, tmp_path: Path
) -> None:
    printed = io.StringIO()
    given = replace(config, transfer=TransferConfig())
    find_mentor(given, ten, tmp_path, Machine("cpu", 1, Console(file=printed)))
    share = f"{mentor.val_accuracy:.1%}"
    assert (
        printed.getvalue() == f"mentor from {mentor.weights}: right on {share} of {len(ten.val)} validation samples\n"
    )


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (TransferConfig(epochs=-1), r"mentor\.transfer\.epochs=-1; expected 0 or more"),
        (TransferConfig(all_epochs=2), r"mentor\.transfer\.all_epochs=2 with mentor\.transfer\.epochs=0"),
        (TransferConfig(epochs=1, learning_rate=0), r"mentor\.transfer\.learning_rate=0; expected a finite number"),
        (TransferConfig(epochs=3), r"mentor\.transfer\.epochs=3 without weights to start from"),
    ],
)
def test_a_transfer_that_cannot_be_meant_is_an_error(transfer: TransferConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_transfer(MentorConfig(transfer=transfer))


SHUFFLENET = {"_target_": "mentor.torchvision_models.classifier", "name": "shufflenet_v2_x0_5"}
NAMED = MentorConfig(network=SHUFFLENET, weights="IMAGENET1K_V1", least_accuracy=0.0)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network whose random weights lie where torchvision keeps the published ones of ShuffleNet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    url = find_weights("shufflenet_v2_x0_5", "IMAGENET1K_V1").url
    path = tmp_path / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.manual_seed(5)
    network = classifier("shufflenet_v2_x0_5")
    torch.save(network.state_dict(), path)
    return network.eval()


def test_published_weights_bring_their_view_and_get_a_new_head(
    fetched: nn.Module, ten: Splits, tmp_path: Path, machine: Machine
) -> None:
    splits, cache = few(ten, 40), tmp_path / "cache"
    with pytest.raises(
        UserError, match=r"IMAGENET1K_V1 of shufflenet_v2_x0_5 are for 1000 classes, digits has 10; men"
    ):
        find_mentor(NAMED, splits, cache, machine)
    config = replace(
        NAMED, view=ViewConfig(size=32), transfer=TransferConfig(epochs=1, least_steps=0), fit=FitConfig(batch=20)
    )
    found = find_mentor(config, splits, cache, machine)
    assert found.view.shape == (3, 32, 32)  # the size is the user's, the rest is the weights'
    assert (found.view.mean, found.view.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    before, after = fetched.state_dict(), load_file(found.weights)
    assert {key for key in before if not torch.equal(before[key], after[key])} == {"fc.weight", "fc.bias"}
    shutil.rmtree(tmp_path / "torch")  # what was cached is enough
    about = {"network": found.recipe, "weights": str(found.weights), "view": vars(found.view)}
    expected_BK = found.network(found.view(splits.test.images))
    torch.testing.assert_close(restore_mentor(about, []).answer(splits.test.images).logits, expected_BK)


def test_published_weights_of_the_datas_own_classes_answer_as_they_are(
    fetched: nn.Module, ten: Splits, tmp_path: Path, machine: Machine
) -> None:
    imagenet = replace(few(ten, 4), classes=tuple(f"class {k}" for k in range(1000)))
    found = find_mentor(NAMED, imagenet, tmp_path / "cache", machine)
    assert found.origin == "mentor shufflenet_v2_x0_5 under torchvision's IMAGENET1K_V1"
    assert found.view.shape == (3, 224, 224)
    with torch.no_grad():
        x = found.view(imagenet.test.images)
        torch.testing.assert_close(found.network(x), fetched(x))
    shutil.rmtree(tmp_path / "torch")
    assert find_mentor(NAMED, imagenet, tmp_path / "cache", machine).origin == "mentor cached by an earlier run"


def test_a_network_whose_head_is_a_convolution_can_be_trained_on_the_data(
    ten: Splits, tmp_path: Path, machine: Machine
) -> None:
    config = MentorConfig(
        network=SHUFFLENET | {"name": "squeezenet1_1"},
        view=ViewConfig(size=32, channels=3),
        fit=FitConfig(max_epochs=1, steps_per_epoch=1, batch=4),
        least_accuracy=0.0,
    )
    found = find_mentor(config, few(ten, 8), tmp_path, machine)
    assert found.origin == "mentor trained now and cached"
    torch.manual_seed(config.seed)
    assert not torch.equal(classifier("squeezenet1_1", 10).classifier[1].weight, found.network.classifier[1].weight)
