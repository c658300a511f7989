"""A bundle that is altered in any way is refused, with one line, before any runtime sees it."""

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mentee_device.bundle.archive as bundle_module
import numpy as np
import onnx
import pytest
from mentee_device import Bundle, BundleError, SampleError
from mentee_device.bundle.samples import check_labels, preprocess

from tests.device.sealing import edit_manifest, reseal

FILES = [
    "README.md",
    "inference.onnx",
    "ort-training/training_model.onnx",
    "ort-training/eval_model.onnx",
    "ort-training/optimizer_model.onnx",
    "ort-training/checkpoint",
    "supervision.safetensors",
    "golden.safetensors",
    "parity.json",
    "reference.safetensors",
]


def zip_of(folder: Path, target: Path) -> Path:
    return Path(shutil.make_archive(str(target), "zip", folder))


def refused(path: Path, match: str) -> None:
    with pytest.raises(BundleError, match=match) as error:
        Bundle.open(path)
    assert "\n" not in str(error.value)


def test_folder_and_zip_give_the_same_bundle(bundle_folder: Path, tmp_path: Path) -> None:
    deflated = zip_of(bundle_folder, tmp_path / "bundle")
    exported = bundle_folder.with_name(bundle_folder.name + ".zip")
    with (
        Bundle.open(bundle_folder) as plain,
        Bundle.open(exported) as zipped,
        Bundle.open(deflated) as other,
    ):
        assert plain.manifest == zipped.manifest == other.manifest
        assert set(FILES) == plain.manifest.files.keys()
        unpacked = zipped.folder
        assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700
        np.testing.assert_array_equal(plain.supervision().mentor_logits, zipped.supervision().mentor_logits)
    assert not unpacked.exists()
    assert bundle_folder.exists()


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_refused(altered: Path, name: str) -> None:
    data = bytearray((altered / name).read_bytes())
    data[len(data) // 2] ^= 1
    (altered / name).write_bytes(data)
    refused(altered, f"{name}' has sha256")


@pytest.mark.parametrize("name", FILES)
def test_truncation_is_refused(altered: Path, name: str) -> None:
    os.truncate(altered / name, (altered / name).stat().st_size - 1)
    refused(altered, f"{name}' has .* bytes, expected")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"learning_rate": 0.003', '"learning_rate": 0.004'),
        ('"temperature": 4.0', '"temperature": 5.0'),
        ('"onnx": "1', '"onnx": "2'),
        ('"bytes": ', '"bytes":  '),
        ("\n}\n", "\n}"),
    ],
)
def test_a_change_of_the_manifest_is_refused(altered: Path, before: str, after: str) -> None:
    text = (altered / "manifest.json").read_text()
    assert before in text
    (altered / "manifest.json").write_text(text.replace(before, after, 1))
    refused(altered, "manifest.json says id .* altered")


def test_no_bit_of_the_manifest_can_be_flipped(altered: Path) -> None:
    data = (altered / "manifest.json").read_bytes()
    random = np.random.default_rng(0)
    for position, bit in zip(random.integers(len(data), size=300), random.integers(8, size=300), strict=True):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(bit)
        (altered / "manifest.json").write_bytes(flipped)
        refused(altered, ".")


@pytest.mark.parametrize("id", ["0" * 64, "", "A" * 64, None, "twice"])
def test_an_id_that_is_not_the_manifests_is_refused(altered: Path, id: str | None) -> None:
    content = json.loads((altered / "manifest.json").read_text())
    changed = {**content, "id": id} if id != "twice" else {**content, "parent": content["id"]}
    (altered / "manifest.json").write_text(json.dumps(changed, indent=1))
    refused(altered, "id")


