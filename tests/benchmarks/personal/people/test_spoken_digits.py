"""Log-mel bands against a Fourier sum written out, and against tones whose band is known."""

import math
from pathlib import Path

import numpy as np

from benchmarks.personal.people import spoken_digits as recipe
from mentor_mentee.data.arrays import arrays


def test_a_frame_is_the_fourier_sum_under_triangles() -> None:
    audio = np.random.default_rng(0).integers(-3000, 3000, 1600).astype(np.int16)
    found = recipe.log_mel(audio)
    scaled = np.pad(audio / np.abs(audio.astype(float)).max(), 128)
    frame, frames = 3, 1 + 1600 // 160
    samples = [
        scaled[frame * 160 + s] * (0.5 - 0.5 * math.cos(2 * math.pi * s / 256)) for s in range(256)
    ]  # Hann, periodic
    edges = [
        700 * (10 ** (m / 2595) - 1)
        for m in np.linspace(2595 * math.log10(1 + 60 / 700), 2595 * math.log10(1 + 4000 / 700), 34)
    ]
    for band in (0, 7, 31):
        power = 0.0
        for f in range(129):
            hertz = f * 8000 / 256
            left, centre, right = edges[band : band + 3]
            weight = max(0.0, min((hertz - left) / (centre - left), (right - hertz) / (right - centre)))
            real = sum(x * math.cos(2 * math.pi * f * s / 256) for s, x in enumerate(samples))
            imaginary = sum(x * math.sin(2 * math.pi * f * s / 256) for s, x in enumerate(samples))
            power += weight * (real**2 + imaginary**2)
        expected = math.log10(max(power, 1e-4) / 1e-4)
        assert found[band, (48 - frames) // 2 + frame] == np.float32(expected) or math.isclose(
            found[band, (48 - frames) // 2 + frame], expected, rel_tol=1e-5
        )


def test_a_tone_is_loudest_in_the_band_around_it_and_loudness_does_not_matter() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    quiet, loud = (recipe.log_mel((amplitude * tone).astype(np.int16)) for amplitude in (3000, 30000))
    centres = recipe.hertz(np.linspace(recipe.mel(60), recipe.mel(4000), 34))[1:-1]
    assert quiet[:, 24].argmax() == np.abs(centres - 1000).argmin()
    np.testing.assert_allclose(quiet[quiet > 2], loud[quiet > 2], atol=0.02)


def test_short_ones_lie_in_silence_and_long_ones_lose_both_ends() -> None:
    short = recipe.log_mel(np.where(np.arange(160 * 9) % 2, 20000, -20000).astype(np.int16))
    assert short.shape == (32, 48)
    assert not short[:, :19].any()
    assert not short[:, 29:].any()
    assert short[:, 19:29].any(axis=0).all()
    long = np.zeros(160 * 99, np.int16)
    long[: 160 * 20] = 20000
    assert not recipe.log_mel(long).any()


def test_what_it_writes_is_read_by_data_arrays(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    np.savez(
        tmp_path / "fsdd.npz",
        audio=random.integers(-99, 99, 40 * 300).astype(np.int16),
        offset=np.arange(41) * 300,
        label=labels,
        speaker=np.arange(40) // 20,
        speaker_names=np.array(["ann", "bob"]),
    )
    recipe.convert(tmp_path / "fsdd.npz", tmp_path / "digits.npz")
    splits = arrays(tmp_path / "digits.npz", layout="NCL", owners="owners")
    assert splits.shape == (32, 1, 48)
    assert splits.train.owner_names == ("ann", "bob")
