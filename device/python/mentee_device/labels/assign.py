"""Labels for an owner's kept samples that have none, what they were guessed from, and the way back.

Samples are taken in the order they were kept. A guess is learnt from like a label, at its weight; the owner's word replaces
it whenever it comes. Axes: N samples, K classes.
"""

import json
import time
from calendar import timegm
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, SampleError
from mentee_device.labels.pseudo_labels import (
    EVIDENCE,
    GUESSED,
    OWNER,
    Guesses,
    Mentor,
    adaptive_thresholds,
    agreed,
    ask,
    clustered,
    mentors,
    near_misses,
    owners,
    probabilities,
    pseudo,
    read_evidence,
)
from mentee_device.runs import unlearn as forgetting
from mentee_device.runs.grouping import shares
from mentee_device.runs.run import Watcher
from mentee_device.state.sample_store import About
from mentee_device.state.store import CLOCK

if TYPE_CHECKING:
    from mentee_device.owner import Owner

RULES = ("pseudo", "clusters")
CHUNK = 64  # samples in memory at once


@dataclass(frozen=True)
class Guess:
    """A kept sample's guessed label: how sure its `source` was of it, and the label `before` a neighbour's took its place,
    −1 for none."""

    number: int
    label: int
    source: str
    confidence: float
    before: int


def guess(
    owner: "Owner",
    mentor: Mentor | None,
    threshold: float | None,
    adaptive: bool,
    mentor_threshold: float,
    pause: float | None,
    window: int,
    near: float,
    rule: str,
    weight: float,
) -> list[Guess]:
    """The new guesses; see `Owner.guess`. Asks the mentor first, then the mentee, then the neighbours of a stream."""
    if rule not in RULES:
        raise SampleError(f"no rule {rule!r} to guess by; there are {', '.join(RULES)}")
    about, probability_NK, embedding_ND, mentor_NK = _asked(owner, mentor)
    known = _known(owner, about)
    before = known
    if len(about):
        known = mentors(known, mentor_NK, mentor_threshold)
    if rule == "clusters" and len(about):
        known = clustered(known, _shares(owner, embedding_ND, before), weight)
    elif threshold is not None and len(about):
        known = pseudo(known, probability_NK, adaptive_thresholds(probability_NK, threshold) if adaptive else threshold)
    if pause is not None:
        if not pause > 0:
            raise SampleError(
                f"pause is {pause}, expected the longest seconds between two frames of one stream, above 0"
            )
        for frames in streams(about, pause):
            part = near_misses(
                _rows(known, frames), probability_NK[frames], 0.95 if threshold is None else threshold, near
            )
            known = _replaced(known, frames, agreed(part, window))
    return _keep(owner, about, before, known)


def streams(about: list[About], pause: float) -> list[NDArray[np.int64]]:
    """Row numbers of each stream: kept one after the other, none missing in between, at most `pause` seconds apart."""
    if not about:
        return []
    seconds = [timegm(time.strptime(one.time, CLOCK)) for one in about]
    ends = [
        row
        for row in range(1, len(about))
        if about[row].number != about[row - 1].number + 1 or not 0 <= seconds[row] - seconds[row - 1] <= pause
    ]
    return np.split(np.arange(len(about)), ends)


def guesses(owner: "Owner") -> list[Guess]:
    """All guesses that stand, oldest sample first."""
    evidence = read_evidence(owner.store)
    found = []
    for one in owner.kept.all():
        if one.source in GUESSED:
            confidence, before = evidence.get(str(one.number), (0.0, -1))
            found.append(Guess(one.number, one.label, one.source, confidence, before))
    return found


def undo(
    owner: "Owner", samples: Collection[int] | None, sources: Collection[str], watch: Watcher | None
) -> forgetting.Forgotten:
    """Takes guessed labels back, and what they taught; see `Owner.undo_guesses`."""
    unknown = [name for name in sources if name not in GUESSED]
    if unknown:
        raise SampleError(f"no guesses by {unknown}; they are by {', '.join(GUESSED)}")
    standing = {one.number for one in guesses(owner) if one.source in sources}
    if samples is not None:
        for number in set(samples) - standing:
            raise SampleError(f"sample {number} has no guessed label to undo: nothing was changed")
        standing &= set(samples)
    if not standing:
        return forgetting.Forgotten([], [], owner.versions.current, None)
    return forgetting.forget(owner, standing, None, watch, unlabel=True)


