"""Every kind of image file is taken as it looks, or refused: what is changed about it is said once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mentor_mentee.data.image_folder import image_folder
from mentor_mentee.errors import UserError
from mentor_mentee.progress import reporting
from tests.mentor_mentee.data.test_image_folder import fill

RGB_HW3 = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
ALPHA_HW = np.random.default_rng(2).integers(0, 256, (8, 8), dtype=np.uint8)
GROUND = {"gray": 128, "white": 255, "black": 0}


def laid(rgb_HW3: np.ndarray, alpha_HW: np.ndarray, ground: str) -> np.ndarray:
    share_HW1 = alpha_HW[:, :, None] / 255.0
    return np.asarray(np.round(rgb_HW3 * share_HW1 + GROUND[ground] * (1 - share_HW1)))


def read(folder: Path, **options: str) -> tuple[torch.Tensor, list[str]]:
    """The image in class `a` of the test split, and what was said."""
    said: list[str] = []
    if not (folder / "train").exists():
        fill(folder / "train", {"a": 10, "b": 10})
    with reporting(said.append):
        return image_folder(folder, 8, **options).test.images[0], said  # type: ignore[arg-type]


def save(folder: Path, name: str, image: Image.Image, **options: object) -> None:
    (folder / "test" / "a").mkdir(parents=True, exist_ok=True)
    image.save(folder / "test" / "a" / name, **options)  # type: ignore[arg-type]


def with_alpha() -> Image.Image:
    return Image.fromarray(np.dstack([RGB_HW3, ALPHA_HW]))


def gray_with_alpha() -> Image.Image:
    return Image.merge("LA", [Image.fromarray(RGB_HW3[:, :, 0]), Image.fromarray(ALPHA_HW)])


def palette() -> tuple[Image.Image, np.ndarray]:
    """A palette of gray levels in which every entry has an alpha of its own."""
    image = Image.fromarray(RGB_HW3[:, :, 0]).convert("P")
    return image, (255 - RGB_HW3[:, :, 0]).astype(np.uint8)


@pytest.mark.parametrize("ground", GROUND)
@pytest.mark.parametrize("kind", ["RGBA", "RGBA webp", "LA", "P", "RGB key", "L key"])
def test_transparent_pixels_are_laid_on_the_stated_ground(tmp_path: Path, kind: str, ground: str) -> None:
    gray_HW3 = np.repeat(RGB_HW3[:, :, :1], 3, 2)
    if kind.startswith("RGBA"):
        name, options = ("x.webp", {"lossless": True, "exact": True}) if "webp" in kind else ("x.png", {})
        save(tmp_path, name, with_alpha(), **options)
        expected = laid(RGB_HW3, ALPHA_HW, ground)
    elif kind == "LA":
        save(tmp_path, "x.png", gray_with_alpha())
        expected = laid(gray_HW3, ALPHA_HW, ground)
    elif kind == "P":
        image, alpha_HW = palette()
        save(tmp_path, "x.png", image, transparency=bytes(range(255, -1, -1)))
        expected = laid(gray_HW3, alpha_HW, ground)
    else:  # one colour of an image without alpha is declared transparent
        colours = RGB_HW3 if kind == "RGB key" else gray_HW3
        image = Image.fromarray(RGB_HW3 if kind == "RGB key" else RGB_HW3[:, :, 0])
        key = tuple(RGB_HW3[3, 4].tolist()) if kind == "RGB key" else int(RGB_HW3[3, 4, 0])
        save(tmp_path, "x.png", image, transparency=key)
        clear = (colours == colours[3, 4]).all(2)
        expected = laid(colours, np.where(clear, 0, 255), ground)
    found, said = read(tmp_path, ground=ground)
    assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 1
    assert f"have transparent pixels: they are laid on {ground} (data.ground)" in said[0]


@pytest.mark.parametrize("colour", [0, 255])
def test_a_shape_that_is_in_alpha_alone_is_seen_whatever_its_colour(tmp_path: Path, colour: int) -> None:
    shape_HW = np.zeros((8, 8), np.uint8)
    shape_HW[2:6, 3:5] = 255
    save(tmp_path, "x.png", Image.fromarray(np.dstack([np.full((8, 8, 3), colour, np.uint8), shape_HW])))
    found, _ = read(tmp_path)
    np.testing.assert_array_equal(found[0].numpy() == colour, shape_HW == 255)
    hides = "black" if colour == 0 else "white"
    with pytest.raises(UserError, match=rf"x.png shows nothing on data.ground={hides}.*; set data.ground=gray or"):
        read(tmp_path, ground=hides)


def test_an_opaque_alpha_channel_changes_and_says_nothing(tmp_path: Path) -> None:
    save(tmp_path, "x.png", Image.fromarray(np.dstack([RGB_HW3, np.full((8, 8), 255, np.uint8)])))
    found, said = read(tmp_path)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), RGB_HW3)
    assert said == []


def test_what_is_said_is_said_once_with_a_count(tmp_path: Path) -> None:
    for name in ("x.png", "y.png", "z.png"):
        save(tmp_path, name, with_alpha())
    assert read(tmp_path)[1] == ["3 of 23 images have transparent pixels: they are laid on gray (data.ground)"]


def save_gif(folder: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (10, 200)]
    save(folder, "x.gif", frames[0], save_all=True, append_images=frames[1:])


def save_tiff(folder: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 200)]
    save(folder, "x.tiff", frames[0], save_all=True, append_images=frames[1:])


def save_apng(folder: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 200)]
    save(folder, "x.png", frames[0], save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("write", [save_gif, save_tiff, save_apng])
def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    found, said = read(tmp_path)
    assert found.unique().tolist() == [10]
    assert "1 of 21 images hold several frames: the first is taken" in said


def test_other_changes_are_said(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    save(tmp_path, "a.png", Image.fromarray(RGB_HW3), exif=turned)
    save(tmp_path, "b.jpg", Image.fromarray(RGB_HW3).convert("CMYK"))
    save(tmp_path, "c.png", Image.fromarray(RGB_HW3[:, :, 0]))
    found, said = read(tmp_path)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), np.rot90(RGB_HW3, -1))
    assert [line.removeprefix("1 of 23 images ")[:18] for line in said] == [
        "are turned upright",
        "are in CMYK and be",
        "are grayscale amon",
    ]


def test_images_that_are_all_gray_are_no_mixture(tmp_path: Path) -> None:
    for i in range(20):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8), 10 * i, np.uint8)).save(tmp_path / name / f"{i}.png")
    said: list[str] = []
    with reporting(said.append):
        image_folder(tmp_path, 8)
    assert said == []


def sixteen(folder: Path, suffix: str) -> None:
    """A gray or colour image of 16 bits, written by hand where Pillow only reads it."""
    place = folder / "test" / "a"
    place.mkdir(parents=True)
    if suffix == "gray.png" or suffix == "gray.tiff":
        Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(place / suffix)
    elif suffix == "float.tiff":
        Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(place / suffix)
    elif suffix == "colour.ppm":
        (place / suffix).write_bytes(b"P6 8 8 4095\n" + np.full((8, 8, 3), 4000, ">u2").tobytes())
    else:
        (place / suffix).write_bytes(png16(np.full((8, 8, 3), 40000, ">u2")))


def png16(pixels_HW3: np.ndarray) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = pixels_HW3.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels_HW3)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("suffix", ["gray.png", "gray.tiff", "float.tiff", "colour.ppm", "colour.png"])
def test_more_than_eight_bits_are_refused(tmp_path: Path, suffix: str) -> None:
    sixteen(tmp_path, suffix)
    with pytest.raises(UserError, match=rf"{suffix} has more than 8 bits per channel .*; convert it to 8 bits"):
        read(tmp_path)


def test_colours_that_pillow_does_not_convert_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "x.tiff", Image.fromarray(RGB_HW3, mode=None).convert("RGB").convert("LAB"))
    with pytest.raises(UserError, match=r"x.tiff is in the colour mode LAB; convert it to RGB"):
        read(tmp_path)


def test_an_unknown_ground(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.ground=grey; did you mean 'gray'\? \(there are gray, white, black\)"):
        image_folder(tmp_path, 8, ground="grey")


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 10, "b": 10, "b/indoor": 3})
    for name in ("x.heic", "y.HEIC", "notes.txt", ".hidden"):
        (tmp_path / "a" / name).touch()
    said: list[str] = []
    with reporting(said.append):
        image_folder(tmp_path, 8)
    assert said == [
        f"warning: passed over in {tmp_path}: 2 .heic, 1 .txt, 3 images in folders inside a class (b/indoor)"
    ]
