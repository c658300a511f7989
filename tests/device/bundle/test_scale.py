"""Samples on another scale than the bundle's: asked about on every way in, before anything is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Learner, Owner, Preprocessed, Raw, SampleError, Samples, Watch
from mentee_device.bundle.manifest import Preprocessing
from mentee_device.bundle.samples import preprocess
from mentee_device.bundle.scale import LEVELS, NEAR, clear, pixel_range

from tests.device.sealing import edit_manifest, reseal

PIXELS = np.random.default_rng(4).integers(0, 256, (6, 1, 8, 8), np.uint8)
LABELS = np.arange(6)

WAYS: dict[str, Callable[[Owner, np.ndarray[Any, Any]], object]] = {
    "predict": lambda me, x: me.predict(x),
    "evaluate": lambda me, x: me.evaluate(x, LABELS),
    "add": lambda me, x: me.add(Samples(x, LABELS)),
    "stream": lambda me, x: me.stream(Samples(x, LABELS), every=3),
    "enrol": lambda me, x: me.enrol("sign", x),
    "recognise": lambda me, x: me.recognise(x),
    "observe": lambda me, x: me.observe(x, Watch(samples=2)),
    "learner predicts": lambda me, x: me.learner.predict(x),
    "learner learns": lambda me, x: me.learner.learn(Samples(x, LABELS), 1),
}
OTHERWISE: dict[str, tuple[np.ndarray[Any, Any], str]] = {
    "x / 255": (PIXELS.astype(np.float32) / 255, "lies between 0 and 1, as pixels over 255 do"),
    "all black of x / 255": (np.zeros((6, 1, 8, 8), np.float32), "lies between 0 and 1"),
    "x / 127.5 - 1": (PIXELS.astype(np.float32) / 127.5 - 1, "sample 0 has|lies between −1 and 1"),
    "x / 255 - .5": (PIXELS.astype(np.float32) / 255 - np.float32(0.5), r"steps of 0\.00392|lies between −\.5 and \.5"),
    "ImageNet's": (
        (PIXELS.astype(np.float32) / 255 - np.float32(0.485)) / np.float32(0.229),
        "sample 0 has|steps of 0",
    ),
    "0 and 1 as uint8": ((PIXELS > 127).astype(np.uint8), "uint8 and has only 0 and 1"),
    "0 and 1 as bool": (PIXELS > 127, "dtype bool, expected uint8"),
    "int64": (PIXELS.astype(np.int64), r"dtype int64, .*: x\.astype\('uint8'\) where these are pixels"),
    "16 bit": (PIXELS.astype(np.uint16) * 257, "dtype uint16, expected uint8"),
    "half": ((PIXELS / 255).astype(np.float16), "dtype float16, expected uint8"),
    "double": (PIXELS / 255, "dtype float64, expected uint8"),
    "0 to 255 as float": (PIXELS.astype(np.float32), "goes in steps of 1, .* give raw uint8, the pixels from 0 to 255"),
    "channels last": (PIXELS.transpose(0, 2, 3, 1), r"channels are last, x\.transpose\(0, 3, 1, 2\)"),
    "one sample": (PIXELS[0], "add a first axis"),
    "text": (PIXELS.astype(str), "dtype <U3, expected uint8"),
    "things": (PIXELS.astype(object), "dtype object, expected uint8"),
    "a number": (np.array(3, np.uint8), "input is a single uint8"),
    "masked": (np.ma.masked_greater(PIXELS, 99), "input is a masked array"),
    "a list": ([[1, 2]], "list, expected an array"),  # type: ignore[dict-item]
}


@pytest.fixture
def me(bundle: Bundle, tmp_path: Path) -> Any:
    with Owner(bundle, tmp_path / "me") as owner:
        yield owner


@pytest.mark.parametrize("way", WAYS)
def test_no_way_in_takes_another_scale(me: Owner, way: str) -> None:
    revision, before = me.store.revision, me.learner.parameters()
    for given, said in OTHERWISE.values():
        with pytest.raises(SampleError, match=f"{said}|labels have shape") as error:
            WAYS[way](me, given)
        assert "\n" not in str(error.value)
    assert me.store.revision == revision
    for name, value in me.learner.parameters().items():
        np.testing.assert_array_equal(value, before[name])
    WAYS[way](me, PIXELS)


@pytest.mark.parametrize("way", [*WAYS])
def test_who_says_what_it_is_is_believed(me: Owner, way: str) -> None:
    WAYS[way](me, np.full((6, 1, 8, 8), 0.25, np.float32).view(Preprocessed))
    WAYS[way](me, (PIXELS > 127).astype(np.uint8).view(Raw))
    for given in (PIXELS.view(Preprocessed), (PIXELS / 255).astype(np.float32).view(Raw)):
        with pytest.raises(SampleError, match="input is marked"):
            WAYS[way](me, given)


def test_a_part_of_what_was_cleared_is_not_asked_about_again(me: Owner) -> None:
    """A mid-grey sample lies within 0 and 1 although the whole batch does not."""
    ready = preprocess(PIXELS, me.bundle.manifest)
    ready[3] = 0.5
    numbers = me.add(Samples(ready, np.full(6, -1)))
    me.stream(Samples(ready + np.float32(0.001), LABELS), every=1)
    kept, _ = me.samples.read([numbers[3]])
    np.testing.assert_array_equal(kept.input[0], ready[3])
    me.guess()
    me.learn()


def test_where_pixels_over_255_are_what_the_graphs_take_nothing_is_asked(altered: Path) -> None:
    edit_manifest(altered, lambda content: content["preprocessing"].update(mean=[0.0], std=[1.0]))
    reseal(altered)
    with Bundle.open(altered) as bundle, Learner(bundle) as learner:
        over = PIXELS.astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(learner.predict(over).logits, learner.predict(PIXELS).logits)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), (0.1307, 0.3081), (0.4, 0.9), (0.0, 0.5), (0.485, 0.229)])
def test_of_all_means_and_deviations_no_rescaled_image_passes(bundle: Bundle, mean: float, std: float) -> None:
    """By brute force: whatever the bundle's, an image over 255 is asked about, and a preprocessed one with a black pixel is not
    unless the two cannot be told apart."""
    from dataclasses import replace

    manifest = replace(bundle.manifest, preprocessing=Preprocessing((1, 8, 8), (mean,), (std,)))
    lowest, _ = pixel_range(manifest.preprocessing)
    black = PIXELS.copy()
    black[:, 0, 0, 0] = 0
    with pytest.raises(SampleError, match="lies between"):
        clear(black.astype(np.float32) / 255, manifest)
    ready = preprocess(black, manifest)
    if lowest < 0:
        assert isinstance(clear(ready, manifest), Preprocessed)


BUNDLES = [(0.5, 0.5), (0.1307, 0.3081), (0.4, 0.9), (0.0, 0.5), (0.485, 0.229), (0.2860, 0.3530), (0.3, 0.12)]
FACTORS = {
    "x / 255 - .5": lambda pixels: pixels / 255 - 0.5,
    "x / 127.5 - 1": lambda pixels: pixels / 127.5 - 1,
    "x / 255": lambda pixels: pixels / 255,
    "x / 128 - 1": lambda pixels: pixels / 128 - 1,
    "x / 256": lambda pixels: pixels / 256,
    **{f"for {pair}": lambda pixels, pair=pair: (pixels / 255 - pair[0]) / pair[1] for pair in BUNDLES},
}


def images(seed: int, lowest: int = 0, highest: int = 255) -> np.ndarray[Any, Any]:
    """Smooth ones, as photographs are, of 8 bit."""
    random = np.random.default_rng(seed)
    x = np.linspace(0, 3, 28)
    waves = [
        np.sin(random.uniform(0.5, 3) * x[:, None] + random.uniform(0.5, 3) * x + random.uniform(0, 6))
        for _ in range(8)
    ]
    made = np.stack(waves)[:, None] / 2 + 0.5
    return (lowest + made * (highest - lowest)).round().astype(np.uint8)


def asked(bundle: Bundle, pair: tuple[float, float], given: np.ndarray[Any, Any]) -> bool:
    from dataclasses import replace

    rules = Preprocessing((1, 28, 28), (pair[0],), (pair[1],))
    try:
        clear(given.astype(np.float32), replace(bundle.manifest, preprocessing=rules))
    except SampleError:
        return True
    return False


@pytest.mark.parametrize("pair", BUNDLES, ids=str)
def test_8_bit_images_on_any_other_scale_are_asked_about_and_their_own_never(
    bundle: Bundle, pair: tuple[float, float]
) -> None:
    """Against what the scale does: the input that the network would get is off by more than a quarter of its contrast."""
    for seed, (lowest, highest) in enumerate([(0, 255), (3, 250), (20, 200), (60, 255), (0, 130)]):
        pixels = images(seed, lowest, highest).astype(np.float64)
        for name, scale in FACTORS.items():
            given, right = scale(pixels), (pixels / 255 - pair[0]) / pair[1]
            same = np.allclose(given, right, atol=1e-6)
            ratio = given.std() / right.std()
            outside = ((given * pair[1] + pair[0]) * 255 < -LEVELS / 20).any()
            if not same and (outside or not 1 / NEAR < ratio < NEAR):
                assert asked(bundle, pair, given), (name, lowest, highest)
            if same and not (given.min() >= 0 and given.max() <= 1):
                assert not asked(bundle, pair, given), (name, lowest, highest)


@pytest.mark.parametrize("pair", BUNDLES, ids=str)
def test_preprocessed_samples_that_are_no_plain_pixels_any_more_are_taken(
    bundle: Bundle, pair: tuple[float, float]
) -> None:
    random = np.random.default_rng(9)
    pixels = images(2, 0, 255).astype(np.float64)
    pixels[:, 0, 0, 0] = 0  # so that they are not all bright
    pixels[:, 0, 0, 1] = 255
    changed = {
        "of 7 bit": pixels // 2 * 2,
        "of 4 bit": (pixels // 17) * 17,
        "of 16 levels": (pixels // 16) / 15 * 255,
        "inverted": 255 - pixels,
        "noisy": np.clip(pixels + random.normal(0, 4, pixels.shape), 0, 255),
        "resized": (pixels + np.roll(pixels, 1, 2) + np.roll(pixels, 1, 3)) / 3,
        "a tenth darker": pixels * 0.9,
        "a tenth brighter, cut off": np.clip(pixels * 1.1, 0, 255),
        "black and white": (pixels > 127) * 255.0,
    }
    for name, given in changed.items():
        ready = (given / 255 - pair[0]) / pair[1]
        if not (ready.min() >= 0 and ready.max() <= 1):
            assert not asked(bundle, pair, ready), name
        one = ready[:1]
        if not (one.min() >= 0 and one.max() <= 1):
            assert not asked(bundle, pair, one), name