def _shares(owner: "Owner", embedding_ND: NDArray[np.float32], known: Guesses) -> NDArray[np.float64]:
    said_N = np.where(known.source == OWNER, known.labels, UNLABELLED)
    share_NK = shares(owner.learner, embedding_ND, said_N)
    if share_NK is None:
        raise SampleError(
            "clusters need two classes to start from, and neither the bundle's replay samples nor the owner's labels have "
            "them: label some samples, or guess by another rule"
        )
    return share_NK


def _asked(
    owner: "Owner", mentor: Mentor | None
) -> tuple[list[About], NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """All kept samples, the mentee's probabilities and embeddings, and the mentor's logits where they are recorded or can be
    had."""
    K = len(owner.bundle.manifest.classes)
    about = owner.kept.all()
    while True:
        probability, embedding, answers = [np.zeros((0, K))], [], [np.zeros((0, K))]
        for start in range(0, len(about), CHUNK):
            chunk = [one.number for one in about[start : start + CHUNK]]
            samples, _ = owner.kept.read(chunk)
            if len(samples) < len(chunk):
                break
            found = owner.learner.predict(samples.input)
            probability.append(probabilities(found.logits, len(chunk)))
            embedding.append(found.embedding)
            recorded = [owner.kept.mentor_logits(number) for number in chunk]
            logits_NK = np.array(
                [np.full(K, np.nan) if one is None or len(one) != K else one for one in recorded], np.float64
            )
            open_N = (samples.labels < 0) & np.isnan(logits_NK).all(axis=1)
            if mentor is not None and open_N.any():
                logits_NK[open_N] = ask(mentor, samples.input[open_N], K)
            answers.append(logits_NK)
        else:
            whole = np.concatenate(embedding) if embedding else np.zeros((0, 0), np.float32)
            return about, np.concatenate(probability), whole, np.concatenate(answers)
        about = owner.kept.all()  # a damaged sample was found and removed


def _known(owner: "Owner", about: list[About]) -> Guesses:
    """Labels as they stand, the owner's and earlier guesses."""
    labels_N = np.array([one.label for one in about], np.int64)
    evidence = read_evidence(owner.store)
    start = owners(labels_N)
    found = [evidence.get(str(one.number), (1.0 if one.source == OWNER else 0.0, -1)) for one in about]
    return Guesses(
        start.labels,
        np.array([confidence for confidence, _ in found], np.float32),
        np.array(["" if one.source == "none" else one.source for one in about], start.source.dtype),
        np.array([one.weight if one.label >= 0 else 0.0 for one in about], np.float32),
        np.array([before for _, before in found], np.int64),
    )


def _keep(owner: "Owner", about: list[About], before: Guesses, after: Guesses) -> list[Guess]:
    new = [
        Guess(
            one.number,
            int(after.labels[row]),
            str(after.source[row]),
            float(after.confidence[row]),
            int(after.before[row]),
        )
        for row, one in enumerate(about)
        if after.guessed[row] and (after.labels[row], after.source[row]) != (before.labels[row], before.source[row])
    ]
    if not new:
        return []
    weights = {one.number: float(after.weight[row]) for row, one in enumerate(about)}
    by_source = ", ".join(
        f"{count} by {source}" for source in GUESSED if (count := sum(one.source == source for one in new))
    )
    with owner.store.transaction():
        evidence = read_evidence(owner.store)
        for one in new:
            owner.kept.relabel(one.number, one.source, one.label, weights[one.number])
            evidence[str(one.number)] = (round(one.confidence, 6), one.before)
        alive = {str(one.number) for one in owner.kept.all() if one.source in GUESSED}
        owner.store.put(EVIDENCE, json.dumps({name: evidence[name] for name in evidence if name in alive}).encode())
        owner.store.record("guess", f"{len(new)} labels were guessed: {by_source}", samples=[one.number for one in new])
    return new


def _rows(guesses: Guesses, rows: NDArray[np.int64]) -> Guesses:
    return Guesses(**{name: value[rows] for name, value in vars(guesses).items()})


def _replaced(guesses: Guesses, rows: NDArray[np.int64], part: Guesses) -> Guesses:
    whole = {name: value.copy() for name, value in vars(guesses).items()}
    for name, value in vars(part).items():
        whole[name][rows] = value
    return Guesses(**whole)
