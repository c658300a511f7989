"""A bundle of a script's own networks and data sets: the checkpoint names none of them, they are given to the export."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.transforms import v2

import distill
from distill.schedules import constant
from export.bundle.given import NO_TEST, given_data, given_mentor
from export.bundle.verify import verify
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentee.networks import PlainCNN
from mentor.mentor import Mentor
from mentor.networks import ResidualNet
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError

OPTIONS: dict[str, Any] = {"in_channels": 1, "num_classes": 10, "widths": [4, 6]}
SMALL = ExportSettings(supervision_per_class=4, golden_per_class=4, backend="ort-training")


class Normalised(torch.utils.data.Dataset[Any]):
    """Digits as ToTensor and Normalize make them."""

    def __init__(self, part: str) -> None:
        self.split = getattr(digits(), part)
        self.through = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.3], [0.4])])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.through(self.split.images[i]), int(self.split.labels[i])


@pytest.fixture(scope="module")
def student() -> distill.Student:
    torch.manual_seed(0)
    loader = DataLoader(Subset(Normalised("train"), range(256)), 64)
    made = distill.distillation(
        PlainCNN(**OPTIONS),
        ResidualNet(1, 10, [8, 8]),
        loader,
        mean=[0.3],
        std=[0.4],
        source="uint8",
        probes=[("stages.1", "features.1")],
        schedule=constant(1, 1, 1, 4),
        mentee_recipe=distill.recipe(PlainCNN, **OPTIONS),
        least_accuracy=0,
    )
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.warns():  # Lightning's advice
        trainer.fit(made, loader)
    return made


def test_it_is_fed_bytes_supervised_by_the_mentor_of_the_script_and_proves_itself(
    student: distill.Student, tmp_path: Path
) -> None:
    checkpoint = student.checkpoint()
    assert (checkpoint.data, checkpoint.mentor) == ({}, None)
    data = {"train": DataLoader(Normalised("train"), 64), "validation": Normalised("val"), "val": Normalised("val")}
    with pytest.raises(UserError, match="has a part 'val' twice"):
        export_bundle(checkpoint, tmp_path / "bundle", SMALL, data=data, mentor=student.mentor)
    del data["validation"]
    made = export_bundle(checkpoint, tmp_path / "bundle", SMALL, data=data, mentor=student.mentor)
    assert NO_TEST in made.notes
    assert f"- {NO_TEST}" in (tmp_path / "bundle" / "README.md").read_text()
    assert made.manifest["preprocessing"]["dtype"] == "uint8"
    assert made.manifest["base"]["test"]["samples"] == len(digits().val)
    assert {check.passed for check in verify(tmp_path / "bundle")} == {True, None}

    pack = load_file(tmp_path / "bundle" / "supervision.safetensors")
    assert pack["input"].dtype == np.uint8
    every = digits().train
    rows = [int((every.images == torch.from_numpy(image)).flatten(1).all(1).nonzero()[0]) for image in pack["input"]]
    assert every.labels[rows].tolist() == pack["labels"].tolist()
    view = View((1, 8, 8), (0.3,), (0.4,))
    assert student.mentor is not None
    with torch.no_grad():
        expected = student.mentor.network.eval()(view(every.images[rows]))
    np.testing.assert_allclose(pack["mentor_logits"].astype(np.float32), expected.numpy(), rtol=2e-3, atol=2e-3)


def test_a_checkpoint_on_disk_says_what_it_does_not_name(student: distill.Student, tmp_path: Path) -> None:
    student.checkpoint().save(tmp_path / "mentee.safetensors")
    read = MenteeCheckpoint.load(tmp_path / "mentee.safetensors")
    with pytest.raises(UserError, match=r"names no data, for it was trained on a DataLoader .*data=\{'train'"):
        export_bundle(read, tmp_path / "bundle", SMALL)
    with pytest.raises(UserError, match=r"names no mentor, .*mentor=student\.mentor"):
        export_bundle(read, tmp_path / "bundle", SMALL, data=digits())
    assert list(tmp_path.iterdir()) == [tmp_path / "mentee.safetensors"]


def test_a_mentor_and_data_that_are_named_export_from_the_file_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    big = ResidualNet(1, 10, [8, 8])
    torch.save(big.state_dict(), tmp_path / "mentor.pt")
    options: dict[str, Any] = {
        "mean": [0.3],
        "std": [0.4],
        "probes": None,
        "mentee_recipe": distill.recipe(PlainCNN, **OPTIONS),
        "mentor_recipe": distill.recipe(ResidualNet, in_channels=1, num_classes=10, widths=[8, 8]),
        "mentor_weights": tmp_path / "mentor.pt",
        "data": distill.recipe(digits),
        "least_accuracy": 0,
    }
    split = digits().train
    train = TensorDataset(split.images, split.labels)
    given = distill.distillation(PlainCNN(**OPTIONS), big, train, **options).checkpoint()
    recipes = (options.pop("mentee_recipe"), options.pop("mentor_recipe"))
    built = distill.distillation(*recipes, train, **options)
    named = ("recipe", "mentor", "data", "view", "classes")
    assert [getattr(built.checkpoint(), name) for name in named] == [getattr(given, name) for name in named]
    with pytest.raises(UserError, match="mentor is a recipe without mentor_weights"):
        distill.distillation(*recipes, train, **options | {"mentor_weights": None})
    given.save(tmp_path / "m.safetensors")
    made = export_bundle(MenteeCheckpoint.load(tmp_path / "m.safetensors"), tmp_path / "bundle", SMALL)
    assert made.manifest["base"]["test"]["samples"] == 800
    with torch.no_grad():
        big.head.weight.add_(1)
    with pytest.raises(UserError, match="are other weights than the mentor has"):
        distill.distillation(recipes[0], big, train, mentor_recipe=recipes[1], **options)


def test_data_that_are_not_the_runs_are_refused(student: distill.Student) -> None:
    checkpoint, whole = student.checkpoint(), digits()
    train = TensorDataset(whole.train.images.float(), whole.train.labels)
    for data, message in (
        ({"train": train}, r"data is a dict of \['train'\]; expected data sets by name"),
        (train, "data is a TensorDataset; expected data sets by name"),
        ({"train": train, "val": train}, r"item \d+ is no uint8 image under mean=\[0\.3\]"),
        ({"train": iter([]), "val": train}, "which has no length|is a list_iterator"),
    ):
        with pytest.raises(UserError, match=message):
            given_data(data, checkpoint)
    with pytest.raises(UserError, match="mentor is a str"):
        given_mentor("resnet18", checkpoint)  # type: ignore[arg-type]
    bare = given_mentor(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), MenteeCheckpoint(**vars(checkpoint) | {"probes": ()})
    )
    assert isinstance(bare, Mentor)
    assert bare.view == checkpoint.view
