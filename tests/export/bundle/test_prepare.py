"""Packs that travel with a mentee: balanced, within the label budget, with the mentor's very answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from export.bundle.packs import class_balanced, supervision_pack
from export.bundle.prepare import prepare, replay_samples
from export.network.for_device import frozen_network
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Photo, Split
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import build
from tests.export.conftest import Parts

SETTINGS = ExportSettings(supervision_per_class=6, golden_per_class=8)


def split_of(labels: list[int]) -> Split:
    """Every image is told apart by its pixel."""
    return Split(torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels))


def test_class_balanced_takes_so_many_of_each_class_in_the_order_of_the_split() -> None:
    labels = [2, 0, 1, 1, -1, 0, 0, 2, 1, -1, 0]
    picked = class_balanced(split_of(labels), 2, 3, "x")
    assert sorted(picked.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    places = picked.images.flatten().tolist()
    assert places == sorted(set(places))
    assert [labels[place] for place in places] == picked.labels.tolist()
    assert picked.positions.tolist() == places
    every = class_balanced(split_of(labels), 99, 3, "x")
    assert every.images.flatten().tolist() == [place for place, label in enumerate(labels) if label >= 0]
    others = {tuple(class_balanced(split_of(labels * 5), 2, 3, "x", seed=seed).positions.tolist()) for seed in range(5)}
    assert len(others) > 1  # at random, not the first ones


def test_a_class_without_a_sample_is_an_error() -> None:
    with pytest.raises(UserError, match=r"the validation split has no sample of class 1; expected at least one"):
        class_balanced(split_of([0, 2, 2]), 2, 3, "validation split")


def test_the_packs_have_the_counts_that_were_asked_for(bundle_folder: Path) -> None:
    """By brute force on the stored files: 4 labels a class in the run's budget, 6 replay samples a class asked for."""
    supervision = load_file(bundle_folder / "supervision.safetensors")
    assert np.bincount(supervision["labels"].numpy() + 1, minlength=11).tolist() == [20, *[4] * 10]
    assert supervision["input"].dtype == torch.uint8
    assert tuple(supervision["input"].shape) == (60, 1, 8, 8)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in supervision.items() if "mentor" in name} == {
        "mentor_logits": (torch.float16, (60, 10)),
        "mentor_early": (torch.float16, (60, 8, 8, 8)),
        "mentor_late": (torch.float16, (60, 16, 4, 4)),
    }
    golden = load_file(bundle_folder / "golden.safetensors")
    assert set(golden) == {"input", "labels"}
    assert np.bincount(golden["labels"].numpy(), minlength=10).tolist() == [8] * 10


def test_how_photos_were_made_goes_along_where_the_mentee_takes_them_at_their_size(
    checkpoint: MenteeCheckpoint,
) -> None:
    data = replace(load_data(checkpoint.data, whole=True), photo=Photo(ground=255))
    assert prepare(checkpoint, SETTINGS, data=data).photo == Photo("cover", "bilinear", 255)


def test_no_label_beyond_the_runs_budget_is_in_the_pack(checkpoint: MenteeCheckpoint, bundle_folder: Path) -> None:
    supervision = load_file(bundle_folder / "supervision.safetensors")
    budget = load_data(checkpoint.data).train
    whole = load_data(checkpoint.data, whole=True)
    known = {image.numpy().tobytes(): int(label) for image, label in zip(budget.images, budget.labels, strict=True)}
    training = {image.numpy().tobytes() for image in whole.train.images}
    guarded = {image.numpy().tobytes() for image in (*whole.val.images, *whole.test.images)}
    stored = [image.numpy().tobytes() for image in supervision["input"]]
    assert [known.get(image, -1) for image in stored] == supervision["labels"].tolist()
    assert set(stored) <= training
    assert not set(stored) & guarded
    assert len(set(stored)) == 60
    golden = load_file(bundle_folder / "golden.safetensors")
    assert {image.numpy().tobytes() for image in golden["input"]} <= {
        image.numpy().tobytes() for image in whole.val.images
    }