def test_missing_extra_and_linked_files_are_refused(altered: Path, tmp_path: Path) -> None:
    (altered / "ort-training" / "stray.bin").write_bytes(b"")
    refused(altered, r"'ort-training/stray.bin' is in the bundle but")
    (altered / "ort-training" / "stray.bin").unlink()
    (altered / "stray").symlink_to(tmp_path, target_is_directory=True)
    refused(altered, "'stray' is in the bundle but")
    (altered / "stray").unlink()
    (altered / "parity.json").rename(tmp_path / "outside.json")
    refused(altered, r"'parity.json' is missing")
    (altered / "parity.json").symlink_to(tmp_path / "outside.json")
    refused(altered, r"'parity.json' is a link")
    (altered / "parity.json").unlink()
    (tmp_path / "outside.json").rename(altered / "parity.json")
    Bundle.open(altered)
    (altered / "ort-training").rename(tmp_path / "outside")
    (altered / "ort-training").symlink_to(tmp_path / "outside", target_is_directory=True)
    refused(altered, "is a link or lies behind one")


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "a/../../b", "a//b", "./a", "", "a\\..\\b", "C:/a", "a\x00b", "manifest.json"]
)
def test_paths_out_of_the_folder_are_refused(altered: Path, path: str) -> None:
    edit_manifest(altered, lambda content: content["files"].update({path: {"sha256": "0" * 64, "bytes": 1}}))
    refused(altered, "leaves the bundle's folder|lists itself")


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda content: content.update(format="mentee-bundle/3"), "has format 'mentee-bundle/3'"),
        (lambda content: content.update(format="mentee-bundle/2"), "stock graphs are of format 2"),
        (lambda content: content.pop("format"), "has format None"),
        (lambda content: content.update(files=[]), "files is a list, expected a dict"),
        (lambda content: content["files"]["parity.json"].update(bytes=-1), "whole number"),
        (lambda content: content["files"]["parity.json"].update(bytes=True), "files.*is a bool"),
        (lambda content: content.pop("classes"), "lacks 'classes'"),
        (lambda content: content["graphs"]["training"].update(file="x.onnx"), "'x.onnx', which its `files` does not"),
        (lambda content: content["graphs"]["training"]["inputs"].pop(), "graphs.training.inputs differ.*temperature"),
        (lambda content: content["preprocessing"].update(std=[0]), "std above 0"),
        (lambda content: content["preprocessing"].update(mean=[10**400]), "mean must be a list of float32 numbers"),
        (lambda content: content["probes"][0].update(shape=[10**12]), r"probes\[0\].shape is .*, expected 1 to"),
        (lambda content: content["loss"].update(alpha="1"), "loss.alpha is '1'"),
        (lambda content: content["loss"].update(gamma=10**400), "loss.gamma is 1000"),
        (
            lambda content: content["optimizer"].update(learning_rate=0),
            "learning_rate is 0, expected a number from 1e-12",
        ),
        (lambda content: content.update(costs=[]), "costs is a list, expected a dict"),
        (lambda content: content["loss"].update(probe="l1"), "outputs differ.*'l1_early', 'l1_late', 'rmse_early'"),
        (lambda content: content["loss"].update(softmax=["kl"]), "loss.softmax is a list, expected a str"),
    ],
)
def test_manifest_mistakes_are_named(altered: Path, edit: Callable[[dict[str, Any]], None], match: str) -> None:
    edit_manifest(altered, edit)
    refused(altered, match)


def test_a_manifest_from_before_the_choice_of_a_loss_means_rmse_and_kl(altered: Path) -> None:
    from mentee_device import Learner

    def forget(content: dict[str, Any]) -> None:
        for name in ("probe", "softmax", "standardise"):
            del content["loss"][name]

    edit_manifest(altered, forget)
    with Bundle.open(altered) as bundle, Learner(bundle) as learner:
        assert list(learner.learn_batch(bundle.golden())) == ["loss", "ce", "rmse_early", "rmse_late", "kl"]


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"format": NaN}', "\xff\xfe"])
def test_what_is_not_a_manifest_is_refused(altered: Path, text: str) -> None:
    (altered / "manifest.json").write_text(text, encoding="latin-1")
    refused(altered, "manifest.json")


