"""Spoken digits as log-mel signals: fsdd.npz (the Free Spoken Digit Dataset, 8 kHz) -> an npz that `data=arrays` reads.

    python -m benchmarks.personal.people.spoken_digits DATA_ROOT/fsdd.npz runs/personalise/digits.npz

It gets `inputs` [N, MELS, FRAMES] float32 (layout NCL: a band is a channel of a signal), `labels` [N] and `owners` [N], the
speakers' names. An utterance is scaled to a peak of 1, framed by a Hann window of 32 ms every 20 ms, its power spectrum summed
by triangles equally wide on the mel scale, and read in decades above `FLOOR`, so that silence, and what a shift lets in, is 0.
The middle second is kept; what is shorter has silence on both sides.

Axes: N utterances, S samples of one, T frames, F frequencies, M mel bands.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 8000  # Hz
WINDOW, HOP = 256, 160  # samples
MELS, FRAMES = 32, 48
LOWEST, HIGHEST = 60.0, 4000.0  # Hz
FLOOR = 1e-4  # power of a mel band that counts as silence, an utterance's peak being 1

Floats = NDArray[np.float64]


def log_mel(audio_S: NDArray[np.int16]) -> NDArray[np.float32]:
    """[MELS, FRAMES] of one utterance at 8 kHz."""
    scaled_S = audio_S / max(1.0, float(np.abs(audio_S.astype(np.float64)).max()))
    padded_S = np.pad(scaled_S, WINDOW // 2)
    frames_TS = np.lib.stride_tricks.sliding_window_view(padded_S, WINDOW)[::HOP]
    power_TF = np.abs(np.fft.rfft(frames_TS * np.hanning(WINDOW + 1)[:-1], axis=1)) ** 2
    decades_MT = np.log10(np.maximum(mel_filters() @ power_TF.T, FLOOR) / FLOOR)
    return centred(decades_MT).astype(np.float32)


def mel_filters() -> Floats:
    """[MELS, WINDOW / 2 + 1]: triangles that reach from one neighbour's centre to the other's."""
    edge = hertz(np.linspace(mel(LOWEST), mel(HIGHEST), MELS + 2))
    frequency_F = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    left, centre, right = edge[:-2, None], edge[1:-1, None], edge[2:, None]
    rising, falling = (frequency_F - left) / (centre - left), (right - frequency_F) / (right - centre)
    triangle_MF: Floats = np.maximum(0, np.minimum(rising, falling))
    return triangle_MF


def mel(frequency: float) -> float:
    """O'Shaughnessy's scale: 1000 Hz are 1000 mel."""
    return float(2595 * np.log10(1 + frequency / 700))


def hertz(mels: Floats) -> Floats:
    of_mels: Floats = 700 * (10 ** (mels / 2595) - 1)
    return of_mels


def centred(bands_MT: Floats) -> Floats:
    """The middle `FRAMES`, or silence around what is shorter."""
    spare = bands_MT.shape[1] - FRAMES
    if spare >= 0:
        return bands_MT[:, spare // 2 : spare // 2 + FRAMES]
    return np.pad(bands_MT, ((0, 0), (-spare // 2, -spare - -spare // 2)))


def log_mels(source: Path) -> dict[str, Any]:
    """The columns above of fsdd.npz."""
    with np.load(source) as fsdd:
        audio, offset, names = fsdd["audio"], fsdd["offset"], fsdd["speaker_names"]
        labels, speaker = fsdd["label"].astype(np.int64), fsdd["speaker"]
    inputs = np.stack([log_mel(audio[start:end]) for start, end in pairwise(offset)])
    return {"inputs": inputs, "labels": labels, "owners": names[speaker].astype(str)}


def convert(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(target, **log_mels(source))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personal.people.spoken_digits")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    convert(given.source, given.target)
