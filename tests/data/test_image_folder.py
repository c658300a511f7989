from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import UserError
from data.image_folder import image_folder
from data.view import View


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
    palette.save(folder / "1.png", transparency=bytes(range(256)))
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


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.0, 0.2), (0.2, 1.2)])
def test_fractions_that_leave_nothing(tmp_path: Path, fractions: tuple[float, float]) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="expected fractions above 0 that leave some to train on"):
        image_folder(tmp_path, 8, *fractions)


def test_a_share_too_small_for_one_image(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="leave 0 samples for part 0"):
        image_folder(tmp_path, 8, val_fraction=0.01)


def test_no_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size=0"):
        image_folder(tmp_path, 0)
