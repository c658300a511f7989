"""Labels for an owner's samples that have none, what they were guessed from, and the way back.

Samples are taken in the order they came. A guess is learnt from like a label, at its weight; the owner's word replaces it
whenever it comes. Axes: N samples, K classes.
"""

import time
from calendar import timegm
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, SampleError
from mentee_device.core.learner import Learner
from mentee_device.labels.evidence import read_evidence, write_evidence
from mentee_device.labels.pseudo_labels import (
    CLUSTER_WEIGHT,
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
)
from mentee_device.runs.clusters import shares
from mentee_device.runs.plans.described import described
from mentee_device.runs.plans.given import plain_numbers
from mentee_device.runs.run import OnProgress
from mentee_device.runs.runs import Runs
from mentee_device.runs.unlearn import Unlearned, unlearn_labels
from mentee_device.state.about import MENTOR_ONLINE, About, sample_numbers
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.store import CLOCK

RULES = ("pseudo", "clusters")
CHUNK = 64  # samples in memory at once
NEVER = 1e300  # below any logit: no mentor knows a class that has no name


@dataclass(frozen=True)
class Guess:
    """A sample's guessed label: how sure its `source` was of it, and the label `before` a neighbour's took its place, −1 for
    none."""

    number: int
    label: int
    source: str
    confidence: float
    before: int


@dataclass(frozen=True, kw_only=True)
class GuessRules:
    """Rules of guessing: the mentor's guesses come first, then by `rule` the mentee's own or those by the groups that the owner's
    samples lie in, then those by their neighbours in a stream. Raises SampleError."""

    rule: str = described(
        "pseudo", "the mentee's own softmax (pseudo), or the groups that the samples lie in (clusters)"
    )
    threshold: float | None = described(
        0.95, "least probability of the mentee's own labels (--threshold 2: none of them)", least=0, most=1
    )
    adaptive: bool = described(False, "lowers the threshold for classes that the mentee is seldom sure of")
    weight: float = described(CLUSTER_WEIGHT, "weight of a label by clusters; an owner's weighs 1", above=0)
    mentor_threshold: float = described(0.0, "least probability of the mentor's answers", least=0, most=1)
    pause: float | None = described(
        None, "seconds at most between two frames of one stream (none: no streams)", above=0
    )
    window: int = described(5, "frames that vote in a stream, an odd number", least=1)
    near: float = described(0.35, "least probability of a near-miss before a hit in a stream", least=0, most=1)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise SampleError(f"no rule {self.rule!r} to guess by; there are {', '.join(RULES)}")
        plain_numbers(self, SampleError)
        if not isinstance(self.adaptive, bool):
            raise SampleError(f"adaptive is {self.adaptive!r}, expected True or False")
        if self.window % 2 == 0:
            raise SampleError(f"window is {self.window}, expected an odd number of frames")


def guess(state: DeviceState, learner: Learner, rules: GuessRules, mentor: Mentor | None) -> list[Guess]:
    """The new guesses, written to the sample store."""
    about, probability_NK, embedding_ND, mentor_NK, online_N = _asked(state, learner, mentor)
    before = known = _known(state, about)
    threshold = rules.threshold
    if len(about):
        online_NK = np.where(online_N[:, None], mentor_NK, np.nan)
        known = mentors(known, online_NK, rules.mentor_threshold, MENTOR_ONLINE)
        known = mentors(known, np.where(online_N[:, None], np.nan, mentor_NK), rules.mentor_threshold)
        if rules.rule == "clusters":
            known = clustered(known, _shares(learner, embedding_ND, before), rules.weight)
        elif threshold is not None:
            by_class = adaptive_thresholds(probability_NK, threshold) if rules.adaptive else threshold
            known = pseudo(known, probability_NK, by_class)
    if rules.pause is not None:
        sure = 0.95 if threshold is None else threshold
        for frames in streams(about, rules.pause):
            part = near_misses(_rows(known, frames), probability_NK[frames], sure, rules.near)
            known = _replaced(known, frames, agreed(part, rules.window))
    return _store(state, about, before, known)


def streams(about: list[About], pause: float) -> list[NDArray[np.int64]]:
    """Row numbers of each stream: stored one after the other, none missing in between, at most `pause` seconds apart."""
    if not about:
        return []
    seconds = [timegm(time.strptime(one.time, CLOCK)) for one in about]
    ends = [
        row
        for row in range(1, len(about))
        if about[row].number != about[row - 1].number + 1 or not 0 <= seconds[row] - seconds[row - 1] <= pause
    ]
    return np.split(np.arange(len(about)), ends)


def guesses(state: DeviceState) -> list[Guess]:
    """All guesses that stand, oldest sample first."""
    evidence = read_evidence(state.store)
    found = []
    for one in state.samples.all():
        if one.source in GUESSED:
            confidence, before = evidence.get(str(one.number), (0.0, -1))
            found.append(Guess(one.number, one.label, one.source, confidence, before))
    return found


