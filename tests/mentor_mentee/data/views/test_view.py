"""Views against a tent filter written out, and against Pillow."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.errors import UserError


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def view(*shape: int) -> View:
    return View(shape, (0.5,) * shape[0], (0.25,) * shape[0])  # type: ignore[arg-type]


def triangle(given: int, wanted: int) -> np.ndarray:
    """[wanted, given] weights of antialiased bilinear resizing, written out: a tent as wide as an output pixel."""
    scale = given / wanted
    reach = max(scale, 1.0)
    weights = np.zeros((wanted, given))
    for row in range(wanted):
        centre = (row + 0.5) * scale
        for column in range(given):
            weights[row, column] = max(0.0, 1 - abs(column + 0.5 - centre) / reach)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("wanted", [(1, 7, 5), (1, 28, 28), (1, 12, 32)])
def test_resizing_against_the_tent_written_out(wanted: tuple[int, int, int]) -> None:
    image = noise(2, 1, 16, 20)
    exact = triangle(16, wanted[1]) @ image.double().numpy() @ triangle(20, wanted[2]).T
    found = view(*wanted).pixels(image)
    assert found.shape == (2, *wanted)
    # Half a level of rounding, and a hair for float32 on either side of a tie.
    assert np.abs(found.numpy() - exact).max() <= 0.5 + 1e-3


def test_resizing_against_pillow() -> None:
    image = noise(1, 3, 40, 30)
    pillow = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((13, 17), Image.Resampling.BILINEAR)
    found = view(3, 17, 13).pixels(image)[0].permute(1, 2, 0).numpy()
    # Pillow rounds between the two directions as well.
    assert np.abs(found.astype(int) - np.asarray(pillow).astype(int)).max() <= 1


def test_colour_to_gray_against_pillow() -> None:
    image = noise(1, 3, 64, 64)
    pillow = np.asarray(Image.fromarray(image[0].permute(1, 2, 0).numpy()).convert("L"))
    found = view(1, 64, 64).pixels(image)[0, 0].numpy()
    assert np.abs(found.astype(int) - pillow.astype(int)).max() <= 1
    assert (found == pillow).mean() > 0.99


def test_colour_is_turned_gray_and_resized_with_one_rounding() -> None:
    image = noise(2, 3, 12, 16)
    luma = np.einsum("bchw,c->bhw", image.double().numpy(), [0.299, 0.587, 0.114])
    exact = triangle(12, 5) @ luma @ triangle(16, 6).T
    assert np.abs(view(1, 5, 6).pixels(image)[:, 0].numpy() - exact).max() <= 0.5 + 1e-3


def test_gray_to_colour_repeats_it() -> None:
    image = noise(2, 1, 8, 8)
    found = view(3, 8, 8).pixels(image)
    assert all(torch.equal(found[:, c], image[:, 0]) for c in range(3))
    assert torch.equal(view(3, 5, 5).pixels(image)[:, 2:], view(1, 5, 5).pixels(image))


def test_white_stays_white() -> None:
    white = torch.full((1, 3, 9, 9), 255, dtype=torch.uint8)
    assert view(1, 4, 4).pixels(white).unique().tolist() == [255]


def test_what_fits_is_not_copied_and_nothing_is_written_to() -> None:
    image = noise(2, 3, 8, 8)
    before = image.clone()
    assert view(3, 8, 8).pixels(image) is image
    for shape in ((3, 8, 8), (1, 8, 8), (3, 4, 4)):
        view(*shape)(image)
    assert torch.equal(image, before)


def test_a_view_normalises_its_own_pixels() -> None:
    image = noise(2, 3, 8, 8)
    seen = View((3, 6, 6), (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    by_hand = np.empty((2, 3, 6, 6))
    for c, (mean, std) in enumerate(zip(seen.mean, seen.std, strict=True)):
        by_hand[:, c] = (seen.pixels(image)[:, c].numpy() / 255 - mean) / std
    found = seen(image)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand, atol=1e-6)


def test_a_view_first_used_in_inference_mode_still_trains() -> None:
    seen = View((1, 3, 3), (0.321,), (0.123,))
    with torch.inference_mode():
        seen(noise(1, 1, 3, 3))
    weight = torch.ones(9, requires_grad=True)
    (seen(noise(1, 1, 3, 3)).flatten() * weight).sum().backward()
    assert weight.grad is not None


def measured(*shape: int) -> torch.Tensor:
    """Far from 0, as acceleration is, so that a scale of 0 .. 1 or a rounding would show."""
    return 9.81 + 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def floats(*shape: int) -> View:
    return View(shape, (9.0,) * shape[0], (2.5,) * shape[0], "float32")  # type: ignore[arg-type]


def test_float32_is_normalised_on_its_own_scale_and_not_written_to() -> None:
    image = measured(2, 3, 1, 8)
    before = image.clone()
    seen = View((3, 1, 8), (9.0, 10.0, -4.0), (0.5, 2.0, 3.0), "float32")
    found = seen(image)
    by_hand = (image.double().numpy() - np.array([9, 10, -4]).reshape(3, 1, 1)) / np.array([0.5, 2, 3]).reshape(3, 1, 1)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand, rtol=1e-6, atol=1e-6)
    assert seen.pixels(image) is image
    assert torch.equal(image, before)


@pytest.mark.parametrize("wanted", [(1, 7, 5), (1, 28, 28), (1, 1, 32)])
def test_float32_is_resized_without_rounding(wanted: tuple[int, int, int]) -> None:
    image = measured(2, 1, 16, 20) / 1000  # rounded to a whole number it would be 0
    exact = triangle(16, wanted[1]) @ image.double().numpy() @ triangle(20, wanted[2]).T
    np.testing.assert_allclose(floats(*wanted).pixels(image).numpy(), exact, rtol=1e-5)


def test_a_signal_is_resized_along_its_length() -> None:
    image = measured(2, 3, 1, 20)
    np.testing.assert_allclose(
        floats(3, 1, 7).pixels(image).numpy(), image.double().numpy() @ triangle(20, 7).T, rtol=1e-5
    )


def test_float32_of_one_channel_repeats_but_three_are_no_colours() -> None:
    image = measured(2, 1, 8, 8)
    found = floats(3, 8, 8).pixels(image)
    assert all(torch.equal(found[:, c], image[:, 0]) for c in range(3))
    with pytest.raises(
        UserError, match=r"3 channels for a view of 1; .* float32 only from 1 to 3: use a view of shape \(3, 8, 8\)"
    ):
        floats(1, 8, 8).pixels(measured(2, 3, 8, 8))


def test_a_view_refuses_the_other_dtype() -> None:
    with pytest.raises(UserError, match=r"a view of float32 sources was given torch\.uint8"):
        floats(1, 8, 8)(noise(1, 1, 8, 8))
    with pytest.raises(UserError, match=r"a view of uint8 sources was given torch\.float32"):
        view(1, 8, 8)(measured(1, 1, 8, 8))
    with pytest.raises(UserError, match=r"a view of 'float16' sources; expected 'uint8' or 'float32'"):
        View((1, 8, 8), (0.0,), (1.0,), "float16")


@pytest.mark.parametrize("seen", [floats(3, 1, 8), view(1, 4, 5)])
def test_a_view_comes_back_from_json(seen: View) -> None:
    about = json.loads(json.dumps(asdict(seen)))
    assert View.restored(about) == seen
    if seen.dtype == "uint8":  # as was written before there was a dtype
        del about["dtype"]
        assert View.restored(about) == seen


def test_normalisation_of_float32_is_mean_and_std_on_its_own_scale() -> None:
    images = measured(4999, 2, 1, 3)
    images[:, 1] = images[:, 1] / 1e4 + 1e3  # a small spread far from 0, which one pass in float32 would lose
    mean, std = normalisation(Split(images, torch.zeros(4999, dtype=torch.int64)))
    exact = images.double().numpy()
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, exact.std((0, 2, 3)), rtol=1e-9)
    images[:, 1] = 0.1
    with pytest.raises(UserError, match=r"channel 1 of the images is 0\.1 everywhere"):
        normalisation(Split(images, torch.zeros(4999, dtype=torch.int64)))


def test_normalisation_is_mean_and_std_of_the_pixels() -> None:
    images = noise(7, 3, 5, 6)
    images[:, 1] //= 4
    mean, std = normalisation(Split(images, torch.zeros(7, dtype=torch.int64)))
    scaled = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-12)
    normalised = View((3, 5, 6), mean, std)(images)
    np.testing.assert_allclose(normalised.mean((0, 2, 3)).numpy(), 0, atol=1e-5)


def test_a_constant_channel_cannot_be_normalised() -> None:
    with pytest.raises(UserError, match="channel 0 of the images is 9 everywhere"):
        normalisation(Split(torch.full((2, 1, 3, 3), 9, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("shape", "mean", "std", "message"),
    [
        ((1, 8, 0), (0.0,), (1.0,), "expected \\(channels, height, width\\)"),
        ((3, 8, 8), (0.0,), (1.0, 1.0, 1.0), "mean .* has 1 values; expected 3"),
        ((1, 8, 8), (0.0,), (1.0, 1.0), "std .* has 2 values; expected 1"),
        ((1, 8, 8), (0.0,), (0.0,), "not above 0"),
        ((1, 8, 8), (0.0,), (float("nan"),), "not above 0"),
    ],
)
def test_a_view_that_makes_no_sense(
    shape: tuple[int, int, int], mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        View(shape, mean, std)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 1, 8, 8), "float32"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), r"\[B, C, H, W\]"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), "4 channels for a view of 3"),
    ],
)
def test_images_a_view_cannot_show(image: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        view(3, 8, 8)(image)
