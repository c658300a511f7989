"""Networks of timm and transformers by name: built, restored from a folder of theirs, refused in one line. Nothing is fetched."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mentor.weights.published import find_published
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.zoo import timm_models, transformers_models

TINY = {
    "image_size": 8,
    "patch_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
VIT = {"_target_": "mentor_mentee.zoo.transformers_models.classifier", "name": "vit", **TINY}
TIMM = {"_target_": "mentor_mentee.zoo.timm_models.classifier", "name": "test_vit"}
IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("package", "module", "call"),
    [
        ("timm", "timm", lambda: timm_models.classifier("resnet18")),
        ("transformers", "transformers", lambda: transformers_models.classifier("vit")),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, module: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        UserError,
        match=rf"needs the package {package}, which is not installed: pip install 'mentor-mentee\[{package}\]'",
    ):
        call()


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm", reason="needs pip install 'mentor-mentee[timm]'")


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs pip install 'mentor-mentee[transformers]'")


@pytest.mark.filterwarnings("ignore")
def test_timm_by_name_and_from_a_folder(timm: Any, tmp_path: Path) -> None:
    network = build_classifier(TIMM | {"num_classes": 4, "in_channels": 3, "drop_path_rate": 0.1}, "mentor.network")
    assert network(torch.rand(2, 3, 160, 160)).shape == (2, 4)
    with pytest.raises(UserError, match=r"timm has no model 'resnet1o'; did you mean 'resnet\d+"):
        timm_models.classifier("resnet1o")
    for name, message in (
        (
            "hf-hup:a/b",
            r"timm has no model 'hf-hup:a/b'; did you mean 'hf-hub'\?; expected one of its names, hf-hub:OWNER/NAME",
        ),
        (f"local-dir:{tmp_path}", rf"no config\.json in {tmp_path}; expected a folder that timm's save_for_hf made"),
        ("hf-hub:nobody/nothing", r"timm cannot build 'hf-hub:nobody/nothing' \(.*give local-dir:FOLDER"),
    ):
        with pytest.raises(UserError, match=message):
            timm_models.classifier(name)
    theirs = timm.create_model("test_vit", num_classes=4)
    timm.models.save_for_hf(theirs, tmp_path, model_config={"num_classes": 4})
    found = find_published(TIMM | {"name": f"local-dir:{tmp_path}"}, "pretrained")
    assert (found.classes, found.view) == (4, View((3, 160, 160), (0.5,) * 3, (0.5,) * 3))
    state = found.state()
    assert all(torch.equal(value, state[name]) for name, value in theirs.state_dict().items())
    known = find_published(TIMM | {"name": "resnet18"}, "pretrained")
    assert (known.classes, known.view and known.view.mean) == (1000, (0.485, 0.456, 0.406))
    with pytest.raises(UserError, match=r"mentor\.weights=IMAGENET1K_V1 is no file, and timm has one set of weights"):
        find_published(TIMM, "IMAGENET1K_V1")


@pytest.mark.filterwarnings("ignore")
def test_transformers_by_architecture_and_from_a_folder(transformers: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_classifier(VIT | {"num_classes": 4, "in_channels": 1}, "mentor.network").eval()
    logits = network(IMAGE)
    assert logits.shape == (2, 4)
    network.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.3], image_std=[0.4]).save_pretrained(
        tmp_path
    )
    found = find_published(VIT | {"name": str(tmp_path)}, "pretrained")
    assert (found.classes, found.view) == (4, View((1, 8, 8), (0.3,), (0.4,)))
    again = build_classifier(
        {**VIT, "name": str(tmp_path), "num_classes": 4, "in_channels": 1}, "mentor.network"
    ).eval()
    again.load_state_dict(dict(found.state()))
    assert torch.equal(again(IMAGE), logits)
    (tmp_path / "preprocessor_config.json").unlink()
    assert find_published(VIT | {"name": str(tmp_path)}, "pretrained").view is None
    for name, message in (
        ("vitt", r"no image classifier 'vitt'; did you mean 'vit'"),
        ("nobody/nothing", r"'nobody/nothing' could not be had from the hub or its cache"),
    ):
        with pytest.raises(UserError, match=message):
            transformers_models.classifier(name)
    with pytest.raises(UserError, match="'vit' is an architecture of transformers, without weights"):
        find_published(VIT, "pretrained")
