"""The arms of the personalisation benchmark, on the device program alone: numpy and mentee_device, neither torch nor the server's
folders.

An arm starts from the bundle, is given an owner's labelled and unlabelled samples, and answers for samples it never saw. Axes: N
samples, K classes, D embedding, C channels, L length.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from mentee_device import Learner, Samples, Supervision
from mentee_device.labels.pseudo_labels import probabilities
from mentee_device.runs.clusters import shares
from mentee_device.runs.replay import own_answers
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Answer = Callable[[NDArray[Any]], NDArray[np.int64]]  # input -> classes [N]


@dataclass(frozen=True)
class Arm:
    """`replay`: "" for none, else what a replayed sample carries: "labels", "logits" (the mentor's), "layers" (its logits
    and layers) or "own" (the logits of the mentee as it came). `guesses`: whose hard labels the unlabelled samples get, ""
    for nobody's, else "self", "clusters", "mentor" or "adapted mentor".
    """

    trainable: str = "all"  # as in export.trainable: which bundle it learns on
    replay: str = ""
    guesses: str = ""
    replay_labels: bool = True  # the replayed samples' own labels count as well
    nearest_mean: bool = False
    steps: int = 40  # on the owner's labels
    guessed_steps: int = 40  # then on labels and guesses, in each of `rounds`, before which the guesses are made anew
    rounds: int = 1
    learning_rate: float = 1e-3
    batch: int = 8
    guessed_batch: int = 16
    guess_weight: float = 1.0  # against 1 for the owner's label
    unsure: float = 0.0  # the share of guesses of each class that is left out, the least sure
    replay_batch: int = 16
    owner_weight: float = 4.0
    alpha: float = 1.0
    beta: float = 0.1
    gamma: float | None = 1.0  # None: the bundle's, as of the temperature
    temperature: float | None = 4.0
    shift: float = 0.0  # of the owner's samples in time, a fraction of the length, anew at each step
    program: bool = False  # `Owner.learn` as it comes: of the fields above the learning rate alone is heeded
    settings: dict[str, Any] = field(default_factory=dict)  # of the program

    @property
    def learns_unlabelled(self) -> bool:
        return self.program or self.guesses not in ("", "adapted mentor")


@dataclass(frozen=True)
class Owner:
    """One draw: `labelled` samples, `unlabelled` ones [N, C, 1, L] with the logits of the mentor and of the adapted one on
    them, and a `test`."""

    labelled: Samples
    unlabelled: NDArray[np.float32]
    mentor_logits: dict[str, NDArray[np.float32]]
    test: Samples


def draw_owner(
    samples: Samples, mentor_logits: dict[str, NDArray[np.float32]], k: int, draw: int, test: int = 25, most: int = 5
) -> Owner:
    """`test` samples of each class to judge by, `k` ≤ `most` of the others labelled, and the rest but `most` unlabelled. The
    same `draw` has the same test and unlabelled samples for every k, and fewer labels are among more."""
    random = np.random.default_rng(draw)
    parts: list[list[Rows]] = [[], [], []]
    for label in np.unique(samples.labels):
        rows = random.permutation(np.flatnonzero(samples.labels == label))
        for part, of_class in zip(parts, (rows[:test], rows[test : test + k], rows[test + most :]), strict=True):
            part.append(of_class)
    judged, labelled, rest = (np.concatenate(part) for part in parts)
    logits = {name: value[rest] for name, value in mentor_logits.items()}
    return Owner(samples.take(labelled), samples.input[rest], logits, samples.take(judged))


def personalise(learner: Learner, arm: Arm, owner: Owner, draw: int) -> Answer:
    """Learns from the bundle on (the learner's state is left where it ends) and returns what answers then."""
    learner.reset()
    random = np.random.default_rng([draw, 1])
    replay = replay_of(learner, arm) if arm.replay else None
    learner.learning_rate = arm.learning_rate
    if len(owner.labelled):
        learn(learner, arm, arm.steps, owner.labelled, None, replay, random)
    for _ in range(arm.rounds if arm.guesses else 0):
        learn(learner, arm, arm.guessed_steps, owner.labelled, guess(learner, arm, owner), replay, random)
    if arm.nearest_mean:
        return nearest_mean(learner, owner.labelled)
    return lambda input: learner.predict(input).logits.argmax(axis=1)


def replay_of(learner: Learner, arm: Arm) -> Supervision:
    """The bundle's pack under the answers of this arm; the learner is still at its base."""
    replay = own_answers(learner) if arm.replay == "own" else learner.supervision
    if not arm.replay_labels:
        replay = replace(replay, samples=Samples(replay.samples.input, np.full(len(replay), -1)))
    return replay


def learn(
    learner: Learner,
    arm: Arm,
    steps: int,
    labelled: Samples,
    guessed: Samples | None,
    replay: Supervision | None,
    random: np.random.Generator,
) -> None:
    knobs = {
        "alpha": arm.alpha,
        "beta": arm.beta if arm.replay == "layers" else 0.0,
        "gamma": arm.gamma if arm.replay in ("own", "logits", "layers") else 0.0,
        "temperature": arm.temperature,
    }
    sources = [(labelled, arm.batch, 1.0)] + ([(guessed, arm.guessed_batch, arm.guess_weight)] if guessed else [])
    for _ in range(steps):
        parts = [drawn(samples, size, random) for samples, size, _ in sources]
        input, labels = np.concatenate([p.input for p in parts]), np.concatenate([p.labels for p in parts])
        weights = np.concatenate([np.full(len(p), w, np.float32) for p, (_, _, w) in zip(parts, sources, strict=True)])
        again = None if replay is None else replay.take(random.choice(len(replay), arm.replay_batch, replace=False))
        owners = Samples(shifted(input, arm.shift, random), labels)
        learner.learn_batch(owners, again, owner_weight=arm.owner_weight, weights=weights, answers=None, **knobs)


def drawn(samples: Samples, size: int, random: np.random.Generator) -> Samples:
    return samples.take(random.choice(len(samples), min(size, len(samples)), replace=False))


def shifted(input_NCHL: NDArray[np.float32], most: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Each sample moved along its last axis by up to `most` of it, whole steps; what comes in is 0."""
    length = input_NCHL.shape[-1]
    moves = random.integers(-int(most * length), int(most * length) + 1, len(input_NCHL))
    out = np.zeros_like(input_NCHL)
    for i, move in enumerate(moves.tolist()):
        to, source = slice(max(0, move), length + min(0, move)), slice(max(0, -move), length - max(0, move))
        out[i, ..., to] = input_NCHL[i, ..., source]
    return out


def guess(learner: Learner, arm: Arm, owner: Owner) -> Samples:
    """Hard labels for the unlabelled samples, of each class the surest 1 − `unsure`."""
    if arm.guesses == "clusters":
        known = np.concatenate([owner.labelled.labels, np.full(len(owner.unlabelled), -1)])
        embedding_ND = learner.predict(np.concatenate([owner.labelled.input, owner.unlabelled])).embedding
        share_NK = shares(learner, embedding_ND, known)
        if share_NK is None:
            raise ValueError("the bundle's replay samples have labels of fewer than two classes")
        sure_NK = share_NK[len(owner.labelled) :]
    elif arm.guesses == "self":
        sure_NK = probabilities(learner.predict(owner.unlabelled).logits, len(owner.unlabelled))
    else:
        sure_NK = probabilities(owner.mentor_logits[arm.guesses], len(owner.unlabelled))
    classes_N, sure_N = sure_NK.argmax(axis=1), sure_NK.max(axis=1)
    kept = []
    for label in np.unique(classes_N):
        rows = np.flatnonzero(classes_N == label)
        kept.append(rows[np.argsort(-sure_N[rows])][: max(1, round(len(rows) * (1 - arm.unsure)))])
    chosen = np.sort(np.concatenate(kept))
    return Samples(owner.unlabelled[chosen], classes_N[chosen].astype(np.int64))


def nearest_mean(learner: Learner, labelled: Samples) -> Answer:
    """Each class at the middle between everybody's mean embedding and the owner's, where they gave labels; cosine after the
    mean of the classes is taken off (SimpleShot, arXiv 1911.04623)."""
    mean_KD = class_means(learner, everybody(learner))
    if len(labelled):
        mean_KD = (mean_KD + class_means(learner, labelled)) / np.float32(2)
    centre_D = mean_KD.mean(axis=0)
    unit_KD = unit(mean_KD - centre_D)
    return lambda input: (unit(learner.predict(input).embedding - centre_D) @ unit_KD.T).argmax(axis=1)


def everybody(learner: Learner) -> Samples:
    """The bundle's replay samples that have a label."""
    samples = learner.supervision.samples
    return samples.take(np.flatnonzero(samples.labels >= 0))


def class_means(learner: Learner, samples: Samples) -> NDArray[np.float32]:
    embedding_ND = learner.predict(samples.input).embedding
    return np.stack([embedding_ND[samples.labels == label].mean(axis=0) for label in np.unique(samples.labels)])


def unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return np.asarray(vectors_ND / np.maximum(length_N1, 1e-12), np.float32)
