"""Folders of images as splits, cropped and scaled; what is wrong in a folder is named."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mentor_mentee.data.image_folder import image_folder
from mentor_mentee.data.load import load_data
from mentor_mentee.data.reading import image_decode, items
from mentor_mentee.data.splits import Photo
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError


def picture(path: Path, seed: int, width: int = 8, height: int = 8) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def fill(folder: Path, counts: dict[str, int], seed: int = 0) -> None:
    for name, count in counts.items():
        for i in range(count):
            picture(folder / name / f"{i:03}.png", seed := seed + 1)


def test_a_flat_folder_is_carved(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 30, "dog": 10})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / "._000.png").write_text("not one either")
    held = image_folder(tmp_path, 8, val_fraction=0.1, test_fraction=0.2)
    assert held.classes == ("cat", "dog")
    assert held.name == tmp_path.name
    assert [Counter(split.labels.tolist()) for split in (held.train, held.val, held.test)] == [
        {0: 21, 1: 7},
        {0: 3, 1: 1},
        {0: 6, 1: 2},
    ]
    everything = torch.cat([split.positions for split in (held.train, held.val, held.test)])
    assert sorted(everything.tolist()) == list(range(40))
    again = image_folder(str(tmp_path), 8)
    assert again.val.fingerprint() == held.val.fingerprint()


def test_another_pillow_decodes_photos_anew_and_leaves_arrays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos", {"a": 10, "b": 10})
    pixels = np.zeros((8, 8, 3), np.uint8)

    def seen() -> tuple[int, str, str]:
        image_folder(tmp_path / "photos", 8, memory_mb=0, cache=tmp_path / "cache")
        parts = [{"train": [(image, 0)] * 4} for image in (Image.fromarray(pixels), pixels)]
        photos, arrays = (items.ItemSource(part, items.Keys(0, 1), None, "").options for part in parts)
        return len([*(tmp_path / "cache").iterdir()]), photos, arrays

    before = seen()
    assert seen() == before
    for module in (image_decode, items):
        monkeypatch.setattr(module, "version", lambda package: "999")
    folders, photos, arrays = seen()
    assert (before[0], folders) == (1, 2)
    assert photos != before[1]
    assert arrays == before[2]


def test_a_class_whose_name_is_not_utf8_is_named_before_any_training(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 10, "caf\udcff": 10})
    with pytest.raises(
        UserError, match=r"the name of class 0, 'caf\\udcff', is not UTF-8, so no file could hold it; rename"
    ):
        image_folder(tmp_path, 8)


def test_folders_for_every_split_are_kept_apart(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "val", "test")):
        fill(tmp_path / part, {"a": 2, "b": 3}, seed=100 * seed)
    held = image_folder(tmp_path, 8)
    for part in ("train", "val", "test"):
        split = getattr(held, part)
        assert split.labels.tolist() == [0, 0, 1, 1, 1]
        with Image.open(tmp_path / part / "b" / "001.png") as stored:
            np.testing.assert_array_equal(split.images[3].permute(1, 2, 0).numpy(), np.asarray(stored))


def test_only_a_missing_split_is_carved(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "test", {"b": 1}, seed=500)
    held = image_folder(tmp_path, 8, val_fraction=0.25)
    assert [len(split) for split in (held.train, held.val, held.test)] == [15, 5, 1]
    assert held.test.labels.tolist() == [1]


@pytest.mark.parametrize(("width", "height"), [(12, 8), (8, 13), (8, 8)])
def test_the_crop_is_central_and_untouched_when_it_fits(tmp_path: Path, width: int, height: int) -> None:
    fill(tmp_path, {"b": 9})
    pixels = [picture(tmp_path / "a" / f"{i}.png", 50 + i, width, height) for i in range(9)]
    left, top = (width - 8) // 2, (height - 8) // 2
    held = image_folder(tmp_path, 8)
    for split in (held.train, held.val, held.test):
        for position, image in zip(split.positions.tolist(), split.images, strict=True):
            if position < 9:
                cropped = pixels[position][top : top + 8, left : left + 8]
                np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), cropped)


def test_the_shorter_side_is_scaled(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 5, "b": 5})
    pixels = picture(tmp_path / "test" / "a" / "0.png", 7, 48, 24)
    whole = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    expected = View((3, 8, 16), (0.0,) * 3, (1.0,) * 3).pixels(whole)[0, :, :, 4:12]
    found = image_folder(tmp_path, 8).test.images[0]
    assert (found.int() - expected.int()).abs().max() <= 1


def test_modes_and_orientation(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 5, "b": 5})
    folder = tmp_path / "test" / "a"
    folder.mkdir(parents=True)
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(gray).save(folder / "0.png")
    palette = Image.fromarray(gray).convert("P")
    palette.save(folder / "1.png", transparency=bytes([255] * 256))
    turned = Image.Exif()
    turned[0x0112] = 3  # stored upside down
    Image.fromarray(gray).rotate(180).save(folder / "2.png", exif=turned)
    images = image_folder(tmp_path, 8).test.images
    for image in images:
        for channel in image:
            np.testing.assert_array_equal(channel.numpy(), gray)


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes | str) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    broken = tmp_path / "b" / "001.png"
    broken.write_bytes(content if isinstance(content, bytes) else broken.read_bytes()[:80])
    with pytest.raises(UserError, match=r"b/001.png cannot be read as an image .*replace it"):
        image_folder(tmp_path, 8)


def test_it_says_how_photos_became_pixels(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    assert image_folder(tmp_path, 8, ground="white").photo == Photo("cover", "bilinear", 255)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    Image.fromarray(np.full((8, 8), 40000, dtype=np.uint16)).save(tmp_path / "a" / "x.png")
    with pytest.raises(UserError, match=r"a/x.png has more than 8 bits"):
        image_folder(tmp_path, 8)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*nowhere; set data.root="):
        image_folder(tmp_path / "nowhere", 8)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3})
    with pytest.raises(UserError, match="1 class folders in"):
        image_folder(tmp_path, 8)


def test_an_empty_class(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match=r"no image in .*c; expected files that end in"):
        image_folder(tmp_path, 8)


def test_an_empty_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 3, "b": 3})
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"no class folder in .*val"):
        image_folder(tmp_path, 8)


def test_a_class_that_is_not_trained_on(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cats": 3, "dogs": 3})
    fill(tmp_path / "test", {"cat": 1})
    with pytest.raises(UserError, match=r"class 'cat' in .*test.* did you mean 'cats'"):
        image_folder(tmp_path, 8)


def test_splits_without_one_to_train_on(tmp_path: Path) -> None:
    fill(tmp_path / "val", {"a": 3, "b": 3})
    with pytest.raises(UserError, match="has val but no train"):
        image_folder(tmp_path, 8)


def test_a_split_by_another_name(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 3, "b": 3})
    fill(tmp_path / "valid", {"a": 3, "b": 3})
    with pytest.raises(UserError, match=r"folder 'valid' beside train .* did you mean 'val'"):
        image_folder(tmp_path, 8)


@pytest.mark.parametrize("train", ["", "train"])
def test_unlabelled_images_of_any_depth_and_size_join_train_alone(tmp_path: Path, train: str) -> None:
    fill(tmp_path / train, {"a": 20, "b": 20})
    before = image_folder(tmp_path, 8)
    pixels = [
        picture(tmp_path / "unlabelled" / "0.png", 900),
        picture(tmp_path / "unlabelled" / "a" / "deep" / "0.png", 901, 12, 8)[:, 2:10],
        picture(tmp_path / "unlabelled" / "z.png", 902, 8, 14)[3:11],
    ]
    picture(tmp_path / "unlabelled" / ".hidden" / "0.png", 903)
    (tmp_path / "unlabelled" / "notes.txt").write_text("not an image")
    held = image_folder(tmp_path, 8)
    assert held.classes == ("a", "b")
    for part in ("val", "test"):
        assert getattr(held, part).fingerprint() == getattr(before, part).fingerprint()
    labelled = len(before.train)
    assert held.train.subset(range(labelled)).fingerprint() == before.train.fingerprint()
    assert held.train.labels[labelled:].tolist() == [-1] * 3
    assert held.train.positions[labelled:].tolist() == [40, 41, 42]
    np.testing.assert_array_equal(held.train.images[labelled:].permute(0, 2, 3, 1).numpy(), np.stack(pixels))
    assert image_folder(tmp_path, 8, unlabelled=None).train.fingerprint() == before.train.fingerprint()


@pytest.mark.parametrize("train", ["", "train"])
@pytest.mark.parametrize("where", ["pool", "elsewhere"])
def test_the_unlabelled_images_may_lie_in_another_folder(tmp_path: Path, train: str, where: str) -> None:
    root = tmp_path / "root"
    fill(root / train, {"a": 10, "b": 10})
    folder = root / "pool" if where == "pool" else tmp_path / "elsewhere"
    fill(folder, {"x": 2}, seed=800)
    held = image_folder(root, 8, unlabelled="pool" if where == "pool" else str(folder))
    assert held.classes == ("a", "b")
    assert Counter(held.train.labels.tolist()) == {-1: 2, 0: 7, 1: 7}


def test_beside_train_a_folder_that_holds_them_deeper_down_is_no_mistake(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "extra", {"pool": 3, "not": 2}, seed=800)
    held = image_folder(tmp_path, 8, unlabelled="extra/pool")
    assert Counter(held.train.labels.tolist())[-1] == 3
    with pytest.raises(UserError, match=r"folder 'extra' beside train"):
        image_folder(tmp_path, 8)


def test_under_a_label_budget_the_unlabelled_images_stay_where_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 10, "b": 10, "unlabelled": 5})
    recipe = {
        "_target_": "mentor_mentee.data.image_folder.image_folder",
        "root": str(tmp_path),
        "size": 8,
        "labels_per_class": 2,
    }
    assert Counter(load_data(recipe).train.labels.tolist()) == {0: 2, 1: 2}
    assert Counter(load_data(recipe | {"keep_unlabelled": True}).train.labels.tolist()) == {-1: 15, 0: 2, 1: 2}
    with pytest.raises(UserError, match=r"data\.unlabelled=unlabelled is given, but under data\.labels_per_class"):
        load_data(recipe | {"unlabelled": "unlabelled"})


def test_a_folder_of_unlabelled_images_without_one_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "unlabelled" / "inside").mkdir(parents=True)
    (tmp_path / "unlabelled" / "notes.txt").write_text("not an image")
    with pytest.raises(
        UserError, match=r"no image in .*unlabelled; expected files that end in .*, or remove the folder"
    ):
        image_folder(tmp_path, 8)


def test_an_unlabelled_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "unlabelled").mkdir()
    (tmp_path / "unlabelled" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"unlabelled/broken.png cannot be read as an image .*replace it"):
        image_folder(tmp_path, 8)


@pytest.mark.parametrize(
    ("unlabelled", "message"),
    [
        ("pol", r"no folder .*pol; set data\.unlabelled=\.\.\. to one in data\.root or to an absolute path"),
        ("test", r"unlabelled images in .*test and those of .*test/[ab] overlap.* tested on as well; keep them in"),
        ("test/a", r"images in .*test/a and those of .*test/a overlap"),
        (".", r"overlap, which would be trained on without their label"),
    ],
)
def test_unlabelled_images_that_are_not_there_or_are_others(tmp_path: Path, unlabelled: str, message: str) -> None:
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "test", {"a": 2, "b": 2}, seed=500)
    with pytest.raises(UserError, match=message):
        image_folder(tmp_path, 8, unlabelled=unlabelled)


def test_unlabelled_images_among_the_classes_to_train_on_are_sent_beside_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 10, "b": 10, "unlabelled": 2})
    with pytest.raises(UserError, match=r"train/unlabelled is taken for no class; move it beside train, or rename it"):
        image_folder(tmp_path, 8)
    held = image_folder(tmp_path, 8, unlabelled="train/unlabelled")
    assert Counter(held.train.labels.tolist()) == {-1: 2, 0: 7, 1: 7}


def test_another_spelling_of_unlabelled_is_corrected(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path, {"unlabeled": 2})
    with pytest.raises(UserError, match=r"folder 'unlabeled' beside train .* did you mean 'unlabelled'"):
        image_folder(tmp_path, 8)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.0, 0.2), (0.2, 1.2)])
def test_fractions_that_leave_nothing(tmp_path: Path, fractions: tuple[float, float]) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="expected fractions above 0 that leave some to train on"):
        image_folder(tmp_path, 8, *fractions)


def test_a_share_too_small_for_one_image(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(
        UserError, match=r"images in .* \(a: 3, b: 3\): .* of 6 samples leave 0 samples for val; expected"
    ):
        image_folder(tmp_path, 8, val_fraction=0.01)


def test_no_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size=0"):
        image_folder(tmp_path, 0)
