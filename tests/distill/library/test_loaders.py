"""Any loader of images and labels trains: uint8 or floats, normalised or not, tuples or mappings, with or without a length."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torchvision import transforms
from torchvision.datasets import VisionDataset

from distill.machine import Machine
from mentor_mentee.data.splits import Splits, identity
from mentor_mentee.errors import UserError
from tests.distill.library.conftest import NORMAL, Make, trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice


class Photos(VisionDataset):
    """A torchvision data set: PIL images through a transform."""

    def __init__(self, splits: Splits, transform: Any) -> None:
        super().__init__("", transform=transform)
        self.images, self.labels = splits.train.images[:160], splits.train.labels[:160]
        self.classes = [f"{digit} - {digit}" for digit in range(10)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        assert self.transform is not None
        return self.transform(Image.fromarray(self.images[i, 0].numpy())), int(self.labels[i])


class Named(Dataset[dict[str, Any]]):
    def __init__(self, splits: Splits) -> None:
        self.splits = splits

    def __len__(self) -> int:
        return 160

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"index": i, "scan": self.splits.train.images[i], "digit": int(self.splits.train.labels[i])}


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __init__(self, splits: Splits) -> None:
        self.splits = splits

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(self.splits.train.images[:160], self.splits.train.labels[:160], strict=True))


def test_floats_that_torchvision_normalised_train_on_the_pixels_they_came_from(make: Make, splits: Splits) -> None:
    """To the same bits as the uint8 loader: the device is fed bytes."""
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize(NORMAL["mean"], NORMAL["std"])])
    weights = []
    for transform, source in ((transforms.PILToTensor(), None), (normalise, "uint8")):
        loader = DataLoader(Photos(splits, transform), 32)
        torch.manual_seed(0)
        student = make(loader, source=source)
        assert student.view.dtype == "uint8"
        assert student.origin.classes == tuple(f"{digit} - {digit}" for digit in range(10))
        trainer().fit(student, loader, loader)
        weights.append(student.checkpoint().state)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_floats_are_what_the_device_is_fed_unless_it_is_said_otherwise(make: Make, splits: Splits) -> None:
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize(NORMAL["mean"], NORMAL["std"])])
    loader = DataLoader(Photos(splits, normalise), 32)
    student = make(loader, mean=None, std=None)
    assert (student.view.dtype, student.view.mean, student.view.std) == ("float32", (0.0,), (1.0,))
    image, _ = next(iter(loader))
    assert torch.equal(student.view(image), image)
    trainer().fit(student, loader)
    assert student.history[-1]["step"] == 5


@pytest.mark.parametrize(
    ("normalised", "given", "warned"), [(NORMAL, NORMAL, True), (None, NORMAL, False), (NORMAL, {}, False)]
)
def test_floats_that_would_be_normalised_twice_are_warned_of(
    make: Make, splits: Splits, capsys: pytest.CaptureFixture[str], normalised: Any, given: Any, warned: bool
) -> None:
    steps = [
        transforms.ToTensor(),
        *([transforms.Normalize(normalised["mean"], normalised["std"])] if normalised else []),
    ]
    loader = DataLoader(Photos(splits, transforms.Compose(steps)), 32)
    make(loader, **({"mean": None, "std": None} | given), machine=Machine("cpu"), least_accuracy=0)
    said = capsys.readouterr().err
    assert said.startswith("warning: the loader has normalised its images by this mean and std already") == warned


def test_mappings_and_streams_without_a_length(make: Make, splits: Splits) -> None:
    loader = DataLoader(Named(splits), 32)
    student = make(loader, keys=("scan", "digit"))
    trainer().fit(student, loader)
    assert student.history[-1]["step"] == 5
    stream = DataLoader(Stream(splits), 32)
    streamed = make(stream)
    with pytest.raises(UserError, match=r"the run has no end .* give pl\.Trainer\(max_steps=1000\)"):
        trainer().fit(streamed, stream)
    trainer(max_steps=5, max_epochs=-1).fit(streamed, stream)
    assert streamed.history[-1]["step"] == 5
    assert streamed.schedule.at(0).beta == 0.5  # half of its one pass


def test_the_projects_own_splits_are_read_too(make: Make, splits: Splits) -> None:
    split = splits.train.subset(range(160))
    for train in (split, DataLoader(split, 32, collate_fn=identity)):  # type: ignore[arg-type]
        student = make(train)
        assert student.reader.shape == (1, 8, 8)
    trainer().fit(student, train)
    assert student.history[-1]["step"] == 5


def test_unlabelled_samples_learn_from_the_mentor_alone(make: Make, splits: Splits) -> None:
    images = DataLoader(TensorDataset(splits.train.images[:96]), 32)
    student = make(images)
    trainer().fit(student, images)
    row = student.history[-1]
    assert (row["train_ce"], row["train_accuracy"]) == (0, 0)
    assert row["train_kl"] > 0


def test_unlabelled_samples_validate_without_an_accuracy(make: Make, splits: Splits, train: TensorDataset) -> None:
    student, loader = make(), DataLoader(train, 128)
    trainer().fit(student, loader, DataLoader(TensorDataset(splits.val.images[:8]), 8))
    assert student.history[-1]["val_loss"] > 0
    assert "val_accuracy" not in student.history[-1]
    assert student.checkpoint().accuracy == {}
    trainer().fit(student, loader, DataLoader(TensorDataset(splits.val.images[:8], splits.val.labels[:8] - 1), 8))
    labelled = int((splits.val.labels[:8] > 0).sum())
    assert student.checkpoint().accuracy["val"]["samples"] == labelled


def test_a_loader_without_a_batch_is_one_line(make: Make, train: TensorDataset) -> None:
    loader = DataLoader(train, len(train) + 1, drop_last=True)
    with pytest.raises(UserError, match=r"the run has no step: the loader yields no batch \(drop_last"):
        trainer().fit(make(loader), loader)


def pairs(image: Any, label: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(image, label), 8)


class Items(Dataset[Any]):
    """Eight items, made by a function of their row."""

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> Any:
        return self.item(row)


IMAGE, LABEL = torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8)


@pytest.mark.parametrize(
    ("loader", "options", "message"),
    [
        (pairs(IMAGE[:, 0], LABEL), {}, r"images of train are torch\.uint8 of \[8, 8, 8\]; .* unsqueeze"),
        (pairs(IMAGE.long(), LABEL), {}, r"images of train are torch\.int64"),
        (pairs(IMAGE, LABEL.float()), {}, r"labels of train are torch\.float32 of \[8\]"),
        (pairs(IMAGE, torch.eye(10)[:8]), {}, r"labels of train are torch\.float32 of \[8, 10\].*mixed or soft"),
        (pairs(IMAGE, LABEL + 5), {}, r"train has the label 12; expected 0 to 9"),
        (pairs(IMAGE, LABEL), {"mean": None, "std": None}, r"uint8 images need the mean and std to normalise by"),
        (pairs(IMAGE, LABEL), {"std": None}, r"mean without std"),
        (pairs(IMAGE, LABEL), {"mean": [0.1, 0.2], "std": [1, 1]}, r"has 2 values; expected 1"),
        (
            pairs(IMAGE.permute(0, 2, 3, 1), LABEL),
            {},
            r"shape \(8, 8, 1\) with 1 values of mean: the channels seem to stand last",
        ),
        (pairs(IMAGE, LABEL), {"source": "float32"}, r"source='float32' for a loader of uint8 images"),
        (pairs(IMAGE + 0.01, LABEL), {"source": "uint8"}, r"is no uint8 image under mean=\[0\.3\]"),
        (pairs(IMAGE, LABEL), {"keys": (0, 2)}, r"expected \(images, labels\), or a mapping with both"),
        ([(IMAGE, LABEL)][:0], {}, r"train yields no sample"),
        ("photos", {}, r"train is a str"),
        ((batch for batch in [(IMAGE, LABEL)]), {}, r"train is a generator; expected a torch DataLoader"),
        ([(IMAGE[:5], LABEL[:5]), (IMAGE[:2], LABEL[:2])], {}, r"items of train do not make a batch \(stack expects"),
        (Items(lambda row: (IMAGE[row], None)), {}, r"items of train do not make a batch .*NoneType.*PILToTensor"),
        (Items(lambda row: (IMAGE[row], "cat")), {}, r"labels of train are no numbers \(\('cat', .* into the numbers"),
        (pairs(IMAGE, LABEL - 100), {"classes": None}, r"run from -100 to -93; expected 0 or more, and -1 for none"),
        (
            pairs(IMAGE.float() / 0, LABEL),
            {"source": "uint8"},
            r"is no uint8 image under mean=\[0\.3\]",
        ),
        (
            pairs(IMAGE, LABEL),
            {"mean": 0.5, "std": 0.2},
            r"mean=0\.5; expected a number for each channel: mean=\[0\.5\]",
        ),
        (pairs(IMAGE, LABEL), {"classes": 10}, r"classes=10; expected the names in the order of their numbers"),
        (pairs(IMAGE, LABEL), {"classes": ["a"] * 10}, r"two classes are called 'a'"),
        (pairs(IMAGE, LABEL), {"classes": ["a\udcff", "b"]}, r"the name of class 0, 'a\\udcff', is not UTF-8"),
        (pairs(IMAGE, LABEL), {"seed": "1"}, r"seed='1'; expected a whole number"),
    ],
)
def test_what_no_mentee_could_learn_from_is_one_line_before_any_training(
    make: Make, loader: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make(loader, **options)


def test_a_batch_unlike_the_first_is_named_while_it_trains(make: Make, splits: Splits, train: TensorDataset) -> None:
    for images, message in (
        (torch.zeros(8, 1, 9, 9, dtype=torch.uint8), r"a training batch are \[1, 9, 9\], the first were \[1, 8, 8\]"),
        (torch.zeros(8, 1, 8, 8), r"a training batch are torch\.float32, the first were uint8"),
    ):
        with pytest.raises(UserError, match=message):
            trainer().fit(make(), pairs(images, LABEL))
    with pytest.raises(UserError, match="a validation batch run from 8 to 10; expected 0 to 9"):
        trainer().fit(
            make(), DataLoader(train, 64), pairs(torch.zeros(11, 1, 8, 8, dtype=torch.uint8), torch.arange(11))
        )


def test_looking_at_a_loader_moves_nobodys_random_state(make: Make, splits: Splits) -> None:
    flipping = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.PILToTensor()])
    loader = DataLoader(Photos(splits, flipping), 32, shuffle=True)
    states = []
    for probes in (None, [("stages.0", "features.0")]):
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002 (the state that others use)
        make(loader, probes=probes and {"p": {"mentor": "stages.0", "mentee": "features.0", "adapter": "slice"}})
        states.append((torch.get_rng_state(), np.random.get_state()[1]))  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    make(DataLoader(Photos(splits, transforms.PILToTensor()), 32), probes=None)
    assert all(torch.equal(one[0], torch.get_rng_state()) for one in states)
    assert all(np.array_equal(one[1], np.random.get_state()[1]) for one in states)  # noqa: NPY002