def test_swapped_inputs_are_refused_by_the_graph_itself(altered: Path) -> None:
    def swap(content: dict[str, Any]) -> None:
        inputs = content["graphs"]["training"]["inputs"]
        inputs[-4], inputs[-3] = inputs[-3], inputs[-4]  # alpha and beta

    edit_manifest(altered, swap)
    from mentee_device import Learner

    with pytest.raises(BundleError, match=r"graphs.training.inputs of the manifest"):
        Learner(Bundle.open(altered))


def test_what_hashes_right_but_is_no_graph_is_a_bundle_error(altered: Path) -> None:
    from mentee_device import Learner

    (altered / "ort-training" / "eval_model.onnx").write_bytes(b"not a graph")
    reseal(altered)
    with pytest.raises(BundleError, match=r"eval_model\.onnx' is not an ONNX graph"):
        Bundle.open(altered)
    empty = onnx.ModelProto(ir_version=9, graph=onnx.GraphProto(name="empty"))
    (altered / "ort-training" / "eval_model.onnx").write_bytes(empty.SerializeToString())
    reseal(altered)
    with pytest.raises(BundleError, match="ONNX Runtime cannot open"):
        Learner(Bundle.open(altered))


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_zip_slip_is_refused(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    packed = zip_of(bundle_folder, tmp_path / "bundle")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"evil")
    before = sorted(tmp_path.rglob("*"))
    refused(packed, "leaves the bundle's folder")
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_with_a_link_or_too_large_is_refused(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zip_of(bundle_folder, tmp_path / "bundle")
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(packed, "is a link or special file")
    monkeypatch.setattr(bundle_module, "MAX_BYTES", 1000)
    refused(packed, "at most 1000 are accepted")


def test_truncated_zip_and_no_bundle_leave_nothing_behind(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    packed = zip_of(bundle_folder, tmp_path / "bundle")
    os.truncate(packed, packed.stat().st_size // 2)
    refused(packed, "not a complete zip")
    refused(tmp_path / "nothing", "no bundle at")
    refused(temporary, "no regular file manifest.json")
    assert not list(temporary.iterdir())


def test_preprocessing_follows_the_manifest(bundle: Bundle) -> None:
    raw = np.array([0, 51, 255], np.uint8).repeat(64).reshape(3, 1, 8, 8)
    (mean,), (std,) = bundle.manifest.preprocessing.mean, bundle.manifest.preprocessing.std
    expected = [(value - mean) / std for value in (0.0, 0.2, 1.0)]
    ready = preprocess(raw, bundle.manifest)
    assert ready.dtype == np.float32
    np.testing.assert_allclose(ready[:, 0, 0, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(preprocess(ready, bundle.manifest), ready)


@pytest.mark.parametrize(
    ("input", "match"),
    [
        (np.zeros((1, 8, 8), np.uint8), "add a first axis"),
        (np.zeros((2, 1, 8, 9), np.uint8), r"\[2, 1, 8, 9\], expected \[N, 1, 8, 8\]"),
        (np.zeros((2, 1, 8, 8)), "float64"),
        (np.full((2, 1, 8, 8), np.inf, np.float32), "NaN or Inf, first in sample 0"),
    ],
)
def test_unfit_input_is_refused(bundle: Bundle, input: np.ndarray[Any, Any], match: str) -> None:
    with pytest.raises(SampleError, match=match):
        preprocess(input, bundle.manifest)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 10], "label 10 of sample 1 is outside"),
        ([-2, 0], "label -2"),
        ([0], r"shape \[1\], expected \[2\]"),
        ([0.0, 1.0], "dtype float64"),
    ],
)
def test_unfit_labels_are_refused(bundle: Bundle, labels: list[float], match: str) -> None:
    with pytest.raises(SampleError, match=match):
        check_labels(np.array(labels), 2, bundle.manifest, unlabelled=True)


def test_minus_one_means_unlabelled_only_where_that_means_something(bundle: Bundle) -> None:
    labels = np.array([-1, 9], np.int8)
    assert check_labels(labels, 2, bundle.manifest, unlabelled=True).dtype == np.int64
    with pytest.raises(SampleError, match="label -1"):
        check_labels(labels, 2, bundle.manifest, unlabelled=False)
