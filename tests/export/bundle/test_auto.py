"""`backend=auto`, the default: both kinds of graphs where both prove, else the one that does, and what is said of the other."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mentee_device import Bundle, Learner

from export import backends
from export.bundle.graphs import Written, proved, write_graphs
from export.bundle.prepare import OnDevice, on_device
from export.bundle.verify import verify
from export.bundle.write import export_bundle
from export.cli.make import summary
from export.parity.feeds import Samples
from export.schema import ExportSettings, check_export
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from tests.conftest import seeded
from tests.export.conftest import checkpoint_of
from tests.export.mentees import Cyclic, Folding

SMALL = ExportSettings(supervision_per_class=4, golden_per_class=4)
ATAN = "the network itself: Atan (Cyclic, mentees.py:"


@pytest.fixture
def cyclic(checkpoint: MenteeCheckpoint) -> MenteeCheckpoint:
    with seeded(1):
        return checkpoint_of(Cyclic(), "tests.export.mentees.Cyclic", checkpoint)


def test_a_mentee_that_stock_graphs_alone_train_gets_them_and_is_told_why(
    cyclic: MenteeCheckpoint, tmp_path: Path
) -> None:
    made = export_bundle(cyclic, tmp_path / "bundle", SMALL)
    reason = made.left_out["ort-training"]
    assert reason.startswith(ATAN)
    assert "has no gradient in ONNX Runtime Training" in reason
    assert f"\nbackends    stock; ort-training is left out: {ATAN}" in summary(made)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["left_out"] == made.left_out
    assert manifest["settings"]["backend"] == "auto"
    assert set(manifest["graphs"]) == {"inference"}
    assert not [name for name in manifest["files"] if name.startswith("ort-training/")]
    assert f"ort-training is left out: {ATAN}" in (tmp_path / "bundle" / "README.md").read_text().replace("\\", "")
    assert {check.passed for check in verify(tmp_path / "bundle")} == {True, None}
    with Bundle.open(tmp_path / "bundle") as bundle, Learner(bundle) as learner:
        before = learner.parameters()["first.weight"]
        learner.learn_batch(bundle.golden().take(np.arange(8)), bundle.supervision())
        assert not np.array_equal(learner.parameters()["first.weight"], before)


@pytest.mark.parametrize("backend", ["ort-training", "both"])
def test_what_is_asked_for_by_name_is_refused_as_a_whole(
    cyclic: MenteeCheckpoint, tmp_path: Path, backend: str
) -> None:
    with pytest.raises(
        UserError, match=r"^the network itself: Atan \(Cyclic, .* in ONNX Runtime Training; use another"
    ):
        export_bundle(cyclic, tmp_path / "bundle", replace(SMALL, backend=backend))
    assert not list(tmp_path.iterdir())


def test_what_neither_trains_is_refused_with_both_reasons(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    folding = checkpoint_of(Folding(), "tests.export.mentees.Folding", checkpoint)
    with pytest.raises(UserError, match=r"^ort-training: .*Atan .*; stock: the network itself: Col2Im \(Folding"):
        export_bundle(folding, tmp_path / "bundle", SMALL)
    assert not list(tmp_path.iterdir())
    same = {"ort-training": "x: Col2Im has no gradient in ONNX Runtime Training", "stock": "x: Col2Im has no gradient"}
    assert str(backends.refused(same)) == "x: Col2Im has no gradient"
    more = {"ort-training": "x: Fold (and 2 more: ask); use another", "stock": "x: Fold; use another"}
    assert str(backends.refused(more)) == "x: Fold; use another"
    proofs = {
        "ort-training": "it does not train. It differs in a by 1",
        "stock": "it does not train. It differs in a by 2",
    }
    assert str(backends.refused(proofs)) == proofs["stock"]


@pytest.fixture(scope="module")
def mentee(checkpoint: MenteeCheckpoint) -> OnDevice:
    return on_device(checkpoint, SMALL)


@pytest.fixture(scope="module")
def written(mentee: OnDevice, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_graphs(mentee, SMALL, tmp_path_factory.mktemp("written"))


@pytest.fixture(scope="module")
def samples(mentee: OnDevice, checkpoint: MenteeCheckpoint) -> Samples:
    random = torch.Generator().manual_seed(1)
    shapes = {probe.name: probe.adapter.shape for probe in checkpoint.probes}
    return Samples(
        torch.randn(32, *mentee.shape, generator=random),
        torch.randn(32, len(mentee.classes), generator=random),
        {name: torch.randn(32, *shape, generator=random) for name, shape in shapes.items()},
    )


def wrong_epsilon(path: Path) -> None:
    """Alters every number of the optimizer that is 1e-8."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size == 1 and 9e-9 < value.item() < 1.1e-8:
            tensor.CopyFrom(onnx.numpy_helper.from_array(2 * value, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f *= 2
    onnx.save(model, path)


FAULTS: dict[str, Callable[[Path], None]] = {
    "ort-training": lambda folder: wrong_epsilon(folder / "ort-training" / "optimizer_model.onnx"),
    "stock": lambda folder: wrong_epsilon(folder / "stock" / "optimizer.onnx"),
}


@pytest.mark.parametrize("wrong", FAULTS)
def test_what_does_not_prove_is_left_out_and_named_or_refused(
    wrong: str, written: Written, samples: Samples, tmp_path: Path
) -> None:
    """A wrong number in one kind of graphs; the other is as it was."""
    for backend in ("auto", "both"):
        folder = Path(shutil.copytree(written.folder, tmp_path / backend))
        FAULTS[wrong](folder)
        altered = replace(written, folder=folder)
        if backend == "both":
            with pytest.raises(UserError, match=r"does not train as torch does; no bundle was made\. .*a step of '"):
                proved(altered, samples, replace(SMALL, backend=backend))
            continue
        left, report = proved(altered, samples, replace(SMALL, backend=backend))
        (other,) = set(FAULTS) - {wrong}
        assert left.backends == [other]
        assert left.left_out.keys() == {wrong}
        assert "a step of '" in left.left_out[wrong]
        assert not (folder / wrong).exists()
        assert report["verdict"] == "proved"
        assert report.get("backend", "ort-training") == other
        assert not {"stock", "ort_training"} & set(report)
        assert (left.forward is None) == (left.stock_graphs is not None) == (wrong == "ort-training")


def test_where_onnx_runtime_training_is_not_installed(
    mentee: OnDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Python 3.13, which it has no release for."""
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    missing = backends.training_missing() or ""
    assert missing.startswith("ONNX Runtime Training 1.19.2 ")
    for backend in ("ort-training", "both"):
        with pytest.raises(
            UserError, match=rf"^backend={backend}: ONNX Runtime Training 1\.19\.2 .*take backend=stock$"
        ):
            check_export(replace(SMALL, backend=backend))
    check_export(SMALL)
    made = write_graphs(mentee, SMALL, tmp_path)
    assert made.backends == ["stock"]
    assert made.left_out == {"ort-training": missing}
