"""Samples on another scale than the bundle's: asked about on every way in, before anything is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Learner, Owner, Preprocessed, Raw, SampleError, Samples, Watch
from mentee_device.bundle.manifest import Preprocessing
from mentee_device.bundle.samples import preprocess
from mentee_device.bundle.scale import clear, pixel_range

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
    "0 and 1 as uint8": ((PIXELS > 127).astype(np.uint8), "uint8 and has only 0 and 1"),
    "0 and 1 as bool": (PIXELS > 127, "dtype bool, expected uint8"),
    "int64": (PIXELS.astype(np.int64), r"dtype int64, .*: x\.astype\('uint8'\) where these are pixels"),
    "16 bit": (PIXELS.astype(np.uint16) * 257, "dtype uint16, expected uint8"),
    "half": ((PIXELS / 255).astype(np.float16), "dtype float16, expected uint8"),
    "double": (PIXELS / 255, "dtype float64, expected uint8"),
    "0 to 255 as float": (PIXELS.astype(np.float32), "sample 0 has"),
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
