"""The guard's hearing at the end of a run: the golden set, the owner's held-out labels, and samples that were learnt without one.

Axes: N samples.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, Samples
from mentee_device.core.learner import Learner
from mentee_device.guard.chance import binomial_tail
from mentee_device.guard.golden import Golden, Verdict
from mentee_device.guard.measures import Limits
from mentee_device.runs.clusters import steady_classes
from mentee_device.runs.holdout import HeldOut

# Stricter than a test's .05: without a label it is the run that needs evidence (docs/experiments/guard.md).
DOUBTFUL = 0.2


@dataclass(frozen=True)
class Guessed:
    """Classes that a run gave `samples` without a label. `changed` of them have another class than before; the groups they lay
    in before the run side with the new class `agreed` times, with the old one `opposed` times, over all draws of groups."""

    samples: int
    changed: int
    agreed: int
    opposed: int

    @property
    def opposes(self) -> bool:
        """Whether the groups would rather have the answers of before: as many or more of them against so few for it are less
        likely than `DOUBTFUL` where neither is better."""
        return self.opposed > self.agreed and binomial_tail(self.opposed, self.opposed + self.agreed) < DOUBTFUL

    def __str__(self) -> str:
        return (
            f"{self.changed} of {self.samples} samples without a label get another class than before; the groups they lie in "
            f"agree on {self.agreed} and oppose {self.opposed}"
        )


@dataclass(frozen=True)
class Before:
    """The mentee before a run, on the samples that judge it: `held` with `held_N`, whether it is right, and those of `learnt` at
    `rows`, which have no label, with `class_N`, its answers, and `steady_N`, what their groups say (−1: nothing that holds in
    every draw)."""

    held: Samples
    held_N: NDArray[np.bool_]
    learnt: Samples
    rows: NDArray[np.int64]
    class_N: NDArray[np.int64]
    steady_N: NDArray[np.int64]

    @classmethod
    def of(cls, learner: Learner, held: Samples, learnt: Samples) -> "Before":
        """By `learner`, as it was before it learnt from `learnt`."""
        rows = np.flatnonzero(learnt.labels < 0)
        class_N = steady_N = np.full(len(rows), UNLABELLED)
        if len(rows):
            found = learner.predict(learnt.input, checked=True)
            class_N = found.logits[rows].argmax(axis=1)
            groups_N = steady_classes(learner, found.embedding, learnt.labels)
            steady_N = steady_N if groups_N is None else groups_N[rows]
        return cls(held, right(learner, held), learnt, rows, class_N, steady_N)


def right(learner: Learner, samples: Samples) -> NDArray[np.bool_]:
    """[N]: whether its highest logit is the label's."""
    if not len(samples):
        return np.zeros(0, bool)
    hits_N: NDArray[np.bool_] = learner.predict(samples.input, checked=True).logits.argmax(axis=1) == samples.labels
    return hits_N


def judge_by(golden: Golden, limits: Limits, before: Before | None) -> Callable[[Learner], Verdict]:
    """Judges a learner's present parameters; without `before` by the golden set alone."""

    def judge(learner: Learner) -> Verdict:
        if before is None:
            return golden.judge(learner, limits)
        held = HeldOut.of(before.held_N, right(learner, before.held))
        verdict = golden.judge(learner, limits, gained=held.clearly_better)
        reasons, evidence, words = list(verdict.reasons), dict(verdict.evidence), list(verdict.words)
        if held.samples:
            evidence["held_out"] = asdict(held)
            words.append(str(held))
            if held.clearly_worse:
                reasons.append(f"worse for the owner, beyond chance: {held}")
        guessed = guessed_of(before, learner)
        if guessed.samples:
            evidence["guessed"] = asdict(guessed)
            words.append(str(guessed))
            if guessed.opposes and not held.clearly_better:
                reasons.append(f"no evidence for its guesses: {guessed}")
        return replace(verdict, reasons=reasons, evidence=evidence, words=tuple(words))

    return judge


def guessed_of(before: Before, learner: Learner) -> Guessed:
    """Classifies the samples without a label with `learner`, and counts how their groups judge each change."""
    if not len(before.rows):
        return Guessed(0, 0, 0, 0)
    now_N = learner.predict(before.learnt.input, checked=True).logits[before.rows].argmax(axis=1)
    changed_N = now_N != before.class_N
    return Guessed(
        len(now_N),
        int(changed_N.sum()),
        int((changed_N & (before.steady_N == now_N)).sum()),
        int((changed_N & (before.steady_N == before.class_N)).sum()),
    )
