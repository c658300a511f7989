"""Simulated motion of many people, an analogue of phone accelerometer and gyroscope data: an npz that `data=arrays` reads.

    python -m benchmarks.personal.people.motion runs/owners/motion.npz [--seed 0]

It gets `inputs` [N, 6, LENGTH] float32 (layout NCL: acceleration with gravity, then turning rate), `labels` [N] of six
activities, `owners` [N], "train" for the people a base may learn from and "held" for the others, and `persons` [N]. Walking,
upstairs and downstairs are sums of harmonics of a gait; sitting, standing and lying differ by where gravity points, sitting and
standing by a few degrees. A person is a random effect: how the sensor is turned, its gain, how fast and how strongly they walk,
and how they sit. So groups of a person's windows lie elsewhere than everybody's, and sitting may lie where others stand.

Axes: N windows, T times, A axes, H harmonics.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.personal.hard import rotation

ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "lying")
LENGTH, RATE = 64, 25.0  # samples and Hz: 2.56 s, as the windows of UCI HAR
TRAIN, HELD = 20, 16  # people
TRAIN_WINDOWS, HELD_WINDOWS = 40, 100  # of each activity
HARMONICS = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """`turn` [3, 3] of the sensor, `gain` [6], the gait's `tempo` and `strength`, `gait` [3, 6, H] complex, what is theirs in the
    harmonics, and `lean` [6], degrees by which their body leans in each activity."""

    turn: Floats
    gain: Floats
    tempo: float
    strength: float
    gait: NDArray[np.complex128]
    lean: Floats


def complex_normal(random: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    return np.asarray(random.normal(size=shape) + 1j * random.normal(size=shape))


def draw_person(random: np.random.Generator) -> Person:
    return Person(
        turn=rotation(random.normal(size=3), float(random.normal(0, 9))),
        gain=1 + random.normal(0, 0.06, 6),
        tempo=float(random.normal(1.0, 0.09)),
        strength=float(np.exp(random.normal(0, 0.22))),
        gait=complex_normal(random, 3, 6, HARMONICS) * 0.22,
        lean=random.normal([0, 8, -5, 24, 4, 86], [3, 4, 4, 11, 5, 8]),
    )


def windows(
    person: Person, activity: int, count: int, gaits: NDArray[np.complex128], random: np.random.Generator
) -> Floats:
    """[count, 6, LENGTH] of one activity; `gaits` [3, 6, H] is what all people share."""
    time_T = np.arange(LENGTH) / RATE
    out = np.empty((count, 6, LENGTH))
    for row in range(count):
        lean = person.lean[activity] + random.normal(0, 3.0)
        gravity = rotation(np.array([0.0, 1.0, 0.0]), lean) @ np.array([0.0, 0.0, 1.0])
        signal_AT = np.concatenate([gravity, np.zeros(3)])[:, None] + np.zeros(LENGTH)
        if activity < 3:
            hertz = 1.9 * (1.0, 0.88, 1.04)[activity] * person.tempo * (1 + random.normal(0, 0.03))
            own_AH = (gaits[activity] + person.gait[activity]) * person.strength * np.exp(random.normal(0, 0.12))
            phase_HT = np.exp(2j * np.pi * np.outer(np.arange(1, HARMONICS + 1), time_T * hertz + random.uniform()))
            signal_AT = signal_AT + 0.25 * (own_AH @ phase_HT).real
        else:
            drift = np.cumsum(random.normal(0, 0.004, (6, LENGTH)), axis=1)
            signal_AT = signal_AT + drift
        turned = np.concatenate([person.turn @ signal_AT[:3], person.turn @ signal_AT[3:]])
        out[row] = turned * person.gain[:, None] + random.normal(0, 0.05, (6, LENGTH))
    return out


def simulate(seed: int, train: int = TRAIN, held: int = HELD) -> dict[str, Any]:
    """The arrays of the npz, of so many people."""
    random = np.random.default_rng(seed)
    falling = 1 / np.arange(1, HARMONICS + 1)
    shared = complex_normal(random, 6, HARMONICS)
    gaits = (0.6 * shared + 0.5 * complex_normal(random, 3, 6, HARMONICS)) * falling
    inputs, labels, owners, persons = [], [], [], []
    for number in range(train + held):
        person, part = draw_person(random), "train" if number < train else "held"
        count = HELD_WINDOWS if part == "held" else TRAIN_WINDOWS
        for activity in range(len(ACTIVITIES)):
            inputs.append(windows(person, activity, count, gaits, random))
            labels += [activity] * count
            owners += [part] * count
            persons += [f"p{number}"] * count
    return {
        "inputs": np.concatenate(inputs).astype(np.float32),
        "labels": np.array(labels, np.int64),
        "owners": np.array(owners),
        "persons": np.array(persons),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personal.people.motion")
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(given.target, **simulate(given.seed))