@pytest.mark.parametrize("keep", [True, False])
def test_replay_stays_within_the_budget_however_the_run_kept_the_others(keep: bool) -> None:
    data = {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 2, "keep_unlabelled": keep}
    budget, whole = load_data(data).train, load_data(data, whole=True).train
    replay = replay_samples(budget, whole, 5, 10)
    assert sorted(replay.labels.tolist()) == [-1] * 30 + sorted(list(range(10)) * 2)
    assert len(set(replay.positions.tolist())) == 50
    truth = dict(zip(whole.positions.tolist(), whole.labels.tolist(), strict=True))
    assert all(label in (-1, truth[place]) for place, label in zip(replay.positions.tolist(), replay.labels.tolist()))  # noqa: B905
    enough = replay_samples(budget, whole, 2, 10)
    assert sorted(enough.labels.tolist()) == sorted(list(range(10)) * 2)


def test_the_stored_answers_are_the_mentors_on_those_pixels(checkpoint: MenteeCheckpoint, bundle_folder: Path) -> None:
    """The mentor is built and run here by hand, in float64; both of its layers are wider than the mentee's: sliced."""
    supervision = load_file(bundle_folder / "supervision.safetensors")
    assert checkpoint.mentor is not None
    mentor: nn.Module = build(checkpoint.mentor["network"], "a test")
    mentor.load_state_dict(load_file(checkpoint.mentor["weights"]))
    mentor = mentor.double().eval()
    seen = {}
    for name, path in (("early", "stages.0"), ("late", "stages.1")):
        mentor.get_submodule(path).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    mean, std = checkpoint.view.mean[0], checkpoint.view.std[0]
    with torch.no_grad():
        logits = mentor((supervision["input"].double() / 255 - mean) / std)
    expected = {"mentor_logits": logits, "mentor_early": seen["early"][:, :8], "mentor_late": seen["late"][:, :16]}
    for name, value in expected.items():
        torch.testing.assert_close(supervision[name].double(), value, rtol=1.1e-3, atol=1e-4)


def test_answers_that_half_precision_cannot_hold_are_an_error() -> None:
    class Loud(nn.Module):
        def __init__(self, times: float) -> None:
            super().__init__()
            self.times = times

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) * self.times

    split = split_of([0, 1, 2])
    view = View((1, 1, 1), (0.0,), (1 / 255,))
    assert supervision_pack(split, Mentor(Loud(32_000), view), view).mentor_logits_NK.max() == 64_000
    for times in (40_000, float("nan")):
        with pytest.raises(
            UserError, match=r"the mentor's mentor_logits does not fit half precision \(largest 65504\)"
        ):
            supervision_pack(split, Mentor(Loud(times), view), view)


def test_a_checkpoint_that_no_bundle_can_be_made_of_is_an_error(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the checkpoint names no mentor"):
        prepare(replace(checkpoint, mentor=None), SETTINGS)
    with pytest.raises(UserError, match=r"the data's classes are .* use the run's data"):
        prepare(replace(checkpoint, classes=tuple("abcdefghij")), SETTINGS)
    assert checkpoint.mentor is not None
    gone = {**checkpoint.mentor, "weights": str(tmp_path / "gone.safetensors")}
    with pytest.raises(UserError, match=r"no weights at '.*gone\.safetensors'"):
        prepare(replace(checkpoint, mentor=gone), SETTINGS)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    with pytest.raises(UserError, match=r"do not fit ResidualNet"):
        prepare(replace(checkpoint, mentor={**checkpoint.mentor, "weights": str(other)}), SETTINGS)


def test_a_variance_that_collapsed_to_nothing_is_told_apart_from_a_good_one(checkpoint: MenteeCheckpoint) -> None:
    frozen_network(checkpoint)
    state = {name: value.clone() for name, value in checkpoint.state.items()}
    state["features.0.1.running_var"][0] = float("nan")
    with pytest.raises(UserError, match=r"PlainCNN puts out logits that are not finite .*weights that are NaN"):
        frozen_network(replace(checkpoint, state=state))


def test_the_checkpoint_is_as_it_was(parts: Parts, checkpoint: MenteeCheckpoint) -> None:
    assert parts.prepared.checkpoint is checkpoint
    assert checkpoint.network().state_dict().keys() == checkpoint.state.keys()
    assert "features.0.1.running_mean" in checkpoint.state
