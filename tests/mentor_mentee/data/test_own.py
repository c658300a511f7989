"""Somebody's own data sets as splits: what they hold is what is trained on; what cannot be drawn from again is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from mentor_mentee.data.load import check_data, load_data
from mentor_mentee.data.splits import Photo, Splits
from mentor_mentee.errors import UserError

HERE = "tests.mentor_mentee.data.test_own"
KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "array HWC": lambda pixels: pixels,
    "tensor CHW": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
    "array CHW float": lambda pixels: pixels.transpose(2, 0, 1).astype(np.float64) / 7,
    "PIL": Image.fromarray,
    "PIL gray": lambda pixels: Image.fromarray(pixels).convert("L"),
    "array HW": lambda pixels: pixels[:, :, 0],
}


def pixels_of(i: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)


class Noise(Dataset[Any]):
    """`kind`: of image; `odd`: what item 7 is instead."""

    classes = ("even", "odd", "none")

    def __init__(self, samples: int = 60, kind: str = "array HWC", odd: str = "") -> None:
        self.samples, self.kind, self.odd = samples, kind, odd

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, i: int) -> Any:
        if self.odd == "random":
            return np.random.default_rng().integers(0, 256, (8, 8, 3), dtype=np.uint8), 0
        image, label = KINDS[self.kind](pixels_of(i)), i % 3
        odd = {
            "size": (KINDS[self.kind](pixels_of(i, 9)), label),
            "label": (image, 3),
            "text": (image, "cat"),
            "no image": ("x", label),
            "no pair": image.sum() if isinstance(image, np.ndarray) else 0,
            "nan": (np.full((8, 8, 3), np.nan), label),
        }
        if self.odd == "fails" and i == 7:
            raise OSError("gone")
        return (
            odd[self.odd]
            if i == 7 and self.odd in odd
            else (image, None if self.odd == "unlabelled" and i > 39 else label)
        )


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


def by_part() -> dict[str, Any]:
    return {"train": Noise(30), "validation": Noise(12), "test": Noise(9), "unlabelled": Noise(6)}


def of_names() -> list[dict[str, Any]]:
    return [{"photo": pixels_of(i), "kind": i % 3} for i in range(30)]


def misnamed() -> dict[str, Any]:
    return {"train": Noise(30), "tset": Noise(9)}


def endless() -> Endless:
    return Endless()


def load(target: str = "Noise", **options: Any) -> Splits:
    return load_data({"_target_": f"{HERE}.{target}", **options})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_item_keeps_its_pixels(kind: str) -> None:
    found = load(kind=kind)
    assert found.classes == ("even", "odd", "none")
    assert [len(split) for split in (found.train, found.val, found.test)] == [42, 6, 12]
    for split in (found.train, found.val, found.test):
        for position, image, label in zip(
            split.positions.tolist(), split.images[:], split.labels.tolist(), strict=True
        ):
            expected = KINDS[kind](pixels_of(position))
            expected = expected if isinstance(expected, torch.Tensor) else torch.from_numpy(np.array(expected))
            if expected.ndim == 2:
                expected = expected[None]
            elif kind in ("array HWC", "PIL"):
                expected = expected.permute(2, 0, 1)
            expected = expected.float() if expected.is_floating_point() else expected
            assert image.dtype == expected.dtype
            assert torch.equal(image, expected)
            assert label == position % 3


def test_it_says_how_photos_became_pixels_where_it_made_them() -> None:
    assert load(kind="PIL", size=4).photo == Photo("cover", "bilinear", 128)
    assert load(kind="PIL").photo is None
    assert load(kind="array HWC").photo is None


def test_on_disk_it_is_the_same_and_the_second_start_reads_a_few_items_only(tmp_path: Path) -> None:
    memory = load(odd="unlabelled")
    disk = load(odd="unlabelled", memory_mb=0, cache=str(tmp_path))
    assert disk.train.on_disk
    (block,) = tmp_path.glob("*/*.block")
    before = block.stat().st_mtime_ns
    again = load(odd="unlabelled", memory_mb=0, cache=str(tmp_path))
    assert block.stat().st_mtime_ns == before
    for one in (disk, again):
        for part in ("train", "val", "test"):
            assert torch.equal(getattr(one, part).images[:], getattr(memory, part).images)
            assert torch.equal(getattr(one, part).labels, getattr(memory, part).labels)
    assert int((memory.train.labels == -1).sum()) == 20


def test_parts_of_its_own_are_kept_and_unlabelled_ones_train() -> None:
    found = load("by_part")
    assert [len(split) for split in (found.train, found.val, found.test)] == [36, 12, 9]
    assert found.train.labels.tolist() == [*(i % 3 for i in range(30)), *[-1] * 6]
    assert found.train.positions.tolist() == list(range(36))
    assert torch.equal(found.val.images[5].permute(1, 2, 0), torch.from_numpy(pixels_of(5)))


def test_options_are_ours_unless_the_callable_has_them_and_the_budget_goes_with_them() -> None:
    found = load("of_names", image="photo", label="kind", val_fraction=0.2, test_fraction=0.2, labels_per_class=2)
    assert [len(split) for split in (found.train, found.val, found.test)] == [6, 6, 6]
    assert found.classes == ("0", "1", "2")
    one, other = (load("of_names", image="photo", label="kind", split_seed=seed).val for seed in (0, 1))
    assert one.fingerprint() != other.fingerprint()
    small = load(kind="PIL", size=4)
    assert small.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"odd": "random"}, r"item 0 of train differs when it is read again; expected the same item at the same index"),
        (
            {"odd": "size"},
            r"item 7 of train is uint8 of \[3, 9, 9\], the first is uint8 of \[3, 8, 8\]; .* set data\.size=64",
        ),
        ({"odd": "label"}, r"the labels of Noise runs from 0 to 3; expected 0 to 2 for 3 names"),
        ({"odd": "text"}, r"the label of item 7 of train is 'cat'; expected a whole number from 0"),
        ({"odd": "no image"}, r"the image of item 7 of train is a str; expected a PIL image, or a uint8"),
        ({"odd": "no pair"}, r"item 7 of train is a .*; expected \(image, label\)"),
        ({"odd": "nan"}, r"the image of item 7 of train has NaN"),
        ({"odd": "fails"}, r"item 7 of train cannot be read \(OSError: gone\)"),
        ({"size": 4}, r"is \[8, 8, 3\], and data\.size=4; only PIL images are scaled"),
        ({"samples": 0}, r"the part 'train' of Noise is empty"),
        ({"val_fraction": 0.9, "test_fraction": 0.2}, r"expected fractions above 0 that leave some to train on"),
        ({"label": 2}, r"item 0 of train is a tuple of 2; expected .* set data\.image=\.\.\. and data\.label="),
    ],
)
def test_what_is_wrong_with_items_is_a_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(**options)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("endless", {}, r"endless is a Endless, which has no length; expected a map-style data set"),
        ("misnamed", {}, r"misnamed has a part 'tset'; expected train, val, test, unlabelled"),
        ("of_names", {}, r"no column of images among 'photo', 'kind'; set data\.image=<its name>"),
        ("of_names", {"image": "foto"}, r"no column 'foto' for data\.image \(there are 'photo', 'kind'\)"),
        ("Noise", {"sampels": 3}, r"no option 'sampels'; did you mean 'samples'"),
        ("Noise", {"split_sed": 3}, r"no option 'split_sed'; did you mean 'split_seed'"),
        ("Noise", {"memory_mb": "much"}, r"data\.memory_mb='much'; expected a number"),
        ("Noise", {"size": 0}, r"data\.size=0; expected a whole number, 1 or more"),
    ],
)
def test_what_is_wrong_with_a_data_set_is_a_line(target: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(target, **options)


def test_the_data_sets_of_this_project_take_no_such_options() -> None:
    with pytest.raises(UserError, match=r"has no option 'val_fraction'"):
        check_data({"_target_": "mentor_mentee.data.datasets.digits", "val_fraction": 0.1})


def test_a_class_of_torchvision_is_called_by_its_own_name(tmp_path: Path) -> None:
    """An installed class may be called where it is a data set, other installed callables may not."""
    options = {"size": 100, "image_size": [3, 6, 6], "num_classes": 4}
    found = load_data({"_target_": "torchvision.datasets.FakeData", **options})
    assert found.shape == (3, 6, 6)
    assert len(found.train) == 70
    with pytest.raises(UserError, match=r"not known to make a .*Splits, so it is not called"):
        load_data({"_target_": "torchvision.models.resnet18"})


def face() -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"kind": datasets.ClassLabel(names=["x", "y", "z"]), "photo": datasets.Image()})
    content = {"photo": [Image.fromarray(pixels_of(i)) for i in range(40)], "kind": [i % 3 for i in range(40)]}
    whole = datasets.Dataset.from_dict(content, features=features)
    return datasets.DatasetDict({"train": whole.select(range(28)), "validation": whole.select(range(28, 40))})


def test_of_hugging_face_the_columns_and_the_classes_are_found_by_its_features(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    for memory_mb in (256, 0):
        found = load("face", memory_mb=memory_mb, cache=str(tmp_path), test_fraction=0.25)
        assert found.classes == ("x", "y", "z")
        assert [len(split) for split in (found.train, found.val, found.test)] == [21, 12, 7]
        assert found.val.labels.tolist() == [i % 3 for i in range(28, 40)]
        for place, image in enumerate(found.val.images[:]):
            assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(pixels_of(28 + place)))