def undo(
    runs: Runs, samples: Collection[int] | None, sources: Collection[str], on_progress: OnProgress | None
) -> Unlearned:
    """Takes guessed labels back, and what they taught; see `Owner.undo_guesses`."""
    unknown = [name for name in sources if name not in GUESSED]
    if unknown:
        raise SampleError(f"no guesses by {unknown}; they are by {', '.join(GUESSED)}")
    standing = {one.number for one in guesses(runs.state) if one.source in sources}
    if samples is not None:
        named = set(sample_numbers(samples))
        for number in named - standing:
            raise SampleError(f"sample {number} has no guessed label to undo: nothing was changed")
        standing &= named
    if not standing:
        return Unlearned([], [], runs.state.versions.current, None)
    return unlearn_labels(runs, standing, on_progress)


def _shares(learner: Learner, embedding_ND: NDArray[np.float32], known: Guesses) -> NDArray[np.float64]:
    said_N = np.where(known.source == OWNER, known.labels, UNLABELLED)
    share_NK = shares(learner, embedding_ND, said_N)
    if share_NK is None:
        raise SampleError(
            "clusters need two classes to start from, and neither the bundle's replay samples nor the owner's labels have "
            "them: label some samples, or guess by another rule"
        )
    return share_NK


def _asked(
    state: DeviceState, learner: Learner, mentor: Mentor | None
) -> tuple[list[About], NDArray[np.float64], NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """All samples, the mentee's probabilities and embeddings, the mentor's logits where they came with the sample or can be had,
    and for which of them its service was asked."""
    K = len(state.manifest.classes)
    about, online = state.samples.all(), state.answers.numbers()
    while True:
        probability, embedding, answers = [np.zeros((0, K))], [], [np.zeros((0, K))]
        for start in range(0, len(about), CHUNK):
            chunk = [one.number for one in about[start : start + CHUNK]]
            samples, _ = state.samples.read(chunk)
            if len(samples) < len(chunk):
                break
            found = learner.predict(samples.input, checked=True)
            probability_NK = probabilities(found.logits, len(chunk))
            probability_NK[:, list(state.manifest.unnamed)] = 0
            probability.append(probability_NK)
            embedding.append(found.embedding)
            answers.append(_mentor_logits(state, chunk, K))
            open_N = (samples.labels < 0) & np.isnan(answers[-1]).all(axis=1)
            if mentor is not None and open_N.any():
                answers[-1][open_N] = ask(mentor, samples.input[open_N], K)
            answers[-1][:, list(state.manifest.unnamed)] -= NEVER
        else:
            whole = np.concatenate(embedding) if embedding else np.zeros((0, 0), np.float32)
            online_N = np.array([one.number in online for one in about], bool)
            return about, np.concatenate(probability), whole, np.concatenate(answers), online_N
        about = state.samples.all()  # a damaged sample was found and removed


def _mentor_logits(state: DeviceState, numbers: Sequence[int], K: int) -> NDArray[np.float64]:
    """[N, K] as its service answered, or as they came with the samples, NaN where neither is."""
    online = {number: state.answers.get(number) for number in numbers}
    stored = [
        state.samples.mentor_logits(number) if (answer := online[number]) is None else answer.mentor_logits
        for number in numbers
    ]
    return np.array([np.full(K, np.nan) if one is None or len(one) != K else one for one in stored], np.float64)


def _known(state: DeviceState, about: list[About]) -> Guesses:
    """Labels as they stand, the owner's and earlier guesses."""
    labels_N = np.array([one.label for one in about], np.int64)
    evidence = read_evidence(state.store)
    start = owners(labels_N)
    found = [evidence.get(str(one.number), (1.0 if one.source == OWNER else 0.0, -1)) for one in about]
    return Guesses(
        start.labels,
        np.array([confidence for confidence, _ in found], np.float32),
        np.array(["" if one.source == "none" else one.source for one in about], start.source.dtype),
        np.array([one.weight if one.label >= 0 else 0.0 for one in about], np.float32),
        np.array([before for _, before in found], np.int64),
    )


def _store(state: DeviceState, about: list[About], before: Guesses, after: Guesses) -> list[Guess]:
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
    counts = {source: sum(one.source == source for one in new) for source in GUESSED}
    by_source = ", ".join(f"{count} by {source}" for source, count in counts.items() if count)
    with state.store.transaction():
        evidence = read_evidence(state.store)
        for one in new:
            state.samples.relabel(one.number, one.source, one.label, weights[one.number])
            evidence[str(one.number)] = (round(one.confidence, 6), one.before)
        alive = {str(one.number) for one in state.samples.all() if one.source in GUESSED}
        write_evidence(state.store, {name: evidence[name] for name in evidence if name in alive})
        state.store.record("guess", f"{len(new)} labels were guessed: {by_source}", samples=[one.number for one in new])
    return new


def _rows(guesses: Guesses, rows: NDArray[np.int64]) -> Guesses:
    return Guesses(**{name: value[rows] for name, value in vars(guesses).items()})


def _replaced(guesses: Guesses, rows: NDArray[np.int64], part: Guesses) -> Guesses:
    whole = {name: value.copy() for name, value in vars(guesses).items()}
    for name, value in vars(part).items():
        whole[name][rows] = value
    return Guesses(**whole)
