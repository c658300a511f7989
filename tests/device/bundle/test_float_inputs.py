"""A mentee of float32 arrays, all the way: file, checkpoint, bundle, and learning on raw samples on the device."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentee_device import Budget, Bundle, BundleError, Learner, Owner, Plan, SampleError, Samples
from mentee_device.bundle.samples import preprocess
from safetensors.torch import load_file, save_file

from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import build
from tests.conftest import seeded, with_statistics
from tests.device.sealing import edit_manifest, reseal

MENTEE = {"_target_": "mentee.networks.PlainCNN", "in_channels": 3, "num_classes": 3, "widths": [6]}
MENTOR = {"_target_": "mentor.networks.ResidualNet", "in_channels": 3, "num_classes": 3, "widths": [4, 8]}


def motion(samples: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """[N, 3, 12] of which one axis carries gravity and another the class, on scales of their own."""
    random = np.random.default_rng(0)
    labels = np.arange(samples) % 3
    wave = np.sin(np.arange(12) * (1 + labels[:, None])) * 40
    noise = random.normal(size=(3, samples, 12))
    return np.stack([noise[0] * 0.01 + 9.81, wave + noise[1] * 5, noise[2] * 1e3], axis=1).astype(np.float32), labels


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MenteeCheckpoint, Path]:
    folder = tmp_path_factory.mktemp("float")
    inputs, labels = motion(180)
    np.savez(folder / "motion.npz", inputs=inputs, labels=labels, wearer=np.arange(180) // 3 % 6)
    data = {"_target_": "mentor_mentee.data.arrays.arrays", "path": str(folder / "motion.npz"), "layout": "NCL"}
    data |= {"owners": "wearer", "by_owner": True, "classes": ["sit", "walk", "run"], "labels_per_class": 5}
    splits = load_data(data, whole=True)
    view = View(splits.shape, *normalisation(splits.train), splits.dtype)
    ready = view(splits.train.images)
    with seeded(0):
        mentee, mentor = (with_statistics(build(recipe, "a test"), ready) for recipe in (MENTEE, MENTOR))
    save_file({key: value.contiguous() for key, value in mentor.state_dict().items()}, folder / "mentor.safetensors")
    checkpoint = MenteeCheckpoint(
        recipe=MENTEE,
        state=mentee.state_dict(),
        head=find_head(mentee, ready[:2]),
        view=view,
        classes=splits.classes,
        probes=tuple(find_probes({"early": ("stages.0", "features.0")}, mentor, ready[:2], mentee, ready[:2])),
        mentor={"network": MENTOR, "weights": str(folder / "mentor.safetensors"), "view": asdict(view)},
        data=data,
        accuracy={},
    )
    checkpoint.save(folder / "mentee.safetensors")
    loaded = MenteeCheckpoint.load(folder / "mentee.safetensors")
    with seeded(0):
        settings = ExportSettings(supervision_per_class=6, golden_per_class=4, backend="ort-training")
        return loaded, export_bundle(loaded, folder / "bundle", settings).path


@pytest.fixture
def copied(made: tuple[MenteeCheckpoint, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "copied"))


def test_the_packs_hold_raw_rows_of_the_file_and_the_manifest_says_so(made: tuple[MenteeCheckpoint, Path]) -> None:
    checkpoint, path = made
    rules = Bundle.open(path).manifest.preprocessing
    assert (rules.shape, rules.dtype) == ((3, 1, 12), "float32")
    assert (rules.mean, rules.std) == (checkpoint.view.mean, checkpoint.view.std)
    assert rules.std[2] > 500  # not of a scale of 0 .. 1
    file = {row[:, None].tobytes(): label for row, label in zip(*motion(180), strict=True)}
    for name in ("golden", "supervision"):
        tensors = load_file(path / f"{name}.safetensors")
        assert tensors["input"].dtype == torch.float32
        for row, label in zip(tensors["input"], tensors["labels"].tolist(), strict=True):
            assert label in (-1, file[row.numpy().tobytes()])
    assert {-1, 0, 1, 2} == set(load_file(path / "supervision.safetensors")["labels"].tolist())


def test_the_device_predicts_from_raw_samples_what_torch_does(made: tuple[MenteeCheckpoint, Path]) -> None:
    checkpoint, path = made
    raw = motion(20)[0][:, :, None]
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
        for values in (checkpoint.view.mean, checkpoint.view.std)
    )
    with torch.no_grad():
        expected = checkpoint.network().double()((torch.from_numpy(raw).double() - mean) / std)
    with Learner(Bundle.open(path)) as learner:
        np.testing.assert_allclose(learner.predict(raw).logits, expected, atol=2e-5)
        stated = learner.bundle.manifest.accuracy["golden"]
        assert learner.evaluate_golden() == pytest.approx(stated)


def test_the_device_learns_on_raw_samples_beside_the_replay(
    made: tuple[MenteeCheckpoint, Path], tmp_path: Path
) -> None:
    raw, labels = motion(30)
    owner = Samples(raw[:, :, None], labels)
    with Owner(Bundle.open(made[1]), tmp_path / "me") as me:
        me.set(golden_drop=1.0)
        before = me.evaluate(owner.input, owner.labels)
        me.add(owner)
        learned = me.learn(Plan(budget=Budget(steps=40), learning_rate=0.02, seed=0, knobs={"beta": 0.0}))
        assert learned.last["ce"] < 0.7 * learned.first["ce"]
        assert me.evaluate(owner.input, owner.labels) > max(before, 0.6)
        personal = me.predict(owner.input).logits
    with Owner(Bundle.open(made[1]), tmp_path / "me") as again:
        np.testing.assert_array_equal(again.predict(owner.input).logits, personal)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((2, 3, 1, 12), np.uint8), r"dtype uint8, expected float32: raw, on the scale of the bundle's data"),
        (np.zeros((2, 3, 1, 12)), r"dtype float64, expected float32"),
        (np.full((2, 3, 1, 12), np.nan, np.float32), "input has NaN or Inf, first in sample 0"),
        (
            np.r_[np.zeros((3, 3, 1, 12)), np.full((1, 3, 1, 12), 3e38)].astype(np.float32),
            "sample 3 lies more than 1e\\+06 standard deviations",
        ),
        (np.zeros((2, 3, 12), np.float32), r"shape \[2, 3, 12\], expected \[N, 3, 1, 12\]"),
    ],
)
def test_what_is_no_raw_sample_is_refused(
    made: tuple[MenteeCheckpoint, Path], raw: np.ndarray[Any, Any], message: str
) -> None:
    with pytest.raises(SampleError, match=message):
        preprocess(raw, Bundle.open(made[1]).manifest)


def test_a_pack_of_another_dtype_or_with_nan_is_refused(copied: Path) -> None:
    golden = load_file(copied / "golden.safetensors")
    for value, message in (
        (golden["input"].to(torch.uint8), r"golden\.safetensors: input is uint8, expected float32"),
        (golden["input"] * torch.nan, r"golden\.safetensors: input has NaN or Inf, first in sample 0"),
    ):
        save_file(golden | {"input": value}, copied / "golden.safetensors")
        reseal(copied)
        with pytest.raises(BundleError, match=message):
            Bundle.open(copied).golden()


@pytest.mark.parametrize("dtype", ["float64", 8, None])
def test_a_manifest_with_a_dtype_nobody_knows_is_refused(copied: Path, dtype: Any) -> None:
    edit_manifest(copied, lambda content: content["preprocessing"].update(dtype=dtype))
    with pytest.raises(BundleError, match=r"preprocessing\.dtype is"):
        Bundle.open(copied)


def test_a_manifest_without_a_dtype_is_of_uint8(altered: Path, bundle: Bundle) -> None:
    assert bundle.manifest.preprocessing.dtype == "uint8"
    edit_manifest(altered, lambda content: content["preprocessing"].pop("dtype"))
    assert Bundle.open(altered).manifest.preprocessing == bundle.manifest.preprocessing
